package rehearse

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
)

// control talks to a storm victim's control; without an address there is nothing to see.
type control struct {
	address string
	client  *http.Client
}

func newControl(address string) control {
	return control{address: address, client: &http.Client{Transport: &http.Transport{}}}
}

func (c control) close() { c.client.CloseIdleConnections() }

const controlTimeout = 400 * time.Millisecond // below sampleEvery

// look asks for the store's state. One that does not answer is down: its process answers as long as it lives.
func (c control) look(ctx context.Context) measure.Store {
	if c.address == "" {
		return measure.Store{}
	}
	var status victim.Status
	if err := c.call(ctx, http.MethodGet, "/status", nil, &status); err != nil {
		return measure.Store{}
	}
	return storeOf(status)
}

// step implements fault.Actors.
func (c control) step(ctx context.Context, s fault.StoreState) error {
	body, err := json.Marshal(victim.Step{Speed: s.Speed, Workers: s.Capacity})
	if err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	return c.call(ctx, http.MethodPost, "/step", bytes.NewReader(body), nil)
}

// crash implements fault.Actors. The process dies before it can answer.
func (c control) crash(ctx context.Context) error {
	err := c.call(ctx, http.MethodPost, "/crash", nil, nil)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}

// call makes one request; into may be nil.
func (c control) call(ctx context.Context, method, path string, body io.Reader, into any) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, body)
	if err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or given up
	if response.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("rehearse: the victim's control says %s: %s", response.Status, text)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("rehearse: %w", err)
	}
	return nil
}
