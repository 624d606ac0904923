package simulate

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/loadtest/people"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/admission"
	"github.com/surgegate/surgegate/pkg/dispatch"
	"github.com/surgegate/surgegate/pkg/gate"
)

// The arms.
const (
	ArmSurgegate = "surgegate"
	ArmDirect    = "direct" // no gateway: a handler that calls store and provider itself, as victim.Direct does
)

// Config of a run. Zero fields mean the defaults; those of Gate, Admission and Work are production's.
type Config struct {
	Arm      string // default surgegate
	Scenario model.Scenario
	Window   model.Window // which part of it; default the first 48 h, everybody
	Seed     uint64
	// Until is when the run is cut off, since the window began. Default the window's length and two days.
	Until time.Duration
	// Latency is from a person's call to its answer, when nothing holds it. Default 2 ms.
	Latency time.Duration
	People  people.Config // its Seed is this one's

	Admission admission.Config
	Gate      gate.Config
	Work      dispatch.Config
	// QueueBytes bounds the bytes of the jobs held, as queue.max_bytes. Default 20 GiB.
	QueueBytes int64

	Store    Store
	Headroom float64 // as store.headroom: the share left for sign-ins. Default 0.2; below 0 none
	StoreMax int     // most calls at once, as store.pace.max. Default the pacer's
	Mail     Mail
	Hash     Hash
	Faults   []Fault
	Direct   Direct
}

// Store is a model of one: workers before one line. Zero fields mean the defaults.
//
// A call of n items is n pieces for whichever worker is free, or, Batched, one piece of BatchTime and n items. A caller that goes
// away (5 s) leaves its work inside, and its permit is held until the deadline, as in production. Past MemoryBound the store dies:
// what was inside is broken, it refuses for Restart, and is half as fast for ColdFor. A password that was written after its caller
// had gone costs a look-up when it is sent again.
type Store struct {
	Workers    int           // default 4
	WriteTime  time.Duration // a worker's time for one password; default 21 ms
	LookupTime time.Duration // default 1 ms
	RevokeTime time.Duration // default 500 µs
	Batched    bool          // a call is one piece, of BatchTime and its items
	BatchTime  time.Duration
	MaxSet     int // items in a call, as Describe tells; default 32
	MaxLookup  int // default 64
	MaxRevoke  int // default 64
	// RequestMemory is what an item holds inside, MemoryBound what kills the store. Defaults 64 KiB; 0: nothing does.
	RequestMemory, MemoryBound int
	Restart                    time.Duration // after its death; default 5 s
	ColdFor                    time.Duration // after a restart, half as fast; default 10 s; below 0: not
}

// StoreOf is a store that writes so many passwords a second: workers that take writeTime for each, as many as it takes.
// A look-up costs an eighth of a write.
func StoreOf(rate float64, writeTime time.Duration) Store {
	workers := max(1, int(math.Round(rate*writeTime.Seconds())))
	each := time.Duration(float64(workers) / rate * float64(time.Second))
	return Store{Workers: workers, WriteTime: each, LookupTime: each / 8, RevokeTime: each / 8}
}

// StoreLike is the store that loadtest/victim makes of its configuration, with its supervisor's restart delay. Of a
// victim with a Knee, Latency, Spread or Noise there is no such store.
func StoreLike(v victim.Config) Store {
	v = v.WithDefaults()
	return Store{
		Workers: v.Workers, WriteTime: v.HashTime, LookupTime: v.LookupTime, RevokeTime: v.RevokeTime, Batched: v.Batched,
		BatchTime: v.BatchTime, MaxSet: v.MaxSetBatch, MaxLookup: v.MaxLookup, MaxRevoke: 64, RequestMemory: v.RequestMemory,
		MemoryBound: v.MemoryBound, Restart: victim.DefaultRestartDelay, ColdFor: v.ColdFor,
	}
}

