package observe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// sample is what surgectl says at one moment.
type sample struct {
	at     time.Time
	causes []string // of all findings, the first one first
	blamed []string // those of them that somebody is to look at: notes are left out
}

// watch samples the diagnosis every second until ctx ends, and keeps the statuses in status.jsonl, for whoever wants to know why.
// What does not answer gives no sample.
func (w *world) watch(ctx context.Context) (samples []sample, err error) {
	top := exec.CommandContext(ctx, w.cfg.programs.Surgectl, "top", "--interval", "1s", "-o", "json", "--address", w.operator)
	out, err := top.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("observe: surgectl top: %w", err)
	}
	kept, err := os.Create(filepath.Join(w.cfg.dir, "status.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	defer func() { err = errors.Join(err, kept.Close()) }()
	var complaint strings.Builder
	top.Stderr = &complaint
	if err := top.Start(); err != nil {
		return nil, fmt.Errorf("observe: surgectl top: %w", err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), "{") {
			continue // it says that there is no answer
		}
		s := sample{at: w.clock.Now()}
		if s.causes, s.blamed, err = causesOf(lines.Bytes()); err != nil {
			break
		}
		samples = append(samples, s)
		if _, err = kept.Write(append(lines.Bytes(), '\n')); err != nil {
			break
		}
	}
	end := top.Wait()
	if err == nil && ctx.Err() == nil {
		err = fmt.Errorf("observe: surgectl top ended: %w: %s", end, complaint.String())
	}
	return samples, err
}

// causesOf reads the diagnosis from a status as JSON.
func causesOf(status []byte) (causes, blamed []string, err error) {
	var answer struct {
		Diagnosis struct {
			Findings []struct{ ID, Severity, Title, Downstream string }
		}
	}
	if err := json.Unmarshal(status, &answer); err != nil {
		return nil, nil, fmt.Errorf("observe: surgectl top: %w", err)
	}
	for _, f := range answer.Diagnosis.Findings {
		cause := f.ID
		if f.Downstream != "" {
			cause += "/" + f.Downstream
		}
		causes = append(causes, cause)
		if f.Severity != "SEVERITY_NOTE" {
			blamed = append(blamed, cause)
		}
	}
	return causes, blamed, nil
}
