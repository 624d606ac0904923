// Package surgegate_test holds the pages of the repository to what is there: links, tests, packages, targets, dependencies.
// Pages that quote SQL, YAML or commands have their tests beside the code that runs them.
package surgegate_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// pages returns the text of every page in the repository by its path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range tracked(t) {
		if filepath.Ext(path) == ".md" {
			all[path] = read(t, path)
		}
	}
	if len(all) < 10 {
		t.Fatalf("found %d pages", len(all))
	}
	return all
}

// tracked returns the files of the repository, without what is built or downloaded.
func tracked(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Name() {
		case ".git", "build", "node_modules", "data", "keys":
			if d.IsDir() {
				return fs.SkipDir
			}
		}
		if !d.IsDir() {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// anchors returns the headings of a page as GitHub links to them.
func anchors(page string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		name := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		all[regexp.MustCompile(`[^\p{L}\p{N}_-]`).ReplaceAllString(name, "")] = true
	}
	return all
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	all := pages(t)
	for path, page := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			if !exists(to) {
				t.Errorf("%s: %s is not there", path, m[1])
			} else if anchor != "" && !anchors(all[to])[anchor] {
				t.Errorf("%s: %s has no heading %q", path, to, anchor)
			}
		}
	}
}

func TestReadmeIsShort(t *testing.T) {
	t.Parallel()
	if n := len(read(t, "README.md")); n > 8<<10 {
		t.Errorf("README.md has %d bytes, want at most 8 KiB", n)
	}
}

// TestEveryRuleOfSecurityNamesItsTests: each rule names at least one test, each test is in the file that is named with it, and
// each rule that code cites is there.
func TestEveryRuleOfSecurityNamesItsTests(t *testing.T) {
	t.Parallel()
	rules := map[string]bool{}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| .+ \| (.+) \|$`)
	for _, m := range row.FindAllStringSubmatch(read(t, "SECURITY.md"), -1) {
		rules[m[1]] = true
		dir, code, named := "", "", 0
		for _, w := range regexp.MustCompile("`([^`]+_test\\.go)`|\\b(Test\\w+)").FindAllStringSubmatch(m[2], -1) {
			if w[1] != "" { // a file; one without a folder is beside the one before
				if strings.Contains(w[1], "/") || dir == "" {
					dir, code = filepath.Dir(w[1]), ""
				}
				code += read(t, filepath.Join(dir, filepath.Base(w[1])))
				continue
			}
			if named++; !strings.Contains(code, "func "+w[2]+"(") {
				t.Errorf("SECURITY.md, rule %s: %s is not where it is said to be", m[1], w[2])
			}
		}
		if named == 0 {
			t.Errorf("SECURITY.md, rule %s names no test", m[1])
		}
	}
	if len(rules) != 25 {
		t.Errorf("SECURITY.md has %d rules", len(rules))
	}
	cited := regexp.MustCompile(`SECURITY\.md (\d+)`)
	for _, path := range tracked(t) {
		if filepath.Ext(path) != ".go" {
			continue
		}
		code := read(t, path)
		if !strings.Contains(code, "SECURITY.md") {
			continue
		}
		for _, m := range cited.FindAllStringSubmatch(code, -1) {
			if !rules[m[1]] {
				t.Errorf("%s cites rule %s, which SECURITY.md does not have", path, m[1])
			}
		}
	}
}

// TestCommentsCitePagesThatAreThere: a comment that sends its reader to a page sends to one in this repository, and to a heading
// that it has.
func TestCommentsCitePagesThatAreThere(t *testing.T) {
	t.Parallel()
	all := pages(t)
	cited := regexp.MustCompile(`([\w./-]*\b[A-Z][A-Z_-]+\.md)(?:, "([^"]+)")?`)
	for _, path := range tracked(t) {
		if filepath.Ext(path) != ".go" || path == "docs_test.go" {
			continue
		}
		for line := range strings.Lines(read(t, path)) {
			_, comment, ok := strings.Cut(line, "//")
			if !ok || !strings.Contains(comment, ".md") {
				continue
			}
			for _, m := range cited.FindAllStringSubmatch(comment, -1) {
				if filepath.Base(m[1]) == "NAME.md" { // stands for any
					continue
				}
				page, there := all[filepath.Clean(m[1])]
				if !there {
					t.Errorf("%s cites %s, which is not in the repository", path, m[1])
				} else if m[2] != "" && !strings.Contains(page, "# "+m[2]+"\n") {
					t.Errorf("%s cites %q of %s, which has no such heading", path, m[2], m[1])
				}
			}
		}
	}
}

