package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/surgegate/surgegate/pkg/queue"
	"github.com/surgegate/surgegate/pkg/reset"
)

// identity tells whether the queue is still the one that the token keys were used with. A link works once because of its account's
// mark, which is in the queue. If the queue was lost, replaced or restored from a copy, used links would work again. Therefore the
// token keys are made anew in this case (SECURITY.md 7).
//
// The queue and keys_dir each hold the queue's id and a count. The count is raised at every start and every keyMaintenance, first in
// the queue. So the queue's count is lower only in a copy from before the last time.
type identity struct {
	file    string
	records queue.Records
	now     stamp
}

// stamp is the id and the count, as JSON.
type stamp struct {
	Queue string `json:"queue"`
	Beat  uint64 `json:"beat"`
}

const (
	identityFile = "queue.identity"
	lockFile     = "lock"
	identityKey  = "identity" // of queue.RecordKeys
)

// lockKeys stops a second process from using the same keys. It would have another queue without this one's marks, so a link could be
// used once with each. The lock ends with the process, also when it is killed.
func lockKeys(keysDir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(keysDir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keys_dir: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		err = fmt.Errorf("keys_dir: another process uses the keys in %s: end that one, or give this one its own folder (%w)", keysDir, err)
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// openIdentity compares the two stamps, deletes the token keys if they differ, and raises the count.
func openIdentity(ctx context.Context, keysDir string, records queue.Records, log *slog.Logger) (*identity, error) {
	i := &identity{file: filepath.Join(keysDir, identityFile), records: records}
	inQueue, err := i.fromQueue(ctx)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	inKeys, err := i.fromFile()
	if err != nil {
		return nil, fmt.Errorf("keys_dir: %w", err)
	}
	if inKeys.Queue != "" && (inQueue.Queue != inKeys.Queue || inQueue.Beat < inKeys.Beat) {
		log.Warn("the queue is not the one that the token keys were used with, or an older copy of it: links that were mailed are void, people ask for new ones",
			"expected", inKeys, "found", inQueue)
		if err := os.RemoveAll(filepath.Join(keysDir, "token")); err != nil {
			return nil, fmt.Errorf("keys_dir: %w", err)
		}
	}
	i.now = inQueue
	if i.now.Queue == "" {
		i.now.Queue = reset.NewID().String()
	}
	i.now.Beat = max(inQueue.Beat, inKeys.Beat)
	return i, i.beat(ctx)
}

// beat raises the count, first in the queue.
func (i *identity) beat(ctx context.Context) error {
	i.now.Beat++
	value, err := json.Marshal(i.now)
	if err != nil {
		return err
	}
	if err := i.records.Put(ctx, queue.RecordWrite{Kind: queue.RecordKeys, Key: identityKey, Value: value, Version: queue.AnyVersion}); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if err := replace(i.file, value); err != nil {
		return fmt.Errorf("keys_dir: %w", err)
	}
	return nil
}

// replace writes a file completely or not at all. Half a file would stop the next start.
func replace(path string, data []byte) error {
	next, err := os.OpenFile(path+".next", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = next.Write(data)
	if err == nil {
		err = next.Sync()
	}
	if err := errors.Join(err, next.Close()); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}

func (i *identity) fromQueue(ctx context.Context) (s stamp, err error) {
	r, err := i.records.Get(ctx, queue.RecordKeys, identityKey)
	if errors.Is(err, queue.ErrNotFound) {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, err
	}
	return s, json.Unmarshal(r.Value, &s)
}

func (i *identity) fromFile() (s stamp, err error) {
	data, err := os.ReadFile(i.file)
	if errors.Is(err, fs.ErrNotExist) {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return stamp{}, fmt.Errorf("%s is damaged: remove it and the folder token beside it; links that were mailed are void then: %w", i.file, err)
	}
	return s, nil
}
