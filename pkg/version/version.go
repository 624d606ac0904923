// Package version says which surgegate a program is. Every program has it in --version; surgegate shows it in its first log
// line, its metrics, its traces and its status too.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// linkedVersion and linkedCommit are set by `make build` and `make release` (-ldflags -X). They go before what Go has
// recorded, because Go records nothing in a Git worktree, outside a repository, or with -buildvcs=false.
var linkedVersion, linkedCommit string

// commitLength is how much of a commit's hash is shown.
const commitLength = 12

// Build is what a program was built from.
type Build struct {
	// Version is a release such as v0.1.0, a pseudo-version of Go, or devel.
	Version string
	// Commit is the start of the commit's hash, with -dirty where files had changed since; empty where it is not known.
	Commit string
	// Go is the Go version that built the program.
	Go string
}

// Current returns what this program was built from.
func Current() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return from(info, linkedVersion, linkedCommit)
}

func from(info *debug.BuildInfo, version, commit string) Build {
	if info.Main.Version != "(devel)" {
		version = cmp.Or(version, info.Main.Version)
	}
	return Build{Version: cmp.Or(version, "devel"), Commit: cmp.Or(commit, recordedCommit(info)), Go: runtime.Version()}
}

// recordedCommit returns the commit that the Go command has recorded; empty where it has recorded none.
func recordedCommit(info *debug.BuildInfo) (commit string) {
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(commitLength, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}

// String returns version and commit, as people read them: "v0.1.0 (commit 5ec4a7179a73)".
func (b Build) String() string {
	if b.Commit == "" {
		return b.Version
	}
	return fmt.Sprintf("%s (commit %s)", b.Version, b.Commit)
}

// Full returns a line for --version, with the Go version and the platform.
func (b Build) Full() string {
	return fmt.Sprintf("%s %s %s/%s", b, b.Go, runtime.GOOS, runtime.GOARCH)
}
