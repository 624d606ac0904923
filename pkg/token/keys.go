package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/keyfile"
)

const (
	privateSuffix, privatePEM = ".key", "PRIVATE KEY"
	publicSuffix, publicPEM   = ".pub", "PUBLIC KEY"
)

// State is the state of a key (see the package comment).
type State uint8

// The states, in the order in which a key passes them. A key that is gone is not listed any more.
const (
	StateAnnounced State = iota + 1
	StateActive
	StateVerifyOnly
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case StateAnnounced:
		return "announced"
	case StateActive:
		return "active"
	case StateVerifyOnly:
		return "verify-only"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// KeyInfo describes a key to an operator. It holds nothing secret.
type KeyInfo struct {
	ID         string
	State      State
	ActiveTime time.Time
	GoneTime   time.Time // when it is not needed any more; zero while it has no successor
	Private    bool      // its private half is here
}

// Keys are the keys in keys_dir/token. They are safe for concurrent use.
type Keys struct {
	dir   string
	cfg   Config
	clock clock.Clock
	mu    sync.Mutex // held by Maintain
	set   atomic.Pointer[keySet]
}

type key struct {
	id      keyID
	public  ed25519.PublicKey
	private ed25519.PrivateKey // nil on fronts
}

type keyID [8]byte

func newKeyID(active time.Time) keyID {
	var id keyID
	binary.BigEndian.PutUint32(id[:], uint32(active.Unix()))
	_, _ = rand.Read(id[4:])
	return id
}

func (id keyID) activeTime() time.Time {
	return time.Unix(int64(binary.BigEndian.Uint32(id[:])), 0).UTC()
}

// String returns 16 hexadecimal digits, also the file's name.
func (id keyID) String() string { return hex.EncodeToString(id[:]) }

func parseKeyID(s string) (keyID, error) {
	var id keyID
	if b, err := hex.DecodeString(s); err != nil || copy(id[:], b) != len(id) || id.String() != s {
		return id, errors.New("the file's name is not a key id of 16 lower-case hexadecimal digits")
	}
	return id, nil
}

// OpenKeys loads the keys in the folder "token" of dir (keys_dir). With cfg.Create it makes the first key if there is none; without, it
// fails if there is none. It also fails if others may read a private key.
func OpenKeys(dir string, cfg Config, c clock.Clock) (*Keys, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	k := &Keys{dir: filepath.Join(dir, "token"), cfg: cfg.WithDefaults(), clock: c}
	k.set.Store(&keySet{})
	if cfg.Create {
		if err := keyfile.EnsureDir(k.dir); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	if err := k.Maintain(c.Now()); err != nil {
		return nil, err
	}
	if len(k.set.Load().list) == 0 {
		return nil, fmt.Errorf("token: no key in %s: make them with \"surgegate keygen\" or copy a worker's .pub files", k.dir)
	}
	return k, nil
}

// Maintain reads the folder again. With Config.Create it also makes the next key when it is time to announce it, and deletes keys that are
// gone. Call it about once a minute. After an error the keys that were known before stay in use.
func (k *Keys) Maintain(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	set, err := k.load()
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if k.cfg.Create {
		if set, err = k.rotate(set, now); err != nil {
			return fmt.Errorf("token: %w", err)
		}
	}
	k.set.Store(set.without(func(i int) bool { return set.isGone(i, k.cfg, now) }))
	return nil
}

// Info returns the keys, oldest first.
func (k *Keys) Info(now time.Time) []KeyInfo {
	set := k.set.Load()
	infos := make([]KeyInfo, 0, len(set.list))
	for i, key := range set.list {
		info := KeyInfo{ID: key.id.String(), State: set.state(i, now), ActiveTime: key.id.activeTime(), Private: key.private != nil}
		if i+1 < len(set.list) {
			info.GoneTime = set.goneTime(i, k.cfg)
		}
		infos = append(infos, info)
	}
	return infos
}

// rotate makes the next key if it is due, writes the files that a crash has prevented, and deletes the files of keys that are gone.
func (k *Keys) rotate(set *keySet, now time.Time) (*keySet, error) {
	if err := keyfile.Sweep(k.dir); err != nil {
		return nil, err
	}
	active := now
	due := len(set.list) == 0
	if !due {
		newest := set.list[len(set.list)-1].id.activeTime()
		end := newest.Add(k.cfg.Period)
		due = !now.Before(end.Add(-k.cfg.Announce))
		if active = now.Add(k.cfg.Announce); active.Before(end) {
			active = end
		}
	}
	if due {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, err
		}
		set.add(&key{id: newKeyID(active), public: public, private: private})
	}
	for i, key := range set.list {
		if set.isGone(i, k.cfg, now) {
			if err := errors.Join(keyfile.Remove(k.dir, key.id.String()+privateSuffix),
				keyfile.Remove(k.dir, key.id.String()+publicSuffix)); err != nil {
				return nil, err
			}
			continue
		}
		if err := k.write(key); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// Format hides the keys from every verb.
func (k *Keys) Format(s fmt.State, _ rune) { fmt.Fprint(s, "token.Keys{redacted}") }

// LogValue hides the keys.
func (k *Keys) LogValue() slog.Value { return slog.StringValue("token.Keys{redacted}") }

// MarshalJSON hides the keys.
func (k *Keys) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// Format hides the keys from every verb.
func (s *Signer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "token.Signer{redacted}") }
