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
	ErrNotDurable = errors.New("queue: cannot write durably now")
	ErrFull       = errors.New("queue: full")
	ErrTooLarge   = errors.New("queue: item too large")
	ErrMarkSpent  = errors.New("queue: the token's mark is not the account's current one")
	ErrLeaseLost  = errors.New("queue: lease lost")
	ErrConflict   = errors.New("queue: the record has another version")
	ErrNotFound   = errors.New("queue: not found")
)

// MaxPayload is the largest payload of a job in bytes. A sealed completion with the longest password needs a fraction of it.
const MaxPayload = 16 << 10

// Producer is the request side.
type Producer interface {
	// Enqueue makes each item durable, or says in its Verdict why not. The verdicts are in the order of the items. When
	// ctx ends during the commit, the verdicts carry ctx's error and the items may or may not have been accepted.
	Enqueue(ctx context.Context, items []Item) []Verdict
	// Ticket returns the status of a ticket. It returns ErrNotFound for a ticket that never existed or is past its
	// retention.
	Ticket(ctx context.Context, ref reset.Ref) (Status, error)
	// Watch returns a channel, with a buffer of one, that gets a value when the ticket's state or DoneTime may have
	// changed. A change of position alone is not signalled. The caller must call stop.
	Watch(ref reset.Ref) (changed <-chan struct{}, stop func())
	// Stats returns one consistent snapshot.
	Stats(ctx context.Context) (Stats, error)
}

// Item is one thing to enqueue.
type Item struct {
	Job reset.Job
	// Mark is raised in the same atomic write. Only completions have one.
	Mark *MarkRaise
}

// MarkRaise raises an account's mark if it is still the one in the token.
type MarkRaise struct {
	Account   reset.Key
	TokenMark uint64    // the mark in the token
	Request   reset.Key // keyed hash of token and request id; zero when the caller gave no request id
	// ExpireTime is when the mark may be deleted: the longest token TTL after this raise.
	ExpireTime time.Time
}

// Verdict is what became of one item.
type Verdict struct {
	// Ref is the ticket's place; with Replayed, that of the earlier call's ticket.
	Ref reset.Ref
	// Ahead is Status.Ahead at the moment of acceptance. It is 0 with Replayed. It spares the caller a call of Ticket,
	// which waits for the next commit under load.
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
	// Ahead counts the places of the line that have not been passed, up to and including the ticket's own; 0 when
	// running or final. The position that people see excludes their own place.
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
	// OldestRetry is the accept time of the oldest interactive job that is retrying, leased or not. Parked jobs do not
	// count. Zero when there is none.
	OldestRetry time.Time
	// Entered and Ended count the jobs that entered this lane, and that ended in it, since the engine opened.
	Entered, Ended uint64
}

// Oldest returns the accept time of the oldest interactive job that waits, in line or for its next try; zero when there
// is none. When a downstream is dead, all jobs may be between tries and none in line.
func (s LaneStats) Oldest() time.Time {
	if s.OldestAccept.IsZero() || !s.OldestRetry.IsZero() && s.OldestRetry.Before(s.OldestAccept) {
		return s.OldestRetry
	}
	return s.OldestAccept
}

// CrowdMin is how many jobs a lane must hold before Crowd reports any. Smaller numbers would show single accounts: a
// caller who asks for five names and sees the mail lane grow by five mails knows that all five have accounts.
const CrowdMin = 128

// Crowd returns how many jobs of the lane people wait for, as coarsely as callers may know it: 0 below CrowdMin, otherwise
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

// Conservation returns enqueued − ended − held. Any value but 0 is a fault of the engine.
func (s Stats) Conservation() int64 { return int64(s.Enqueued) - int64(s.Ended) - int64(s.Held) }

