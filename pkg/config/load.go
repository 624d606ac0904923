package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// FieldError is one thing that is wrong. Where is file:line or the environment variable; Path the key.
type FieldError struct {
	Where, Path, Problem string
}

// Error returns one line.
func (e FieldError) Error() string {
	s := e.Problem
	if e.Path != "" {
		s = e.Path + ": " + s
	}
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	return s
}

// Load reads the file (none when the path is empty), applies the overrides of environ ("KEY=value" entries; those that
// start with SURGEGATE_) and validates. The error joins every FieldError that was found.
func Load(path string, environ []string) (Config, error) {
	c := Default()
	var file *ast.File
	if path != "" {
		data, err := readBounded(path)
		if err != nil {
			return Config{}, err
		}
		if file, err = decode(path, data, &c); err != nil {
			return Config{}, err
		}
	}
	fromEnv, err := override(&c, environ)
	if err != nil {
		return Config{}, err
	}
	if path == "" && c.Store.none() {
		c.Store.SQLite = &SQLite{Sample: true}
	}
	if path == "" && c.Mail.none() {
		c.Mail.Maildir = &Maildir{}
	}
	c.complete()
	var errs []error
	for _, e := range c.validate() {
		e.Where = position(path, file, e.Path)
		if name, ok := fromEnv[e.Path]; ok {
			e.Where = name
		}
		errs = append(errs, e)
	}
	return c, errors.Join(errs...)
}

// maxFileBytes bounds the file: every key with its meaning beside it takes 10 KiB. The parser keeps
// many times what it reads (a file of 50 MB that was named by mistake took it 30 s), so a wrong file is told by its size.
const maxFileBytes = 64 << 10

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxFileBytes {
		return nil, FieldError{Where: path, Problem: fmt.Sprintf("is larger than %d KiB: name the configuration file", maxFileBytes>>10)}
	}
	return data, nil
}

// decode reads strict YAML over c, and returns the syntax tree for positions.
func decode(path string, data []byte, c *Config) (*ast.File, error) {
	file, err := parser.ParseBytes(data, 0)
	if err == nil {
		for _, doc := range file.Docs[min(1, len(file.Docs)):] {
			if doc.Body != nil {
				return nil, FieldError{
					Where:   fmt.Sprintf("%s:%d", path, doc.Body.GetToken().Position.Line),
					Problem: "is in a second YAML document, which is not read: take out the line --- before it",
				}
			}
		}
		before := *c
		err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(c)
		if reflect.ValueOf(*c).IsZero() { // nothing, null or --- leaves nothing of the defaults
			*c = before
		}
	}
	if err == nil || errors.Is(err, io.EOF) { // an empty file is all defaults
		return file, nil
	}
	var located yaml.Error
	if errors.As(err, &located) {
		return nil, FieldError{Where: fmt.Sprintf("%s:%d", path, located.GetToken().Position.Line), Problem: inOurWords(located)}
	}
	// The library gives no position for the errors of our own types, so find the key that does not parse.
	var errs []error
	var probe Config
	for _, l := range leaves(reflect.ValueOf(&probe).Elem(), "", nil) {
		node := find(file, l.path)
		scalar, ok := node.(ast.ScalarNode)
		if !ok || !isText(l.value.Type()) {
			continue
		}
		text := fmt.Sprint(scalar.GetValue())
		if s, ok := node.(*ast.FloatNode); ok {
			text = s.GetToken().Value
		}
		if err := l.value.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			errs = append(errs, FieldError{Where: position(path, file, l.path), Path: l.path, Problem: err.Error()})
		}
	}
	if len(errs) == 0 {
		errs = append(errs, FieldError{Where: path, Problem: err.Error()})
	}
	return nil, errors.Join(errs...)
}

// The library's ways of saying that a value is of another kind than its key.
var (
	wrongType = regexp.MustCompile(`^cannot unmarshal (\S.*) into Go (?:struct field \S+|value) of type (\S+)$`)
	wrongNode = regexp.MustCompile(`^(\S+) was used where (\S+) is expected$`)
	overflow  = regexp.MustCompile(`^cannot unmarshal (\S+) into Go value of type \S+ \( overflow \)$`)
)

