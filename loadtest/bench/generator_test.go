package bench

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protodesc"

	resetv1 "github.com/surgegate/surgegate/proto/surgegate/reset/v1"
)

func TestDriveMakesEachCallOfTheSchedule(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	resetv1.RegisterPasswordResetServer(g, echo{})
	var group sync.WaitGroup
	group.Go(func() { _ = g.Serve(l) }) // ends with Stop
	defer group.Wait()
	defer g.Stop()
	var out bytes.Buffer
	load := Load{Address: l.Addr().String(), Connections: 2, Rate: 1000, Time: 500 * time.Millisecond, Quantum: quantum, Checkpoints: 5}
	if err := Drive(t.Context(), &out, load); err != nil {
		t.Fatal(err)
	}
	var o Outcome
	if err := json.Unmarshal(out.Bytes(), &o); err != nil {
		t.Fatal(err)
	}
	if o.Sent != 500 || o.OK != 500 || o.Failed != 0 || len(o.Checkpoints) != 5 {
		t.Errorf("%+v", o)
	}
	if o.CPU <= 0 || o.Seconds < 0.49 || o.LatencyP99 < o.LatencyP50 || o.LatencyP50 <= 0 {
		t.Errorf("%+v", o)
	}
}

func TestSlope(t *testing.T) {
	t.Parallel()
	var points []Checkpoint
	for i := range 10 {
		noise := uint64(100 * (i % 2))
		points = append(points, Checkpoint{Calls: int64(i) * 1000, Heap: 5000 + uint64(i)*2000 + noise, Resident: 7})
	}
	if got := slope(points, func(c Checkpoint) float64 { return float64(c.Heap) }); math.Abs(got-2) > 0.01 {
		t.Errorf("%v bytes a call, want 2", got)
	}
	if got := slope(points, func(c Checkpoint) float64 { return float64(c.Resident) }); got != 0 {
		t.Errorf("%v bytes a call, want none", got)
	}
}

func TestDescriptorsAreComplete(t *testing.T) {
	t.Parallel()
	files, err := protodesc.NewFiles(descriptors(resetv1.File_surgegate_reset_v1_reset_proto))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.FindDescriptorByName("surgegate.reset.v1.PasswordReset"); err != nil {
		t.Error(err)
	}
}
