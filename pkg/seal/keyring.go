package seal

import (
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/keyfile"
	"github.com/surgegate/surgegate/pkg/reset"
)

// Audience says which pair's private half opens an envelope, and so when its content is erased.
type Audience uint8

// The audiences. The values are written to disk.
const (
	AudiencePassword Audience = 1 // passwords, spent tokens and PHC strings: erased by deleting the period's private half
	AudiencePII      Audience = 2 // identifiers, addresses, account ids
)

// String returns the audience's name, which is also the first part of its files' names.
func (a Audience) String() string {
	switch a {
	case AudiencePassword:
		return "password"
	case AudiencePII:
		return "pii"
	default:
		return fmt.Sprintf("audience(%d)", uint8(a))
	}
}

const (
	ticketKeyFile, ticketKeyPEM = "tickets.secret", "SURGEGATE TICKET KEY"
	indexKeyFile, indexKeyPEM   = "index.secret", "SURGEGATE INDEX KEY"
	secretLen                   = 32
)

// Keyring holds the keys of keys_dir/seal. It is safe for concurrent use.
type Keyring struct {
	dir     string
	cfg     Config
	clock   clock.Clock
	tickets *Tickets
	index   *Index

	mu     sync.Mutex // held while pairs is replaced
	pairs  atomic.Pointer[pairSet]
	forget []func(now time.Time) // drop expired data keys of Sealers and Openers; guarded by mu
}

// OpenKeyring loads the keys from the folder "seal" in dir (keys_dir) and, with cfg.Create, makes the missing ones. It fails if
// other users may read a private file, or if a key is missing and cfg.Create is false.
func OpenKeyring(dir string, cfg Config, c clock.Clock) (*Keyring, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k := &Keyring{dir: filepath.Join(dir, "seal"), cfg: cfg.WithDefaults(), clock: c}
	k.pairs.Store(&pairSet{})
	if cfg.Create {
		if err := keyfile.EnsureDir(k.dir); err != nil {
			return nil, fmt.Errorf("seal: %w", err)
		}
	}
	ticketKey, err := k.secret(ticketKeyFile, ticketKeyPEM)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	indexKey, err := k.secret(indexKeyFile, indexKeyPEM)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if k.tickets, err = newTickets(ticketKey); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	k.index = newIndex(indexKey)
	if err := k.Maintain(c.Now()); err != nil {
		return nil, err
	}
	for _, a := range []Audience{AudiencePassword, AudiencePII} {
		if k.pairs.Load().sealing(a, c.Now()) == nil {
			return nil, fmt.Errorf("seal: no current %v key in %s: make them with \"surgegate keygen\" or copy a worker's .pub files", a, k.dir)
		}
	}
	return k, nil
}

// Tickets seals and opens ticket ids.
func (k *Keyring) Tickets() *Tickets { return k.tickets }

// Index makes keyed hashes.
func (k *Keyring) Index() *Index { return k.index }

// Maintain reads the folder again and, with Config.Create, makes the pairs of this and the next period and deletes expired
// private halves. Call it about once a minute. After an error the known pairs stay in use, except for expired ones.
func (k *Keyring) Maintain(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := k.maintain(now)
	for _, forget := range k.forget {
		forget(now)
	}
	return err
}

// onMaintain has Maintain call forget, so that a Sealer or Opener drops its data keys on time even if it is not used again.
func (k *Keyring) onMaintain(forget func(now time.Time)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget = append(k.forget, forget)
}

func (k *Keyring) maintain(now time.Time) error {
	set, err := loadPairs(k.dir)
	if err == nil && k.cfg.Create {
		set, err = k.rotate(set, now)
	}
	if err != nil {
		// Drop expired keys even while the folder cannot be read.
		k.pairs.Store(k.pairs.Load().without(now))
		return fmt.Errorf("seal: %w", err)
	}
	k.pairs.Store(set.without(now))
	return nil
}

