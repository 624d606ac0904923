package keyfile

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Modes of key files.
const (
	Private fs.FileMode = 0o600
	Public  fs.FileMode = 0o644
)

const tempPrefix = ".tmp-"

// maxSize is the largest key file that is read, in bytes. The largest key in use, a public ML-KEM one, has 1.7 KB in PEM.
const maxSize = 16 << 10

// EnsureDir makes the folder so that only its owner can read it, and makes it durable. A folder that exists keeps its mode.
func EnsureDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// New writes a file. The file is durable when New returns nil. If it exists already, the error is fs.ErrExist.
func New(dir, name string, data []byte, mode fs.FileMode) (err error) {
	temp := filepath.Join(dir, tempPrefix+name+"-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(temp), syncDir(dir)) }()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	// Chmod is needed because the umask may have taken bits that a public key should have.
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	// Link fails if the name is taken; Rename would not.
	return os.Link(temp, filepath.Join(dir, name))
}

// Sweep removes temporary files that a crash has left: they may be second names of private keys, which would outlive the keys' deletion.
// Files of the last minute before the folder's last change stay, because another process may be about to link them. Only times of the
// file system are compared, so no clock of a process matters.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	folder, err := os.Stat(dir)
	if err != nil {
		return err
	}
	swept := false
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		info, infoErr := e.Info()
		if infoErr != nil || folder.ModTime().Sub(info.ModTime()) < time.Minute {
			continue // it is gone already, or young
		}
		swept = true
		err = errors.Join(err, remove(filepath.Join(dir, e.Name())))
	}
	if !swept {
		return err
	}
	return errors.Join(err, syncDir(dir))
}

// Remove deletes a file, and the deletion is durable. It is no error if there is no such file.
func Remove(dir, name string) error {
	if err := remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Read returns a file's content. With the mode Private it refuses a file that group or others may read.
func Read(dir, name string, mode fs.FileMode) ([]byte, error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode == Private && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("private key %s has mode %04o, so others may read it: run \"chmod 600 %s\", and replace the key if anybody could have",
			path, info.Mode().Perm(), path)
	}
	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s is %d bytes, more than any key", path, info.Size())
	}
	return os.ReadFile(path)
}

// List returns the sorted names of the files with the suffix.
func List(dir, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

// EncodePEM returns one PEM block.
func EncodePEM(kind string, headers map[string]string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: data})
}

// DecodePEM reads a file that is exactly one PEM block of the kind.
func DecodePEM(kind string, data []byte) (headers map[string]string, content []byte, err error) {
	b, rest := pem.Decode(data)
	if b == nil || b.Type != kind || len(strings.TrimSpace(string(rest))) != 0 {
		return nil, nil, fmt.Errorf("not exactly one PEM block %q", kind)
	}
	return b.Headers, b.Bytes, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Exists says whether there is such a file.
func Exists(dir, name string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
