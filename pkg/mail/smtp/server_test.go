package smtp_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
)

// server is an SMTP server on loopback that answers as a test tells it to.
type server struct {
	t        *testing.T
	listener net.Listener
	wg       sync.WaitGroup
	config   serverConfig

	mutex       sync.Mutex
	conns       map[net.Conn]bool
	connections int
	signedIn    int
	encrypted   int
	mails       []string // DATA as received
	commands    []string
	answer      func(command string) string // "" is the default answer, "drop" closes, "hang" says nothing
	hanging     chan struct{}               // gets a value for each command that is left hanging
}

type serverConfig struct {
	tls      *tls.Config
	implicit bool
	noTLS    bool // offers no STARTTLS
}

func startServer(t *testing.T, config serverConfig) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: listener, config: config, conns: make(map[net.Conn]bool), hanging: make(chan struct{}, 64)}
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mutex.Lock()
			s.conns[conn] = true
			s.connections++
			s.mutex.Unlock()
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		s.dropAll()
		s.wg.Wait()
	})
	return s
}

func (s *server) address() string { return s.listener.Addr().String() }

// answers sets what the server says from now on.
func (s *server) answers(f func(command string) string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answer = f
}

func (s *server) dropAll() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

type counts struct{ connections, open, signedIn, encrypted, mails int }

func (s *server) counts() counts {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return counts{s.connections, len(s.conns), s.signedIn, s.encrypted, len(s.mails)}
}

func (s *server) lastMail() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.mails[len(s.mails)-1]
}

func (s *server) said(prefix string) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var found []string
	for _, c := range s.commands {
		if strings.HasPrefix(c, prefix) {
			found = append(found, c)
		}
	}
	return found
}

func (s *server) note(command string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.commands = append(s.commands, command)
	if s.answer == nil {
		return ""
	}
	return s.answer(command)
}

func (s *server) serve(raw net.Conn) {
	defer func() {
		_ = raw.Close()
		s.mutex.Lock()
		delete(s.conns, raw)
		s.mutex.Unlock()
	}()
	conn := raw
	secure := s.config.implicit
	if secure {
		conn = tls.Server(raw, s.config.tls)
	}
	in := bufio.NewReader(conn)
	// say answers a command; false ends the connection.
	say := func(command, usual string) bool {
		switch answer := s.note(command); answer {
		case "drop":
			return false
		case "hang":
			s.hanging <- struct{}{}
			_, _ = in.ReadByte() // until the client gives up
			return false
		case "":
			_, err := fmt.Fprintf(conn, "%s\r\n", usual)
			return err == nil
		default:
			_, err := fmt.Fprintf(conn, "%s\r\n", answer)
			return err == nil
		}
	}
	if !say("CONNECT", "220 test ESMTP") {
		return
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		usual := "250 2.0.0 OK"
		switch verb {
		case "EHLO":
			usual = "250-test\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES"
			if !secure && !s.config.noTLS {
				usual += "\r\n250-STARTTLS"
			}
			usual += "\r\n250 AUTH PLAIN"
		case "STARTTLS":
			if !say(line, "220 2.0.0 go ahead") {
				return
			}
			conn = tls.Server(raw, s.config.tls)
			in, secure = bufio.NewReader(conn), true
			s.mutex.Lock()
			s.encrypted++
			s.mutex.Unlock()
			continue
		case "AUTH":
			usual = "535 5.7.8 wrong"
			if strings.HasSuffix(line, base64.StdEncoding.EncodeToString([]byte("\x00surgegate\x00s3cret"))) {
				usual = "235 2.7.0 welcome"
				s.mutex.Lock()
				s.signedIn++
				s.mutex.Unlock()
			}
		case "DATA":
			if !say(line, "354 go ahead") {
				return
			}
			if s.refusedData() {
				continue
			}
			data, err := textproto.NewReader(in).ReadDotBytes()
			if err != nil {
				return
			}
			// Counted before it is answered: a test looks as soon as it has the answer.
			s.mutex.Lock()
			if s.answer == nil || s.answer("CONTENT") == "" {
				s.mails = append(s.mails, string(data))
			}
			s.mutex.Unlock()
			if !say("CONTENT", "250 2.0.0 queued") {
				return
			}
			continue
		case "QUIT":
			say(line, "221 2.0.0 bye")
			return
		}
		if !say(line, usual) {
			return
		}
	}
}

func (s *server) refusedData() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.answer != nil && s.answer("DATA") != ""
}
