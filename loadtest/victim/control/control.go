package control

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

	"github.com/surgegate/surgegate/loadtest/fault"
	"github.com/surgegate/surgegate/loadtest/measure"
	"github.com/surgegate/surgegate/loadtest/victim"
	"github.com/surgegate/surgegate/pkg/clock"
)

// errAnswered is an answer that is no yes.
var errAnswered = errors.New("control: the victim says")

// Client talks to one victim. Make it with New, and Close it.
type Client struct {
	address string
	client  *http.Client
	clock   clock.Clock
}

// New does not connect yet.
func New(address string, c clock.Clock) *Client {
	return &Client{address: address, client: &http.Client{Transport: &http.Transport{}}, clock: c}
}

// Close lets go of its connections.
func (c *Client) Close() { c.client.CloseIdleConnections() }

// timeout of one request: less than the time between two samples.
const timeout = 400 * time.Millisecond

// Look asks for the store's state. One that does not answer is down: its process answers as long as it lives.
func (c *Client) Look(ctx context.Context) measure.Store {
	var status victim.Status
	if err := c.call(ctx, http.MethodGet, "/status", nil, &status); err != nil {
		return measure.Store{Seen: true}
	}
	return StoreOf(status)
}

// StoreOf is what a victim's status says to a report.
func StoreOf(s victim.Status) measure.Store {
	return measure.Store{Seen: true, Up: s.Up, Cold: s.Cold, Inside: s.Inside, Applied: s.Applied, Crashes: s.Crashes}
}

// patience is how long a step is tried: a victim that is being started again forgets its step, and must be told.
const patience = 15 * time.Second

// Step makes the store so; it is a fault.Actors' Store.
func (c *Client) Step(ctx context.Context, s fault.StoreState) error {
	body, err := json.Marshal(victim.Step{Speed: s.Speed, Workers: s.Capacity, Refuse: s.Refuse, Unknown: s.Unknown})
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

// Crash makes it die, before it can answer; it is a fault.Actors' StoreCrash.
func (c *Client) Crash(ctx context.Context) error {
	err := c.call(ctx, http.MethodPost, "/crash", nil, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// call makes one request; into may be nil.
func (c *Client) call(ctx context.Context, method, path string, body io.Reader, into any) error {
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
