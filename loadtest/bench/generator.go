package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/surgegate/surgegate/loadtest/report"
	"github.com/surgegate/surgegate/loadtest/testbed"
	"github.com/surgegate/surgegate/pkg/clock"
	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

// generatorOptions says what compareGenerators runs.
type generatorOptions struct {
	Dir    string // for the other tools' files
	Self   string // this program, which serves the echo and drives the load in processes of their own
	GHZ    string // the program
	K6     string // the program
	Output io.Writer
	Clock  clock.Clock
}

const (
	generatorConnections = 4
	rounds               = 3
	stepTime             = 3 * time.Second
	generatorTime        = 5 * time.Second
	quantum              = 500 * time.Microsecond // of the schedule, as storm has it
	memoryTime           = 60 * time.Second
	memoryRate           = 0.7 // of the highest: what is not answered yet must not count as growth
	checkpoints          = 30
	generatorLag         = 5 * time.Millisecond
	firstRate            = 10_000
	step                 = 1.2
	maxRate              = 400_000
	goalRate             = 20_000
	perRun               = 100e6 // calls of the run that memory is extrapolated to
)

// tool is ghz or k6 at one concurrency.
type tool struct {
	name string
	run  func(concurrency int) (*exec.Cmd, func(output []byte) (int64, error))
	best int
	// candidates are concurrencies, the best of which counts.
	candidates []int
	perCPU     []float64
}

// compareGenerators measures the load generator (schedule and wire, as storm run uses them) beside ghz and k6, against the same
// bare gRPC echo server.
//
//   - The highest rate is that of an open loop in a process with GOMAXPROCS=1 whose lag p99 is at most 5 ms and whose calls all succeed.
//   - Calls per CPU-second are the calls that succeeded, divided by user and system time of the client's process; medians of
//     interleaved rounds. ghz and k6 run as fast as they can, each with the concurrency that suits it best.
//   - Growth of memory is the slope of the line through the second half of the checkpoints, times 100 M calls.
//
// Ours marshals each request, unmarshals each response and records the latency from the intended time. ghz sends one message again
// and again, and k6 drops the responses. The server's time is not counted for anyone.
func compareGenerators(ctx context.Context, o generatorOptions) ([]report.Figure, error) {
	address, err := testbed.FreeAddress()
	if err != nil {
		return nil, err
	}
	echo, err := testbed.Start(ctx, o.Clock, address, o.Self, "bench-serve", "echo", address)
	if err != nil {
		return nil, err
	}
	defer echo.Kill() // it would wait for connections to end
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, err
	}
	best, err := o.highest(ctx, address)
	if err != nil {
		return nil, err
	}
	rate := 0.0
	if best.Sent > 0 {
		rate = float64(best.Sent) / best.Seconds
	}
	figures := []report.Figure{{
		Name: fmt.Sprintf("generator: calls/s on one core with lag p99 ≤ 5 ms (it was %.2f ms), %d connections, all OK",
			ms(best.LagP99), generatorConnections),
		Value: rate, Unit: "calls/s", Goal: "≥ 20000", OK: rate >= goalRate,
	}}
	rate = max(rate, firstRate) // a goal that is missed does not end the run
	beside, err := o.beside(ctx, address, rate)
	figures = append(figures, beside...)
	if err != nil {
		return figures, err
	}
	memory, err := o.memory(ctx, address, rate*memoryRate)
	return append(figures, memory...), err
}

// highest climbs until the generator or the server cannot any more, which three rates in a row must show: on a machine with other
// work a single one shows that work.
func (o *generatorOptions) highest(ctx context.Context, address string) (best Outcome, err error) {
	missed := 0
	for rate := float64(firstRate); rate <= maxRate && missed < 3; rate *= step {
		var got Outcome
		for range 2 {
			if got, err = o.drive(ctx, Load{Address: address, Connections: generatorConnections, Rate: rate, Time: stepTime}); err != nil {
				return best, err
			}
			if got.keeps() {
				break
			}
		}
		if missed++; got.keeps() {
			best, missed = got, 0
		}
	}
	return best, nil
}

// keeps: on schedule, all answered, and not by getting rid of a queue after the end.
func (r Outcome) keeps() bool {
	return r.LagP99 <= generatorLag && r.Failed == 0 && r.OK == r.Sent
}

