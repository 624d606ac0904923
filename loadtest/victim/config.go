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
	MaxLookup     int           // identifiers in one Lookup, as Describe tells; default 64

	// Knee makes the store one with contention instead of a line before workers: all calls inside are worked on at once,
	// and of N each goes on at 1 ÷ (1 + σ(N−1) + κN(N−1)) of the speed of one alone, with κ such that throughput is
	// best at Knee calls (the Universal Scalability Law, Gunther). Default 0: Workers and a line.
	Knee int
	// Sigma is σ, from 0 to below 1. Default 0.
	Sigma float64
	// Batched lets a batch of n be one piece of work of BatchTime + n·HashTime (a look-up n·LookupTime) that one worker
	// takes. Default false: n pieces for whichever workers are free. With Knee a call is always one piece.
	Batched   bool
	BatchTime time.Duration // default 0
	// Latency is added to each call when it has been worked, while nothing of the store is in use. Default 0.
	Latency time.Duration
	// Spread is the coefficient of variation of work, log-normal with mean 1. Default 0: work is as long as it says.
	Spread float64
	// Noise is the share of calls that are answered UNAVAILABLE, whatever the load. Default 0.
	Noise float64
	// MaxCalls is how many calls the process survives inside. Default 0: MemoryBound alone bounds it.
	MaxCalls int
	// Seed of Spread and Noise. Default 0.
	Seed uint64
	// Hashed makes it ask for hashes (PHC strings) where it else takes plaintext. Default false.
	Hashed bool
	// Mute makes look-ups find nobody, so that a reset makes no mails; their cost stays. Default false.
	Mute bool
	// Control is the host:port of the control endpoint, loopback only. Default: none.
	Control string
	// Deaths of processes before this one, as the supervisor tells.
	Deaths int
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
	def(&c.MaxLookup, 64)
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
		{"MaxLookup", c.MaxLookup < 0},
		{"Knee", c.Knee < 0}, {"Sigma", !(c.Sigma >= 0 && c.Sigma < 1)}, {"BatchTime", c.BatchTime < 0},
		{"Latency", c.Latency < 0}, {"Spread", !(c.Spread >= 0 && c.Spread <= 5)}, {"Noise", !(c.Noise >= 0 && c.Noise < 1)},
		{"MaxCalls", c.MaxCalls < 0}, {"Control", c.Control != "" && !loopback(c.Control)},
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
	n, work := 1.0, c.HashTime.Seconds()
	if c.Batched {
		n = float64(c.MaxSetBatch)
		work = c.BatchTime.Seconds() + n*c.HashTime.Seconds()
	}
	if c.Knee > 0 {
		return n * float64(c.Knee) * c.pace(float64(c.Knee)) / work
	}
	return n * float64(c.Workers) / work
}

// Best is the number of calls inside at which it reaches its Capacity, with batches of one unless Batched.
func (c Config) Best() float64 {
	c = c.WithDefaults()
	if c.Knee > 0 {
		return float64(c.Knee)
	}
	work := c.HashTime
	if c.Batched {
		work = c.BatchTime + time.Duration(c.MaxSetBatch)*c.HashTime
	}
	return float64(c.Workers) * (1 + c.Latency.Seconds()/work.Seconds())
}

// pace is the speed of each of n calls inside, as a share of that of one alone.
func (c Config) pace(n float64) float64 {
	kappa := (1 - c.Sigma) / float64(c.Knee*c.Knee)
	return 1 / (1 + c.Sigma*max(0, n-1) + kappa*n*max(0, n-1))
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

const (
	identifierPrefix = "person-"
	identifierDomain = "@people.example"
)

// AccountPrefix is what account ids begin with; the person's number follows.
const AccountPrefix = "account-"

// IdentifierFormat is Identifier's, with %d for the person's number.
const IdentifierFormat = identifierPrefix + "%d" + identifierDomain

// Identifier is what person n types, and the address that its mail goes to.
func Identifier(n uint64) string {
	return identifierPrefix + strconv.FormatUint(n, 10) + identifierDomain
}

// AccountID is the account of person n.
func AccountID(n uint64) string { return AccountPrefix + strconv.FormatUint(n, 10) }

func (c Config) byIdentifier(identifier string) (uint64, bool) {
	digits, ok := strings.CutSuffix(identifier, identifierDomain)
	if !ok {
		return 0, false
	}
	return c.number(digits, identifierPrefix)
}

func (c Config) byAccount(id string) (uint64, bool) { return c.number(id, AccountPrefix) }

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
