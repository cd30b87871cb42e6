package lab

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeDirector is a program with a control socket, and nothing else. It stands
// in for `vsnat run`, which this package may not know.
func fakeDirector() int {
	l, err := net.Listen("unix", os.Getenv("VSNAT_SOCKET"))
	if err != nil {
		return 1
	}
	http.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	http.Serve(l, nil)
	return 1
}

// director is the command line of the fake director.
var director = []string{Self, "lab-test-director"}

func startLab(t *testing.T, o Options) *Lab {
	t.Helper()
	needNamespaces(t)
	l, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestStartServesThePageOnEveryServer(t *testing.T) {
	l := startLab(t, Options{
		Topology: paper(t, PaperOptions{Forward: true}),
		Page:     &PageOptions{Rate: 1000},
		Director: director,
		Setup:    [][]string{{"sh", "-c", "echo $VSNAT_LAB $VSNAT_LAB_HOST $VSNAT_SOCKET >" + filepath.Join(t.TempDir(), "setup")}},
	})
	client := &http.Client{Transport: &http.Transport{DialContext: l.Host("client").Dial}}
	defer client.CloseIdleConnections()
	for _, name := range l.Topology().Names(Server) {
		addr := l.Topology().Addr(name).String()
		const requests = 3
		for range requests {
			resp, err := client.Get("http://" + addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || len(body) != PageSize || resp.Header.Get("X-Real-Server") != addr {
				t.Errorf("%s: %d bytes from %q, %v", addr, len(body), resp.Header.Get("X-Real-Server"), err)
			}
		}
		s, err := l.PageStats(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if want := (PageStats{Server: addr, Rate: 1000, Served: requests}); s != want {
			t.Errorf("figures %+v, want %+v", s, want)
		}
	}
	if n := len(l.Processes); n != 5 {
		t.Errorf("%d processes, want 4 page servers and the director", n)
	}
	for _, p := range l.Processes {
		ns, err := os.Readlink("/proc/" + itoa(p.PID) + "/ns/net")
		if err != nil || ns != l.Host(p.Host).Namespace() || p.State() != "running" {
			t.Errorf("%s is in %s (%s, %v), want %s", p.What, ns, p.State(), err, l.Host(p.Host).Namespace())
		}
	}
	dir := l.Dir
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	for _, p := range l.Processes {
		if p.State() == "running" {
			t.Errorf("%s on %s survived", p.What, p.Host)
		}
	}
}

func TestStartSaysWhatFailed(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
		want []string
	}{
		{"director that ends", Options{Director: []string{"sh", "-c", "echo no such interface; exit 3"}}, []string{"sh -c ended (exit status 3) before it was ready", "no such interface"}},
		{"no such program", Options{Director: []string{"/nonexistent/vsnat"}}, []string{"cannot start /nonexistent/vsnat"}},
		{"setup that fails", Options{Setup: [][]string{{"true"}, {"sh", "-c", "echo Service not defined; exit 2"}}}, []string{"exit status 2", "Service not defined"}},
		{"setup that does not exist", Options{Setup: [][]string{{"/nonexistent/ipvsadm"}}}, []string{"cannot start /nonexistent/ipvsadm"}},
		{"rate", Options{Page: &PageOptions{Rate: -3}}, []string{"rate -3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needNamespaces(t)
			tt.o.Topology = paper(t, PaperOptions{Servers: 1})
			l, err := Start(t.Context(), tt.o)
			if err == nil {
				l.Close()
				t.Fatal("it started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q", err, want)
				}
			}
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	needNamespaces(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, err := Start(ctx, Options{Topology: paper(t, PaperOptions{}), Director: director})
	if err == nil {
		l.Close()
		t.Fatal("it started though its context had ended")
	}
}
