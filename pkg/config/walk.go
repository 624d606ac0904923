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
			out = append(out, leaf{path: name, value: field, doc: f.Tag.Get("doc"), sections: sections})
		}
	}
	return out
}

// Explain writes one block a key: the key, its default, its environment variable, what it means.
func Explain(w io.Writer) error {
	c := Default()
	for _, l := range leaves(reflect.ValueOf(&c).Elem(), "", nil) {
		def := format(l.value)
		if def == "" {
			def = "none"
		}
		if _, err := fmt.Fprintf(w, "%s\n    default %s, environment %s\n    %s\n", l.path, def, l.env(), l.doc); err != nil {
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
			parts[i] = fmt.Sprintf("%q", fmt.Sprint(v.Index(i).Interface()))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
