package keyfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/surgegate/surgegate/pkg/keyfile"
)

func TestNewNeverOverwrites(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := keyfile.EnsureDir(dir); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = keyfile.New(dir, "k.key", []byte{byte(i)}, keyfile.Private) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("%d and %d both won", winner, i)
		case !errors.Is(err, fs.ErrExist):
			t.Error(err)
		}
	}
	data, err := keyfile.Read(dir, "k.key", keyfile.Private)
	if err != nil || len(data) != 1 || int(data[0]) != winner {
		t.Errorf("%v, %v, want what %d wrote", data, err, winner)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: temporary files stay behind", entries, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v, want a folder of mode 0700", info, err)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"a.key": keyfile.Private, "a.pub": keyfile.Public} {
		if err := keyfile.New(dir, name, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%v, %v, want %v", info, err, mode)
		}
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o620, 0o610} {
		if err := os.Chmod(filepath.Join(dir, "a.key"), mode); err != nil {
			t.Fatal(err)
		}
		_, err := keyfile.Read(dir, "a.key", keyfile.Private)
		if err == nil || !strings.Contains(err.Error(), `"chmod 600 `+filepath.Join(dir, "a.key")) {
			t.Errorf("%v: %v, want the chmod that mends it", mode, err)
		}
	}
}

func TestReadBoundsSize(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.pub"), make([]byte, 17<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Read(dir, "a.pub", keyfile.Public); err == nil {
		t.Error("read 17 KiB")
	}
}

func TestListSweepRemove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"b.pub", "a.pub", "a.key", ".tmp-c.pub", ".tmp-young.pub", ".hidden.pub"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hourAgo := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, ".tmp-c.pub"), hourAgo, hourAgo); err != nil {
		t.Fatal(err)
	}
	if names, err := keyfile.List(dir, ".pub"); err != nil || strings.Join(names, " ") != "a.pub b.pub" {
		t.Errorf("%v, %v", names, err)
	}
	if err := keyfile.Sweep(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{".tmp-c.pub": false, ".tmp-young.pub": true, ".hidden.pub": true, "a.key": true} {
		if got, err := keyfile.Exists(dir, name); err != nil || got != want {
			t.Errorf("%s: %v, %v after Sweep", name, got, err)
		}
	}
	for range 2 { // an absent file is no error
		if err := keyfile.Remove(dir, "a.key"); err != nil {
			t.Error(err)
		}
	}
}

func TestPEM(t *testing.T) {
	t.Parallel()
	text := keyfile.EncodePEM("K", map[string]string{"H": "v"}, []byte("data"))
	h, data, err := keyfile.DecodePEM("K", text)
	if err != nil || h["H"] != "v" || string(data) != "data" {
		t.Errorf("%v %q %v", h, data, err)
	}
	for _, bad := range []string{"", "x", string(text) + "x", string(text) + string(text)} {
		if _, _, err := keyfile.DecodePEM("K", []byte(bad)); err == nil {
			t.Errorf("accepted %q", bad)
		}
	}
	if _, _, err := keyfile.DecodePEM("L", text); err == nil {
		t.Error("accepted another kind")
	}
}
