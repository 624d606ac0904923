package victim

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Config of a victim. Zero fields mean the defaults.
type Config struct {
	Address       string        // host:port; required
	Ledger        string        // file; required
	Accounts      int           // person-0@… to person-(Accounts-1)@…; default 100000
	Workers       int           // c; default 4
	HashTime      time.Duration // a worker's time for one password; default 21 ms
	LookupTime    time.Duration // for one identifier; default 1 ms
	RevokeTime    time.Duration // for one account's sessions; default 500 µs
	RequestMemory int           // bytes held by each item inside; default 64 KiB
	MemoryBound   int           // bytes past which the process dies; default 256 MiB
	ColdFor       time.Duration // half speed for so long after a restart; default 10 s
	Cold          bool          // start cold: this is a restart
	MaxSetBatch   int           // as Describe tells; default 32
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	def(&c.Accounts, 100_000)
	def(&c.Workers, 4)
	def(&c.HashTime, 21*time.Millisecond)
	def(&c.LookupTime, time.Millisecond)
	def(&c.RevokeTime, 500*time.Microsecond)
	def(&c.RequestMemory, 64<<10)
	def(&c.MemoryBound, 256<<20)
	def(&c.ColdFor, 10*time.Second)
	def(&c.MaxSetBatch, 32)
	return c
}

// Validate names the field that makes no sense.
func (c Config) Validate() error {
	for _, field := range []struct {
		name string
		bad  bool
	}{
		{"Address", c.Address == ""}, {"Ledger", c.Ledger == ""},
		{"Accounts", c.Accounts < 0}, {"Workers", c.Workers < 0}, {"HashTime", c.HashTime < 0},
		{"LookupTime", c.LookupTime < 0}, {"RevokeTime", c.RevokeTime < 0}, {"RequestMemory", c.RequestMemory < 0},
		{"MemoryBound", c.MemoryBound < c.RequestMemory}, {"ColdFor", c.ColdFor < 0}, {"MaxSetBatch", c.MaxSetBatch < 0},
	} {
		if field.bad {
			return fmt.Errorf("victim: %s is missing or below what works", field.name)
		}
	}
	return nil
}

// Capacity is the most passwords a second that it can set, when it is warm and does nothing else.
func (c Config) Capacity() float64 {
	c = c.WithDefaults()
	return float64(c.Workers) / c.HashTime.Seconds()
}

const (
	identifierPrefix = "person-"
	identifierDomain = "@people.example"
	accountPrefix    = "account-"
)

// Identifier is what person n types, and the address that its mail goes to.
func Identifier(n uint64) string {
	return identifierPrefix + strconv.FormatUint(n, 10) + identifierDomain
}

// AccountID is the account of person n.
func AccountID(n uint64) string { return accountPrefix + strconv.FormatUint(n, 10) }

func (c Config) byIdentifier(identifier string) (uint64, bool) {
	digits, ok := strings.CutSuffix(identifier, identifierDomain)
	if !ok {
		return 0, false
	}
	return c.number(digits, identifierPrefix)
}

func (c Config) byAccount(id string) (uint64, bool) { return c.number(id, accountPrefix) }

func (c Config) number(s, prefix string) (uint64, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n < uint64(c.Accounts)
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// FreeAddress is a loopback address that was free a moment ago. A victim needs a fixed one, to come back at after a crash.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("victim: %w", err)
	}
	return l.Addr().String(), l.Close()
}
