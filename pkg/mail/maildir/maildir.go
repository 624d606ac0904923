package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdmail "net/mail"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/mail"
	"github.com/surgegate/surgegate/pkg/mail/internal/mime"
)

var _ mail.Sender = (*Sender)(nil)

// Config says where messages go. The zero value of each field means the default that its comment names.
type Config struct {
	// Path of the maildir; it is made if it is not there, its parent too. Required.
	Path string
	// From is the sender. Default "surgegate@localhost".
	From string
}

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	if c.From == "" {
		c.From = "surgegate@localhost"
	}
	return c
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	c = c.WithDefaults()
	if c.Path == "" {
		return errors.New("path: is required")
	}
	if _, err := mime.ParseFrom(c.From); err != nil {
		return fmt.Errorf("from: %w", err)
	}
	return nil
}

// Deps is what a Sender needs from outside.
type Deps struct {
	Clock clock.Clock // default clock.System{}
}

// Sender writes messages into a maildir. It is safe for concurrent use.
type Sender struct {
	path  string
	from  *stdmail.Address
	clock clock.Clock
	turn  atomic.Uint64 // tells the temporary files of one process apart
}

// New makes the maildir if it is not there.
func New(config Config, deps Deps) (*Sender, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("maildir: %w", err)
	}
	from, err := mime.ParseFrom(config.From)
	if err != nil {
		return nil, fmt.Errorf("maildir: from: %w", err)
	}
	for _, folder := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(config.Path, folder), 0o700); err != nil {
			return nil, fmt.Errorf("maildir: path: %w", err)
		}
	}
	if deps.Clock == nil {
		deps.Clock = clock.System{}
	}
	s := &Sender{path: config.Path, from: from, clock: deps.Clock}
	return s, s.sweep()
}

// tmpLifetime is the age at which a file in tmp is nobody's any more, by the maildir convention.
const tmpLifetime = 36 * time.Hour

// sweep removes what killed processes left in tmp: it holds links too.
func (s *Sender) sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.path, "tmp"))
	if err != nil {
		return fmt.Errorf("maildir: path: %w", err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || s.clock.Now().Sub(info.ModTime()) < tmpLifetime {
			continue // gone meanwhile, or perhaps in hand
		}
		if err := remove(filepath.Join(s.path, "tmp", entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Send implements mail.Sender. A context that has ended keeps a message from being begun, not from being finished.
func (s *Sender) Send(ctx context.Context, m mail.Message) error {
	if err := ctx.Err(); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return &failure.Error{
				Scope: failure.Downstream, Class: failure.Timeout, Code: failure.TimedOut,
				Err: fmt.Errorf("maildir: %w: %w", mail.ErrOverloaded, err),
			}
		}
		return fmt.Errorf("maildir: %w", err)
	}
	msg, err := mime.Build(s.from, m, s.clock.Now())
	if err != nil {
		return fmt.Errorf("maildir: %w", err)
	}
	name := mime.SafeID(m.ID) + ".eml"
	// Two deliveries of one message at once must not write into one file.
	temporary := filepath.Join(s.path, "tmp", name+"."+strconv.Itoa(os.Getpid())+"."+strconv.FormatUint(s.turn.Add(1), 10))
	if err := write(temporary, msg); err != nil {
		return errors.Join(classify(err), remove(temporary))
	}
	folder := filepath.Join(s.path, "new")
	if err := os.Rename(temporary, filepath.Join(folder, name)); err != nil {
		return errors.Join(classify(err), remove(temporary))
	}
	return classify(syncFolder(folder))
}

func write(path string, message io.WriterTo) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := message.WriteTo(f); err != nil {
		return err
	}
	return f.Sync()
}

func syncFolder(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("maildir: %w", err)
	}
	return nil
}

// classify: file names are ours, so whatever the file system says is about the folder, never about this message.
func classify(err error) error {
	if err == nil {
		return nil
	}
	return &failure.Error{
		Scope: failure.Downstream, Class: failure.Overload, Code: failure.Network(err),
		Err: fmt.Errorf("maildir: %w: %w", mail.ErrOverloaded, err),
	}
}

// FailureCodes are the codes of its errors that are worth a series of their own.
func (s *Sender) FailureCodes() []string { return failure.FileCodes() }

// Close implements mail.Sender; nothing is open between messages.
func (s *Sender) Close() error { return nil }
