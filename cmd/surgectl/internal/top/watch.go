package top

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/surgegate/surgegate/pkg/clock"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

const (
	// stale is the silence after which a stream is given up: longer than a collection, a stall of the disk or a lost packet.
	stale = 5 * time.Second
	// again is how long after an error it is tried again: soon enough to see a restart, and no load.
	again = time.Second
)

// event is a status, or why there is none.
type event struct {
	status *operatorv1.GetStatusResponse
	err    error
}

// watcher follows a surgegate across its restarts.
type watcher struct {
	client   operatorv1.OperatorClient
	clock    clock.Clock
	interval time.Duration
	events   chan event // 1: whoever shows is told of every status, and the watcher may be one ahead
}

func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		heard, err := w.stream(ctx)
		if heard {
			continue // connections end for reasons of their own (their age): only when it is not there at once is it gone
		}
		if ctx.Err() == nil {
			w.tell(ctx, event{err: err})
		}
		if w.clock.Sleep(ctx, again) != nil {
			return
		}
	}
}

func (w *watcher) tell(ctx context.Context, e event) {
	select {
	case w.events <- e:
	case <-ctx.Done():
	}
}

// stream tells every status until there is an error, and whether there was any.
func (w *watcher) stream(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var guard sync.WaitGroup
	defer guard.Wait()
	defer cancel(nil)
	beat := make(chan struct{})
	guard.Go(func() { w.guard(ctx, cancel, beat) })
	stream, err := w.client.WatchStatus(ctx, &operatorv1.WatchStatusRequest{Interval: durationpb.New(w.interval)})
	for err == nil {
		var r *operatorv1.WatchStatusResponse
		if r, err = stream.Recv(); err == nil {
			select {
			case beat <- struct{}{}:
			case <-ctx.Done():
			}
			w.tell(ctx, event{status: r.GetStatus()})
			heard = true
		}
	}
	switch {
	case errors.Is(context.Cause(ctx), errSilent):
		return false, errSilent // trying again at once would only wait once more before anybody is told
	case errors.Is(err, io.EOF):
		err = errEnded
	}
	return heard, err
}

// guard ends the stream when nothing was heard for too long.
func (w *watcher) guard(ctx context.Context, end context.CancelCauseFunc, beat <-chan struct{}) {
	for {
		timer := w.clock.NewTimer(w.interval + stale)
		select {
		case <-beat:
			timer.Stop()
		case <-timer.C():
			end(errSilent)
			return
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
