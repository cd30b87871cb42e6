package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ask runs one request through the handler.
func ask(d Director, method, target, body string) (status int, answer string) {
	w := httptest.NewRecorder()
	newServer(d, nil, defaultLimits).ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

const (
	svc  = `{"protocol":"tcp","address":"10.0.0.1","port":80,"scheduler":"rr"}`
	gone = `{"protocol":"tcp","address":"10.0.0.9","port":80}`
	srv  = `{"address":"10.2.0.1","port":80,"method":"masq","weight":1}`
)

func cmds(c ...string) string { return `{"commands":[` + strings.Join(c, ",") + `]}` }

func cmd(op string, parts ...string) string {
	return `{"op":"` + op + `"` + strings.Join(append([]string{""}, parts...), ",") + `}`
}

// TestApply checks what is done, what is refused and with which words.
func TestApply(t *testing.T) {
	service, server := `"service":`+svc, `"server":`+srv
	for _, c := range []struct {
		name   string
		body   string
		status int
		done   int // commands that the director ran
		answer string
	}{
		{"nothing", cmds(), 200, 0, `{"done":0}`},
		{"two", cmds(cmd("add-service", service), cmd("add-server", service, server)), 200, 2, `{"done":2}`},
		{
			"every op", cmds(cmd("add-service", service), cmd("edit-service", service), cmd("delete-service", service),
				cmd("add-server", service, server), cmd("edit-server", service, server), cmd("delete-server", service, `"server":{"address":"fd00::1","weight":0}`),
				cmd("flush"), cmd("zero"), cmd("zero", service), cmd("set-timeouts", `"timeouts":{"tcp":1,"tcp_fin":2,"udp":3}`),
				cmd("start-daemon", `"daemon":{"role":"master","sync_id":1}`), cmd("stop-daemon", `"daemon":{"role":"backup","sync_id":1}`)),
			200, 12, `{"done":12}`,
		},
		{
			"refused midway", cmds(cmd("add-service", service), cmd("delete-service", `"service":`+gone), cmd("flush")), 409, 1,
			`{"done":1,"error":{"index":1,"op":"delete-service","errno":"ESRCH","message":"no such process"}}`,
		},
		{
			"malformed last", cmds(cmd("add-service", service), cmd("add-server", service)), 400, 0,
			`{"done":0,"error":{"index":1,"op":"add-server","errno":"EINVAL","message":"add-server needs \"server\""}}`,
		},
		{"unknown op", cmds(cmd("explode")), 400, 0, `{"done":0,"error":{"index":0,"op":"explode","errno":"EINVAL","message":"unknown op \"explode\""}}`},
		{"too much", cmds(cmd("flush", service)), 400, 0, `{"done":0,"error":{"index":0,"op":"flush","errno":"EINVAL","message":"flush takes no \"service\""}}`},
		{
			"family", cmds(cmd("add-service", `"service":{"family":"ipv6","protocol":"tcp","address":"10.0.0.1"}`)), 400, 0,
			`{"done":0,"error":{"index":0,"op":"add-service","errno":"EAFNOSUPPORT","message":"service family \"ipv6\" does not fit address 10.0.0.1"}}`,
		},
		{"unknown field", cmds(cmd("flush", `"now":true`)), 400, 0, `{"error":{"errno":"EINVAL","message":"request body: json: unknown field \"now\""}}`},
		{"two values", cmds() + cmds(), 400, 0, `{"error":{"errno":"EINVAL","message":"request body: there is more after the JSON value"}}`},
		{"no JSON", `x`, 400, 0, `{"error":{"errno":"EINVAL","message":"request body: invalid character 'x' looking for beginning of value"}}`},
		{"empty", ``, 400, 0, `{"error":{"errno":"EINVAL","message":"request body: there is none; JSON is wanted"}}`},
		{"cut off", `{"commands":[`, 400, 0, `{"error":{"errno":"EINVAL","message":"request body: it ends before its JSON does"}}`},
		{
			"port too large", cmds(cmd("delete-service", `"service":{"port":70000}`)), 400, 0,
			`{"error":{"errno":"EINVAL","message":"request body: commands.service.port: number 70000 where a number, 0 to 65535, is wanted"}}`,
		},
		{
			"weight quoted", cmds(cmd("add-server", `"server":{"weight":"2"}`)), 400, 0,
			`{"error":{"errno":"EINVAL","message":"request body: commands.server.weight: string where a number, -2147483648 to 2147483647, is wanted"}}`,
		},
		{"a list", `[]`, 400, 0, `{"error":{"errno":"EINVAL","message":"request body: array where an object is wanted"}}`},
		{
			"unknown flag", cmds(cmd("add-service", `"service":{"flags":["x"]}`)), 400, 0,
			`{"error":{"errno":"EINVAL","message":"request body: unknown service flag \"x\""}}`,
		},
		{
			"too large", cmds(cmd(strings.Repeat("x", int(defaultLimits.body)))), 413, 0,
			`{"error":{"errno":"EINVAL","message":"request body is larger than 33554432 bytes: send fewer commands at a time"}}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &recorder{}
			status, answer := ask(d, "POST", "/v1/apply", c.body)
			if status != c.status || answer != c.answer+"\n" || d.done() != c.done {
				t.Errorf("status %d, %d done, answer\n%swant %d, %d done\n%s", status, d.done(), answer, c.status, c.done, c.answer)
			}
		})
	}
}

// TestCommandModes checks what becomes of the commands beside a refused one.
func TestCommandModes(t *testing.T) {
	add, del := cmd("add-service", `"service":`+svc), cmd("delete-service", `"service":`+gone)
	goOn := func(list string) string { return strings.Replace(list, "{", `{"go_on":true,`, 1) }
	const refused = `{"index":1,"op":"delete-service","errno":"ESRCH","message":"no such process"}`
	for _, c := range []struct {
		name, method, path, body string
		status, done             int
		answer                   string
	}{
		{"apply", "POST", "apply", cmds(add, del, add), 409, 1, `{"done":1,"error":` + refused + `}`},
		{"go on", "POST", "apply", goOn(cmds(add, del, add)), 200, 2, `{"done":2,"errors":[` + refused + `]}`},
		{"transaction", "POST", "transaction", cmds(add, del, add), 409, 0, `{"done":0,"error":` + refused + `}`},
		{"whole transaction", "POST", "transaction", cmds(add, add), 200, 2, `{"done":2}`},
		{"go on in a transaction", "POST", "transaction", goOn(cmds(add)), 400, 0, `{"error":{"errno":"EINVAL","message":"a transaction takes no \"go_on\""}}`},
		{"settings", "PUT", "settings", `{"settings":{"sloppy_tcp":1}}`, 200, 1, `{"done":1}`},
		{"no settings", "PUT", "settings", `{}`, 400, 0, `{"done":0,"error":{"index":0,"op":"set","errno":"EINVAL","message":"set needs \"settings\""}}`},
		{"read settings", "GET", "settings", "", 200, 0, `{"settings":[{"name":"sloppy_tcp","value":0,"default":0,"max":1,"help":"help"}]}`},
		{"marks", "PUT", "marks", `{"marks":[{"mark":7,"dst":"192.0.2.0/24"}]}`, 200, 1, `{"done":1}`},
		{"no marks", "PUT", "marks", `{"marks":[]}`, 200, 1, `{"done":1}`},
		{"ports in the wrong order", "PUT", "marks", `{"marks":[{"mark":7,"first_port":2,"last_port":1}]}`, 400, 0, `{"done":0,"error":{"index":0,"op":"set-marks","errno":"EINVAL","message":"mark rule: ports 2 to 1 are in the wrong order"}}`},
		{"no prefix", "PUT", "marks", `{"marks":[{"mark":7,"dst":"192.0.2.0"}]}`, 400, 0, `{"error":{"errno":"EINVAL","message":"request body: netip.ParsePrefix(\"192.0.2.0\"): no '/'"}}`},
		{"read marks", "GET", "marks", "", 200, 0, `{"marks":[]}`},
	} {
		d := &recorder{}
		status, answer := ask(d, c.method, "/v1/"+c.path, c.body)
		if status != c.status || answer != c.answer+"\n" || d.done() != c.done {
			t.Errorf("%s: status %d, %d done, answer\n%swant %d, %d done\n%s", c.name, status, d.done(), answer, c.status, c.done, c.answer)
		}
	}
}

// TestBodiesShareRoom: bodies together take no more memory than the limit; one
// that asks for more is told to come again, and then has room.
func TestBodiesShareRoom(t *testing.T) {
	l := defaultLimits
	l.bodies = 100
	d := &recorder{}
	s := newServer(d, nil, l)
	send := func(size int) int {
		w := httptest.NewRecorder()
		body := cmds(cmd("flush"))
		body += strings.Repeat(" ", max(size-len(body), 0))
		s.ServeHTTP(w, httptest.NewRequest("POST", "/v1/apply", strings.NewReader(body)))
		return w.Code
	}
	for _, c := range []struct{ size, status int }{{90, 200}, {90, 200}, {200, 503}, {90, 200}} {
		if status := send(c.size); status != c.status {
			t.Errorf("a body of %d bytes: %d, want %d", c.size, status, c.status)
		}
	}
}

// TestFormChecks checks the forms that a director must never see.
func TestFormChecks(t *testing.T) {
	add := func(service string) string { return cmds(cmd("add-service", `"service":`+service)) }
	put := func(server string) string { return cmds(cmd("add-server", `"service":`+svc, `"server":`+server)) }
	for _, body := range []string{
		add(`{}`),
		add(`{"protocol":"tcp"}`),
		add(`{"protocol":"icmp","address":"10.0.0.1"}`),
		add(`{"protocol":"ip","address":"10.0.0.1"}`),
		add(`{"protocol":"tcp","address":"::ffff:10.0.0.1"}`),
		add(`{"protocol":"tcp","address":"fe80::1%lo"}`),
		add(`{"protocol":"tcp","address":"10.0.0.1","fwmark":1}`),
		add(`{"fwmark":1,"port":1}`),
		add(`{"fwmark":1,"family":"ipx"}`),
		add(`{"fwmark":4294967296}`),
		add(`{"protocol":"tcp","address":"10.0.0.1","port":65536}`),
		put(`{}`),
		put(`{"address":"10.2.0.1","weight":1}`),
		put(`{"address":"10.2.0.1","method":"bypass","weight":1}`),
		put(`{"address":"10.2.0.1","method":"masq","weight":2147483648}`),
		put(`{"address":"10.2.0.1","method":"tunnel","tunnel_type":"vxlan","weight":1}`),
		put(`{"address":"10.2.0.1","method":"tunnel","tunnel_checksum":"md5","weight":1}`),
		cmds(cmd("start-daemon", `"daemon":{"role":"","sync_id":0}`)),
	} {
		d := &recorder{}
		if status, answer := ask(d, "POST", "/v1/apply", body); status != 400 || d.done() != 0 {
			t.Errorf("%s: status %d, %d done, %s", body, status, d.done(), answer)
		}
	}
}

// TestGet checks the requests that change nothing.
func TestGet(t *testing.T) {
	const entry = `{"family":"ipv4","protocol":"tcp","address":"10.0.0.1","port":80,"scheduler":"rr","netmask":"255.255.255.255",` +
		`"stats":{"conns":2,"in_pkts":0,"out_pkts":0,"in_bytes":0,"out_bytes":0,"cps":1,"in_pps":0,"out_pps":0,"in_bps":0,"out_bps":0},` +
		`"servers":[{"address":"10.2.0.1","port":80,"method":"masq","weight":1,"active":3,"inactive":0,"persistent":0}]}`
	const one = `{"services":[` + entry + `]}`
	const conn = `{"protocol":"tcp","client":"10.0.0.0:4000","virtual":"","destination":"","state":"ESTABLISHED","age":0,"expires":900,"in_pkts":0,"in_bytes":0,"out_bytes":0}`
	for _, c := range []struct {
		method, target string
		status         int
		answer         string
	}{
		{"GET", "/v1/services", 200, one},
		{"GET", "/v1/services?service=tcp:10.0.0.1:80", 200, one},
		{"GET", "/v1/services?service=tcp:10.0.0.2:80", 404, `{"error":{"errno":"ESRCH","message":"no such process"}}`},
		{"GET", "/v1/services?service=fwmark:3", 404, `{"error":{"errno":"ESRCH","message":"no such process"}}`},
		{"GET", "/v1/services?format=json", 200, one},
		{"GET", "/v1/services?format=ndjson", 200, entry},
		{"GET", "/v1/services?service=tcp:10.0.0.1:80&format=ndjson", 200, entry},
		{"GET", "/v1/services?format=xml", 400, `{"error":{"errno":"EINVAL","message":"format \"xml\" is none of json, ndjson"}}`},
		{"GET", "/v1/services?service=x", 400, `{"error":{"errno":"EINVAL","message":"service \"x\" begins with none of tcp:, udp:, sctp:, fwmark:, fwmark6: as it must"}}`},
		{"GET", "/v1/services?sort=1", 400, `{"error":{"message":"/v1/services takes no parameter \"sort\""}}`},
		{"GET", "/v1/services?service=a&service=b", 400, `{"error":{"message":"parameter \"service\" is given twice"}}`},
		{"GET", "/v1/services?a;b", 400, `{"error":{"message":"query: invalid semicolon separator in query"}}`},
		{"GET", "/v1/connections", 200, conn},
		{"GET", "/v1/timeouts", 200, `{"tcp":900,"tcp_fin":120,"udp":300}`},
		{"GET", "/v1/daemons", 200, `{"daemons":[{"role":"master","interface":"eth0","sync_id":0}]}`},
		{"GET", "/v1/info", 200, `{"version":"test","ipvs_version":"1.2.1","table_size":4096,"pid":0}`},
		{"GET", "/v1/status", 200, `{"report":"status"}`},
		{"GET", "/v1/drops", 200, `{"report":"drops"}`},
		{"GET", "/v1/latency", 503, `{"error":{"errno":"EOPNOTSUPP","message":"operation not supported"}}`},
		{"GET", "/v1/", 404, `{"error":{"message":"no such endpoint: \"/v1/\""}}`},
		{"GET", "/v2/info", 404, `{"error":{"message":"no such endpoint: \"/v2/info\""}}`},
		{"GET", "/v1/apply", 405, `{"error":{"message":"/v1/apply takes POST, not GET"}}`},
		{"POST", "/v1/info", 405, `{"error":{"message":"/v1/info takes GET, not POST"}}`},
	} {
		if status, answer := ask(&recorder{conns: 1}, c.method, c.target, ""); status != c.status || answer != c.answer+"\n" {
			t.Errorf("%s %s: status %d\n%swant %d\n%s", c.method, c.target, status, answer, c.status, c.answer)
		}
	}
}

// TestClient checks the client against the server over a socket.
func TestClient(t *testing.T) {
	d := &recorder{conns: 3*defaultLimits.batch + 1}
	client := NewClient(start(t, d, defaultLimits))
	defer client.Close()
	ctx := context.Background()

	if got, err := client.Services(ctx); err != nil || !reflect.DeepEqual(got, d.Services()) {
		t.Errorf("Services: %+v, %v", got, err)
	}
	if got, err := client.Service(ctx, mustID("tcp:10.0.0.1:80")); err != nil || !reflect.DeepEqual(got, d.entry()) {
		t.Errorf("Service: %+v, %v", got, err)
	}
	if _, err := client.Service(ctx, mustID("tcp:10.0.0.2:80")); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("Service of none: %v", err)
	}
	if got, err := client.Timeouts(ctx); err != nil || got != d.Timeouts() {
		t.Errorf("Timeouts: %+v, %v", got, err)
	}
	if got, err := client.Daemons(ctx); err != nil || !reflect.DeepEqual(got, d.Daemons()) {
		t.Errorf("Daemons: %+v, %v", got, err)
	}
	if got, err := client.Info(ctx); err != nil || got != d.Info() {
		t.Errorf("Info: %+v, %v", got, err)
	}
	report := map[string]string{}
	if err := client.Report(ctx, DropsReport, &report); err != nil || report["report"] != "drops" {
		t.Errorf("Report: %v, %v", report, err)
	}
	seen := map[netip.AddrPort]bool{}
	for c, err := range client.Connections(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		seen[c.Client] = true
	}
	if len(seen) != d.conns {
		t.Errorf("%d connections of %d", len(seen), d.conns)
	}
	for _, err := range client.Connections(ctx) { // a caller may stop early
		if err != nil {
			t.Fatal(err)
		}
		break
	}

	add := Command{Op: AddService, Service: &Service{ServiceID: mustID("udp:[fd00::1]:53"), Scheduler: "wrr", Flags: Persistent | Flag2, Timeout: 300, Netmask: 64, PE: "sip"}}
	del := Command{Op: DeleteService, Service: &Service{ServiceID: mustID("tcp:10.0.0.9:80")}}
	err := client.Apply(ctx, add, del, add)
	var refused *Error
	if !errors.As(err, &refused) || refused.Index == nil || *refused.Index != 1 || refused.Op != DeleteService || !errors.Is(err, syscall.ESRCH) {
		t.Errorf("Apply: %v", err)
	}
	if want := "control: command 1 (delete-service): no such process"; err.Error() != want {
		t.Errorf("Apply says %q, want %q", err, want)
	}
	if len(d.cmds) != 1 || !reflect.DeepEqual(d.cmds[0], add) {
		t.Errorf("the director got %+v, want %+v", d.cmds, add)
	}

	if _, err := NewClient(t.TempDir() + "/none").Info(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
}

// TestText checks that types survive their text, whatever they hold.
func TestText(t *testing.T) {
	for _, id := range []string{"tcp:10.0.0.1:80", "udp:[fd00::1]:0", "sctp:10.0.0.1:65535", "fwmark:4294967295", "fwmark6:1"} {
		if got := mustID(id).String(); got != id {
			t.Errorf("%s becomes %s", id, got)
		}
	}
	for _, id := range []string{"", "tcp", "tcp:10.0.0.1", "tcp:10.0.0.1:65536", "tcp:[fe80::1%lo]:1", "tcp:[::ffff:1.2.3.4]:1", "fwmark:0", "fwmark:-1", "icmp:10.0.0.1:0"} {
		if got, err := ParseServiceID(id); err == nil {
			t.Errorf("%q is taken for %v", id, got)
		}
	}
	for _, m := range []Netmask{0, 1, 64, 128, 129, 0xffffff00, FullMask, 1 << 31} {
		text, err := m.MarshalText()
		var back Netmask
		if err != nil || back.UnmarshalText(text) != nil || back != m {
			t.Errorf("netmask %#x becomes %s and %#x", uint32(m), text, uint32(back))
		}
	}
	for f := ServiceFlags(0); f < 0x40; f++ {
		b, err := json.Marshal(f)
		var back ServiceFlags
		if err != nil || json.Unmarshal(b, &back) != nil || back != f&^2 { // 2 is the kernel's own
			t.Errorf("flags %#x become %s and %#x", f, b, back)
		}
	}
	for n := 1; n < 256; n++ {
		if p := ProtocolOf(uint8(n)); p != AnyProtocol && int(p.Number()) != n {
			t.Errorf("protocol %d is %s", n, p)
		}
	}
}

// raw opens a connection to the socket that no HTTP client minds.
func raw(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestHangingClients checks that connections that say nothing, or half of
// something, keep nobody out and are closed by and by.
func TestHangingClients(t *testing.T) {
	l := defaultLimits
	l.conns, l.read = 4, time.Second
	path := start(t, &recorder{}, l)
	var hanging []net.Conn
	client := NewClient(path)
	defer client.Close()
	for i := range 20 {
		c := raw(t, path)
		switch i % 3 {
		case 1:
			fmt.Fprint(c, "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Len")
		case 2:
			fmt.Fprint(c, "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
		}
		hanging = append(hanging, c)
		if _, err := client.Info(context.Background()); err != nil {
			t.Fatalf("beside %d hanging clients: %v", len(hanging), err)
		}
		client.Close() // so that each question comes on a connection of its own
	}
	for i, c := range hanging {
		if err := drain(c); isTimeout(err) {
			t.Fatalf("hanging client %d is still connected", i)
		}
	}
}

// TestGarbage checks that connections that send what is no HTTP keep nobody out
// and are closed.
func TestGarbage(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path := start(t, &recorder{}, defaultLimits)
	client := NewClient(path)
	defer client.Close()
	for range 200 {
		junk := make([]byte, 1+rnd.IntN(20000))
		for i := range junk {
			junk[i] = byte(rnd.Uint32())
		}
		if rnd.IntN(2) == 0 {
			copy(junk, "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 19000\r\n\r\n")
		}
		c := raw(t, path)
		_, _ = c.Write(junk) // the other end may have had enough
		if rnd.IntN(2) == 0 {
			c.Close()
		}
		if _, err := client.Info(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// drain reads until the other end closes.
func drain(c net.Conn) error {
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err := io.Copy(io.Discard, c)
	return err
}

// TestGate checks that at the bound those go that waited longest, and that the next
// one waits while all others are being answered. No timeout helps.
func TestGate(t *testing.T) {
	l := defaultLimits
	l.conns, l.grace, l.read, l.idle, l.write = 2, 0, time.Hour, time.Hour, time.Hour
	d := &patient{asked: make(chan struct{}), answer: make(chan struct{})}
	path := start(t, d, l)

	first, second, third := raw(t, path), raw(t, path), raw(t, path)
	if err := drain(first); err != nil {
		t.Fatalf("the oldest: %v", err)
	}
	const status = "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for _, c := range []net.Conn{second, third} {
		fmt.Fprint(c, status)
		<-d.asked
	}
	next := raw(t, path)
	fmt.Fprint(next, strings.Replace(status, "status", "info", 1))
	next.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := next.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("the next one does not wait: %v", err)
	}
	close(d.answer)
	for _, c := range []net.Conn{second, third, next} {
		c.SetReadDeadline(time.Now().Add(30 * time.Second))
		if b, err := io.ReadAll(c); err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 200 ")) {
			t.Errorf("one that was being answered, or waited, got %q, %v", b, err)
		}
	}
}

// patient is a director whose reports wait.
type patient struct {
	recorder
	asked, answer chan struct{}
}

func (p *patient) Report(Report) (any, error) {
	p.asked <- struct{}{}
	<-p.answer
	return nil, nil
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// TestSlowBody checks that a body that never ends is given up, and that
// commands of others run meanwhile.
func TestSlowBody(t *testing.T) {
	l := defaultLimits
	l.read = 300 * time.Millisecond
	d := &recorder{}
	path := start(t, d, l)
	slow := raw(t, path)
	fmt.Fprint(slow, "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
	client := NewClient(path)
	defer client.Close()
	if err := client.Apply(context.Background(), Command{Op: Flush}); err != nil || d.done() != 1 {
		t.Fatalf("Apply beside a slow one: %v, %d done", err, d.done())
	}
	slow.SetReadDeadline(time.Now().Add(30 * time.Second))
	b, err := io.ReadAll(slow)
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 400 ")) {
		t.Errorf("the slow one got %q, %v", b, err)
	}
}

// TestSlowReader checks that a client that does not read the stream of
// connections is cut off, and that no call of the director lasts meanwhile.
func TestSlowReader(t *testing.T) {
	l := defaultLimits
	l.write = 200 * time.Millisecond
	path := start(t, &recorder{conns: 1 << 30}, l)
	c := raw(t, path)
	fmt.Fprint(c, "GET /v1/connections HTTP/1.1\r\nHost: x\r\n\r\n")
	client := NewClient(path)
	defer client.Close()
	if _, err := client.Info(context.Background()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * l.write)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := io.Copy(io.Discard, c); isTimeout(err) || n > 1<<24 {
		t.Errorf("%d bytes read of an endless stream, %v", n, err)
	}
}

// FuzzHandler sends any request: the answer is JSON, it says what was wrong if
// anything was, and the director sees only commands that are well-formed.
func FuzzHandler(f *testing.F) {
	service, server := `"service":`+svc, `"server":`+srv
	f.Add("POST", "/v1/apply", cmds(cmd("add-service", service), cmd("add-server", service, server)))
	f.Add("POST", "/v1/apply", cmds(cmd("delete-service", `"service":`+gone)))
	f.Add("POST", "/v1/apply", `{"commands":[{"op":"zero","service":{"fwmark":7,"family":"ipv6","flags":["persistent"],"netmask":"64"}}]}`)
	f.Add("POST", "/v1/apply", `{"go_on":true,"commands":[{"op":"delete-service","service":`+gone+`},{"op":"flush"}]}`)
	f.Add("POST", "/v1/transaction", cmds(cmd("flush"), cmd("add-mark", `"marks":[{"mark":7,"dst":"192.0.2.7/24","last_port":80}]`, `"at":1`)))
	f.Add("PUT", "/v1/settings", `{"settings":{"sloppy_tcp":1}}`)
	f.Add("PUT", "/v1/marks", `{"marks":[{"mark":7,"src":"2001:db8::/32","protocol":"udp","nic":"eth0"}]}`)
	f.Add("GET", "/v1/services?service=tcp:10.0.0.1:80", "")
	f.Add("GET", "/v1/services?service=fwmark6:7", "")
	for _, e := range endpoints {
		f.Add(e.Method, "/v1/"+e.Path, "")
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		req, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		d := &recorder{conns: 2}
		w := httptest.NewRecorder()
		newServer(d, nil, defaultLimits).ServeHTTP(w, req)
		dec := json.NewDecoder(w.Body)
		answers := 0
		for dec.More() {
			var a struct{ Error *Error }
			if err := dec.Decode(&a); err != nil {
				t.Fatalf("answer %d: %v", answers, err)
			}
			if (w.Code == 200) != (a.Error == nil) || a.Error != nil && a.Error.Message == "" {
				t.Fatalf("status %d with error %v", w.Code, a.Error)
			}
			answers++
		}
		if answers == 0 {
			t.Fatalf("status %d without an answer", w.Code)
		}
		for _, c := range d.cmds {
			again := c
			if err := again.check(); err != nil || !reflect.DeepEqual(again, c) {
				t.Fatalf("the director got %+v: %v", c, err)
			}
			if c.Service != nil && c.Service.Family == "" {
				t.Fatalf("the director got a service without family: %+v", c.Service)
			}
		}
	})
}
