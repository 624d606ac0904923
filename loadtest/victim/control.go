package victim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/pkg/clock"
)

// errAnswered is an answer that is no yes.
var errAnswered = errors.New("control: the victim says")

// ControlClient talks to the control endpoint of one victim: it looks at the store, and does faults to it. Make it with NewControlClient,
// and Close it.
type ControlClient struct {
	address string
	client  *http.Client
	clock   clock.Clock
}

// NewControlClient returns a client. It does not connect yet.
func NewControlClient(address string, c clock.Clock) *ControlClient {
	return &ControlClient{address: address, client: &http.Client{Transport: &http.Transport{}}, clock: c}
}

// Close closes the connections.
func (c *ControlClient) Close() { c.client.CloseIdleConnections() }

// timeout of one request: less than the time between two samples.
const timeout = 400 * time.Millisecond

// Look asks for the store's state. One that does not answer is down: its process answers as long as it lives.
func (c *ControlClient) Look(ctx context.Context) measure.Store {
	var status Status
	if err := c.call(ctx, http.MethodGet, "/status", nil, &status); err != nil {
		return measure.Store{Seen: true}
	}
	return StoreOf(status)
}

// StoreOf turns a victim's status into a report's state of the store.
func StoreOf(s Status) measure.Store {
	return measure.Store{Seen: true, Up: s.Up, Cold: s.Cold, Inside: s.Inside, Applied: s.Applied, Crashes: s.Crashes}
}

// patience is how long a step is tried: a victim that is being started again forgets its step, and must be told.
const patience = 15 * time.Second

// Step changes the store; it is the Store of a model.FaultActors.
func (c *ControlClient) Step(ctx context.Context, s model.StoreState) error {
	body, err := json.Marshal(Step{Speed: s.Speed, Workers: s.Capacity, Refuse: s.Refuse, Unknown: s.Unknown})
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	timed, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := c.call(timed, http.MethodPost, "/step", bytes.NewReader(body), nil)
		if err == nil || errors.Is(err, errAnswered) {
			return err
		}
		if c.clock.Sleep(timed, timeout) != nil {
			return fmt.Errorf("control: the victim cannot be told: %w", err)
		}
	}
}

// Crash kills the store's process, before it can answer; it is the StoreCrash of a model.FaultActors.
func (c *ControlClient) Crash(ctx context.Context) error {
	err := c.call(ctx, http.MethodPost, "/crash", nil, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// call makes one request; into may be nil.
func (c *ControlClient) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, body)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or given up
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("%w %s: %s", errAnswered, response.Status, text)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}
