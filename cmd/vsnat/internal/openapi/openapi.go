// Package openapi describes the control API as OpenAPI 3.1 has it: the endpoints
// of package control, with the JSON that their Go types make, and the comments of
// those as descriptions. The file that the director serves is made by it.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// object is a JSON object. Its keys are sorted when it is written.
type object = map[string]any

// Options say what the endpoints do not.
type Options struct {
	Version string // of vsnat
	// Root is the directory of the module, where the comments are.
	Root string
	// Reports are values of the types of the answers that are the director's, by
	// path; of one that is given as any in a field, the type of that field.
	Reports map[string]any
}

// describer makes the description.
type describer struct {
	opt      Options
	comments comments
	schemas  object
	types    map[string]reflect.Type // of the schemas
	asked    map[reflect.Type]bool   // types that are sent by clients
	err      error
}

// Describe returns the description as JSON.
func Describe(endpoints []control.Endpoint, opt Options) ([]byte, error) {
	d := &describer{opt: opt, comments: comments{root: opt.Root}, schemas: object{}, types: map[string]reflect.Type{}, asked: map[reflect.Type]bool{}}
	for i := range endpoints {
		if body := endpoints[i].Body; body != nil {
			d.markAsked(reflect.TypeOf(body))
		}
	}
	paths := object{}
	for i := range endpoints {
		e := &endpoints[i]
		p, _ := paths["/v1/"+e.Path].(object)
		if p == nil {
			p = object{}
			paths["/v1/"+e.Path] = p
		}
		p[strings.ToLower(e.Method)] = d.operation(e)
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "vsnat control API",
			"version":     opt.Version,
			"description": "HTTP and JSON over the director's unix socket, /run/vsnat.sock unless VSNAT_SOCKET says otherwise. Whoever may open the socket may do everything. docs/api.md has examples.",
			"license":     object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
		},
		"servers":    []any{object{"url": "http://vsnat", "description": "any host name: curl --unix-socket /run/vsnat.sock http://vsnat/v1/info"}},
		"security":   []any{},
		"paths":      paths,
		"components": object{"schemas": d.schemas},
	}
	if d.err == nil {
		d.err = d.comments.err
	}
	if d.err != nil {
		return nil, d.err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(doc)
	return b.Bytes(), err
}

// operation describes one endpoint.
func (d *describer) operation(e *control.Endpoint) object {
	op := object{"summary": e.About, "operationId": strings.ToLower(e.Method) + "-" + strings.TrimSuffix(path.Base(e.Path), ".json")}
	if len(e.Query) > 0 {
		var list []any
		for _, q := range e.Query {
			list = append(list, object{"name": q.Name, "in": "query", "description": q.About, "schema": object{"type": "string"}})
		}
		op["parameters"] = list
	}
	refusals := [][2]string{{"400", "The request is malformed."}}
	if e.Body != nil {
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": d.schema(reflect.TypeOf(e.Body))}}}
		refusals = append(refusals, [2]string{"409", "The director refuses: errno says why, as the kernel's IPVS would."},
			[2]string{"413", "The body is too large."}, [2]string{"503", "Other requests take all the room there is: try again."})
	} else {
		for _, q := range e.Query {
			if q.Name == "service" {
				refusals = append(refusals, [2]string{"404", "There is no such service."})
			}
		}
		if e.Answer == nil && d.opt.Reports[e.Path] != nil {
			refusals = append(refusals, [2]string{"503", "The director has no such report now."})
		}
	}
	content := object{}
	switch answer := d.answerOf(e); {
	case answer == nil:
		content["application/json"] = object{"schema": object{"type": "object", "description": "an OpenAPI document"}}
	case e.Lines:
		content["application/x-ndjson"] = object{"schema": d.schema(answer)}
	default:
		content["application/json"] = object{"schema": d.schema(answer)}
	}
	if e.Also != nil {
		content["application/x-ndjson"] = object{"schema": d.schema(reflect.TypeOf(e.Also))}
	}
	responses := object{"200": object{"description": "Done.", "content": content}}
	for _, r := range refusals {
		body := control.RefusedAnswer()
		if e.Refused != nil && (r[0] == "409" || r[0] == "400") {
			body = e.Refused
		}
		responses[r[0]] = object{"description": r[1], "content": object{"application/json": object{"schema": d.refusal(e, body, r[0])}}}
	}
	op["responses"] = responses
	return op
}

// refusal returns the schema of a refusal. A body that is malformed as JSON is
// refused as everywhere, one with a malformed command as the director refuses.
func (d *describer) refusal(e *control.Endpoint, body any, status string) object {
	is := d.schema(reflect.TypeOf(body))
	if e.Refused != nil && status == "400" {
		return object{"anyOf": []any{is, d.schema(reflect.TypeOf(control.RefusedAnswer()))}}
	}
	return is
}

// answerOf returns the type of an endpoint's answer, nil if it has none of ours.
func (d *describer) answerOf(e *control.Endpoint) reflect.Type {
	if e.Answer != nil {
		return reflect.TypeOf(e.Answer)
	}
	if report := d.opt.Reports[e.Path]; report != nil {
		return reflect.TypeOf(report)
	}
	if e.Method != http.MethodGet || e.Path != "openapi.json" {
		d.fail("%s %s: nobody says what it answers", e.Method, e.Path)
	}
	return nil
}

func (d *describer) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("openapi: "+format, args...)
	}
}

// markAsked notes the types that clients send: these need not be complete, and
// may have no other fields.
func (d *describer) markAsked(t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || d.asked[t] || isText(t) {
		return
	}
	d.asked[t] = true
	for _, f := range jsonFields(t) {
		d.markAsked(f.Type)
	}
}

// nameOf returns the name of a struct's schema.
func nameOf(t reflect.Type) string { return strings.ToUpper(t.Name()[:1]) + t.Name()[1:] }

// limit is the largest number that an unsigned type holds.
func limit(t reflect.Type) json.Number {
	return json.Number(strconv.FormatUint(1<<t.Bits()-1, 10))
}
