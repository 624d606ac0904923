package embedded_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/queue/embedded"
	"github.com/surgegate/surgegate/pkg/reset"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	q, err := embedded.Open(embedded.Config{Dir: dir}, embedded.Deps{
		Fatal: func(err error) { fmt.Println(err); os.Exit(1) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	verdict := q.Enqueue(ctx, []queue.Item{{Job: reset.Job{ID: reset.NewID(), Ticket: reset.NewID(), Lane: reset.LaneStart, Key: reset.Key{1}}}})[0]
	fmt.Println(verdict.Err, verdict.Ref.Seq)
	_ = q.Wait(ctx, reset.LaneStart, reset.ClassDeferrable)
	leases, err := q.Lease(ctx, queue.LeaseRequest{Lane: reset.LaneStart, UpTo: reset.ClassDeferrable, Max: 10, Visibility: time.Minute})
	fmt.Println(len(leases), err)
	fmt.Println(q.Finish(ctx, []queue.Finish{{Lease: leases[0], State: reset.StateDone}})[0])
	fmt.Println(q.Close())
	// Output:
	// <nil> 1
	// 1 <nil>
	// <nil>
	// <nil>
}
