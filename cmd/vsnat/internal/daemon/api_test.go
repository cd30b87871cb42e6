package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vsnat/cmd/vsnat/internal/address"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/plan"
	"vsnat/nat/wire"
)

// schemas checks answers against the API's description.
type schemas struct {
	t   testing.TB
	all map[string]any
}

type object = map[string]any

// check tells what of a value is not as its schema says.
func (s *schemas) check(where string, schema object, v any) {
	if ref, ok := schema["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/components/schemas/")
		s.check(where, s.all[name].(object), v)
		return
	}
	if kinds, ok := schema["anyOf"].([]any); ok { // a number or a string
		kind := kinds[0]
		if _, text := v.(string); text {
			kind = kinds[1]
		}
		s.check(where, kind.(object), v)
		return
	}
	good := false
	switch schema["type"] {
	case "boolean":
		_, good = v.(bool)
	case "string":
		var text string
		text, good = v.(string)
		if names, ok := schema["enum"].([]any); ok && !slices.Contains(names, any(text)) {
			good = false
		}
	case "number":
		_, good = v.(json.Number)
	case "integer":
		var n json.Number
		if n, good = v.(json.Number); good && strings.ContainsAny(n.String(), ".eE-") && schema["minimum"] != nil {
			good = false
		}
	case "array":
		var list []any
		list, good = v.([]any)
		for i := range list {
			s.check(fmt.Sprintf("%s[%d]", where, i), schema["items"].(object), list[i])
		}
	case "object":
		var o object
		o, good = v.(object)
		s.object(where, schema, o)
	}
	if !good {
		s.t.Errorf("%s: %v is not as %v", where, v, schema)
	}
}

func (s *schemas) object(where string, schema, o object) {
	properties, _ := schema["properties"].(object)
	for name, v := range o {
		if p, ok := properties[name].(object); ok {
			s.check(where+"."+name, p, v)
		} else if more, ok := schema["additionalProperties"].(object); ok {
			s.check(where+"."+name, more, v)
		} else {
			s.t.Errorf("%s: nobody tells of the field %q", where, name)
		}
	}
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := o[name.(string)]; !ok {
			s.t.Errorf("%s: the field %q is missing", where, name)
		}
	}
}

