package edge

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds the scrapes at once: two Prometheus servers, a person, and one more.
const maxScrapes = 4

// buildHTTP makes the HTTP server of metrics and health.
func (s *Server) buildHTTP(g prometheus.Gatherer) error {
	mux := http.NewServeMux()
	// The scraper chooses: protobuf has native histograms, text has the classic buckets.
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes,
		ErrorLog:            slog.NewLogLogger(s.log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError, // in a storm a part of the metrics is better than none
		EnableOpenMetrics:   true,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Err() != nil {
			writeText(w, http.StatusServiceUnavailable, "draining\n")
			return
		}
		if err := s.ready(); err != nil {
			// The cause stays inside: whoever found it has logged it.
			writeText(w, http.StatusServiceUnavailable, "nothing can be accepted durably\n")
			return
		}
		writeText(w, http.StatusOK, "ready\n")
	})
	s.http = &http.Server{
		Handler:           http.MaxBytesHandler(mux, 1<<10), // no request here has a body
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute, // longer than the usual scrape interval
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	if s.cfg.HTTP.TLS.isEnabled() {
		t, err := tlsConfig(s.cfg.HTTP.TLS, s.cfg.HTTP.TLS.ClientCAFile != "", s.clock, []string{"http/1.1"}, s.reloadFailed)
		if err != nil {
			return err
		}
		s.http.TLSConfig = t
	}
	return nil
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // a probe that has gone away needs no answer
}