// TestPagesNameWhatIsThere: packages, files, make targets and tests in code spans exist.
func TestPagesNameWhatIsThere(t *testing.T) {
	t.Parallel()
	makefile := read(t, "Makefile")
	var tests strings.Builder
	for _, path := range tracked(t) {
		if strings.HasSuffix(path, "_test.go") {
			tests.WriteString(read(t, path))
		}
	}
	targets := regexp.MustCompile(`(?m)(?:^|[^\w-])make ([a-z][a-z-]+)`)
	for path, page := range pages(t) {
		if path == "CHANGELOG.md" {
			continue
		}
		for _, m := range regexp.MustCompile("`((?:pkg|cmd|loadtest|proto|dashboards)/[\\w./-]+)`").FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "*") {
				continue
			}
			if !exists(m[1]) && !exists(filepath.Join(filepath.Dir(path), m[1])) {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
		for _, span := range regexp.MustCompile("(?s)```[a-z]*\n.*?```|`[^`\n]+`").FindAllString(page, -1) {
			for _, m := range targets.FindAllStringSubmatch(span, -1) {
				if !strings.Contains(makefile, "\n"+m[1]+":") {
					t.Errorf("%s: there is no make %s", path, m[1])
				}
			}
			if name := strings.Trim(span, "`"); regexp.MustCompile(`^Test[A-Z]\w+$`).MatchString(name) && !strings.Contains(tests.String(), "func "+name+"(") {
				t.Errorf("%s: there is no %s", path, name)
			}
			for _, m := range regexp.MustCompile(`go test .*?-run (\w+)`).FindAllStringSubmatch(span, -1) {
				if !strings.Contains(tests.String(), "func "+m[1]) {
					t.Errorf("%s: no test begins with %s", path, m[1])
				}
			}
		}
	}
}

// TestTheMapOfTheCodeIsRight: the tables of pkg/README.md that say where something is decided name packages, and functions or
// types in them.
func TestTheMapOfTheCodeIsRight(t *testing.T) {
	t.Parallel()
	_, table, ok := strings.Cut(read(t, "pkg/README.md"), "## Where is it decided that …\n")
	if !ok {
		t.Fatal("pkg/README.md has no table of where things are decided")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	rows := 0
	for _, m := range regexp.MustCompile("(?m)^\\| .+ \\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(table, -1) {
		rows++
		dir := filepath.Join("pkg", m[1])
		if strings.HasPrefix(m[1], "cmd/") {
			dir = m[1]
		}
		code := source(t, dir)
		if code == "" {
			t.Errorf("pkg/README.md: there is no package %s", m[1])
			continue
		}
		for _, place := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[2], -1) {
			name := place[1]
			if pkg := filepath.Join("pkg", name); strings.HasSuffix(name, ".go") || exists(pkg) || exists(filepath.Join(dir, name)) {
				if !exists(pkg) && !exists(filepath.Join(dir, name)) {
					t.Errorf("pkg/README.md: %s has no %s", m[1], name)
				}
				if exists(pkg) {
					code += source(t, pkg)
				}
				continue
			}
			name = name[strings.LastIndexAny(name, ".)")+1:]
			other := ""
			if before, _, ok := strings.Cut(place[1], "."); ok && exists(filepath.Join("pkg", before)) {
				other = source(t, filepath.Join("pkg", before))
			}
			if !regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(code + other) {
				t.Errorf("pkg/README.md: %s has no %s", m[1], place[1])
			}
		}
	}
	if rows < 20 {
		t.Errorf("found %d rows", rows)
	}
}

// TestTheWayThroughNamesWhatIsThere: what pkg/README.md names on a reset's way is a word of the product's code.
func TestTheWayThroughNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	_, way, ok := strings.Cut(read(t, "pkg/README.md"), "## A reset's way through\n")
	if !ok {
		t.Fatal("pkg/README.md does not show a reset's way through")
	}
	way, _, _ = strings.Cut(way, "\n## ")
	words := map[string]bool{}
	for _, path := range tracked(t) {
		if strings.HasPrefix(path, "pkg/") && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			for w := range strings.FieldsFuncSeq(read(t, path), func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
				words[w] = true
			}
		}
	}
	names := regexp.MustCompile("`([\\w.()*]+)`").FindAllStringSubmatch(way, -1)
	for _, m := range names {
		if strings.HasSuffix(m[1], ".go") {
			continue
		}
		for _, w := range regexp.MustCompile(`\w+`).FindAllString(m[1], -1) {
			if !words[w] {
				t.Errorf("pkg/README.md names %s, but there is no %s", m[1], w)
			}
		}
	}
	if len(names) < 40 {
		t.Errorf("found %d names", len(names))
	}
}

// source is the code of one package, without its tests.
func source(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, path := range files {
		if !strings.HasSuffix(path, "_test.go") {
			all.WriteString(read(t, path))
		}
	}
	return all.String()
}

// TestEveryDependencyHasAReason: each module that go.mod requires directly has a row in CONTRIBUTING.md (SECURITY.md 24).
func TestEveryDependencyHasAReason(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Indirect .Main)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(read(t, "CONTRIBUTING.md"), "## Dependencies, and why\n")
	modules := strings.Fields(string(out))
	if len(modules) < 10 {
		t.Fatalf("go list found %d dependencies", len(modules))
	}
	for _, module := range modules {
		if !regexp.MustCompile(`(?m)[|,] ` + regexp.QuoteMeta(module) + `(,| \|)`).MatchString(table) {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", module)
		}
	}
}