// TestAnswersAreDescribed asks a director with a bit of everything at every
// endpoint, and holds what it answers to the description that it serves.
func TestAnswersAreDescribed(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	w.passes(1, otherNIC)
	_, others := w.at(otherNIC)
	others.send(segment(otherNIC, other, from(1), wire.SYN|wire.ACK))
	eventually(t, "the counters are there", func() bool { return d.engine.Total().OutPkts == 1 })
	d.declared.base = &plan.State{}
	d.addresses = address.New(func(string, error) {})
	t.Cleanup(d.addresses.Close)
	d.cfg.File = filepath.Join(t.TempDir(), "vsnat.toml")
	if err := os.WriteFile(d.cfg.File, []byte(twoServers), 0o600); err != nil {
		t.Fatal(err)
	}
	d.engine.Estimate()
	server := control.NewServer(d, nil)
	ask := func(method, target, body string, status int) *http.Response {
		t.Helper()
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		if target == "/v1/trace" { // has no end of its own
			ctx, stop := context.WithCancel(t.Context())
			r = r.WithContext(ctx)
			go func() {
				defer stop()
				for range 20 {
					others.send(segment(otherNIC, other, from(1), wire.ACK))
					time.Sleep(20 * time.Millisecond)
				}
			}()
		}
		server.ServeHTTP(w, r)
		if w.Code != status {
			t.Fatalf("%s %s: status %d, want %d: %s", method, target, w.Code, status, w.Body)
		}
		return w.Result()
	}
	var doc struct {
		Paths      map[string]map[string]object
		Components struct{ Schemas map[string]any }
	}
	if err := json.NewDecoder(ask("GET", "/v1/openapi.json", "", 200).Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	s := &schemas{t, doc.Components.Schemas}

	web := `"service":{"protocol":"tcp","address":"192.0.2.1","port":80`
	asked := map[string]bool{}
	for _, c := range []struct {
		method, target, body string
		status               int
	}{
		{"POST", "/v1/apply", `{"commands":[{"op":"set-life",` + web + `,"life":{"preset":"stateful"}}}]}`, 200},
		{"POST", "/v1/apply", `{"commands":[{"op":"set-proxy-protocol",` + web + `,"proxy_protocol":"v2"}}]}`, 200},
		{"POST", "/v1/apply", `{"commands":[{"op":"server-down",` + web + `},"server":{"address":"10.0.2.11","port":8080}}]}`, 200},
		{"POST", "/v1/apply", `{"commands":[{"op":"delete-server",` + web + `},"server":{"address":"10.0.3.12","port":8080}}]}`, 200},
		{"POST", "/v1/apply", `{"go_on":true,"commands":[{"op":"flush","at":1}]}`, 400},
		{"POST", "/v1/apply", `{"commands":[{"op":"add-server",` + web + `},"server":{"address":"10.0.2.19","port":8080,"method":"full"}}]}`, 200},
		{"POST", "/v1/apply", `{"commands":1}`, 400},
		{"POST", "/v1/apply", `{"commands":[{"op":"delete-service","service":{"fwmark":9}}]}`, 409},
		{"POST", "/v1/apply", `{"go_on":true,"commands":[{"op":"delete-service","service":{"fwmark":9}}]}`, 200},
		{"POST", "/v1/transaction", `{"commands":[{"op":"add-service","service":{"fwmark":7,"scheduler":"sh","flags":["persistent","flag-1"],"timeout":60,"netmask":"255.255.255.0"}}]}`, 200},
		{"POST", "/v1/transaction", `{"commands":[{"op":"delete-service","service":{"fwmark":9}}]}`, 409},
		{"PUT", "/v1/settings", `{"settings":{"sloppy_tcp":0}}`, 200},
		{"PUT", "/v1/settings", `{"settings":{"sloppy":0}}`, 409},
		{"PUT", "/v1/marks", `{"marks":[{"mark":7,"dst":"192.0.2.0/24","src":"198.51.100.0/24","protocol":"tcp","first_port":80,"last_port":90,"nic":"b"}]}`, 200},
		{"GET", "/v1/services", "", 200},
		{"GET", "/v1/services?service=tcp:192.0.2.1:80", "", 200},
		{"GET", "/v1/services?service=tcp:192.0.2.1:81", "", 404},
		{"GET", "/v1/services?format=ndjson", "", 200},
		{"GET", "/v1/connections", "", 200},
		{"POST", "/v1/explain", `{"from":"192.0.2.9:4000","to":"192.0.2.1:80","flags":["syn"],"fwmark":0,"if_down":["10.0.2.11"]}`, 200},
		{"POST", "/v1/explain", `{"from":"192.0.2.9:4000","to":"192.0.2.1:81"}`, 200},
		{"POST", "/v1/explain", `{"from":"192.0.2.7:1","to":"192.0.2.1:80","flags":["ack"]}`, 200},
		{"POST", "/v1/explain", `{"from":"192.0.2.9:4000","to":"192.0.2.1:80","nic":"nowhere"}`, 400},
		{"POST", "/v1/explain", `{"from":"192.0.2.9:4000","to":"192.0.2.1:80","flags":["fast"]}`, 400},
		{"GET", "/v1/trace", "", 200},
		{"GET", "/v1/trace?sample=none", "", 400},
		{"GET", "/v1/timeouts", "", 200},
		{"GET", "/v1/daemons", "", 200},
		{"GET", "/v1/settings", "", 200},
		{"GET", "/v1/marks", "", 200},
		{"PUT", "/v1/pools", `{"pools":[{"name":"edge","addresses":["10.0.2.1"],"first_port":20000,"last_port":29999}]}`, 200},
		{"PUT", "/v1/pools", `{"pools":[{"name":"edge","first_port":2,"last_port":1}]}`, 400},
		{"GET", "/v1/pools", "", 200},
		{"PUT", "/v1/masquerades", `{"masquerades":[{"network":"10.0.2.0/24","nic":"b","pool":"edge"}]}`, 200},
		{"PUT", "/v1/masquerades", `{"masquerades":[{"network":"10.0.2.0/24","pool":"none"}]}`, 409},
		{"GET", "/v1/masquerades", "", 200},
		{"PUT", "/v1/helpers", `{"helpers":[{"name":"ftp","ports":[21,2121]},{"name":"tftp","ports":[]}]}`, 200},
		{"PUT", "/v1/helpers", `{"helpers":[{"name":"irc","ports":[6667]}]}`, 409},
		{"PUT", "/v1/helpers", `{"helpers":[{"ports":[6667]}]}`, 400},
		{"GET", "/v1/helpers", "", 200},
		{"GET", "/v1/info", "", 200},
		{"GET", "/v1/status", "", 200},
		{"GET", "/v1/drops", "", 200},
		{"POST", "/v1/latency", `{"record":[{"protocol":"tcp","address":"192.0.2.1","port":80}]}`, 200},
		{"GET", "/v1/latency", "", 200},
		{"POST", "/v1/latency", `{"reset":true,"forget":[{"protocol":"tcp","address":"192.0.2.1","port":80}]}`, 200},
		{"POST", "/v1/latency", `{"record":[{"protocol":"gre"}]}`, 400},
		{"POST", "/v1/plan", `{"files":[{"name":"x","text":"x = 1"}]}`, 409},
		{"POST", "/v1/plan", `{}`, 200},
		{"POST", "/v1/reload", `{"confirm":60}`, 200},
		{"POST", "/v1/confirm", `{}`, 200},
	} {
		path, _, _ := strings.Cut(c.target, "?")
		operation := doc.Paths[path][strings.ToLower(c.method)]
		asked[c.method+" "+path] = true
		response := ask(c.method, c.target, c.body, c.status)
		described, ok := operation["responses"].(object)[fmt.Sprint(c.status)].(object)
		if !ok {
			t.Errorf("%s %s: nobody tells of status %d", c.method, path, c.status)
			continue
		}
		kind := response.Header.Get("Content-Type")
		content, ok := described["content"].(object)[kind].(object)
		if !ok {
			t.Errorf("%s %s: nobody tells of an answer of %s", c.method, path, kind)
			continue
		}
		schema := content["schema"].(object)
		lines := json.NewDecoder(response.Body)
		lines.UseNumber()
		n := 0
		for {
			var v any
			err := lines.Decode(&v)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
			if choice, ok := schema["anyOf"].([]any); ok {
				// Of two kinds of refusal a malformed command has the first.
				pick := choice[1]
				if _, commands := v.(object)["done"]; commands {
					pick = choice[0]
				}
				s.check(c.method+" "+path, pick.(object), v)
				continue
			}
			s.check(c.method+" "+path, schema, v)
		}
		if n == 0 {
			t.Errorf("%s %s: the answer is empty", c.method, c.target)
		}
	}
	for _, e := range control.Endpoints() {
		if name := e.Method + " /v1/" + e.Path; !asked[name] && e.Path != "openapi.json" {
			t.Errorf("%s is not asked by this test", name)
		}
	}
}
