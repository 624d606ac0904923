package queue

import (
	"context"
	"errors"
	"math/bits"
	"time"

	"github.com/surgegate/surgegate/pkg/reset"
)

// Errors of every engine. Test with errors.Is.
var (
	ErrClosed     = errors.New("queue: closed")
	ErrNotDurable = errors.New("queue: cannot make it durable now")
	ErrFull       = errors.New("queue: over its bound")
	ErrTooLarge   = errors.New("queue: item too large")
	ErrMarkSpent  = errors.New("queue: the account's mark has moved on")
	ErrLeaseLost  = errors.New("queue: lease lost")
	ErrConflict   = errors.New("queue: record has another version")
	ErrNotFound   = errors.New("queue: not found")
)

// MaxPayload is the largest payload of a job in bytes: a 256-character password of 4-byte runes, its token and
// account id, sealed, fit several times over.
const MaxPayload = 16 << 10

// Producer is the request side.
type Producer interface {
	// Enqueue makes each item durable or says in its Verdict why not. The verdicts are in the order of the items. A
	// ctx that ends while the commit is under way does not undo it: the verdicts then carry ctx's error and the
	// items may or may not have been accepted.
	Enqueue(ctx context.Context, items []Item) []Verdict
	// Ticket tells where a ticket stands. ErrNotFound for one that never was or is past its retention.
	Ticket(ctx context.Context, ref reset.Ref) (Status, error)
	// Watch signals (with a buffer of one) when the ticket's Status may have changed in state or DoneTime; changes
	// of position alone are not signalled. stop must be called once.
	Watch(ref reset.Ref) (changed <-chan struct{}, stop func())
	// Stats is one consistent snapshot.
	Stats(ctx context.Context) (Stats, error)
}

// Item is one thing to enqueue.
type Item struct {
	Job reset.Job
	// Mark is raised by completions in the same atomic write; nil elsewhere.
	Mark *MarkRaise
}

// MarkRaise is the precondition and the raise of an account's mark.
type MarkRaise struct {
	Account   reset.Key
	TokenMark uint64    // the mark in the token
	Request   reset.Key // keyed hash of token and request id; zero when the caller gave none
	// ExpireTime is when the mark may be dropped: the longest token TTL after this raise.
	ExpireTime time.Time
}

// Verdict is what became of one item.
type Verdict struct {
	// Ref is the ticket's place; with Replayed, of the ticket of the earlier call.
	Ref reset.Ref
	// Ahead is as in Status, when it was accepted; 0 with Replayed and from an engine that does not tell it
	// here. Asking Ticket instead waits, under load, for the next commit.
	Ahead    uint64
	Joined   bool // coalesced into an open job
	Replayed bool
	Err      error
}

// Status is where a ticket stands.
type Status struct {
	State      reset.State
	Reason     reset.Reason
	UpdateTime time.Time
	// Lane is where the ticket's job is now.
	Lane reset.Lane
	// Ahead counts the places of the line that have not been passed, up to and with the ticket's own; 0 when running
	// or final. The position that people are told leaves their own out.
	Ahead uint64
	// DoneTime is set for start tickets once the lane has passed their place; the State stays StateAccepted until
	// then and is StateDone from then on, by the engine's clock.
	DoneTime time.Time
	// Retrying is true between tries and while parked.
	Retrying bool
}

// LaneStats counts one lane's jobs.
type LaneStats struct {
	Waiting  [3]uint64 // by class
	Leased   uint64
	Retrying uint64
	Parked   uint64
	// OldestAccept is the accept time of the oldest interactive job that waits in line; zero when there is none.
	OldestAccept time.Time
	// OldestRetry is that of the oldest interactive job that was put back for another try and has not ended, leased
	// or not; parked ones are their operator's. Zero when there is none.
	OldestRetry time.Time
	// Entered and Ended count jobs that came into this lane, and that ended in it, since the engine opened.
	Entered, Ended uint64
}

