package app_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/surgegate/surgegate/pkg/app"
	"github.com/surgegate/surgegate/pkg/config"
)

// TestLostSecretIsNotMadeAnew gives a queue keys of another installation: with a new index secret a used link would be
// good again, with a new tickets secret no ticket would be known, and nothing would have said so.
func TestLostSecretIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"index.secret", "tickets.secret"} {
		t.Run(secret, func(t *testing.T) {
			t.Parallel()
			dir, serve := installation(t)
			if err := serve(); err != nil {
				t.Fatal(err)
			}
			if err := serve(); err != nil {
				t.Fatalf("with its own keys: %v", err)
			}
			file := filepath.Join(dir, "keys", "seal", secret)
			right, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := serve(); err == nil || !strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "put the right file back") {
				t.Fatalf("without %s: %v, want a refusal that says what to do", secret, err)
			}
			if err := os.WriteFile(file, right, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := serve(); err != nil {
				t.Fatalf("with its own keys back: %v", err)
			}
		})
	}
}

// installation returns its folder, and what starts and ends a process on it.
func installation(t *testing.T) (dir string, serve func() error) {
	t.Helper()
	dir = t.TempDir()
	c, err := config.Load("", []string{
		"SURGEGATE_DATA_DIR=" + filepath.Join(dir, "data"), "SURGEGATE_KEYS_DIR=" + filepath.Join(dir, "keys"),
		"SURGEGATE_LISTEN_GRPC=127.0.0.1:0", "SURGEGATE_LISTEN_OPERATOR=127.0.0.1:0", "SURGEGATE_LISTEN_HTTP=127.0.0.1:0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, func() error {
		a, err := app.New(t.Context(), app.Options{Config: c, Output: io.Discard})
		if err != nil {
			return err
		}
		return errors.Join(a.Start(t.Context()), a.Stop(false))
	}
}

func TestLostTokenKeySaysWhatToDo(t *testing.T) {
	t.Parallel()
	dir, serve := installation(t)
	if err := serve(); err != nil {
		t.Fatal(err)
	}
	private, err := filepath.Glob(filepath.Join(dir, "keys", "token", "*.key"))
	if err != nil || len(private) != 1 {
		t.Fatalf("%v, %v", private, err)
	}
	if err := os.Remove(private[0]); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(private[0])
	if err := serve(); err == nil || !strings.Contains(err.Error(), "put its file back, or remove "+folder) {
		t.Fatalf("without its private key: %v", err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := serve(); err != nil {
		t.Errorf("after doing what was said: %v", err)
	}
}
