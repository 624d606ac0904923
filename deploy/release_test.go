package deploy_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// release writes an archive of surgectl alone, from the tree at root.
func release(t *testing.T, root, tool string) (out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "release")
	run(t, []string{
		"OUT=" + out, "VERSION=v1.2.3", "COMMIT=0123456789ab", "PLATFORMS=linux/amd64", "PROGRAMS=surgectl",
		"SOURCE_DATE_EPOCH=1700000000", "SBOM_TOOL=" + tool, "SURGECTL_ADDRESS=elsewhere:1",
	}, filepath.Join(root, "deploy", "release"))
	return out
}

// TestRelease_IsReproducibleAndComplete: another folder gives the same bytes, and everything that a package needs is in the archive.
func TestRelease_IsReproducibleAndComplete(t *testing.T) {
	t.Parallel()
	tool, err := filepath.Abs("../build/bin/cyclonedx-gomod")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tool); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("make build/bin/cyclonedx-gomod is missing")
	}
	elsewhere := t.TempDir()
	for _, dir := range []string{"cmd", "deploy", "internal", "pkg", "proto"} {
		if err := os.CopyFS(filepath.Join(elsewhere, dir), os.DirFS(filepath.Join("..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum", "LICENSE", "README.md", "CHANGELOG.md"} {
		text, err := os.ReadFile(filepath.Join("..", file))
		if err == nil {
			err = os.WriteFile(filepath.Join(elsewhere, file), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	first, second := release(t, "..", tool), release(t, elsewhere, tool)
	const name = "surgegate_1.2.3_linux_amd64"
	sums := readFile(t, filepath.Join(first, "SHA256SUMS"))
	if other := readFile(t, filepath.Join(second, "SHA256SUMS")); sums != other {
		t.Errorf("another folder gives other bytes:\n%s\n%s", sums, other)
	}
	check := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first
	if out, err := check.CombinedOutput(); err != nil || strings.Count(string(out), ": OK\n") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	files := unpack(t, filepath.Join(first, name+".tar.gz"))
	for _, want := range []string{
		"LICENSE", "README.md", "CHANGELOG.md", "bin/surgectl", "completions/bash/surgectl", "completions/zsh/_surgectl",
		"completions/fish/surgectl.fish", "man/man1/surgectl.1.gz", "man/man1/surgectl-lanes-pause.1.gz",
		"deploy/README.md", "deploy/surgegate.yaml", "deploy/systemd/surgegate.service",
	} {
		if files[name+"/"+want] == "" {
			t.Errorf("the archive has no %s", want)
		}
	}
	program := filepath.Join(t.TempDir(), "surgectl")
	if err := os.WriteFile(program, []byte(files[name+"/bin/surgectl"]), 0o700); err != nil {
		t.Fatal(err)
	}
	if out := run(t, nil, program, "--version"); !strings.Contains(out, "v1.2.3 (commit 0123456789ab)") {
		t.Error(out)
	}
	page, err := gzip.NewReader(strings.NewReader(files[name+"/man/man1/surgectl.1.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(page)
	if err != nil || !strings.Contains(string(text), ".SH SYNOPSIS") || !strings.Contains(string(text), "Nov 2023") || strings.Contains(string(text), "elsewhere") {
		t.Errorf("%v\n%s", err, text)
	}
	checkBillOfMaterials(t, readFile(t, filepath.Join(first, name+"_surgectl.cdx.json")))
}

func checkBillOfMaterials(t *testing.T, text string) {
	t.Helper()
	var bom struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(text), &bom); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, c := range bom.Components {
		found[c.Name] = c.Version != ""
	}
	if bom.Format != "CycloneDX" || !found["google.golang.org/grpc"] || !found["std"] {
		t.Errorf("%s with %v", bom.Format, found)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// unpack returns the content of each file; each has the date and the owner that were asked for.
func unpack(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it was only read
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.ModTime.Unix() != 1700000000 || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s is of %v and belongs to %d:%d", h.Name, h.ModTime, h.Uid, h.Gid)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
}
