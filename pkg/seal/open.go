package seal

import (
	"context"
	"crypto/cipher"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Opener opens envelopes with the private halves of the keyring. It is safe for concurrent use.
type Opener struct {
	keyring *Keyring
	store   KeyStore
	mu      sync.RWMutex
	cache   map[dataKeyID]unwrapped // guarded by mu; at most Config.CachedDataKeys
}

type unwrapped struct {
	aead cipher.AEAD
	pair pairID
}

// NewOpener returns an opener.
func NewOpener(k *Keyring, s KeyStore) *Opener {
	o := &Opener{keyring: k, store: s, cache: make(map[dataKeyID]unwrapped)}
	k.onMaintain(o.forget)
	return o
}

// forget drops the cached keys whose pair is gone.
func (o *Opener) forget(time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pairs := o.keyring.pairs.Load().byID
	for id, u := range o.cache {
		if pairs[u.pair] == nil {
			delete(o.cache, id)
		}
	}
}

// Open returns the plaintext. ErrTampered and ErrKeyGone are final. Other errors may be temporary: they come from the KeyStore,
// or this process does not have the private half.
func (o *Opener) Open(ctx context.Context, b Binding, envelope []byte) ([]byte, error) {
	if len(envelope) < Overhead || envelope[0] != version {
		return nil, ErrTampered
	}
	id := dataKeyID(envelope[1:17])
	aead, err := o.aead(ctx, id)
	if err != nil {
		return nil, err
	}
	scratch := make([]byte, nonceLen, nonceLen+bindingLen)
	binary.BigEndian.PutUint64(scratch[nonceLen-8:], binary.BigEndian.Uint64(envelope[17:]))
	aad := appendBinding(scratch[nonceLen:], envelope[:17], b)
	plaintext, err := aead.Open(nil, scratch[:nonceLen], envelope[headLen:], aad)
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}

func (o *Opener) aead(ctx context.Context, id dataKeyID) (cipher.AEAD, error) {
	o.mu.RLock()
	u, ok := o.cache[id]
	o.mu.RUnlock()
	// A cached key is used only while its pair exists. Otherwise deleting the private half would erase nothing until the process
	// ends.
	if ok {
		p := o.keyring.pairs.Load().byID[u.pair]
		if p != nil && !p.over(o.keyring.clock.Now()) {
			return u.aead, nil
		}
	}
	u, err := o.unwrap(ctx, id)
	if err != nil {
		if errors.Is(err, ErrKeyGone) {
			o.mu.Lock()
			delete(o.cache, id)
			o.mu.Unlock()
		}
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.makeRoom()
	o.cache[id] = u
	return u.aead, nil
}

// makeRoom drops the keys whose pair is gone and then, while the cache is full, arbitrary ones: a miss costs only a GetKey and
// an HPKE opening. The caller holds mu.
func (o *Opener) makeRoom() {
	if len(o.cache) < o.keyring.cfg.CachedDataKeys {
		return
	}
	pairs := o.keyring.pairs.Load().byID
	for id, u := range o.cache {
		if pairs[u.pair] == nil {
			delete(o.cache, id)
		}
	}
	for id := range o.cache {
		if len(o.cache) < o.keyring.cfg.CachedDataKeys {
			return
		}
		delete(o.cache, id)
	}
}

// unwrap reads a data key from the KeyStore and opens it with its pair's private half.
func (o *Opener) unwrap(ctx context.Context, id dataKeyID) (unwrapped, error) {
	wrapped, err := o.store.GetKey(ctx, id.String())
	if err != nil {
		return unwrapped{}, fmt.Errorf("seal: data key %v: %w", id, err)
	}
	if len(wrapped) < wrappedHead || wrapped[0] != wrappedVersion {
		return unwrapped{}, ErrTampered
	}
	head := wrapped[:wrappedHead]
	p, err := o.keyring.byID(pairID(head[2:]))
	if err != nil {
		return unwrapped{}, err
	}
	switch {
	case p.over(o.keyring.clock.Now()):
		return unwrapped{}, ErrKeyGone
	case p.private == nil:
		return unwrapped{}, fmt.Errorf("seal: the private half of key %v is not here", p.id)
	case byte(p.audience) != head[1]:
		return unwrapped{}, ErrTampered
	}
	_, kdf, aead := suite()
	secret, err := hpke.Open(p.private, kdf, aead, wrapInfo(head, id), wrapped[wrappedHead:])
	if err != nil || len(secret) != dataKeyLen {
		return unwrapped{}, ErrTampered
	}
	defer clear(secret)
	u := unwrapped{pair: p.id}
	u.aead, err = newAEAD(secret)
	return u, err
}

// Format hides the keys from every verb.
func (o *Opener) Format(f fmt.State, _ rune) { fmt.Fprint(f, "seal.Opener{redacted}") }