// Oldest is the accept time of the oldest interactive job that is waited for, in line or between tries; zero when there
// is none. With a downstream that is dead there may be nothing in line, and all the work between tries.
func (s LaneStats) Oldest() time.Time {
	if s.OldestAccept.IsZero() || !s.OldestRetry.IsZero() && s.OldestRetry.Before(s.OldestAccept) {
		return s.OldestRetry
	}
	return s.OldestAccept
}

// CrowdMin is how many jobs a lane must hold before Crowd tells of any. Below it single accounts would show: who asks for
// five names, and sees the wait of the mail lane grow by five mails, knows that there are five accounts.
const CrowdMin = 128

// Crowd is how many jobs people wait for in the lane, as far as callers may come to know: none below CrowdMin, else
// rounded up to a power of two.
func (s LaneStats) Crowd() uint64 {
	n := s.Waiting[reset.ClassInteractive] + s.Waiting[reset.ClassSuspect] + s.Leased + s.Retrying
	if n < CrowdMin {
		return 0
	}
	return 1 << bits.Len64(n-1)
}

// Stats is one consistent snapshot.
type Stats struct {
	Lanes    map[reset.Lane]LaneStats
	Enqueued uint64 // persisted; jobs, not joined tickets
	Ended    uint64 // persisted
	Held     uint64 // counted: waiting, leased, retrying, parked
	Bytes    uint64 // of the jobs held
	MaxBytes uint64
	// CommitTime is how long changes take now until they are durable: a mean of the last seconds, or the time that the one under way
	// has taken, if that is longer; 0 before the first.
	CommitTime time.Duration
	// NotAccepting says why Enqueue refuses now; nil while it accepts.
	NotAccepting error
}

// Conservation is enqueued − ended − held: 0, or the engine is at fault.
func (s Stats) Conservation() int64 { return int64(s.Enqueued) - int64(s.Ended) - int64(s.Held) }

// Worker is the work side.
type Worker interface {
	// Wait returns when the lane has something to lease (up to the class), or ctx is done, or the engine closed.
	Wait(ctx context.Context, lane reset.Lane, upTo reset.Class) error
	// Backlog is how many jobs of the lane (up to the class) wait in line, so that a batch can be made as large as is
	// worth while. Cheap, and so an estimate that may be a second old: retries that are due may or may not be in it.
	Backlog(ctx context.Context, lane reset.Lane, upTo reset.Class) (int, error)
	// Lease hands out up to Max jobs, none if none is due. It does not block.
	Lease(ctx context.Context, r LeaseRequest) ([]Lease, error)
	// Extend moves the leases' deadlines to now + visibility; one error each.
	Extend(ctx context.Context, leases []Lease, visibility time.Duration) []error
	// Finish ends jobs; each with its follow-ups and records in one atomic write; one error each.
	Finish(ctx context.Context, ends []Finish) []error
	// Retry puts jobs back, not to be leased before their time; one error each.
	Retry(ctx context.Context, retries []Retry) []error
	// Park sets jobs aside for an operator; one error each.
	Park(ctx context.Context, parks []Park) []error
}

// LeaseRequest asks for work.
type LeaseRequest struct {
	Lane reset.Lane
	UpTo reset.Class // highest class to hand out
	Max  int
	// Visibility is how long the leases last; longer than the deadline of the call that they are for.
	Visibility time.Duration
	// DoneAfter fixes, in LaneStart, the DoneTime of the places passed: lease time + DoneAfter.
	DoneAfter time.Duration
	// Expired asks for jobs whose ExpireTime has passed instead, in any state but leased, parked included.
	Expired bool
}

// Lease is a job in hand.
type Lease struct {
	Job      reset.Job
	Token    uint64 // fences: another hand-out of the same job has another token
	Deadline time.Time
}

// Finish ends a leased job.
type Finish struct {
	Lease Lease
	// State and Reason are the ticket's final ones; a zero State means that the ticket lives on in the follow-up that
	// carries its id.
	State     reset.State
	Reason    reset.Reason
	FollowUps []reset.Job
	// Records are compared and set in the same write; one that has another version refuses the Finish with
	// ErrConflict, and the lease stays.
	Records []RecordWrite
}

