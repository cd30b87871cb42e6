package daemon

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestPprof(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pprof.sock")
	for _, address := range []string{"127.0.0.1:0", path} {
		ctx, stop := context.WithCancel(t.Context())
		l, err := listenPprof(address)
		if err != nil {
			t.Fatal(err)
		}
		servePprof(ctx, l, zap.NewNop())
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
		}}}
		for target, want := range map[string]string{"": "goroutine", "heap?debug=1": "heap profile", "cmdline": os.Args[0], "nothing": "Unknown profile"} {
			r, err := client.Get("http://vsnat/debug/pprof/" + target)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || !strings.Contains(string(text), want) {
				t.Errorf("%s: %q: %v, %.100q, want %q", address, target, err, text, want)
			}
		}
		if address == path {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
		}
		stop()
		eventually(t, "nobody answers any more", func() bool {
			r, err := client.Get("http://vsnat/debug/pprof/")
			if err == nil {
				r.Body.Close()
			}
			return err != nil
		})
	}
	eventually(t, "the socket is gone", func() bool { _, err := os.Stat(path); return os.IsNotExist(err) })
	for _, address := range []string{"nonsense", "127.0.0.1:99999", filepath.Join(t.TempDir(), "none", "x")} {
		if l, err := listenPprof(address); err == nil {
			l.Close()
			t.Errorf("%s is listened at", address)
		}
	}
}
