package failure_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/pkg/credstore"
	"github.com/surgegate/surgegate/pkg/credstore/grpcstore"
	"github.com/surgegate/surgegate/pkg/credstore/postgres"
	"github.com/surgegate/surgegate/pkg/credstore/sqlite"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/hashpool"
	"github.com/surgegate/surgegate/pkg/mail/maildir"
	"github.com/surgegate/surgegate/pkg/mail/smtp"
)

func TestErrorNeverPrintsTheDownstreamsText(t *testing.T) {
	t.Parallel()
	err := &failure.Error{Code: "UNKNOWN", Text: "no such user ada@example.com", Err: fmt.Errorf("store: %w", credstore.ErrOverloaded)}
	asJSON, jsonErr := json.Marshal(map[string]any{"error": err})
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	for _, printed := range []string{
		err.Error(), fmt.Sprintf("%v %+v %#v %s %q %d", err, err, err, err, err, err), fmt.Sprint(fmt.Errorf("wrapped: %w", err)),
		string(asJSON), err.LogValue().String(),
	} {
		if strings.Contains(printed, "ada@") {
			t.Errorf("printed %s", printed)
		}
	}
	if !errors.Is(fmt.Errorf("call: %w", err), credstore.ErrOverloaded) {
		t.Error("the port's sentinel is lost")
	}
}

func TestOfSaysWhatCanBeKnown(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", fmt.Errorf("%w", os.ErrPermission))}
	for name, tc := range map[string]struct {
		err   error
		class failure.Class
		code  string
	}{
		"an Error, wrapped":        {fmt.Errorf("x: %w", &failure.Error{Class: failure.Config, Code: "SMTP 535 5.7.8"}), failure.Config, "SMTP 535 5.7.8"},
		"a code with foreign text": {&failure.Error{Code: "550 ada@example.com"}, failure.Failed, failure.Other},
		"a code that is too long":  {&failure.Error{Code: strings.Repeat("A", 41)}, failure.Failed, failure.Other},
		"a deadline":               {context.DeadlineExceeded, failure.Timeout, failure.TimedOut},
		"an end of file":           {io.ErrUnexpectedEOF, failure.Failed, failure.Lost},
		"a name that is not there": {&net.DNSError{IsNotFound: true}, failure.Failed, failure.NameNotFound},
		"a resolver that is away":  {&net.DNSError{}, failure.Failed, failure.NameFailed},
		"anything else":            {refused, failure.Failed, failure.Other},
	} {
		if f := failure.Of(tc.err); f.Class != tc.class || f.Code != tc.code {
			t.Errorf("%s: class %d, code %q, want %d, %q", name, f.Class, f.Code, tc.class, tc.code)
		}
	}
	if _, err := os.ReadFile(t.TempDir() + "/none"); failure.Network(err) != "ENOENT" {
		t.Errorf("a file that is not there is %q", failure.Network(err))
	}
}

// Every code that an adapter declares has a meaning of its own, and is one that may be logged.
func TestEveryDeclaredCodeHasAMeaning(t *testing.T) {
	t.Parallel()
	for downstream, codes := range map[string][]string{
		"store":     append(append((*grpcstore.Store)(nil).FailureCodes(), (*postgres.Store)(nil).FailureCodes()...), (*sqlite.Store)(nil).FailureCodes()...),
		"mail":      append((*smtp.Sender)(nil).FailureCodes(), (*maildir.Sender)(nil).FailureCodes()...),
		"hash_pool": (*hashpool.Pool)(nil).FailureCodes(),
	} {
		unknown := failure.Meaning(downstream, "SOMETHING ELSE")
		for _, code := range codes {
			if failure.Clean(code) != code {
				t.Errorf("%q is no code", code)
			}
			if m := failure.Meaning(downstream, code); m == unknown || !strings.HasSuffix(m, ".") {
				t.Errorf("%s %s means %q", downstream, code, m)
			}
		}
	}
	if a, b := failure.Meaning("store", "SQLSTATE 53300"), failure.Meaning("store", "SQLSTATE 53100"); a == b || !strings.Contains(b, "out of a resource") {
		t.Errorf("the longest key does not count: %q, %q", a, b)
	}
}