func (r Outcome) perCPU() float64 { return float64(r.OK) / r.CPU }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// drive runs the generator in a process of its own, on one core.
func (o *generatorOptions) drive(ctx context.Context, l Load) (Outcome, error) {
	l.Quantum = quantum
	arg, err := json.Marshal(l)
	if err != nil {
		return Outcome{}, err
	}
	cmd := exec.CommandContext(ctx, o.Self, "bench-serve", "generate", string(arg))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Outcome{}, fmt.Errorf("generator: %w", err)
	}
	var r Outcome
	if err := json.Unmarshal(out, &r); err != nil {
		return Outcome{}, fmt.Errorf("generator: %w", err)
	}
	fmt.Fprintf(o.Output, "  storm at %.0f/s: lag p50 %.2f, p99 %.2f ms; latency p50 %.1f, p99 %.1f ms; "+
		"%d of %d OK %s; %.0f calls per CPU-s\n", l.Rate, ms(r.LagP50), ms(r.LagP99), ms(r.LatencyP50), ms(r.LatencyP99), r.OK, r.Sent, r.Failure, r.perCPU())
	return r, nil
}

// beside sets calls per CPU-second beside the other tools', in interleaved rounds.
func (o *generatorOptions) beside(ctx context.Context, address string, rate float64) ([]report.Figure, error) {
	tools, err := o.tools(ctx, address)
	if err != nil {
		return nil, err
	}
	for _, t := range tools {
		best := 0.0
		for _, c := range t.candidates {
			got, err := o.measure(t, c)
			if err != nil {
				return nil, err
			}
			if got > best {
				best, t.best = got, c
			}
		}
	}
	var ours []float64
	for range rounds {
		r, err := o.drive(ctx, Load{Address: address, Connections: generatorConnections, Rate: rate, Time: generatorTime})
		if err != nil {
			return nil, err
		}
		ours = append(ours, r.perCPU())
		for _, t := range tools {
			got, err := o.measure(t, t.best)
			if err != nil {
				return nil, err
			}
			t.perCPU = append(t.perCPU, got)
		}
	}
	var figures []report.Figure
	for i, goal := range []float64{3, 5} {
		t := tools[i]
		value, reference := report.Median(ours), report.Median(t.perCPU)
		figures = append(figures, report.Figure{
			Name:  fmt.Sprintf("generator: calls per CPU-second ÷ %s's at its best concurrency, %d", t.name, t.best),
			Value: value, Unit: "calls/CPU-s", Reference: reference, Ratio: value / reference,
			Goal: fmt.Sprintf("ratio ≥ %.0f", goal), OK: value/reference >= goal,
		})
	}
	return figures, nil
}

// measure runs another tool and returns its calls per CPU-second.
func (o *generatorOptions) measure(t *tool, concurrency int) (float64, error) {
	cmd, calls := t.run(concurrency)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("generator: %s: %w\n%s%s", t.name, err, out, stderr.Bytes())
	}
	n, err := calls(out)
	if err != nil {
		return 0, fmt.Errorf("generator: %s: %w", t.name, err)
	}
	used := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	fmt.Fprintf(o.Output, "  %s, concurrency %d: %d calls, %.0f per CPU-s\n", t.name, concurrency, n, float64(n)/used)
	return float64(n) / used, nil
}

const k6Script = `import grpc from 'k6/net/grpc';
const client = new grpc.Client();
client.loadProtoset('%[1]s');
export const options = { vus: %[2]d, duration: '%[3]s' };
let connected = false;
export default function () {
  if (!connected) { client.connect('%[4]s', { plaintext: true }); connected = true; }
  const r = client.invoke('surgegate.reset.v1.PasswordReset/StartReset',
    { identifier: 'person-1@example.com', client: { ip: '10.1.2.3' } }, { discardResponseMessage: true });
  if (r.status !== grpc.StatusOK) { throw new Error('status ' + r.status); }
}
export function handleSummary(data) {
  return { stdout: JSON.stringify({ calls: data.metrics.iterations.values.count }) };
}
`