// Worker is the work side.
type Worker interface {
	// Wait blocks until the lane has something to lease (up to the class), ctx is done, or the engine is closed.
	Wait(ctx context.Context, lane reset.Lane, upTo reset.Class) error
	// Backlog returns about how many jobs of the lane (up to the class) wait in line; the dispatcher sizes its batches by
	// it. The number may be a second old, and retries that are due may be missing.
	Backlog(ctx context.Context, lane reset.Lane, upTo reset.Class) (int, error)
	// Lease hands out up to Max jobs; none if none is due. It does not wait for jobs.
	Lease(ctx context.Context, r LeaseRequest) ([]Lease, error)
	// Extend moves the leases' deadlines to now + visibility. It returns one error for each.
	Extend(ctx context.Context, leases []Lease, visibility time.Duration) []error
	// Finish ends jobs, each with its follow-ups and records in one atomic write. It returns one error for each.
	Finish(ctx context.Context, ends []Finish) []error
	// Retry puts jobs back; they are not leased before their time. It returns one error for each.
	Retry(ctx context.Context, retries []Retry) []error
	// Park sets jobs aside for an operator. It returns one error for each.
	Park(ctx context.Context, parks []Park) []error
}

// LeaseRequest asks for work.
type LeaseRequest struct {
	Lane reset.Lane
	UpTo reset.Class // highest class to hand out
	Max  int
	// Visibility is how long the leases last. It must exceed the deadline of the call that the jobs are for.
	Visibility time.Duration
	// DoneAfter decides, in LaneStart, the DoneTime of the places that this Lease passes: lease time + DoneAfter.
	DoneAfter time.Duration
	// Expired asks for jobs whose ExpireTime has passed instead of waiting ones. They may be in any state but leased.
	Expired bool
}

// Lease is a job that was handed out.
type Lease struct {
	Job      reset.Job
	Token    uint64 // fencing token: another lease of the same job has another one
	Deadline time.Time
}

// Finish ends a leased job.
type Finish struct {
	Lease Lease
	// State and Reason are the ticket's final ones. A zero State means that the follow-up with the same Ticket carries
	// the ticket on.
	State     reset.State
	Reason    reset.Reason
	FollowUps []reset.Job
	// Records are written in the same atomic write. If one of them has another version, Finish returns ErrConflict for
	// this job and the lease stays.
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
	Cause string // our own words, which name no person; at most 256 bytes
}

// Operator is the operators' side.
type Operator interface {
	// Parked lists up to limit parked jobs, oldest first, that come after the given job id (zero: from the start). Lane 0
	// means all lanes. The payloads are left out.
	Parked(ctx context.Context, lane reset.Lane, after reset.ID, limit int) ([]ParkedJob, error)
	// Requeue puts parked jobs back in line with no tries used. It returns ErrNotFound for one that is not parked.
	Requeue(ctx context.Context, ids []reset.ID) []error
	// GiveUp ends parked jobs with StateFailed and ReasonOperator. It returns ErrNotFound for one that is not parked.
	GiveUp(ctx context.Context, ids []reset.ID) []error
}

// ParkedJob is a job that waits for an operator.
type ParkedJob struct {
	Job      reset.Job
	ParkTime time.Time
	Cause    string
}

// Records is a small durable map with compare-and-set, for data that belongs to the queue.
type Records interface {
	// Get returns ErrNotFound for an absent or expired record.
	Get(ctx context.Context, kind RecordKind, key string) (Record, error)
	// Put writes durably if the version matches, else ErrConflict.
	Put(ctx context.Context, w RecordWrite) error
	// PutAll writes all records durably in one atomic write if every version matches; otherwise it writes none and returns
	// ErrConflict. It takes at most MaxRecordWrites, each key once.
	PutAll(ctx context.Context, writes []RecordWrite) error
	// List returns up to limit records of a kind whose key is greater than after, in key order.
	List(ctx context.Context, kind RecordKind, after string, limit int) ([]Record, error)
	// ListBack returns up to limit records whose key is less than before, in descending key order. An empty before means
	// from the last key.
	ListBack(ctx context.Context, kind RecordKind, before string, limit int) ([]Record, error)
	// Mark returns the account's mark, 0 when absent.
	Mark(ctx context.Context, account reset.Key) (uint64, error)
}

// RecordKind is the kind of a record. The values are written to disk; they have at most 16 bytes.
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
	// Close completes the calls under way, then releases everything. All leases end.
	Close() error
}
