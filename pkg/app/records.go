package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/seal"
)

// dataKeys keeps wrapped data keys in the queue's records, so that they are lost or restored together with what they open.
type dataKeys struct{ records queue.Records }

// PutKey implements seal.KeyStore.
func (d dataKeys) PutKey(ctx context.Context, id string, wrapped []byte, expire time.Time) error {
	return d.records.Put(ctx, queue.RecordWrite{Kind: queue.RecordDataKey, Key: id, Value: wrapped, Version: queue.AnyVersion, ExpireTime: expire})
}

// GetKey implements seal.KeyStore.
func (d dataKeys) GetKey(ctx context.Context, id string) ([]byte, error) {
	r, err := d.records.Get(ctx, queue.RecordDataKey, id)
	if errors.Is(err, queue.ErrNotFound) {
		return nil, fmt.Errorf("data key %s: %w", id, seal.ErrKeyGone)
	}
	return r.Value, err
}