// tools are ghz and k6, as they would be used by somebody who knows them. Their summaries are for machines.
func (o *generatorOptions) tools(ctx context.Context, address string) ([]*tool, error) {
	protoset := filepath.Join(o.Dir, "reset.protoset")
	set, err := proto.Marshal(descriptors(resetv1.File_surgegate_reset_v1_reset_proto))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(protoset, set, 0o600); err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(protoset) // k6 reads it relative to the script
	if err != nil {
		return nil, err
	}
	ghz := func(concurrency int) (*exec.Cmd, func([]byte) (int64, error)) {
		return exec.CommandContext(ctx, o.GHZ, "--insecure", "--protoset", protoset, "--call", "surgegate.reset.v1.PasswordReset/StartReset",
				"-d", `{"identifier":"person-1@example.com","client":{"ip":"10.1.2.3"}}`, "--connections", strconv.Itoa(generatorConnections),
				"-c", strconv.Itoa(concurrency), "-z", generatorTime.String(), "-O", "json", address),
			func(out []byte) (int64, error) {
				var r struct {
					Codes map[string]int64 `json:"statusCodeDistribution"`
				}
				err := json.Unmarshal(out, &r)
				return r.Codes["OK"], err // those that its end cut off are not
			}
	}
	k6 := func(concurrency int) (*exec.Cmd, func([]byte) (int64, error)) {
		script := filepath.Join(o.Dir, fmt.Sprintf("k6-%d.js", concurrency))
		text := fmt.Sprintf(k6Script, absolute, concurrency, generatorTime, address)
		writeErr := os.WriteFile(script, []byte(text), 0o600)
		return exec.CommandContext(ctx, o.K6, "run", "--quiet", "--no-usage-report", "--log-output=stderr", script),
			func(out []byte) (int64, error) {
				var r struct {
					Calls float64 `json:"calls"`
				}
				return int64(r.Calls), errors.Join(writeErr, json.Unmarshal(out, &r))
			}
	}
	return []*tool{
		{name: "ghz", run: ghz, candidates: []int{64, 256}},
		{name: "k6", run: k6, candidates: []int{generatorConnections, 16, 64}},
	}, nil
}

// descriptors are a file's with all that it imports, imports first.
func descriptors(file protoreflect.FileDescriptor) *descriptorpb.FileDescriptorSet {
	set := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
	}
	add(file)
	return set
}

// memory runs longer and looks whether it grows with the calls.
func (o *generatorOptions) memory(ctx context.Context, address string, rate float64) ([]report.Figure, error) {
	r, err := o.drive(ctx, Load{Address: address, Connections: generatorConnections, Rate: rate, Time: memoryTime, Checkpoints: checkpoints})
	if err != nil {
		return nil, err
	}
	if r.Failed > 0 || len(r.Checkpoints) < 4 {
		return nil, fmt.Errorf("generator: %d calls failed, the last with %s; %d checkpoints", r.Failed, r.Failure, len(r.Checkpoints))
	}
	half := r.Checkpoints[len(r.Checkpoints)/2:]
	last := half[len(half)-1]
	var figures []report.Figure
	for _, f := range []struct {
		name string
		of   func(Checkpoint) float64
	}{
		{"live heap", func(c Checkpoint) float64 { return float64(c.Heap) }},
		{"resident memory", func(c Checkpoint) float64 { return float64(c.Resident) }},
	} {
		growth := slope(half, f.of) * perRun / (1 << 20)
		figures = append(figures, report.Figure{
			Name: fmt.Sprintf("generator: growth of %s over 100 M calls, from the slope over %.1f M; beside it what it is at the end",
				f.name, float64(last.Calls)/1e6),
			Value: growth, Unit: "MiB", Reference: f.of(last) / (1 << 20), Goal: "≤ 64", OK: growth <= 64,
		})
	}
	return figures, nil
}

// slope of the least squares line, in bytes a call.
func slope(points []Checkpoint, of func(Checkpoint) float64) float64 {
	var x, y, xx, xy, n float64
	for _, p := range points {
		c := float64(p.Calls)
		x, y, xx, xy, n = x+c, y+of(p), xx+c*c, xy+c*of(p), n+1
	}
	return (n*xy - x*y) / (n*xx - x*x)
}
