package gate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/surgegate/surgegate/pkg/decision"
	"github.com/surgegate/surgegate/pkg/reset"
)

// decisionLines returns the log lines of the kinds of refusals that the state of the gateway brings about. What a person did wrong is not
// logged.
func decisionLines(log *decision.Log) map[reset.Kind]*decision.Line {
	lines := make(map[reset.Kind]*decision.Line)
	for reason, kinds := range map[decision.Reason][]reset.Kind{
		decision.Shed:    {reset.KindShed},
		decision.Limited: {reset.KindLimitClient, reset.KindLimitGlobal},
		decision.Refused: {reset.KindQueueFull, reset.KindNotDurable, reset.KindStoreUnknown, reset.KindKeyUnknown},
	} {
		for _, k := range kinds {
			if line := log.Line(reason, kindVerdict(k)); line != nil {
				lines[k] = line
			}
		}
	}
	return lines
}

// numbered is the Cause of a refusal that is logged with the numbers that decided it.
type numbered interface{ Numbers() []slog.Attr }

// boundError is a time bound that was missed.
type boundError struct {
	lane       reset.Lane
	eta, bound time.Duration
}

// Error implements error.
func (b boundError) Error() string {
	return fmt.Sprintf("lane %s: %v is over the bound of %v", b.lane, b.eta, b.bound)
}

// Numbers implements numbered.
func (b boundError) Numbers() []slog.Attr {
	return []slog.Attr{slog.String("lane", b.lane.String()), slog.Duration("eta", b.eta.Round(time.Millisecond)), slog.Duration("bound", b.bound)}
}

// missedBound returns the cause of a refusal for a time bound; nil if such refusals are not logged.
func (g *Gate) missedBound(lane reset.Lane, eta reset.ETA, over time.Duration) error {
	if g.decisions[reset.KindQueueFull] == nil {
		return nil
	}
	return boundError{lane: lane, eta: eta.High, bound: eta.High - over}
}

// logRefusal logs why a call was refused, if such refusals are logged. It names nobody.
func (g *Gate) logRefusal(ctx context.Context, c call, client Client, err error) {
	if err == nil || len(g.decisions) == 0 {
		return
	}
	var e *reset.Error
	if !errors.As(err, &e) || !g.decisions[e.Kind].Due() {
		return
	}
	attrs := []slog.Attr{slog.String("call", c.String()), slog.String("class", classOf(client).String()),
		slog.Duration("retry_after", e.RetryAfter.Round(time.Millisecond))}
	var why numbered
	if errors.As(e.Cause, &why) {
		attrs = append(attrs, why.Numbers()...)
	} else if e.Kind == reset.KindNotDurable && e.Cause != nil { // the queue's own words: those of others could quote a caller
		attrs = append(attrs, slog.String("why", e.Cause.Error()))
	}
	if e.Kind == reset.KindQueueFull || e.Kind == reset.KindNotDurable {
		s := g.view.Load().stats
		attrs = append(attrs, slog.Uint64("jobs_held", s.Held), slog.Uint64("bytes", s.Bytes), slog.Uint64("max_bytes", s.MaxBytes))
	}
	g.decisions[e.Kind].Write(ctx, attrs...)
}