// inOurWords says what is wrong without the names of Go, and what belongs there instead.
func inOurWords(e yaml.Error) string {
	problem := e.GetMessage()
	if strings.HasPrefix(problem, "unknown field") {
		return strings.Replace(problem, "unknown field", "unknown key", 1) + ": `surgegate check --explain` lists every key"
	}
	if m := overflow.FindStringSubmatch(problem); m != nil {
		return m[1] + " is out of bounds: write a smaller number"
	}
	m := wrongType.FindStringSubmatch(problem)
	if m == nil {
		m = wrongNode.FindStringSubmatch(problem)
	}
	if m == nil {
		return problem
	}
	return fmt.Sprintf("%s stands where %s belongs", kindOf(m[1]), kindOf(m[2]))
}

// kindOf names a kind of Go or YAML.
func kindOf(kind string) string {
	switch {
	case kind == "string":
		return "a text"
	case kind == "bool":
		return "true or false"
	case kind == "null":
		return "nothing"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "map"):
		return "a section, written {key: value},"
	case strings.HasPrefix(kind, "[]"), kind == "sequence":
		return "a list, written [a, b],"
	default:
		return kind
	}
}

// override applies the environment and returns which keys it set, with the variable's name.
func override(c *Config, environ []string) (map[string]string, error) {
	known := map[string]leaf{}
	for _, l := range leaves(reflect.ValueOf(c).Elem(), "", nil) {
		known[l.env()] = l
	}
	set := map[string]string{}
	var errs []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		// An empty variable is one that is not set: so compose files and unit files pass optional ones on.
		if !strings.HasPrefix(name, "SURGEGATE_") || isReserved(name) || value == "" {
			continue
		}
		l, ok := known[name]
		if !ok && isServiceLink(name, value) {
			continue
		}
		if !ok {
			errs = append(errs, FieldError{Where: name, Problem: "unknown variable: `surgegate check --explain` lists every one"})
			continue
		}
		if err := parse(l.value, value); err != nil {
			errs = append(errs, FieldError{Where: name, Path: l.path, Problem: err.Error()})
			continue
		}
		l.commit()
		set[l.path] = name
	}
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	return set, errors.Join(errs...)
}

// serviceLink matches variables that Kubernetes and Docker set in a container for a service, beside NAME_PORT=tcp://…:
// SURGEGATE_SERVICE_HOST, SURGEGATE_SERVICE_PORT_GRPC, SURGEGATE_PORT_7600_TCP_ADDR.
var serviceLink = regexp.MustCompile(`_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// isServiceLink reports whether a variable that is no key comes from Kubernetes or Docker: they set some for each service whose
// name begins with surgegate.
func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// isReserved tells variables that the tests and tools of this repository use from overrides.
func isReserved(name string) bool {
	return name == "SURGEGATE_DASHBOARDS" || strings.HasPrefix(name, "SURGEGATE_CRASH_") || strings.HasPrefix(name, "SURGEGATE_BENCH_") ||
		strings.HasPrefix(name, "SURGEGATE_TEST_")
}

func parse(v reflect.Value, text string) error {
	if isText(v.Type()) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	if v.Kind() == reflect.String {
		v.SetString(text)
		return nil
	}
	if err := yaml.Unmarshal([]byte(text), v.Addr().Interface()); err != nil {
		var located yaml.Error
		if errors.As(err, &located) {
			return errors.New(inOurWords(located))
		}
		return err
	}
	return nil
}

func find(file *ast.File, path string) ast.Node {
	if file == nil {
		return nil
	}
	p, err := yaml.PathString("$." + path)
	if err != nil {
		return nil
	}
	node, err := p.FilterFile(file)
	if err != nil {
		return nil
	}
	return node
}

// position tells where the key, or else the nearest section that holds it, stands in the file.
func position(name string, file *ast.File, path string) string {
	if name == "" {
		return ""
	}
	for path != "" {
		if node := find(file, path); node != nil {
			if token := node.GetToken(); token != nil && token.Position != nil {
				return fmt.Sprintf("%s:%d", name, token.Position.Line)
			}
		}
		cut := strings.LastIndexByte(path, '.')
		if cut < 0 {
			break
		}
		path = path[:cut]
	}
	return name
}
