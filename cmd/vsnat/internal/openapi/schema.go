package openapi

import (
	"encoding"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

var (
	textType = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType = reflect.TypeFor[json.Marshaler]()
)

// isText reports whether a type is a string in JSON.
func isText(t reflect.Type) bool { return t.Implements(textType) }

// texts say what the strings of types look like that are not ours.
var texts = map[reflect.Type]string{
	reflect.TypeFor[netip.Addr]():     "an IPv4 or IPv6 address",
	reflect.TypeFor[netip.AddrPort](): "ADDRESS:PORT, or [ADDRESS]:PORT for IPv6",
	reflect.TypeFor[netip.Prefix]():   "ADDRESS/LENGTH",
	reflect.TypeFor[control.Errno]():  "an errno by its name in the kernel, such as ESRCH",
}

// schema describes the JSON of a type.
func (d *describer) schema(t reflect.Type) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return d.schema(t.Elem())
	case isText(t):
		s := object{"type": "string"}
		if about := texts[t]; about != "" {
			s["description"] = about
		} else if about := d.comments.of(t); about != "" {
			s["description"] = about
		}
		return s
	case t == reflect.TypeFor[control.ServiceFlags]():
		return object{"type": "array", "description": d.comments.of(t), "items": object{"type": "string", "enum": flagNames()}}
	case t == reflect.TypeFor[nat.Value]():
		return object{
			"anyOf":       []any{object{"type": "integer"}, object{"type": "string"}},
			"description": "a number, or two in a string: \"3 50\"",
		}
	case t.Implements(jsonType):
		d.fail("%v makes its JSON itself, which nobody describes", t)
		return object{}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "minimum": 0, "maximum": limit(t)}
	case reflect.String:
		s := object{"type": "string"}
		if names := d.comments.values(t); len(names) > 0 {
			s["enum"] = names
		}
		return s
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Interface:
		if report := d.opt.Reports["plan"]; report != nil {
			return d.schema(reflect.TypeOf(report))
		}
	case reflect.Struct:
		if t.Name() == "" {
			return d.structSchema(t)
		}
		name := nameOf(t)
		if other := d.types[name]; other == nil {
			d.types[name] = t
			d.schemas[name] = object{} // a type may have itself in it
			d.schemas[name] = d.structSchema(t)
		} else if other != t {
			d.fail("both %v and %v would be %s", t, other, name)
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	d.fail("%v has no description", t)
	return object{}
}

// structSchema describes a struct's fields.
func (d *describer) structSchema(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range jsonFields(t) {
		p := d.schema(f.Type)
		if about := d.comments.field(f.in, f.StructField.Name); about != "" {
			p["description"] = about
		}
		properties[f.name] = p
		if !f.optional {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "properties": properties}
	if about := d.comments.of(t); about != "" {
		s["description"] = about
	}
	if d.asked[t] {
		s["additionalProperties"] = false
	} else if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// field is a field as JSON has it.
type field struct {
	reflect.StructField
	in       reflect.Type // the struct that it is written in
	name     string
	optional bool // it may be missing
}

// jsonFields returns the fields of a struct, with those of the structs that it
// embeds.
func jsonFields(t reflect.Type) (all []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, rest, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct:
			all = append(all, jsonFields(f.Type)...)
			continue
		case !f.IsExported() || tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		all = append(all, field{f, t, name, strings.Contains(rest, "omit")})
	}
	return all
}

// flagNames are the names of a service's flags.
func flagNames() (names []string) {
	b, _ := json.Marshal(^control.ServiceFlags(0)) // it is made of strings
	_ = json.Unmarshal(b, &names)
	return names
}
