package grpcapi_test

import (
	"context"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

type emptyQueue struct{}

func (emptyQueue) Parked(context.Context, reset.Lane, reset.ID, int) ([]queue.ParkedJob, error) {
	return nil, nil
}
func (emptyQueue) Requeue(context.Context, []reset.ID) []error  { return nil }
func (emptyQueue) GiveUp(context.Context, []reset.ID) []error   { return nil }
func (emptyQueue) Stats(context.Context) (queue.Stats, error)   { return queue.Stats{}, nil }
func (emptyQueue) Put(context.Context, queue.RecordWrite) error { return nil }
