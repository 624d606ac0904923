package simulate

import (
	"context"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
	"github.com/surgegate/surgegate/pkg/seal"
	"github.com/surgegate/surgegate/pkg/token"
)

// keyStore keeps the one data key that is made here.
type keyStore map[string][]byte

func (k keyStore) PutKey(_ context.Context, id string, wrapped []byte, _ time.Time) error {
	k[id] = wrapped
	return nil
}

func (k keyStore) GetKey(_ context.Context, id string) ([]byte, error) { return k[id], nil }

// The bytes of a job are those of a usual one, sealed: no fewer, and at most a third more.
func TestPayloadsAreAsLargeAsSealMakesThem(t *testing.T) {
	t.Parallel()
	keyring, err := seal.OpenKeyring(t.TempDir(), seal.Config{Create: true}, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.OpenKeys(t.TempDir(), token.Config{Create: true}, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSigner(keys)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tok, err := signer.Sign(token.Claims{Purpose: token.PurposeReset, AccountID: victim.AccountID(12_345_678), IssueTime: now, ExpireTime: now.Add(time.Hour), Nonce: [16]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	const person = 12_345_678
	address, account := victim.Identifier(person), victim.AccountID(person)
	sealer := seal.NewSealer(keyring, keyStore{}, clock.System{})
	for lane, plain := range map[reset.Lane][]byte{
		reset.LaneStart: reset.StartPayload{Identifier: address, Locale: "en", Purpose: reset.PurposeLink}.Marshal(),
		reset.LaneMail:  reset.MailPayload{AccountID: account, Address: address, Locale: "en", Purpose: reset.PurposeLink}.Marshal(),
		reset.LaneApply: reset.CompletionPayload{
			AccountID: account, Token: tok, Password: "quiet-otter-0123456789abcdef", SignOut: reset.SignOutEverywhere, Locale: "en",
		}.Marshal(),
		reset.LaneRevoke: reset.RevokePayload{AccountID: account, SessionsBefore: now}.Marshal(),
	} {
		sealed, err := sealer.Seal(t.Context(), seal.AudiencePII, seal.Binding{Job: reset.NewID(), Lane: lane}, plain)
		if err != nil {
			t.Fatal(err)
		}
		if n := int64(len(sealed)); n > payload(lane) || n*4 < payload(lane)*3 {
			t.Errorf("a %v job's payload is %d bytes sealed, counted as %d", lane, n, payload(lane))
		}
	}
}
