package book

import (
	"slices"
	"sync"
	"time"

	"github.com/surgegate/surgegate/pkg/credstore"
)

// Book is what is known of the store. Make it with New; it is safe for concurrent use.
type Book struct {
	cfg      Config
	deps     Deps
	describe chan struct{} // asks for another Describe; of one: what is asked for already need not be asked for again

	mu     sync.Mutex
	desc   credstore.Description
	known  bool
	dark   time.Time // since when it is asked without an answer; matters while nothing is known
	shares bool      // it has shown a current hash
	bare   int       // accounts that it has shown without one
	// problem is why there is no description, or none that can be met; nil while there is one.
	problem *problem
}

// bareEnough is how many accounts without a current hash make a store one that does not share them. One look-up that
// was not needed costs a call; one that was left out lets the password that has to go come back.
const bareEnough = 64

// AskAgain asks for another Describe: what is back may have changed.
func (b *Book) AskAgain() {
	select {
	case b.describe <- struct{}{}:
	default: // asked for already
	}
}

// Get returns its description; the zero one while nothing is known.
func (b *Book) Get() credstore.Description {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.desc
}

func (b *Book) limit(of func(credstore.Description) int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.known {
		return 0
	}
	return of(b.desc)
}

// Lookups is how many accounts one call may look up; 0 while nothing is known. Sets, Revokes and Hashes are likewise.
func (b *Book) Lookups() int {
	return b.limit(func(d credstore.Description) int { return max(1, d.MaxLookupBatch) })
}

// Sets is how many passwords one call may set.
func (b *Book) Sets() int {
	return b.limit(func(d credstore.Description) int { return max(1, d.MaxSetBatch) })
}

// Revokes is of how many accounts one call may end the sessions; 0 where it cannot.
func (b *Book) Revokes() int {
	return b.limit(func(d credstore.Description) int { return d.MaxRevokeBatch })
}

// Hashes is 1, or 0 while it is not known what is to be made.
func (b *Book) Hashes() int { return b.limit(func(credstore.Description) int { return 1 }) }

// Learn notes whether the store shares current hashes: Describe does not say.
func (b *Book) Learn(accounts []credstore.Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range accounts {
		switch {
		case a.CurrentHash != "":
			b.shares = true
		case !a.NotResettable:
			b.bare++
		}
	}
}

// UnknownSince is since when the lanes of the store rest for want of a description; zero while they do not.
func (b *Book) UnknownSince() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known {
		return time.Time{}
	}
	return b.dark
}

// AsksCurrent tells whether the hash that is to go may be had by a look-up.
func (b *Book) AsksCurrent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.shares || b.bare < bareEnough
}

// forget rests the lanes of the store: it says that it cannot use what would be sent.
func (b *Book) forget() {
	b.mu.Lock()
	known := b.known
	if b.known = false; known {
		b.dark = b.deps.Clock.Now()
	}
	b.mu.Unlock()
	if known {
		b.deps.Changed()
	}
}

// set takes a description over; it tells whether that changes anything.
func (b *Book) set(desc credstore.Description) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	same := b.known && b.desc.Form == desc.Form && b.desc.MaxLookupBatch == desc.MaxLookupBatch &&
		b.desc.MaxSetBatch == desc.MaxSetBatch && b.desc.MaxRevokeBatch == desc.MaxRevokeBatch &&
		slices.Equal(b.desc.HashSchemes, desc.HashSchemes)
	b.desc, b.known = desc, true
	return !same
}