// Retry puts a leased job back.
type Retry struct {
	Lease     Lease
	NotBefore time.Time
	// UsedTry counts the try: Attempts grows by one.
	UsedTry bool
}

// Park sets a leased job aside.
type Park struct {
	Lease Lease
	Cause string // surgegate's words; names no person; at most 256 bytes
}

// Operator is the steering side.
type Operator interface {
	// Parked lists parked jobs after the given job id (zero: from the start), oldest first; lane 0 means all. The
	// jobs' payloads are left out.
	Parked(ctx context.Context, lane reset.Lane, after reset.ID, limit int) ([]ParkedJob, error)
	// Requeue puts parked jobs back in line with no tries used; ErrNotFound for one that is not parked.
	Requeue(ctx context.Context, ids []reset.ID) []error
	// GiveUp ends parked jobs with StateFailed, ReasonOperator; ErrNotFound for one that is not parked.
	GiveUp(ctx context.Context, ids []reset.ID) []error
}

// ParkedJob is a job that waits for an operator.
type ParkedJob struct {
	Job      reset.Job
	ParkTime time.Time
	Cause    string
}

// Records is a small durable map with compare-and-set, for what must live and die with the queue.
type Records interface {
	// Get returns ErrNotFound for an absent or expired record.
	Get(ctx context.Context, kind RecordKind, key string) (Record, error)
	// Put writes durably if the version matches, else ErrConflict.
	Put(ctx context.Context, w RecordWrite) error
	// PutAll writes all of them durably in one step if every version matches, else none and ErrConflict. At most 64, each
	// key once: what is done and the record of it belong together.
	PutAll(ctx context.Context, writes []RecordWrite) error
	// List returns up to limit records of a kind whose key is greater than after, in key order.
	List(ctx context.Context, kind RecordKind, after string, limit int) ([]Record, error)
	// ListBack is List from the end: records whose key is less than before (all of them where that is empty), in falling
	// key order.
	ListBack(ctx context.Context, kind RecordKind, before string, limit int) ([]Record, error)
	// Mark returns the account's mark, 0 when absent.
	Mark(ctx context.Context, account reset.Key) (uint64, error)
}

// RecordKind is a closed set; the values are written to disk, at most 16 bytes.
type RecordKind string

// The kinds.
const (
	RecordDataKey  RecordKind = "datakey"  // wrapped data keys, by key id
	RecordBudget   RecordKind = "budget"   // link mails counted, by identifier, account or recipient
	RecordLink     RecordKind = "link"     // until when the last mailed link is good, by account or recipient
	RecordPace     RecordKind = "pace"     // reset.Pace, by lane
	RecordDescribe RecordKind = "describe" // the store's last Describe answer
	RecordAudit    RecordKind = "audit"    // operator actions, by time
	RecordOverride RecordKind = "override" // operator overrides
	RecordKeys     RecordKind = "keys"     // which secrets the queue was begun with, by name; never the secrets
)

// DescribeKey is the key of the one RecordDescribe: there is one store.
const DescribeKey = "store"

// Record is one stored value. Version is 1 at the first write and grows by 1 with each.
type Record struct {
	Kind       RecordKind
	Key        string
	Value      []byte
	Version    uint64
	ExpireTime time.Time // zero: never
}

// MaxRecordWrites bounds PutAll.
const MaxRecordWrites = 64

// AnyVersion in RecordWrite.Version writes whatever is there.
const AnyVersion = ^uint64(0)

// RecordWrite sets a record. Version is that of the record as read, 0 for one that must be absent, or AnyVersion.
type RecordWrite struct {
	Kind       RecordKind
	Key        string // at most 128 bytes
	Value      []byte // at most 64 KiB; nil deletes
	Version    uint64
	ExpireTime time.Time
}

// Queue is what an engine implements.
type Queue interface {
	Producer
	Worker
	Operator
	Records
	// Close finishes the commit under way, then releases everything. Leases end with it.
	Close() error
}
