package bench

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/nat/wire"
)

var smallScale = ScaleConfig{Connections: []int{1000, 4000}, Services: []int{1, 300}, Servers: []int{1, 50}, Base: 2000, Rounds: 2, Packets: 3200, New: 1024}

// A small measurement has everything, and comes through JSON.
func TestScale(t *testing.T) {
	r, err := Scale(t.Context(), smallScale)
	if err != nil {
		t.Fatal(err)
	}
	r.Compute(0)
	for name, points := range map[string][]ScalePoint{"connections": r.Connections, "services": r.Services, "servers": r.Servers} {
		if len(points) != 2 {
			t.Fatalf("%s: %d points", name, len(points))
		}
		for _, p := range points {
			if len(p.Packet) != 2 || len(p.New) != 2 || (len(p.Least) == 2) != (name == "servers") || p.Bytes < 100 {
				t.Errorf("%s: %+v", name, p)
			}
		}
	}
	if r.Connections[1].N != 4000 || r.Services[1].N != 300 || r.Servers[1].N != 50 {
		t.Errorf("sizes %d %d %d", r.Connections[1].N, r.Services[1].N, r.Servers[1].N)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back ScaleResult
	if err := json.Unmarshal(b, &back); err != nil || len(back.Needs) != len(links)*len(traffics) {
		t.Errorf("%v, %d needs", err, len(back.Needs))
	}
}

func TestScaleInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Scale(ctx, smallScale); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Frames to many services are right, and go to all of them.
func TestHandOfManyServices(t *testing.T) {
	b := &bed{shape: bedShape{services: 600}}
	h := b.hand(32, wire.ACK, 0, 600)
	services := map[string]bool{}
	for i := 0; i < 600; i += 30 {
		h.next(i)
		for j := range 30 {
			var p wire.Packet
			eth := wire.Ethernet(h.batch.Frames[j].Eth())
			if got := p.Parse(eth); got != wire.Parsed {
				t.Fatal(got)
			}
			ip := wire.IPv4(eth[p.L3:p.End])
			if tcp := wire.TCP(ip.Payload()); !ip.ChecksumOK() || !tcp.ChecksumOK4(ip.Src(), ip.Dst()) {
				t.Fatalf("flow %d: % x", i+j, eth)
			}
			address, port := bedService(uint32(i + j))
			if p.Dst != mapped(address) || uint32(p.DstPort) != port {
				t.Fatalf("flow %d goes to %x port %d", i+j, p.Dst, p.DstPort)
			}
			services[string(p.Dst[:])+string(rune(p.DstPort))] = true
		}
	}
	if len(services) != 600 {
		t.Errorf("%d services", len(services))
	}
}

// Needs are computed: the figures here can be checked by hand.
func TestNeeds(t *testing.T) {
	r := &ScaleResult{Connections: []ScalePoint{
		{N: 100_000, Packet: Series{50}, New: Series{500}, Bytes: 130},
		{N: 1_000_000, Packet: Series{100}, New: Series{600}, Bytes: 128},
	}}
	r.Compute(2050)
	find := func(link float64, what string) *Need {
		for i := range r.Needs {
			if n := &r.Needs[i]; n.Link == link && n.Traffic == what {
				return n
			}
		}
		t.Fatalf("no need for %g of %s", link, what)
		return nil
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got/want-1) > 0.001 {
			t.Errorf("%s: %g, want %g", what, got, want)
		}
	}
	// 14.88 million frames a second each way, from 100,000 connections of 100 kbit/s.
	n := find(10e9, "64-byte frames")
	near("packets", n.Packets, 2*14.8809e6)
	near("cores", n.Engine, 2*14.8809e6*50e-9)
	near("in all", n.Director, 2*14.8809e6*2050e-9)
	near("memory", n.Memory, 100_000*130)
	// A page is 6 frames of 791 bytes and their overhead; its entries are more than
	// were measured.
	n = find(100e9, "pages of 4100 bytes")
	pages := 100e9 / 8 / (6 * (4746./6 + 24))
	near("connections", n.New, pages)
	near("packets", n.Packets, 12*pages)
	near("entries", n.Entries, 120*pages)
	near("cores", n.Engine, pages*(12*100+500)*1e-9)
	if r.Compute(math.NaN()); r.Director != 2050 {
		t.Errorf("a figure that is none is taken: %v", r.Director)
	}
	if (&ScaleResult{}).Compute(1); len((&ScaleResult{}).Needs) != 0 {
		t.Error("needs of nothing")
	}
}

