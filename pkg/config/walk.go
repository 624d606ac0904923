package config

import (
	"encoding"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// leaf is one key: a field of Config that is not a section.
type leaf struct {
	path  string // listen.grpc
	value reflect.Value
	doc   string // what it means, with its unit
	hot   bool   // a reload can change it
	// sections are the optional sections (pointers) on the way, outermost first; they are set once the leaf is.
	sections []section
}

type section struct{ pointer, value reflect.Value }

// defaulter is an optional section that has defaults once it is there.
type defaulter interface{ SetDefaults() }

// env is the leaf's environment variable.
func (l leaf) env() string {
	return "SURGEGATE_" + strings.ToUpper(strings.ReplaceAll(l.path, ".", "_"))
}

// commit sets the optional sections on the way to the leaf, after the leaf was set.
func (l leaf) commit() {
	for _, s := range l.sections {
		if s.pointer.IsNil() {
			s.pointer.Set(s.value)
		}
	}
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// leaves lists every key below v in the order of the struct, those of optional sections that are not set included.
func leaves(v reflect.Value, path string, sections []section) []leaf {
	var out []leaf
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		if path != "" {
			name = path + "." + name
		}
		field := v.Field(i)
		switch {
		case f.Type.Kind() == reflect.Pointer:
			s := section{pointer: field, value: field}
			if field.IsNil() {
				s.value = reflect.New(f.Type.Elem())
				if d, ok := s.value.Interface().(defaulter); ok {
					d.SetDefaults()
				}
			}
			out = append(out, leaves(s.value.Elem(), name, append(sections[:len(sections):len(sections)], s))...)
		case f.Type.Kind() == reflect.Struct && !isText(f.Type):
			out = append(out, leaves(field, name, sections)...)
		default:
			out = append(out, leaf{path: name, value: field, doc: f.Tag.Get("doc"),
				hot: f.Tag.Get("hot") == "true", sections: sections})
		}
	}
	return out
}

// Explain writes one block a key: the key, its default, its environment variable, whether a reload can change it, what it
// means.
func Explain(w io.Writer) error {
	c := Default()
	for _, l := range leaves(reflect.ValueOf(&c).Elem(), "", nil) {
		def := format(l.value)
		if def == "" {
			def = "none"
		}
		change := "needs a restart"
		if l.hot {
			change = "hot: surgectl reload or SIGHUP"
		}
		if _, err := fmt.Fprintf(w, "%s\n    default %s, environment %s, %s\n    %s\n", l.path, def, l.env(), change, l.doc); err != nil {
			return err
		}
	}
	return nil
}

func format(v reflect.Value) string {
	if m, ok := v.Addr().Interface().(encoding.TextMarshaler); ok {
		if b, err := m.MarshalText(); err == nil {
			return string(b)
		}
	}
	if v.Kind() == reflect.Slice {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = format(v.Index(i))
			if v.Index(i).Kind() == reflect.String {
				parts[i] = fmt.Sprintf("%q", parts[i])
			}
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

// Change is a key whose value differs. Values are as Explain writes them; of a URL, which may carry a secret, only that it
// has changed.
type Change struct {
	Key, Before, After string
	Hot                bool // a reload can change it
}

// Diff lists the keys whose values differ, in the order of Explain.
func Diff(before, after Config) []Change {
	var changes []Change
	old, now := leaves(reflect.ValueOf(&before).Elem(), "", nil), leaves(reflect.ValueOf(&after).Elem(), "", nil)
	for i, l := range old {
		b, a := l.told(), now[i].told()
		if b == a {
			continue
		}
		if strings.HasSuffix(l.path, ".url") {
			b, a = "(not shown)", "(not shown)"
		}
		changes = append(changes, Change{Key: l.path, Before: b, After: a, Hot: l.hot})
	}
	return changes
}

// told is the leaf's value; that of a section that is not there is none, whatever its default would be.
func (l leaf) told() string {
	for _, s := range l.sections {
		if s.pointer.IsNil() {
			return "none"
		}
	}
	if s := format(l.value); s != "" {
		return s
	}
	return "none"
}
