package reset_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/surgegate/surgegate/pkg/reset"
)

func TestNamesParseBack(t *testing.T) {
	t.Parallel()
	for _, lane := range reset.Lanes() {
		got, err := reset.ParseLane(lane.String())
		if err != nil || got != lane {
			t.Errorf("ParseLane(%q) = %v, %v", lane, got, err)
		}
	}
	if _, err := reset.ParseLane("hashes"); err == nil || !strings.Contains(err.Error(), "use start, mail") {
		t.Errorf("an unknown lane must say which there are, got %v", err)
	}
	id := reset.NewID()
	if got, err := reset.ParseID(id.String()); err != nil || got != id {
		t.Errorf("ParseID(%q) = %v, %v", id, got, err)
	}
	for _, bad := range []string{"", "12", strings.Repeat("g", 32), strings.Repeat("0", 33)} {
		if _, err := reset.ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) must fail", bad)
		}
	}
}

func TestFinalStatesAreThoseAboveRunning(t *testing.T) {
	t.Parallel()
	for s, want := range map[reset.State]bool{
		reset.StateAccepted: false, reset.StateRunning: false,
		reset.StateDone: true, reset.StateRejected: true, reset.StateFailed: true,
	} {
		if s.Final() != want {
			t.Errorf("%v.Final() = %v", s, !want)
		}
	}
}

func TestPayloadsSurviveEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		start := reset.StartPayload{Identifier: text.Draw(t, "identifier"), AccountID: text.Draw(t, "account"), Locale: text.Draw(t, "locale"), Purpose: reset.Purpose(rapid.Uint8().Draw(t, "purpose"))}
		var start2 reset.StartPayload
		if err := start2.Unmarshal(start.Marshal()); err != nil || start2 != start {
			t.Fatalf("%+v became %+v, %v", start, start2, err)
		}
		mail := reset.MailPayload{AccountID: text.Draw(t, "account"), Address: text.Draw(t, "address"), Locale: text.Draw(t, "locale"), Purpose: reset.PurposeLink}
		if at := rapid.Int64Range(0, 1<<50).Draw(t, "asked"); at != 0 {
			mail.AskTime = time.UnixMicro(at).UTC()
		}
		var mail2 reset.MailPayload
		if err := mail2.Unmarshal(mail.Marshal()); err != nil || mail2 != mail {
			t.Fatalf("%+v became %+v, %v", mail, mail2, err)
		}
		completion := reset.CompletionPayload{AccountID: text.Draw(t, "account"), Token: text.Draw(t, "token"), Password: text.Draw(t, "password"), Hashed: rapid.Bool().Draw(t, "hashed"), SignOut: reset.SignOutEverywhere, Locale: text.Draw(t, "locale")}
		var completion2 reset.CompletionPayload
		if err := completion2.Unmarshal(completion.Marshal()); err != nil || completion2 != completion {
			t.Fatalf("a completion changed in encoding: %v", err)
		}
		revoke := reset.RevokePayload{AccountID: text.Draw(t, "account"), SessionsBefore: time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, "before")).UTC()}
		var revoke2 reset.RevokePayload
		if err := revoke2.Unmarshal(revoke.Marshal()); err != nil || (revoke2 != revoke && revoke.SessionsBefore.UnixMicro() != 0) {
			t.Fatalf("%+v became %+v, %v", revoke, revoke2, err)
		}
	})
}

func FuzzPayload(f *testing.F) {
	f.Add(reset.CompletionPayload{AccountID: "a", Token: "t", Password: "p", Hashed: true}.Marshal())
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p reset.CompletionPayload
		if p.Unmarshal(b) != nil {
			return
		}
		var again reset.CompletionPayload
		if err := again.Unmarshal(p.Marshal()); err != nil || again != p {
			t.Fatalf("what was read once must be written and read alike: %v", err)
		}
	})
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	p := reset.CompletionPayload{Password: "canary-4711", Token: "canary-4711"}
	js, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%v %+v %#v %s", p, p, p, p), fmt.Sprintf("%v %#v", &p, &p), string(js)} {
		if strings.Contains(s, "canary") {
			t.Errorf("printed: %s", s)
		}
	}
}

func TestErrorShowsItsPublicPartAndKeepsItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk /dev/x is full")
	err := fmt.Errorf("accepting: %w", &reset.Error{Kind: reset.KindNotDurable, RetryAfter: time.Second, Cause: cause})
	if reset.KindOf(err) != reset.KindNotDurable || !errors.Is(err, cause) {
		t.Errorf("kind %v, cause kept %v", reset.KindOf(err), errors.Is(err, cause))
	}
	if reset.KindOf(cause) != reset.KindInternal {
		t.Error("an error of another type is internal")
	}
	if got := (&reset.Error{Kind: reset.KindShed, Level: 3}).Info(); got != "SHED_LEVEL_3" {
		t.Errorf("Info() = %s", got)
	}
}