// Capacity is the most passwords a second that it writes.
func (s Store) Capacity() float64 {
	s = s.withDefaults()
	if !s.Batched {
		return float64(s.Workers) / s.WriteTime.Seconds()
	}
	n := float64(s.MaxSet)
	return n * float64(s.Workers) / (s.BatchTime.Seconds() + n*s.WriteTime.Seconds())
}

func (s Store) withDefaults() Store {
	def(&s.Workers, 4)
	def(&s.WriteTime, 21*time.Millisecond)
	def(&s.LookupTime, time.Millisecond)
	def(&s.RevokeTime, 500*time.Microsecond)
	def(&s.MaxSet, 32)
	def(&s.MaxLookup, 64)
	def(&s.MaxRevoke, 64)
	def(&s.RequestMemory, 64<<10)
	def(&s.Restart, 5*time.Second)
	def(&s.ColdFor, 10*time.Second)
	return s
}

// Mail is a model of the provider. It takes a mail in Latency, and no more than Rate a second; what is over that is refused as with
// an SMTP 4xx. The gateway is configured to send at that rate, unless Unpaced.
type Mail struct {
	Rate    float64       // mails a second that it takes; 0: any number
	Latency time.Duration // of one hand-off; default 50 ms
	Delay   time.Duration // from the hand-off to the inbox; default 0
	// Connections are how many mails can be under way. Default what Rate needs by Latency, and half as many; 256 without Rate.
	Connections int
	// Unpaced leaves the gateway to find the provider's rate out, from its refusals.
	Unpaced bool
}

// Hash is the hash pool. Without Slots the store takes plaintext and hashes itself.
type Hash struct {
	Slots int
	Time  time.Duration // of one password; default 21 ms, argon2id at 19 MiB
}

// What is it that a Fault changes.
type What string

// What can be another way.
const (
	StoreSpeed   What = "store-speed"   // the store is Factor as fast
	StoreDark    What = "store-dark"    // it answers nothing and works nothing; cold after
	StoreCrash   What = "store-crash"   // all in it is broken and it refuses; cold after
	StoreWorkers What = "store-workers" // it has Factor of its workers
	MailRate     What = "mail-rate"     // the provider takes Factor of its rate
	MailRefuses  What = "mail-refuses"  // it refuses every mail
	MailSlow     What = "mail-slow"     // mails are in the inbox after Delay
)

// Fault is something that is another way for a time.
type Fault struct {
	At, For time.Duration // since the window began
	What    What
	Factor  float64
	Delay   time.Duration
}

// FaultsOf are a scenario's. What a simulation does not have (a gateway's kill, a full disk) is an error.
func FaultsOf(all []model.Fault) (list []Fault, err error) {
	what := map[model.FaultKind]What{
		model.StoreSlow: StoreSpeed, model.StoreCapacity: StoreWorkers, model.StoreDark: StoreDark, model.StoreCrash: StoreCrash, model.MailRefuse: MailRefuses, model.MailRate: MailRate,
	}
	for _, f := range all {
		w, ok := what[f.Kind]
		if !ok {
			return nil, fmt.Errorf("simulate: %s is not simulated; storm compare does it to real processes", f)
		}
		list = append(list, Fault{At: f.At, For: max(f.For, time.Second), What: w, Factor: f.Factor})
	}
	return list, nil
}

// Direct is the handler without a gateway.
type Direct struct {
	Timeout time.Duration // of its calls to the store; default 10 s
}

