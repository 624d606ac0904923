package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Errors of an Opener and of a KeyStore. Test with errors.Is.
var (
	// ErrTampered means that the envelope, its binding or its wrapped key is not what was sealed. It never opens.
	ErrTampered = errors.New("seal: tampered with, or sealed for something else")
	// ErrKeyGone means that the key was deleted at its time, or lost. It never opens.
	ErrKeyGone = errors.New("seal: its key is gone")
)

const (
	version    = 1
	dataKeyLen = 32
	nonceLen   = 12
	tagLen     = 16
	headLen    = 1 + 16 + 8                     // version, data key id, counter
	bindingLen = headLen - 8 + 3*16 + 1 + 8 + 8 // AAD: version, data key id, job, ticket, account, lane, acceptance, expiry

	// Overhead is how much longer an envelope is than its plaintext, in bytes.
	Overhead = headLen + tagLen

	// maxMessages under one data key. With counted nonces GCM would bear more; nobody comes near it in a period.
	maxMessages = 1 << 32

	wrappedVersion = 1
	wrappedHead    = 1 + 1 + 8 // version, audience, pair id

	// retryAfter is told when no key can be had or made durable.
	retryAfter = 5 * time.Second

	detailNoKey      = "Passwords cannot be accepted right now; try again shortly."
	detailNotDurable = "This cannot be stored safely right now; try again shortly."
)

// KeyStore keeps wrapped data keys beside the queue, durably.
type KeyStore interface {
	// PutKey returns once the key is durable. A repeat with the same id has the same content.
	PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error
	// GetKey returns ErrKeyGone for a key that is absent or expired.
	GetKey(ctx context.Context, id string) ([]byte, error)
}

// Binding is what an envelope is sealed for. It opens for nothing else.
type Binding struct {
	Job        reset.ID
	Ticket     reset.ID
	Account    reset.Key
	Lane       reset.Lane
	AcceptTime time.Time // µs; a spent token is judged by it
	ExpireTime time.Time // µs; zero for none
}

// BindingOf returns what the payload of a job is sealed for. Whoever seals and whoever opens it must use this.
func BindingOf(j reset.Job) Binding {
	return Binding{Job: j.ID, Ticket: j.Ticket, Account: j.Account, Lane: j.Lane, AcceptTime: j.AcceptTime, ExpireTime: j.ExpireTime}
}

type dataKeyID [16]byte

func (id dataKeyID) String() string { return hex.EncodeToString(id[:]) }

// dataKey seals for one process, audience and key period.
type dataKey struct {
	id      dataKeyID
	aead    cipher.AEAD
	wrapped []byte
	pair    *pair
	counter atomic.Uint64
}

// usable is false from the pair's end on. It stays true if the clock goes back: counters, not times, make nonces.
func (k *dataKey) usable(now time.Time) bool {
	return !k.over(now) && k.counter.Load() < maxMessages
}

// over tells whether the key's period has passed.
func (k *dataKey) over(now time.Time) bool { return !k.pair.end.IsZero() && !now.Before(k.pair.end) }

// Sealer seals. It is safe for concurrent use, and needs public halves only.
type Sealer struct {
	keyring *Keyring
	store   KeyStore
	clock   clock.Clock
	slots   [AudiencePII + 1]*sealSlot
}

type sealSlot struct {
	current atomic.Pointer[dataKey]
	turn    chan struct{} // one makes a key, the others wait; a channel, so that they can give up
	pending *dataKey      // made, but not known to be durable; guarded by turn
}

// NewSealer returns a sealer, which makes its first data key when it first seals.
func NewSealer(k *Keyring, s KeyStore, c clock.Clock) *Sealer {
	sealer := &Sealer{keyring: k, store: s, clock: c}
	for i := range sealer.slots {
		sealer.slots[i] = &sealSlot{turn: make(chan struct{}, 1)}
	}
	k.onMaintain(sealer.forget)
	return sealer
}

// forget drops keys whose period is over: what seals also opens.
func (s *Sealer) forget(now time.Time) {
	for _, slot := range s.slots {
		select {
		case slot.turn <- struct{}{}:
		default:
			continue // a key is being made; the next time does
		}
		if k := slot.current.Load(); k != nil && k.over(now) {
			slot.current.Store(nil)
		}
		if slot.pending != nil && slot.pending.over(now) {
			slot.pending = nil
		}
		<-slot.turn
	}
}

