package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/surgegate/surgegate/loadtest/schedule"
	"github.com/surgegate/surgegate/loadtest/wire"
	"github.com/surgegate/surgegate/pkg/clock"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// Load is what one process of the generator is to do: open-loop StartReset calls at a fixed rate.
type Load struct {
	Address     string        `json:"address"`
	Connections int           `json:"connections"`
	Rate        float64       `json:"rate"` // calls/s
	Time        time.Duration `json:"time"`
	Quantum     time.Duration `json:"quantum"`     // of the schedule
	Checkpoints int           `json:"checkpoints"` // of memory, evenly over the time; 0: none
}

// Outcome is what it did, and what that cost the process.
type Outcome struct {
	Sent        int64         `json:"sent"`
	OK          int64         `json:"ok"`
	Failed      int64         `json:"failed"`
	Failure     string        `json:"failure,omitempty"` // one of them
	LagP50      time.Duration `json:"lag_p50"`
	LagP99      time.Duration `json:"lag_p99"`
	LagMax      time.Duration `json:"lag_max"`
	LatencyP50  time.Duration `json:"latency_p50"` // from the intended times
	LatencyP99  time.Duration `json:"latency_p99"`
	Seconds     float64       `json:"seconds"`
	CPU         float64       `json:"cpu_seconds"` // user and system, of the whole process, from the first call to the last reply
	Checkpoints []Checkpoint  `json:"checkpoints,omitempty"`
}

// Checkpoint is the process's memory after so many calls.
type Checkpoint struct {
	Calls    int64  `json:"calls"`
	Heap     uint64 `json:"heap_bytes"`     // live, after a collection
	Resident int64  `json:"resident_bytes"` // after it too
}

const callDeadline = 3 * time.Second

// Drive makes the load and writes the Outcome as JSON.
func Drive(ctx context.Context, w io.Writer, l Load) error {
	var c clock.System
	client, err := wire.New(wire.Config{Targets: []string{l.Address}, Connections: l.Connections}, wire.Deps{Clock: c})
	if err != nil {
		return err
	}
	method, err := wire.NewMethod(resetv1.PasswordReset_StartReset_FullMethodName)
	if err != nil {
		return err
	}
	loop, err := schedule.New(schedule.Config{Quantum: l.Quantum}, schedule.Deps{Clock: c})
	if err != nil {
		return err
	}
	clientCtx, stop := context.WithCancel(ctx)
	defer stop()
	group, clientCtx := errgroup.WithContext(clientCtx)
	group.Go(func() error { return client.Run(clientCtx) })
	if err := client.WaitReady(ctx); err != nil {
		return err
	}
	d := &driver{
		load: l, client: client, method: method, total: int64(l.Rate * l.Time.Seconds()),
		latency: hdrhistogram.New(1, time.Minute.Microseconds(), 3),
		request: resetv1.StartResetRequest{Client: &resetv1.Client{Ip: "10.1.2.3"}},
	}
	begin, used := c.Now(), processorTime()
	report, err := loop.Run(ctx, d)
	if err != nil {
		return err
	}
	o := Outcome{
		Sent: report.Sent, OK: d.ok, Failed: d.failed, Failure: d.failure, LagP50: report.LagP50, LagP99: report.LagP99, LagMax: report.LagMax,
		LatencyP50: micros(d.latency.ValueAtQuantile(50)), LatencyP99: micros(d.latency.ValueAtQuantile(99)),
		Seconds: c.Now().Sub(begin).Seconds(), CPU: (processorTime() - used).Seconds(), Checkpoints: d.checkpoints,
	}
	stop()
	if err := group.Wait(); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(o)
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

// driver is the Source of the calls and the event of each; the loop's goroutine has all of it.
type driver struct {
	load    Load
	client  *wire.Client
	method  *wire.Method
	request resetv1.StartResetRequest
	buf     []byte
	total   int64
	planned int64
	sent    int64

	ok, failed  int64
	failure     string
	latency     *hdrhistogram.Histogram
	checkpoints []Checkpoint
	free        *generatorPerson
}

// person is a caller with one call in flight, to be told of it on the loop, as the people of a storm are.
type generatorPerson struct {
	driver   *driver
	loop     *schedule.Loop
	intended time.Duration
	code     codes.Code
	text     string
	end      time.Time
	next     *generatorPerson // free ones
}

// Next implements schedule.Source.
func (d *driver) Next() (time.Duration, schedule.Event, bool) {
	if d.planned == d.total {
		return 0, nil, false
	}
	at := time.Duration(float64(d.planned) / d.load.Rate * float64(time.Second))
	d.planned++
	return at, d, true
}

// Fire makes a call.
func (d *driver) Fire(l *schedule.Loop, at time.Duration) {
	p := d.free
	if p == nil {
		p = &generatorPerson{driver: d, loop: l}
	} else {
		d.free = p.next
	}
	p.intended = at
	d.sent++
	if n := d.load.Checkpoints; n > 0 && d.sent%(d.total/int64(n)) == 0 {
		d.checkpoints = append(d.checkpoints, checkpoint(d.sent))
	}
	d.request.Identifier = "person-" + strconv.FormatInt(d.sent, 10) + "@example.com"
	var err error
	if d.buf, err = (proto.MarshalOptions{}).MarshalAppend(d.buf[:0], &d.request); err != nil {
		d.failed++
		d.failure = err.Error()
		return
	}
	l.Hold()
	d.client.Call(d.method, d.buf, callDeadline, p)
}

// Done implements wire.Done.
func (p *generatorPerson) Done(r *wire.Reply) {
	p.code, p.text, p.end = r.Code, r.Text, r.EndAt
	if r.Code == codes.OK {
		var answer resetv1.StartResetResponse
		if err := proto.Unmarshal(r.Message, &answer); err != nil || answer.GetTicket().GetId() == "" {
			p.code, p.text = codes.Internal, "a response without a ticket"
		}
	}
	p.loop.Post(p)
}

// Fire takes the reply, on the loop.
func (p *generatorPerson) Fire(l *schedule.Loop, _ time.Duration) {
	d := p.driver
	l.Release()
	if p.code == codes.OK {
		d.ok++
	} else {
		d.failed++
		d.failure = fmt.Sprintf("%v: %s", p.code, p.text)
	}
	_ = d.latency.RecordValue(max(1, (p.end.Sub(l.Start()) - p.intended).Microseconds())) // over a minute: the deadline is sooner
	p.next, d.free = d.free, p
}

// checkpoint collects and gives back first, so that what is counted is what is kept. It stops the loop for some milliseconds;
// the lag of a run with checkpoints does not count.
func checkpoint(calls int64) Checkpoint {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	now, _ := resident()
	return Checkpoint{Calls: calls, Heap: m.HeapAlloc, Resident: now}
}