// rotate deletes expired pairs and makes the missing ones. It deletes first, so that keys are erased on time even if nothing
// can be written.
func (k *Keyring) rotate(set *pairSet, now time.Time) (*pairSet, error) {
	if err := keyfile.Sweep(k.dir); err != nil {
		return nil, err
	}
	for _, p := range set.list {
		if p.over(now) {
			// The private half first, because it is the one that must be gone if the process crashes in between.
			if err := errors.Join(keyfile.Remove(k.dir, p.name+privateSuffix), keyfile.Remove(k.dir, p.name+publicSuffix)); err != nil {
				return nil, err
			}
		}
	}
	set = set.without(now)
	period := k.cfg.KeyPeriod
	start := now.UTC().Truncate(period)
	wanted := []pair{
		{audience: AudiencePassword, start: start, end: start.Add(period)},
		{audience: AudiencePassword, start: start.Add(period), end: start.Add(2 * period)},
	}
	if set.sealing(AudiencePII, now) == nil {
		wanted = append(wanted, pair{audience: AudiencePII, start: start})
	}
	made := false
	for _, w := range wanted {
		if set.covers(w) {
			continue
		}
		if w.audience == AudiencePassword {
			w.deleteTime = w.end.Add(k.cfg.LongestWait)
		}
		if err := makePair(k.dir, w); err != nil {
			return nil, err
		}
		made = true
	}
	published, err := publish(k.dir, set)
	if err != nil {
		return nil, err
	}
	if made || published {
		return loadPairs(k.dir) // if another process has made some of them first, its pairs are used
	}
	return set, nil
}

// pairFor returns the pair to seal with now. If Maintain is late it does Maintain's work.
func (k *Keyring) pairFor(a Audience, now time.Time) (*pair, error) {
	if p := k.pairs.Load().sealing(a, now); p != nil {
		return p, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pairs.Load().sealing(a, now); p != nil {
		return p, nil
	}
	if err := k.maintain(now); err != nil {
		return nil, &reset.Error{Kind: reset.KindNotDurable, Detail: detailNoKey, RetryAfter: retryAfter, Cause: err}
	}
	if p := k.pairs.Load().sealing(a, now); p != nil {
		return p, nil
	}
	return nil, &reset.Error{Kind: reset.KindKeyUnknown, Detail: detailNoKey, RetryAfter: retryAfter,
		Cause: fmt.Errorf("seal: no current %v public key is here", a)}
}

// byID returns the pair with the id. If it is not known it reads the folder again, because another worker may have made it.
func (k *Keyring) byID(id pairID) (*pair, error) {
	if p := k.pairs.Load().byID[id]; p != nil {
		return p, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.pairs.Load().byID[id]; p != nil {
		return p, nil
	}
	// Read the folder only if it has changed: thousands of jobs may ask for a key that is gone.
	changed, err := folderTime(k.dir)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if !changed.Equal(k.pairs.Load().folderTime) {
		if err := k.maintain(k.clock.Now()); err != nil {
			return nil, err
		}
	}
	if p := k.pairs.Load().byID[id]; p != nil {
		return p, nil
	}
	return nil, ErrKeyGone
}

// secret reads a secret of secretLen bytes from its file and, with Config.Create, makes it first.
func (k *Keyring) secret(name, kind string) ([]byte, error) {
	data, err := keyfile.Read(k.dir, name, keyfile.Private)
	if errors.Is(err, fs.ErrNotExist) && k.cfg.Create {
		secret := make([]byte, secretLen)
		_, _ = rand.Read(secret) // never fails since Go 1.24
		err = keyfile.New(k.dir, name, keyfile.EncodePEM(kind, nil, secret), keyfile.Private)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		data, err = keyfile.Read(k.dir, name, keyfile.Private)
	}
	if err != nil {
		return nil, err
	}
	_, secret, err := keyfile.DecodePEM(kind, data)
	if err != nil || len(secret) != secretLen {
		return nil, fmt.Errorf("%s is not a %s of %d bytes", filepath.Join(k.dir, name), kind, secretLen)
	}
	return secret, nil
}

// PairInfo describes a pair for operators. It has no secrets.
type PairInfo struct {
	ID         string
	Audience   Audience
	StartTime  time.Time
	EndTime    time.Time // zero: used until it is replaced
	DeleteTime time.Time // when the private half is deleted; zero: kept
	Private    bool      // the private half is here
}

// Info lists the pairs, oldest first.
func (k *Keyring) Info() []PairInfo {
	list := k.pairs.Load().list
	infos := make([]PairInfo, 0, len(list))
	for _, p := range list {
		infos = append(infos, PairInfo{ID: p.id.String(), Audience: p.audience, StartTime: p.start, EndTime: p.end,
			DeleteTime: p.deleteTime, Private: p.private != nil})
	}
	return infos
}

// Format hides the keys from every verb.
func (k *Keyring) Format(s fmt.State, _ rune) { fmt.Fprint(s, "seal.Keyring{redacted}") }

// LogValue hides the keys.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue("seal.Keyring{redacted}") }

// MarshalJSON hides the keys.
func (k *Keyring) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// suite returns the algorithms. The KEM is X-Wing (ML-KEM-768 with X25519), so that a quantum computer cannot open what is
// recorded today.
func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.AES256GCM()
}