// Seal returns the envelope, Overhead bytes longer than the plaintext. Errors are *reset.Error: KindNotDurable when
// the data key cannot be made durable, KindKeyUnknown when the period's public key is not here, KindCanceled.
func (s *Sealer) Seal(ctx context.Context, a Audience, b Binding, plaintext []byte) ([]byte, error) {
	if a != AudiencePassword && a != AudiencePII {
		return nil, fmt.Errorf("seal: %v is unknown", a)
	}
	slot := s.slots[a]
	for {
		k := slot.current.Load()
		if k == nil || !k.usable(s.clock.Now()) {
			var err error
			if k, err = s.renew(ctx, a, slot); err != nil {
				return nil, err
			}
		}
		if n := k.counter.Add(1); n <= maxMessages {
			return k.seal(n, b, plaintext), nil
		}
	}
}

// seal makes one allocation: nonce and additional data lie behind the envelope in the same buffer.
func (k *dataKey) seal(n uint64, b Binding, plaintext []byte) []byte {
	size := Overhead + len(plaintext)
	buf := make([]byte, headLen, size+nonceLen+bindingLen)
	buf[0] = version
	copy(buf[1:], k.id[:])
	binary.BigEndian.PutUint64(buf[17:], n)
	nonce := buf[size : size+nonceLen]
	binary.BigEndian.PutUint64(nonce[nonceLen-8:], n)
	aad := appendBinding(buf[size+nonceLen:size+nonceLen], buf[:17], b)
	return k.aead.Seal(buf, nonce, plaintext, aad)[:size:size]
}

func appendBinding(dst, head []byte, b Binding) []byte {
	dst = append(dst, head...)
	dst = append(dst, b.Job[:]...)
	dst = append(dst, b.Ticket[:]...)
	dst = append(dst, b.Account[:]...)
	dst = append(dst, byte(b.Lane))
	return appendTime(appendTime(dst, b.AcceptTime), b.ExpireTime)
}

func appendTime(dst []byte, t time.Time) []byte {
	var micros int64
	if !t.IsZero() {
		micros = t.UnixMicro()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(micros))
}

// renew makes the next data key durable, then current.
func (s *Sealer) renew(ctx context.Context, a Audience, slot *sealSlot) (*dataKey, error) {
	select {
	case slot.turn <- struct{}{}:
		defer func() { <-slot.turn }()
	case <-ctx.Done():
		return nil, canceled(ctx.Err())
	}
	now := s.clock.Now()
	if k := slot.current.Load(); k != nil && k.usable(now) {
		return k, nil
	}
	if slot.pending == nil || !slot.pending.usable(now) {
		p, err := s.keyring.pairFor(a, now)
		if err != nil {
			return nil, err
		}
		if slot.pending, err = newDataKey(p); err != nil {
			return nil, err
		}
	}
	k := slot.pending
	if err := s.store.PutKey(ctx, k.id.String(), k.wrapped, k.pair.deleteTime); err != nil {
		if ctx.Err() != nil {
			return nil, canceled(err)
		}
		return nil, &reset.Error{Kind: reset.KindNotDurable, Detail: detailNotDurable, RetryAfter: retryAfter,
			Cause: fmt.Errorf("seal: storing a data key: %w", err)}
	}
	k.wrapped = nil
	slot.pending = nil
	slot.current.Store(k)
	return k, nil
}

func canceled(cause error) error {
	return &reset.Error{Kind: reset.KindCanceled, Cause: fmt.Errorf("seal: %w", cause)}
}

func newDataKey(p *pair) (*dataKey, error) {
	secret := make([]byte, dataKeyLen)
	k := &dataKey{pair: p}
	_, _ = rand.Read(secret) // never fails since Go 1.24
	_, _ = rand.Read(k.id[:])
	var err error
	if k.aead, err = newAEAD(secret); err != nil {
		return nil, err
	}
	head := append([]byte{wrappedVersion, byte(p.audience)}, p.id[:]...)
	_, kdf, aead := suite()
	sealed, err := hpke.Seal(p.public, kdf, aead, wrapInfo(head, k.id), secret)
	clear(secret)
	if err != nil {
		return nil, fmt.Errorf("seal: wrapping a data key: %w", err)
	}
	k.wrapped = append(head, sealed...)
	return k, nil
}

func wrapInfo(head []byte, id dataKeyID) []byte {
	info := append([]byte("surgegate data key v1\x00"), head...)
	return append(info, id[:]...)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Format hides the keys from every verb.
func (s *Sealer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal.Sealer{redacted}") }