// figures are those of a result that nobody measured.
func figures() *ScaleResult {
	point := func(n int, packet, fresh float64) ScalePoint {
		return ScalePoint{N: n, Packet: Series{packet, packet * 1.1, packet * 0.9}, New: Series{fresh, fresh * 1.2, fresh}, Bytes: 128}
	}
	r := &ScaleResult{
		Rounds: 3, Base: 100_000, Machine: Machine{Kernel: "6.18.0", CPUs: 2, Model: "a processor with quite a long name @ 3.00GHz", Go: "go1.26", Load: "0.00 0.00 0.00 1/100 1"},
		Connections: []ScalePoint{point(1_000, 40, 300), point(10_000_000, 160, 900)},
		Services:    []ScalePoint{point(1, 50, 300), point(5_000, 150, 1000)},
		Servers:     []ScalePoint{point(1, 50, 300), point(1_000, 51, 310)},
		Missing:     []string{tooLarge(10_000_000, 1e9)},
	}
	for i := range r.Servers {
		r.Servers[i].Least = Series{300, 3000}
	}
	r.Compute(1900)
	return r
}

func TestScaleReport(t *testing.T) {
	for _, director := range []float64{0, 1900} {
		r := figures()
		r.Director = 0
		r.Compute(director)
		var b strings.Builder
		r.WriteReport(&b)
		checkWidth(t, b.String())
		for _, want := range []string{"10 million", "computed from the above, not measured", "simple IMIX"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("no %q in\n%s", want, b.String())
			}
		}
		if got := strings.Contains(b.String(), "1900 ns a small packet"); got != (director > 0) {
			t.Errorf("with %v ns a packet in all:\n%s", director, b.String())
		}
	}
}

// The pictures are XML, say what they are of, and do not change by themselves.
func TestPlot(t *testing.T) {
	plots := figures().plots()
	if len(plots) != 3 {
		t.Fatalf("%d pictures", len(plots))
	}
	for name, p := range plots {
		svg := p.SVG()
		if string(svg) != string(p.SVG()) {
			t.Errorf("%s: two pictures of the same differ", name)
		}
		d := xml.NewDecoder(strings.NewReader(string(svg)))
		curves := 0
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
				curves++
			}
		}
		if curves != len(p.Curves) || !strings.Contains(string(svg), p.Title) || strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
			t.Errorf("%s: %d curves of %d:\n%s", name, curves, len(p.Curves), svg)
		}
	}
	for name, p := range map[string]*Plot{
		"empty":   {Title: "a < b & c"},
		"no good": {Title: "x", Curves: []Curve{{Name: "y", X: []float64{0, 1, 10}, Y: []Series{{1}, {math.NaN()}, {0}}}}},
		"one":     {Title: "x", Curves: []Curve{{Name: "y", X: []float64{10}, Y: []Series{{10}}}}},
	} {
		svg := p.SVG()
		if err := xml.Unmarshal(svg, new(struct{})); err != nil || strings.Contains(string(svg), "NaN") || strings.Contains(string(svg), "Inf") {
			t.Errorf("%s: %v\n%s", name, err, svg)
		}
	}
}

func TestWriteDocs(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "scale.md")
	r := figures()
	if err := r.WriteDocs(dir); err == nil {
		t.Error("no error without a scale.md")
	}
	if err := os.WriteFile(page, []byte("before\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteDocs(dir); err == nil || !strings.Contains(err.Error(), scaleBegin[:20]) {
		t.Errorf("without a place for the figures: %v", err)
	}
	if err := os.WriteFile(page, []byte("before\n"+scaleBegin+"old\n"+scaleEnd+"after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // again, it replaces
		if err := r.WriteDocs(dir); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(page)
	text := string(b)
	if err != nil || !strings.HasPrefix(text, "before\n"+scaleBegin) || !strings.HasSuffix(text, scaleEnd+"after\n") ||
		strings.Contains(text, "old") || strings.Count(text, "scale-services.svg") != 1 {
		t.Errorf("%v:\n%s", err, text)
	}
	for _, name := range []string{"connections", "services", "servers"} {
		if _, err := os.Stat(filepath.Join(dir, "scale-"+name+".svg")); err != nil {
			t.Error(err)
		}
	}
	// The project's own page has a place for them.
	own, err := os.ReadFile("../docs/scale.md")
	if err != nil || !strings.Contains(string(own), scaleBegin) || !strings.Contains(string(own), scaleEnd) {
		t.Errorf("docs/scale.md: %v", err)
	}
}

func TestDirectorCostFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "path.json")
	for _, c := range []struct{ text, want string }{{"{", "unexpected end"}, {"{}", "no turn of vsnat"}} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := DirectorCost(file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
	if _, err := DirectorCost(file + "x"); err == nil {
		t.Error("no error for a file that there is not")
	}
}
