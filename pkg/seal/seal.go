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
	// ErrTampered means that the envelope, its binding or its wrapped key was changed. It is final.
	ErrTampered = errors.New("seal: tampered with, or sealed for something else")
	// ErrKeyGone means that the key was deleted on time, or is lost. It is final.
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

	// maxMessages is how many messages are sealed under one data key. No process seals that many in a period.
	maxMessages = 1 << 32

	wrappedVersion = 1
	wrappedHead    = 1 + 1 + 8 // version, audience, pair id

	// retryAfter is the RetryAfter when there is no key or it cannot be made durable.
	retryAfter = 5 * time.Second

	detailNoKey      = "Passwords cannot be accepted right now; try again shortly."
	detailNotDurable = "This cannot be stored safely right now; try again shortly."
)

// KeyStore stores wrapped data keys durably, in the queue.
type KeyStore interface {
	// PutKey stores a key until expire and returns once it is durable. A repeat with the same id has the same content.
	PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error
	// GetKey returns ErrKeyGone for a key that is absent or expired.
	GetKey(ctx context.Context, id string) ([]byte, error)
}

// Binding identifies the job for which an envelope is sealed. The envelope opens only with an equal Binding.
type Binding struct {
	Job        reset.ID
	Ticket     reset.ID
	Account    reset.Key
	Lane       reset.Lane
	AcceptTime time.Time // µs; the worker checks the used token's expiry against it
	ExpireTime time.Time // µs; zero for none
}

// BindingOf returns what the payload of a job is sealed for. Whoever seals and whoever opens it must use this.
func BindingOf(j reset.Job) Binding {
	return Binding{Job: j.ID, Ticket: j.Ticket, Account: j.Account, Lane: j.Lane, AcceptTime: j.AcceptTime, ExpireTime: j.ExpireTime}
}

type dataKeyID [16]byte

func (id dataKeyID) String() string { return hex.EncodeToString(id[:]) }

// dataKey is the key under which one process seals for one audience in one key period.
type dataKey struct {
	id      dataKeyID
	aead    cipher.AEAD
	wrapped []byte
	pair    *pair
	counter atomic.Uint64
}

// usable reports whether the key may seal at now: not after its period, nor after maxMessages. A clock that goes back does not
// matter, because nonces come from the counter.
func (k *dataKey) usable(now time.Time) bool {
	return !k.over(now) && k.counter.Load() < maxMessages
}

// over reports whether the key's period has ended.
func (k *dataKey) over(now time.Time) bool { return !k.pair.end.IsZero() && !now.Before(k.pair.end) }

// Sealer seals plaintexts. It needs public halves only. It is safe for concurrent use.
type Sealer struct {
	keyring *Keyring
	store   KeyStore
	clock   clock.Clock
	slots   [AudiencePII + 1]*sealSlot
}

// sealSlot holds the data key of one audience.
type sealSlot struct {
	current atomic.Pointer[dataKey] // durable; written by the holder of turn
	turn    chan struct{}           // a lock with a capacity of one; a channel, so that a waiter can stop when its ctx ends
	pending *dataKey                // made, but perhaps not durable yet; guarded by turn
}

// NewSealer returns a Sealer. It makes its first data key when it seals for the first time.
func NewSealer(k *Keyring, s KeyStore, c clock.Clock) *Sealer {
	sealer := &Sealer{keyring: k, store: s, clock: c}
	for i := range sealer.slots {
		sealer.slots[i] = &sealSlot{turn: make(chan struct{}, 1)}
	}
	k.onMaintain(sealer.forget)
	return sealer
}

// forget drops data keys whose period is over, because a key that seals can also open.
func (s *Sealer) forget(now time.Time) {
	for _, slot := range s.slots {
		select {
		case slot.turn <- struct{}{}:
		default:
			continue // a key is being made: the next Maintain will do
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

// Seal returns the envelope, which is Overhead bytes longer than the plaintext. Its errors are *reset.Error: KindNotDurable when
// the data key cannot be made durable, KindKeyUnknown when the period's public key is missing, KindCanceled when ctx is done.
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

// seal makes the envelope with counter n. It allocates once: nonce and additional data are behind the envelope in the same
// buffer.
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

// renew returns the current data key, after making it if there is no usable one. A new key becomes current only when it is
// durable.
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

// newDataKey makes a data key and wraps it for the pair.
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

// wrapInfo returns the HPKE info of a wrapped data key.
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
