package hashpool

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"

	"github.com/surgegate/surgegate/pkg/clock"
	"github.com/surgegate/surgegate/pkg/failure"
	"github.com/surgegate/surgegate/pkg/reset"
)

// The schemes that can be made, named as credstore's Describe names them.
const (
	SchemeArgon2id = "argon2id"
	SchemeBcrypt   = "2b"
)

const (
	saltLen = 16 // RFC 9106, section 3.1
	hashLen = 32

	maxBcryptPassword = 72
)

// Deps are what a Pool needs from outside.
type Deps struct {
	Registerer prometheus.Registerer // nil: no metrics
	Clock      clock.Clock           // nil: the machine's; it is used for metrics only
}

// Pool makes and verifies hashes. It is safe for concurrent use, and has no goroutines of its own.
type Pool struct {
	cfg     Config
	clock   clock.Clock
	slots   *semaphore.Weighted
	memory  *semaphore.Weighted
	metrics *metrics
}

// New returns a pool.
func New(cfg Config, deps Deps) (*Pool, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	p := &Pool{cfg: cfg, clock: deps.Clock,
		slots: semaphore.NewWeighted(int64(cfg.Slots)), memory: semaphore.NewWeighted(cfg.MemoryBytes)}
	if p.clock == nil {
		p.clock = clock.System{}
	}
	var err error
	if p.metrics, err = newMetrics(cfg, deps.Registerer); err != nil {
		return nil, fmt.Errorf("hashpool: %w", err)
	}
	return p, nil
}

// FailureCodes returns the codes of its errors that have a metric series of their own.
func (p *Pool) FailureCodes() []string { return []string{failure.PoolFull} }

// Slots returns how many hashes are computed at once.
func (p *Pool) Slots() int { return p.cfg.Slots }

// CanMake says whether Hash knows the scheme.
func (p *Pool) CanMake(scheme string) bool { return scheme == SchemeArgon2id || scheme == SchemeBcrypt }

// Hash returns a new hash of the password as a PHC string (argon2id) or a modular crypt string (2b). It blocks until there is room. It
// fails if ctx ends while it waits, if the scheme is unknown, and with a *reset.Error of KindWeakPassword or KindInvalid if bcrypt
// cannot take the password.
func (p *Pool) Hash(ctx context.Context, scheme string, password []byte) (string, error) {
	switch scheme {
	case SchemeArgon2id:
		h := argonHash{id: true, kib: p.cfg.ArgonKiB, time: p.cfg.ArgonTime, p: p.cfg.ArgonParallelism, salt: make([]byte, saltLen)}
		_, _ = rand.Read(h.salt) // never fails since Go 1.24
		err := p.run(ctx, opMakeArgon2, h.cost(), func() {
			h.hash = argon2.IDKey(password, h.salt, h.time, h.kib, h.p, hashLen)
		})
		if err != nil {
			return "", err
		}
		return h.String(), nil
	case SchemeBcrypt:
		if len(password) > maxBcryptPassword {
			return "", weak("PASSWORD_TOO_LONG", fmt.Sprintf("This password is too long: use at most %d bytes (letters with accents and emoji take 2 to 4).", maxBcryptPassword))
		}
		if bytes.IndexByte(password, 0) >= 0 {
			return "", &reset.Error{Kind: reset.KindInvalid, Field: "new_password", Detail: "This password holds a NUL character: leave it out."}
		}
		var hash []byte
		var hashErr error
		err := p.run(ctx, opMakeBcrypt, cost{slots: 1}, func() { hash, hashErr = bcrypt.GenerateFromPassword(password, p.cfg.BcryptCost) })
		if err = errors.Join(err, hashErr); err != nil {
			return "", fmt.Errorf("hashpool: %w", err)
		}
		// x/crypto writes 2a. The algorithm is the same: it never had the faults that 2b fixed in OpenBSD.
		return "$2b$" + strings.TrimPrefix(string(hash), "$2a$"), nil
	default:
		return "", fmt.Errorf("hashpool: scheme %q cannot be made: use %s or %s", scheme, SchemeArgon2id, SchemeBcrypt)
	}
}

// Verify says whether the hash is the password's. It blocks until there is room. Errors are ErrMalformed, ErrTooCostly, or that of ctx if it
// ends while Verify waits.
func (p *Pool) Verify(ctx context.Context, phc string, password []byte) (bool, error) {
	if strings.HasPrefix(phc, prefixArgon2id) || strings.HasPrefix(phc, prefixArgon2i) {
		h, err := parseArgon(phc)
		if err != nil {
			return false, err
		}
		if err := h.checkCaps(p.cfg.MemoryBytes); err != nil {
			return false, err
		}
		key := argon2.Key
		if h.id {
			key = argon2.IDKey
		}
		var got []byte
		if err := p.run(ctx, opVerifyArgon2, h.cost(), func() {
			got = key(password, h.salt, h.time, h.kib, h.p, uint32(len(h.hash)))
		}); err != nil {
			return false, err
		}
		return subtle.ConstantTimeCompare(got, h.hash) == 1, nil
	}
	if err := parseBcrypt(phc); err != nil {
		return false, err
	}
	var match error
	if err := p.run(ctx, opVerifyBcrypt, cost{slots: 1}, func() { match = bcrypt.CompareHashAndPassword([]byte(phc), password) }); err != nil {
		return false, err
	}
	if match != nil && !errors.Is(match, bcrypt.ErrMismatchedHashAndPassword) {
		return false, ErrMalformed
	}
	return match == nil, nil
}

// cost is what one hash takes while it is computed.
type cost struct {
	slots int64
	bytes int64
}

func (h argonHash) cost() cost { return cost{slots: int64(h.p), bytes: int64(h.kib) << 10} }

// run calls compute once there is room for it.
func (p *Pool) run(ctx context.Context, op op, c cost, compute func()) error {
	c.slots = min(c.slots, int64(p.cfg.Slots))
	if err := p.acquire(ctx, c); err != nil {
		err = fmt.Errorf("hashpool: waiting for a slot: %w", err)
		if errors.Is(err, context.DeadlineExceeded) {
			return &failure.Error{Scope: failure.Downstream, Class: failure.Timeout, Code: failure.PoolFull, Err: err}
		}
		return err
	}
	m := p.metrics
	m.inUse.Add(float64(c.slots))
	m.memoryInUse.Add(float64(c.bytes))
	start := p.clock.Now()
	defer func() {
		m.seconds[op].Observe(p.clock.Now().Sub(start).Seconds())
		m.memoryInUse.Sub(float64(c.bytes))
		m.inUse.Sub(float64(c.slots))
		p.memory.Release(c.bytes)
		p.slots.Release(c.slots)
	}()
	compute()
	return nil
}

// acquire blocks until there are slots and memory, or ctx ends.
func (p *Pool) acquire(ctx context.Context, c cost) error {
	p.metrics.waiting.Inc()
	defer p.metrics.waiting.Dec()
	if err := p.slots.Acquire(ctx, c.slots); err != nil {
		return err
	}
	if err := p.memory.Acquire(ctx, c.bytes); err != nil {
		p.slots.Release(c.slots)
		return err
	}
	return nil
}

func weak(reason, detail string) error {
	return &reset.Error{Kind: reset.KindWeakPassword, Reason: reason, Field: "new_password", Detail: detail}
}
