package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/surgegate/surgegate/pkg/clock"
	operatorv1 "github.com/surgegate/surgegate/proto/surgegate/operator/v1"
)

// scrapeFormat is a format of /metrics, as the Accept header names it.
type scrapeFormat string

const (
	asText        scrapeFormat = "text/plain;version=0.0.4"
	asOpenMetrics scrapeFormat = "application/openmetrics-text;version=1.0.0"
	asProtobuf    scrapeFormat = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// scrapeFormats lists all formats.
func scrapeFormats() []scrapeFormat { return []scrapeFormat{asText, asOpenMetrics, asProtobuf} }

// scrapeConfig says what to watch.
type scrapeConfig struct {
	// HTTP and Operator are host:port of the gateway's listeners. Required.
	HTTP, Operator string
	// Every is the pause between two scrapes, and Ask that between two questions for the status. Defaults 250 ms, which
	// is 20 times as often as Prometheus would, and 10 ms.
	Every, Ask time.Duration
}

// WithDefaults returns the config with its zero fields set.
func (c scrapeConfig) WithDefaults() scrapeConfig {
	if c.Every == 0 {
		c.Every = 250 * time.Millisecond
	}
	if c.Ask == 0 {
		c.Ask = 10 * time.Millisecond
	}
	return c
}

// Validate names the field that is wrong.
func (c scrapeConfig) Validate() error {
	switch {
	case c.HTTP == "":
		return errors.New("http: is empty")
	case c.Operator == "":
		return errors.New("operator: is empty")
	case c.Every < 0 || c.Ask < 0:
		return errors.New("every and ask: must not be negative")
	}
	return nil
}

// scrapeFigures are what watchScrapes measured.
type scrapeFigures struct {
	Bytes  map[scrapeFormat]int           // the largest answer, uncompressed
	Scrape map[scrapeFormat]time.Duration // median
	Status []time.Duration                // of the status, in order of length
}

// Quantile returns the quantile q of the status calls' times; 0 without any.
func (f scrapeFigures) Quantile(q float64) time.Duration {
	if len(f.Status) == 0 {
		return 0
	}
	return f.Status[min(len(f.Status)-1, int(q*float64(len(f.Status))))]
}

// watchScrapes scrapes /metrics in each format, as Prometheus does, and asks for the status, as an operator does, until ctx ends. Times
// run from the request to the last byte of the answer. An answer that is an error, or cannot be read, ends it with that error.
func watchScrapes(ctx context.Context, c scrapeConfig, clk clock.Clock) (scrapeFigures, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return scrapeFigures{}, fmt.Errorf("scrape: %w", err)
	}
	both, cancel := context.WithCancel(ctx) // the failure of one ends the other
	defer cancel()
	var f scrapeFigures
	var group sync.WaitGroup
	var scraping, asking error
	group.Go(func() {
		defer cancel()
		f.Bytes, f.Scrape, scraping = scrapes(both, c, clk)
	})
	group.Go(func() {
		defer cancel()
		f.Status, asking = statuses(both, c, clk)
	})
	group.Wait()
	return f, errors.Join(scraping, asking)
}

// idleScrapes scrapes n times in each format, one after the other, and returns the medians.
func idleScrapes(ctx context.Context, c scrapeConfig, clk clock.Clock, n int) (map[scrapeFormat]time.Duration, error) {
	times := map[scrapeFormat][]time.Duration{}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for range n {
		for _, format := range scrapeFormats() {
			begin := clk.Now()
			if _, err := once(ctx, client, c.HTTP, format); err != nil {
				return nil, err
			}
			times[format] = append(times[format], clk.Now().Sub(begin))
		}
	}
	return medians(times), nil
}

func scrapes(ctx context.Context, c scrapeConfig, clk clock.Clock) (map[scrapeFormat]int, map[scrapeFormat]time.Duration, error) {
	largest, times := map[scrapeFormat]int{}, map[scrapeFormat][]time.Duration{}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	for i := 0; clk.Sleep(ctx, c.Every) == nil; i++ {
		format := scrapeFormats()[i%len(scrapeFormats())]
		begin := clk.Now()
		n, err := once(ctx, client, c.HTTP, format)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return nil, nil, err
		}
		times[format] = append(times[format], clk.Now().Sub(begin))
		largest[format] = max(largest[format], n)
	}
	return largest, medians(times), nil
}

// once returns the bytes of one scrape.
func once(ctx context.Context, client *http.Client, address string, format scrapeFormat) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("scrape: %w", err)
	}
	request.Header.Set("Accept", string(format))
	r, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("scrape: %w", err)
	}
	defer func() { _ = r.Body.Close() }() // read to its end, or an error already
	n, err := io.Copy(io.Discard, r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = errors.New(r.Status)
	}
	if err != nil {
		return 0, fmt.Errorf("scrape: %w", err)
	}
	return int(n), nil
}

func statuses(ctx context.Context, c scrapeConfig, clk clock.Clock) ([]time.Duration, error) {
	conn, err := grpc.NewClient(c.Operator, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("scrape: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing is under way
	operator := operatorv1.NewOperatorClient(conn)
	var times []time.Duration
	for clk.Sleep(ctx, c.Ask) == nil {
		begin := clk.Now()
		if _, err := operator.GetStatus(ctx, &operatorv1.GetStatusRequest{}); err != nil {
			if ctx.Err() != nil {
				break
			}
			return nil, fmt.Errorf("scrape: status: %w", err)
		}
		times = append(times, clk.Now().Sub(begin))
	}
	slices.Sort(times)
	return times, nil
}

func medians(of map[scrapeFormat][]time.Duration) map[scrapeFormat]time.Duration {
	m := map[scrapeFormat]time.Duration{}
	for format, times := range of {
		slices.Sort(times)
		m[format] = times[len(times)/2]
	}
	return m
}
