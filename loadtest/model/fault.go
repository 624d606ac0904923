package model

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/surgegate/surgegate/pkg/clock"
)

// FaultKind says what goes wrong.
type FaultKind string

// The kinds.
const (
	StoreSlow     FaultKind = "store-slow"
	StoreCapacity FaultKind = "store-capacity"
	StoreDark     FaultKind = "store-dark"
	StoreRefuse   FaultKind = "store-refuse"
	StoreUnknown  FaultKind = "store-unknown"
	StoreCrash    FaultKind = "store-crash"
	MailRefuse    FaultKind = "mail-refuse"
	MailRate      FaultKind = "mail-rate"
	GatewayKill   FaultKind = "gateway-kill"
	DiskFull      FaultKind = "disk-full"
)

// Fault is one thing that goes wrong during a storm:
//
//	store-slow F      the store works at F times its speed (0.5: half)
//	store-capacity F  the store has F times its workers, or its knee
//	store-dark        the store stands still: what is inside stays there
//	store-refuse      the store answers every call RESOURCE_EXHAUSTED
//	store-unknown     the store answers every SetPasswords UNKNOWN
//	store-crash       the store's process dies once and is restarted, cold
//	mail-refuse       the mail system refuses every mail with 451
//	mail-rate F       the provider takes F times its rate; in simulations only
//	gateway-kill      the front's process is killed (SIGKILL) once and started again
//	disk-full         the gateway's disk is full
//
// It begins At after the storm's first moment and lasts For; a crash or a kill has no end. Faults of one kind may not overlap. A storm
// whose actors cannot do a fault (a staging system's disk) is refused before it begins.
type Fault struct {
	Kind   FaultKind
	At     time.Duration // since the storm's first moment
	For    time.Duration // 0 for what happens once
	Factor float64       // of StoreSlow, StoreCapacity and MailRate
}

// once tells whether a kind has no end.
func (k FaultKind) once() bool { return k == StoreCrash || k == GatewayKill }

func (k FaultKind) factored() bool { return k == StoreSlow || k == StoreCapacity || k == MailRate }

// String returns the fault as ParseFault reads it.
func (f Fault) String() string {
	s := string(f.Kind) + " at " + f.At.String()
	if f.Kind.factored() {
		s = string(f.Kind) + " " + strconv.FormatFloat(f.Factor, 'g', -1, 64) + " at " + f.At.String()
	}
	if !f.Kind.once() {
		s += " for " + f.For.String()
	}
	return s
}

const help = `write "KIND [FACTOR] at TIME [for TIME]", such as "store-slow 0.5 at 10s for 20s" or "gateway-kill at 15s"`

// ParseFault reads a fault such as "store-slow 0.5 at 10s for 20s".
func ParseFault(text string) (Fault, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Fault{}, errors.New("fault: nothing there; " + help)
	}
	f := Fault{Kind: FaultKind(words[0])}
	words = words[1:]
	if f.Kind.factored() && len(words) > 0 {
		var err error
		if f.Factor, err = strconv.ParseFloat(words[0], 64); err != nil {
			return Fault{}, fmt.Errorf("fault: %s needs a factor, %q is none; %s", f.Kind, words[0], help)
		}
		words = words[1:]
	}
	if len(words)%2 != 0 {
		return Fault{}, fmt.Errorf("fault: %q cannot be read; %s", text, help)
	}
	for ; len(words) > 0; words = words[2:] {
		d, err := time.ParseDuration(words[1])
		switch {
		case err != nil:
			return Fault{}, fmt.Errorf("fault: %q is no time with its unit; %s", words[1], help)
		case words[0] == "at":
			f.At = d
		case words[0] == "for":
			f.For = d
		default:
			return Fault{}, fmt.Errorf("fault: %q is neither at nor for; %s", words[0], help)
		}
	}
	return f, ValidateFaults([]Fault{f})
}

func kinds() []FaultKind {
	return []FaultKind{
		StoreSlow, StoreCapacity, StoreDark, StoreRefuse, StoreUnknown, StoreCrash, MailRefuse, MailRate, GatewayKill, DiskFull,
	}
}

