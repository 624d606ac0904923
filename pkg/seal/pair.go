package seal

import (
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/keyfile"
)

const (
	privateSuffix, privatePEM = ".key", "SURGEGATE HPKE PRIVATE KEY"
	publicSuffix, publicPEM   = ".pub", "SURGEGATE HPKE PUBLIC KEY"

	headerAudience, headerStart, headerEnd, headerDelete = "Audience", "Start", "End", "Delete"
)

// pairID is the first 8 bytes of the public half's SHA-256.
type pairID [8]byte

// String returns 16 hexadecimal digits.
func (id pairID) String() string { return hex.EncodeToString(id[:]) }

// pair is the HPKE key pair of one audience and period. It is not changed after it was loaded.
type pair struct {
	id         pairID
	name       string // of its files, without the suffix
	audience   Audience
	start      time.Time
	end        time.Time // until when it is used for sealing; zero: forever
	deleteTime time.Time // when it expires; zero: never
	public     hpke.PublicKey
	private    hpke.PrivateKey // nil on fronts
	published  bool            // its .pub file exists
}

// over tells whether the private half's time has passed.
func (p *pair) over(now time.Time) bool { return !p.deleteTime.IsZero() && !now.Before(p.deleteTime) }

// pairSet is what the folder holds. A pairSet is not changed, only replaced.
type pairSet struct {
	byID       map[pairID]*pair
	list       []*pair   // by audience, then start
	folderTime time.Time // the folder's modification time when it was read
}

// sealing returns the audience's newest pair whose period includes now, or nil.
func (s *pairSet) sealing(a Audience, now time.Time) *pair {
	for i := len(s.list) - 1; i >= 0; i-- {
		p := s.list[i]
		if p.audience == a && !now.Before(p.start) && (p.end.IsZero() || now.Before(p.end)) {
			return p
		}
	}
	return nil
}

// covers reports whether a pair seals at the start of w. Its period may differ from w's after a change of KeyPeriod.
func (s *pairSet) covers(w pair) bool { return s.sealing(w.audience, w.start) != nil }

func (s *pairSet) without(now time.Time) *pairSet {
	kept := &pairSet{byID: make(map[pairID]*pair, len(s.list)), folderTime: s.folderTime}
	for _, p := range s.list {
		if !p.over(now) {
			kept.byID[p.id] = p
			kept.list = append(kept.list, p)
		}
	}
	return kept
}

func folderTime(dir string) (time.Time, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func loadPairs(dir string) (*pairSet, error) {
	set := &pairSet{byID: make(map[pairID]*pair)}
	var err error
	// Read the folder's time before its files, so that a file that is added in between changes the time for the next look.
	if set.folderTime, err = folderTime(dir); err != nil {
		return nil, err
	}
	// Private halves first: NAME.key is written before NAME.pub, and it contains the public half.
	for _, kind := range []struct {
		suffix, pem string
		mode        fs.FileMode
	}{{privateSuffix, privatePEM, keyfile.Private}, {publicSuffix, publicPEM, keyfile.Public}} {
		names, err := keyfile.List(dir, kind.suffix)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := keyfile.Read(dir, name, kind.mode)
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted since List, by another process
			}
			if err != nil {
				return nil, err
			}
			p, err := parsePair(kind.pem, data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
			}
			p.name = strings.TrimSuffix(name, kind.suffix)
			if old := set.byID[p.id]; old != nil {
				old.published = true
				continue
			}
			set.byID[p.id] = p
			set.list = append(set.list, p)
		}
	}
	sort.Slice(set.list, func(i, j int) bool {
		a, b := set.list[i], set.list[j]
		if a.audience != b.audience {
			return a.audience < b.audience
		}
		return a.start.Before(b.start)
	})
	return set, nil
}

func parsePair(kind string, data []byte) (*pair, error) {
	headers, content, err := keyfile.DecodePEM(kind, data)
	if err != nil {
		return nil, err
	}
	p := &pair{}
	kem, _, _ := suite()
	if kind == privatePEM {
		if p.private, err = kem.NewPrivateKey(content); err != nil {
			return nil, errors.New("not a private key of MLKEM768-X25519") // err might quote it
		}
		p.public = p.private.PublicKey()
	} else {
		if p.public, err = kem.NewPublicKey(content); err != nil {
			return nil, fmt.Errorf("not a public key of MLKEM768-X25519: %w", err)
		}
		p.published = true
	}
	sum := sha256.Sum256(p.public.Bytes())
	copy(p.id[:], sum[:])
	switch headers[headerAudience] {
	case AudiencePassword.String():
		p.audience = AudiencePassword
	case AudiencePII.String():
		p.audience = AudiencePII
	default:
		return nil, fmt.Errorf("header %s is %q", headerAudience, headers[headerAudience])
	}
	for _, h := range []struct {
		name     string
		t        *time.Time
		required bool
	}{{headerStart, &p.start, true}, {headerEnd, &p.end, p.audience == AudiencePassword}, {headerDelete, &p.deleteTime, p.audience == AudiencePassword}} {
		if headers[h.name] == "" && !h.required {
			continue
		}
		if *h.t, err = time.Parse(time.RFC3339Nano, headers[h.name]); err != nil {
			return nil, fmt.Errorf("header %s: %w", h.name, err)
		}
	}
	return p, nil
}

// makePair makes a pair and writes both halves. Every process uses the same file name, so two that do this at once end up with
// one pair.
func makePair(dir string, p pair) error {
	kem, _, _ := suite()
	private, err := kem.GenerateKey()
	if err != nil {
		return err
	}
	content, err := private.Bytes()
	if err != nil {
		return err
	}
	p.name = fmt.Sprintf("%v-%s", p.audience, p.start.UTC().Format("20060102T150405.000Z"))
	err = keyfile.New(dir, p.name+privateSuffix, keyfile.EncodePEM(privatePEM, p.headers(), content), keyfile.Private)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.publish(dir, private.PublicKey())
}

// publish writes the public halves that are missing after a crash, and reports whether there were any.
func publish(dir string, set *pairSet) (did bool, err error) {
	for _, p := range set.list {
		if p.private != nil && !p.published {
			if err := p.publish(dir, p.public); err != nil {
				return did, err
			}
			did = true
		}
	}
	return did, nil
}

func (p *pair) publish(dir string, public hpke.PublicKey) error {
	err := keyfile.New(dir, p.name+publicSuffix, keyfile.EncodePEM(publicPEM, p.headers(), public.Bytes()), keyfile.Public)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (p *pair) headers() map[string]string {
	h := map[string]string{headerAudience: p.audience.String(), headerStart: p.start.Format(time.RFC3339Nano)}
	if !p.end.IsZero() {
		h[headerEnd] = p.end.Format(time.RFC3339Nano)
	}
	if !p.deleteTime.IsZero() {
		h[headerDelete] = p.deleteTime.Format(time.RFC3339Nano)
	}
	return h
}
