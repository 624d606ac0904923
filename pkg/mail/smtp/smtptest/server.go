package smtptest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Config says what the server offers. The zero value offers STARTTLS without a certificate, which no client takes.
type Config struct {
	TLS      *tls.Config
	Implicit bool // TLS from the first byte
	NoTLS    bool // offers no STARTTLS
}

// What an answer may be beside the text of a reply.
const (
	Usual = ""     // as a server answers that has no trouble
	Drop  = "drop" // closes the connection
	Hang  = "hang" // says nothing until the client gives up
	Keep  = "keep" // to CONTENT: takes the mail and closes the connection without a word
)

// Server is an SMTP server on loopback that answers as a test tells it to. Make it with Start.
type Server struct {
	t      testing.TB
	config Config
	wg     sync.WaitGroup
	// Hanging gets a value for each command that is left hanging, up to 64.
	Hanging chan struct{}

	mutex    sync.Mutex
	address  string
	listener net.Listener // nil while it is down
	conns    map[net.Conn]bool
	counts   Counts
	mails    []string // DATA as received
	commands []string
	answer   func(command string) string
}

// Start begins to serve; the end of the test ends it.
func Start(t testing.TB, config Config) *Server {
	t.Helper()
	s := &Server{t: t, config: config, address: "127.0.0.1:0", conns: make(map[net.Conn]bool), Hanging: make(chan struct{}, 64)}
	s.Up()
	t.Cleanup(func() {
		s.Down()
		s.wg.Wait()
	})
	return s
}

// Up listens, after Down on the same address again.
func (s *Server) Up() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mutex.Lock()
	s.address, s.listener = listener.Addr().String(), listener
	s.mutex.Unlock()
	s.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mutex.Lock()
			down := s.listener != listener
			if !down {
				s.conns[conn] = true
				s.counts.Connections++
			}
			s.mutex.Unlock()
			if down {
				_ = conn.Close()
				continue
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
}

// Down refuses connections from now on and drops those that are open.
func (s *Server) Down() {
	s.mutex.Lock()
	listener := s.listener
	s.listener = nil
	s.mutex.Unlock()
	if listener != nil {
		_ = listener.Close()
	}
	s.DropAll()
}

// DropAll closes every open connection.
func (s *Server) DropAll() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

// Address is where it listens, host:port.
func (s *Server) Address() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.address
}

// Answers sets what the server says from now on to each command; the greeting is that to CONNECT, the last one to
// CONTENT. It is called once a command, one at a time.
func (s *Server) Answers(f func(command string) string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.answer = f
}

// Counts is what the server has seen.
type Counts struct{ Connections, Open, SignedIn, Encrypted, Mails int }

// Counts returns them.
func (s *Server) Counts() Counts {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	c := s.counts
	c.Open, c.Mails = len(s.conns), len(s.mails)
	return c
}

// Mails are the mails that it has taken, as they came.
func (s *Server) Mails() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return slices.Clone(s.mails)
}

// Said are the commands that began so.
func (s *Server) Said(prefix string) []string {
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

func (s *Server) note(command string) string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.commands = append(s.commands, command)
	if s.answer == nil {
		return Usual
	}
	return s.answer(command)
}

func (s *Server) count(f func()) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	f()
}

// session is one connection.
type session struct {
	s    *Server
	raw  net.Conn
	conn net.Conn // raw, or TLS over it
	in   *bufio.Reader
}

// say gives an answer, or the usual one; false ends the connection.
func (c *session) say(answer, usual string) bool {
	switch answer {
	case Drop, Keep:
		return false
	case Hang:
		select {
		case c.s.Hanging <- struct{}{}:
		default: // nobody counts so many
		}
		_, _ = c.in.ReadByte() // until the client gives up
		return false
	case Usual:
		answer = usual
	}
	_, err := fmt.Fprintf(c.conn, "%s\r\n", answer)
	return err == nil
}

func (s *Server) serve(raw net.Conn) {
	defer func() {
		_ = raw.Close()
		s.count(func() { delete(s.conns, raw) })
	}()
	c := &session{s: s, raw: raw, conn: raw}
	secure := s.config.Implicit
	if secure {
		c.conn = tls.Server(raw, s.config.TLS)
	}
	c.in = bufio.NewReader(c.conn)
	if !c.say(s.note("CONNECT"), "220 test ESMTP") {
		return
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		answer := s.note(line)
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		usual := "250 2.0.0 OK"
		switch verb {
		case "EHLO":
			usual = "250-test\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES"
			if !secure && !s.config.NoTLS {
				usual += "\r\n250-STARTTLS"
			}
			usual += "\r\n250 AUTH PLAIN"
		case "STARTTLS":
			if !c.say(answer, "220 2.0.0 go ahead") {
				return
			}
			c.conn = tls.Server(raw, s.config.TLS)
			c.in, secure = bufio.NewReader(c.conn), true
			s.count(func() { s.counts.Encrypted++ })
			continue
		case "AUTH":
			usual = "535 5.7.8 wrong"
			if strings.HasSuffix(line, base64.StdEncoding.EncodeToString([]byte("\x00surgegate\x00s3cret"))) {
				usual = "235 2.7.0 welcome"
				s.count(func() { s.counts.SignedIn++ })
			}
		case "DATA":
			if !c.say(answer, "354 go ahead") {
				return
			}
			if answer == Usual && !c.content() {
				return
			}
			continue
		case "QUIT":
			c.say(answer, "221 2.0.0 bye")
			return
		}
		if !c.say(answer, usual) {
			return
		}
	}
}

// content takes a mail; false ends the connection.
func (c *session) content() bool {
	data, err := textproto.NewReader(c.in).ReadDotBytes()
	if err != nil {
		return false
	}
	answer := c.s.note("CONTENT")
	// Counted before it is answered: a test looks as soon as it has the answer.
	if answer == Usual || answer == Keep {
		c.s.count(func() { c.s.mails = append(c.s.mails, string(data)) })
	}
	return c.say(answer, "250 2.0.0 queued")
}