// ValidateFaults returns an error for faults that make no sense: times below 0, a missing factor or end, two of one kind at once.
func ValidateFaults(all []Fault) error {
	for i, f := range all {
		switch {
		case !slices.Contains(kinds(), f.Kind):
			return fmt.Errorf("fault: there is no %q; %s", f.Kind, help)
		case f.At < 0 || f.For < 0:
			return fmt.Errorf("fault: %s: a time is below 0", f)
		case f.Kind.once() && f.For != 0:
			return fmt.Errorf("fault: %s happens once; leave out its end", f.Kind)
		case !f.Kind.once() && f.For == 0:
			return fmt.Errorf("fault: %s: for how long? %s", f, help)
		case f.Kind.factored() && !(f.Factor > 0):
			return fmt.Errorf("fault: %s needs a factor above 0; for a stand-still there are %s and %s", f.Kind, StoreDark, MailRefuse)
		case !f.Kind.factored() && f.Factor != 0:
			return fmt.Errorf("fault: %s has no factor", f.Kind)
		}
		for _, other := range all[:i] {
			if other.Kind == f.Kind && other.At <= f.At+f.For && f.At <= other.At+other.For {
				return fmt.Errorf("fault: %s and %s overlap", other, f)
			}
		}
	}
	return nil
}

// FaultActors do the faults. A nil actor cannot do its fault.
type FaultActors struct {
	Store       func(ctx context.Context, s StoreState) error // makes the store so
	StoreCrash  func(ctx context.Context) error
	MailRefuse  func(refuse bool)
	GatewayKill func(ctx context.Context) error
	DiskFull    func(full bool) error
}

// StoreState is the state that faults put a store into; the zero value means no fault.
type StoreState struct {
	Speed    float64 // 1 is normal; 0 stands still
	Capacity float64 // 1 is normal
	Refuse   bool    // every call is answered RESOURCE_EXHAUSTED
	Unknown  bool    // every SetPasswords is answered UNKNOWN
}

// Able returns an error that names the first fault that the actors cannot do.
func (a FaultActors) Able(all []Fault) error {
	for _, f := range all {
		able := map[FaultKind]bool{
			StoreSlow: a.Store != nil, StoreCapacity: a.Store != nil, StoreDark: a.Store != nil,
			StoreRefuse: a.Store != nil, StoreUnknown: a.Store != nil, StoreCrash: a.StoreCrash != nil,
			MailRefuse: a.MailRefuse != nil, GatewayKill: a.GatewayKill != nil, DiskFull: a.DiskFull != nil,
		}[f.Kind]
		if !able {
			return fmt.Errorf("fault: %s cannot be done here", f)
		}
	}
	return nil
}

// change is the beginning or the end of a fault.
type change struct {
	at    time.Duration
	fault Fault
	on    bool
}

// RunFaults does the faults at their times after start until all are over or ctx ends; what was begun is then ended. A fault that
// cannot be done ends the run with an error: a storm without its fault is another storm. It returns those that it did.
func RunFaults(ctx context.Context, c clock.Clock, start time.Time, all []Fault, actors FaultActors) (done []Fault, err error) {
	var changes []change
	for _, f := range all {
		changes = append(changes, change{f.At, f, true})
		if !f.Kind.once() {
			changes = append(changes, change{f.At + f.For, f, false})
		}
	}
	slices.SortStableFunc(changes, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	on := map[FaultKind]Fault{}
	for _, ch := range changes {
		ended := c.Sleep(ctx, start.Add(ch.at).Sub(c.Now())) != nil
		if ended && ch.on {
			continue
		}
		if _, begun := on[ch.fault.Kind]; !begun && !ch.on {
			continue
		}
		if err := apply(context.WithoutCancel(ctx), ch, on, actors); err != nil {
			return done, fmt.Errorf("fault: %s: %w", ch.fault, err)
		}
		if ch.on {
			done = append(done, ch.fault)
		}
	}
	return done, nil
}

func apply(ctx context.Context, ch change, on map[FaultKind]Fault, actors FaultActors) error {
	if ch.on && !ch.fault.Kind.once() {
		on[ch.fault.Kind] = ch.fault
	} else {
		delete(on, ch.fault.Kind)
	}
	switch ch.fault.Kind {
	case StoreCrash:
		return actors.StoreCrash(ctx)
	case GatewayKill:
		return actors.GatewayKill(ctx)
	case MailRefuse:
		actors.MailRefuse(ch.on)
		return nil
	case DiskFull:
		return actors.DiskFull(ch.on)
	default:
		return actors.Store(ctx, stateOf(on))
	}
}

// stateOf is what all faults of the store together make of it.
func stateOf(on map[FaultKind]Fault) StoreState {
	s := StoreState{Speed: 1, Capacity: 1}
	if f, ok := on[StoreSlow]; ok {
		s.Speed = f.Factor
	}
	if f, ok := on[StoreCapacity]; ok {
		s.Capacity = f.Factor
	}
	if _, ok := on[StoreDark]; ok {
		s.Speed = 0
	}
	_, s.Refuse = on[StoreRefuse]
	_, s.Unknown = on[StoreUnknown]
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (f Fault) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Fault) UnmarshalText(text []byte) (err error) {
	*f, err = ParseFault(string(text))
	return err
}