// WithDefaults fills zero fields.
func (c Config) WithDefaults() Config {
	def(&c.Arm, ArmSurgegate)
	def(&c.Window.Length, 48*time.Hour)
	def(&c.Window.Thin, 1)
	def(&c.Until, c.Window.Length+48*time.Hour)
	def(&c.Latency, 2*time.Millisecond)
	c.People.Seed = c.Seed
	c.People = c.People.WithDefaults()
	c.Admission, c.Gate, c.Work = c.Admission.WithDefaults(), c.Gate.WithDefaults(), c.Work.WithDefaults()
	def(&c.QueueBytes, 20<<30)
	def(&c.Headroom, 0.2)
	c.Store = c.Store.withDefaults()
	def(&c.Mail.Latency, 50*time.Millisecond)
	if c.Mail.Connections == 0 {
		c.Mail.Connections = max(4, int(1.5*c.Mail.Rate*c.Mail.Latency.Seconds()))
		if c.Mail.Rate == 0 {
			c.Mail.Connections = 256
		}
	}
	def(&c.Hash.Time, 21*time.Millisecond)
	def(&c.Direct.Timeout, 10*time.Second)
	return c
}

// longest keeps accept times within their 32 bits of milliseconds.
const longest = 30 * 24 * time.Hour

// Validate names the fields that make no sense. Call it after WithDefaults.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("simulate: "+format, args...))
		}
	}
	check(c.Arm == ArmSurgegate || c.Arm == ArmDirect, "Arm is %q; it knows %s and %s", c.Arm, ArmSurgegate, ArmDirect)
	check(c.Window.Length > 0 && c.Window.Length <= longest, "Window.Length is %v; it must be above 0 and at most %v", c.Window.Length, longest)
	check(c.Window.Thin >= 1, "Window.Thin is %v; it must be at least 1", c.Window.Thin)
	check(c.Until >= c.Window.Length && c.Until <= longest, "Until is %v; it must be at least the window's %v and at most %v", c.Until, c.Window.Length, longest)
	check(c.Latency > 0 && c.Latency <= time.Second, "Latency is %v; it must be above 0 and at most 1s", c.Latency)
	check(c.QueueBytes > 0, "QueueBytes is %d; it must be above 0", c.QueueBytes)
	check(c.Headroom <= .9, "Headroom is %v; it must be at most 0.9", c.Headroom)
	s := c.Store
	check(s.Workers > 0 && s.WriteTime > 0 && s.LookupTime > 0 && s.RevokeTime > 0, "Store has %d workers and times of %v, %v and %v; all must be above 0",
		s.Workers, s.WriteTime, s.LookupTime, s.RevokeTime)
	check(s.BatchTime >= 0 && s.MaxSet > 0 && s.MaxLookup > 0 && s.MaxRevoke > 0, "Store has a BatchTime of %v and batches of %d, %d and %d; they must be above 0",
		s.BatchTime, s.MaxSet, s.MaxLookup, s.MaxRevoke)
	check(s.RequestMemory > 0 && s.MemoryBound >= 0 && s.Restart >= 0, "Store has a RequestMemory of %d, a MemoryBound of %d and a Restart of %v",
		s.RequestMemory, s.MemoryBound, s.Restart)
	check(c.Mail.Rate >= 0 && c.Mail.Rate <= 1e6 && c.Mail.Latency > 0 && c.Mail.Delay >= 0 && c.Mail.Connections > 0,
		"Mail has a Rate of %v, a Latency of %v, a Delay of %v and %d Connections", c.Mail.Rate, c.Mail.Latency, c.Mail.Delay, c.Mail.Connections)
	check(c.Hash.Slots >= 0 && c.Hash.Time > 0, "Hash has %d Slots of %v", c.Hash.Slots, c.Hash.Time)
	for i, f := range c.Faults {
		check(f.At >= 0 && f.For > 0 && f.valid(), "Faults[%d] is %+v: a known What, At at least 0, For above 0 and a Factor at least 0", i, f)
	}
	errs = append(errs, c.Scenario.Validate(), c.People.Validate(), c.Admission.Validate(), c.Gate.Validate(), c.Work.Validate())
	return errors.Join(errs...)
}

func (f Fault) valid() bool {
	switch f.What {
	case StoreDark, StoreCrash, MailRefuses:
		return true
	case StoreSpeed, StoreWorkers, MailRate:
		return f.Factor > 0 && f.Factor <= 100
	case MailSlow:
		return f.Delay >= 0
	default:
		return false
	}
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
