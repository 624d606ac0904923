package seal_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

// vectors hold a whole keyring and what was sealed with it. The keys are public, as in all test vectors.
type vectors struct {
	Comment   string            `json:"comment"`
	Files     map[string]string `json:"files"`   // keys_dir/seal
	Wrapped   map[string]string `json:"wrapped"` // KeyStore: data key id to wrapped key
	Envelopes []vectorEnvelope  `json:"envelopes"`
	Ticket    vectorTicket      `json:"ticket"`
	Index     map[string]string `json:"index"`
}

type vectorEnvelope struct {
	Audience   seal.Audience `json:"audience"`
	Job        string        `json:"job"`
	Ticket     string        `json:"ticket"`
	Account    string        `json:"account"`
	Lane       reset.Lane    `json:"lane"`
	AcceptTime time.Time     `json:"accept_time"`
	ExpireTime time.Time     `json:"expire_time,omitzero"`
	Plaintext  string        `json:"plaintext"`
	Envelope   string        `json:"envelope"`
}

type vectorTicket struct {
	String     string      `json:"string"`
	ID         string      `json:"id"`
	Lane       reset.Lane  `json:"lane"`
	Class      reset.Class `json:"class"`
	Seq        uint64      `json:"seq"`
	Locator    uint16      `json:"locator"`
	AcceptTime time.Time   `json:"accept_time"`
}

// What was sealed by an older version must open: jobs outlive an upgrade. -update is for a new format version.
func TestVectors(t *testing.T) {
	t.Parallel()
	const path = "testdata/vectors.json"
	if *update {
		writeVectors(t, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "seal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range all.Files {
		if err := os.WriteFile(filepath.Join(dir, "seal", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := newStore()
	for id, wrapped := range all.Wrapped {
		store.keys[id] = unhex(t, wrapped)
	}
	k := open(t, dir, seal.Config{}, clock.NewManual(start))
	opener := seal.NewOpener(k, store)
	for i, v := range all.Envelopes {
		b := seal.Binding{Job: reset.ID(unhex(t, v.Job)), Ticket: reset.ID(unhex(t, v.Ticket)), Account: reset.Key(unhex(t, v.Account)), Lane: v.Lane, AcceptTime: v.AcceptTime, ExpireTime: v.ExpireTime}
		if got, err := opener.Open(t.Context(), b, unhex(t, v.Envelope)); err != nil || !bytes.Equal(got, unhex(t, v.Plaintext)) {
			t.Errorf("envelope %d: %x, %v", i, got, err)
		}
	}
	v := all.Ticket
	ref := reset.Ref{ID: reset.ID(unhex(t, v.ID)), Lane: v.Lane, Class: v.Class, Seq: v.Seq, Locator: v.Locator, AcceptTime: v.AcceptTime}
	if got, err := k.Tickets().Open(v.String); err != nil || got != ref || k.Tickets().Seal(ref) != v.String {
		t.Errorf("ticket: %+v, %v", got, err)
	}
	if got := index(k.Index()); len(got) != len(all.Index) {
		t.Errorf("index %v", got)
	} else {
		for name, want := range all.Index {
			if got[name] != want {
				t.Errorf("index of %s: %s, want %s", name, got[name], want)
			}
		}
	}
}

func index(x *seal.Index) map[string]string {
	keys := map[string]reset.Key{
		"identifier somebody@example.com": x.Identifier("somebody@example.com"),
		"account 4711":                    x.Account("4711"),
		"recipient somebody@example.com":  x.Recipient("somebody@example.com"),
		"request TOKEN request-1":         x.Request("TOKEN", "request-1"),
	}
	text := make(map[string]string, len(keys))
	for name, k := range keys {
		text[name] = hex.EncodeToString(k[:])
	}
	return text
}

func writeVectors(t *testing.T, path string) {
	t.Helper()
	dir, store := t.TempDir(), newStore()
	k := open(t, dir, seal.Config{Create: true}, clock.NewManual(start))
	all := vectors{Comment: "A keyring and what was sealed with it, as drawn in doc.go. Values are hexadecimal; the keys are for tests alone.",
		Files: map[string]string{}, Wrapped: map[string]string{}, Index: index(k.Index())}
	sealer := seal.NewSealer(k, store, clock.NewManual(start))
	for _, a := range []seal.Audience{seal.AudiencePassword, seal.AudiencePassword, seal.AudiencePII} {
		b := newBinding()
		if a == seal.AudiencePII {
			b.Lane, b.ExpireTime, b.Ticket = reset.LaneMail, time.Time{}, reset.ID{}
		}
		plaintext := []byte("of audience " + a.String())
		e, err := sealer.Seal(t.Context(), a, b, plaintext)
		if err != nil {
			t.Fatal(err)
		}
		all.Envelopes = append(all.Envelopes, vectorEnvelope{Audience: a, Job: b.Job.String(), Ticket: b.Ticket.String(), Account: hex.EncodeToString(b.Account[:]),
			Lane: b.Lane, AcceptTime: b.AcceptTime, ExpireTime: b.ExpireTime, Plaintext: hex.EncodeToString(plaintext), Envelope: hex.EncodeToString(e)})
	}
	for id, wrapped := range store.keys {
		all.Wrapped[id] = hex.EncodeToString(wrapped)
	}
	ref := reset.Ref{ID: reset.NewID(), Lane: reset.LaneHash, Class: reset.ClassSuspect, Seq: 1 << 40, Locator: 513, AcceptTime: start.Add(time.Microsecond)}
	all.Ticket = vectorTicket{String: k.Tickets().Seal(ref), ID: ref.ID.String(), Lane: ref.Lane, Class: ref.Class, Seq: ref.Seq, Locator: ref.Locator, AcceptTime: ref.AcceptTime}
	entries, err := os.ReadDir(filepath.Join(dir, "seal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, "seal", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.Files[e.Name()] = string(data)
	}
	data, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
