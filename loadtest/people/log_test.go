package people

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/surgegate/surgegate/loadtest/model"
	"github.com/surgegate/surgegate/pkg/stormlog"
)

func write(t *testing.T, name string, thin float64, seed uint64) (string, LogSummary) {
	t.Helper()
	s, err := model.ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trace.zst")
	sum, err := WriteLog(t.Context(), LogConfig{
		Scenario: s, Window: model.Window{Length: 6 * time.Hour, Thin: thin}, Seed: seed, Path: path, Start: time.Unix(1_661_310_000, 0).UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return path, sum
}

func TestSameSeedSameBytes(t *testing.T) {
	t.Parallel()
	read := func(seed uint64) []byte {
		path, _ := write(t, "plex-2022", 500, seed)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := read(1)
	if !bytes.Equal(first, read(1)) {
		t.Error("one seed made two traces")
	}
	if bytes.Equal(first, read(2)) {
		t.Error("two seeds made one trace")
	}
}

func TestTheTraceIsWhatTheSummarySays(t *testing.T) {
	t.Parallel()
	for name, thin := range map[string]float64{"plex-2022": 500, "nat-office": 50, "refresh-loop": 100, "bots": 100} {
		path, sum := write(t, name, thin, 1)
		r, err := stormlog.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if h := r.Header(); h.ID != "number" || h.Seed != 1 || len(h.Model) == 0 || h.T0.Year() != 2022 {
			t.Errorf("%s: header %+v", name, h)
		}
		var got LogSummary
		var last, nextPerson int64
		offices := 0
		for {
			e, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got.Events++
			if e.T < last || e.Cause != stormlog.Exogenous {
				t.Fatalf("%s: event %d is %+v", name, got.Events, e)
			}
			last = e.T
			if e.Office > 0 {
				offices++
			}
			switch e.Source {
			case stormlog.SourceAttack:
				got.Attackers++
			case stormlog.SourceScan:
				got.Scanners++
			case stormlog.SourceLoop:
				got.Loop++
			default:
				if int64(e.U) != nextPerson {
					t.Fatalf("%s: person %d where %d was due", name, e.U, nextPerson)
				}
				nextPerson++
				got.People++
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if got.Events != sum.Events || got.People != sum.People || got.Attackers != sum.Attackers || got.Scanners != sum.Scanners || got.Loop != sum.Loop || sum.Events == 0 {
			t.Errorf("%s: %+v, the summary says %+v", name, got, sum)
		}
		if (offices > 0) != (name == "nat-office") {
			t.Errorf("%s: %d people in offices", name, offices)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != sum.Bytes {
			t.Errorf("%s: %v bytes, %v", name, sum.Bytes, err)
		}
	}
}

func TestNothingIsWrittenOverAndNothingHalfDone(t *testing.T) {
	t.Parallel()
	s := model.Plex2022()
	cfg := LogConfig{Scenario: s, Window: model.Window{Length: time.Hour, Thin: 1000}, Path: filepath.Join(t.TempDir(), "x"), Start: time.Unix(0, 0)}
	if err := os.WriteFile(cfg.Path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := WriteLog(t.Context(), cfg); err == nil {
		t.Error("a file was written over")
	}
	if data, err := os.ReadFile(cfg.Path); err != nil || string(data) != "precious" {
		t.Errorf("it holds %q now, %v", data, err)
	}
	cfg.Path += ".new"
	cfg.Window.Thin = 10
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := WriteLog(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := os.Stat(cfg.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a trace was left: %v", err)
	}
}
