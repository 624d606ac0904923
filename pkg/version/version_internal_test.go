package version

import (
	"runtime/debug"
	"testing"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	recorded := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "5ec4a7179a7329e56a25245e159162d4f9bc4ff0"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for name, c := range map[string]struct {
		info            *debug.BuildInfo
		version, commit string
		want            string
	}{
		"nothing is known":               {recorded(""), "", "", "devel"},
		"a test binary or go run":        {recorded("(devel)"), "", "", "devel"},
		"go install of a release":        {recorded("v0.2.0"), "", "", "v0.2.0"},
		"go build in a clone":            {recorded("v0.2.1-0.20261201035502-5ec4a7179a73", revision), "", "", "v0.2.1-0.20261201035502-5ec4a7179a73 (commit 5ec4a7179a73)"},
		"with changed files":             {recorded("(devel)", modified, revision), "", "", "devel (commit 5ec4a7179a73-dirty)"},
		"what is linked in goes before":  {recorded("v0.0.0-1", revision), "v0.1.0", "0123456789ab", "v0.1.0 (commit 0123456789ab)"},
		"linked in without a repository": {recorded("(devel)"), "v0.1.0", "0123456789ab", "v0.1.0 (commit 0123456789ab)"},
	} {
		if got := from(c.info, c.version, c.commit).String(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
