package uninstrumented

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// change puts text before the first statement of a function.
type change struct {
	file, receiver, function, text string
}

// pass is an interceptor that does nothing; the parameters have its names.
const (
	passUnary = "return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) " +
		"{ return h(ctx, req) };"
	passStream    = "return func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error { return h(srv, s) };"
	importContext = "import \"context\";"
)

// library is a module that is altered.
type library struct {
	module  string
	folder  string // of the package, in the module
	changes []change
}

func libraries() []library {
	middleware := library{module: "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus", folder: ".", changes: []change{
		{"server_metrics.go", "ServerMetrics", "UnaryServerInterceptor", passUnary},
		{"server_metrics.go", "ServerMetrics", "StreamServerInterceptor", passStream},
	}}
	client := library{module: "github.com/prometheus/client_golang", folder: "prometheus"}
	for _, of := range []struct {
		file, receiver string
		functions      []string
	}{
		{"counter.go", "counter", []string{"Add", "AddWithExemplar", "Inc"}},
		{"gauge.go", "gauge", []string{"Set", "Inc", "Dec", "Add", "Sub"}},
		{"histogram.go", "histogram", []string{"Observe", "ObserveWithExemplar"}},
		{"summary.go", "summary", []string{"Observe"}},
		{"summary.go", "noObjectivesSummary", []string{"Observe"}},
	} {
		for _, f := range of.functions {
			client.changes = append(client.changes, change{of.file, of.receiver, f, "return;"})
		}
	}
	return []library{middleware, client}
}

// Config of a build.
type Config struct {
	// Package to build, such as ./cmd/surgegate. Required.
	Package string
	// Out is where the program goes; altered copies are kept beside it. Required.
	Out string
}

// Build builds the program. The error names what is missing.
func Build(ctx context.Context, c Config) error {
	if c.Package == "" || c.Out == "" {
		return fmt.Errorf("uninstrumented: package and out: both are needed")
	}
	copies := c.Out + ".modules"
	if err := os.RemoveAll(copies); err != nil { // of an earlier build
		return err
	}
	mod, err := run(ctx, "env", "GOMOD")
	if err != nil {
		return err
	}
	mod = strings.TrimSpace(mod)
	text, err := os.ReadFile(mod)
	if err != nil {
		return fmt.Errorf("uninstrumented: not in a module's folder: %w", err)
	}
	for i, l := range libraries() {
		dir, err := filepath.Abs(filepath.Join(copies, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		if err := l.copy(ctx, dir); err != nil {
			return err
		}
		text = fmt.Appendf(text, "\nreplace %s => %s\n", l.module, dir)
	}
	sums, err := os.ReadFile(strings.TrimSuffix(mod, ".mod") + ".sum")
	if err != nil {
		return fmt.Errorf("uninstrumented: %w", err)
	}
	for name, data := range map[string][]byte{"go.mod": text, "go.sum": sums} {
		if err := os.WriteFile(filepath.Join(copies, name), data, 0o600); err != nil {
			return err
		}
	}
	_, err = run(ctx, "build", "-trimpath", "-modfile", filepath.Join(copies, "go.mod"), "-o", c.Out, c.Package)
	return err
}

// copy puts an altered copy of the library's module into dir.
func (l library) copy(ctx context.Context, dir string) error {
	from, err := run(ctx, "list", "-m", "-f", "{{.Dir}}", l.module)
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, os.DirFS(strings.TrimSpace(from))); err != nil {
		return fmt.Errorf("uninstrumented: %w", err)
	}
	byFile := map[string][]change{}
	for _, c := range l.changes {
		byFile[c.file] = append(byFile[c.file], c)
	}
	for name, list := range byFile {
		path := filepath.Join(dir, l.folder, name)
		source, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("uninstrumented: %w", err)
		}
		if source, err = alter(source, list); err != nil {
			return fmt.Errorf("uninstrumented: %s of %s: %w", name, l.module, err)
		}
		if err := os.Remove(path); err != nil { // the module cache's files are read-only, and so is their copy
			return err
		}
		if err := os.WriteFile(path, source, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("uninstrumented: go %s: %w: %s", args[0], err, stderr.Bytes())
	}
	return string(out), nil
}

// alter puts the texts into the source. What follows them is never reached, which the compiler takes.
func alter(source []byte, list []change) ([]byte, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	type insert struct {
		at   int
		text string
	}
	var inserts []insert
	for _, c := range list {
		found := false
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == c.function && receiver(fn) == c.receiver {
				found = true
				inserts = append(inserts, insert{files.Position(fn.Body.Lbrace).Offset + 1, " " + c.text})
			}
		}
		if !found {
			return nil, fmt.Errorf("no method %s of %s", c.function, c.receiver)
		}
		if strings.Contains(c.text, "context.") && !slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"context"` }) {
			inserts = append(inserts, insert{files.Position(f.Name.End()).Offset, "; " + importContext})
		}
	}
	slices.SortFunc(inserts, func(a, b insert) int { return b.at - a.at }) // from the end: earlier offsets stay true
	for i, in := range inserts {
		if i > 0 && in == inserts[i-1] {
			continue
		}
		source = slices.Concat(source[:in.at], []byte(in.text), source[in.at:])
	}
	return source, nil
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) != 1 {
		return ""
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}
