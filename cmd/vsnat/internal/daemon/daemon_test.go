package daemon

import (
	"context"
	"errors"
	"log"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nic"
)

// follows runs d.follow until the test says so and returns what it returned.
func follows(t *testing.T, d *daemon) (end func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.follow(ctx, make(chan error)) }()
	return func() error {
		cancel()
		return <-done
	}
}

// The routes are followed no longer when the director is told to leave. That is
// no failure.
func TestLeavingIsNoFailure(t *testing.T) {
	for range 100 {
		d, _, _ := newDaemon(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		close(d.routes.(*fakeWatcher).done)
		if err := d.follow(ctx, make(chan error)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFailuresEndTheDirector(t *testing.T) {
	d, _, _ := newDaemon(t)
	served := make(chan error, 1)
	served <- errors.New("listener failed")
	if err := d.follow(t.Context(), served); err == nil || err.Error() != "listener failed" {
		t.Errorf("%v", err)
	}
	close(d.routes.(*fakeWatcher).done)
	if err := d.follow(t.Context(), make(chan error)); err == nil {
		t.Error("goes on without routes")
	}
}

// A client that holds its connection open when the director leaves is cut off.
// That is no failure either.
func TestHangingClientIsNoFailure(t *testing.T) {
	d, _, _ := newDaemon(t)
	path := filepath.Join(t.TempDir(), "s")
	listener, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(d, log.New(zapWriter{zap.NewNop()}, "", 0))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// One request that is answered, and the beginning of another.
	if _, err := conn.Write([]byte("GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/info HTTP/1.1\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if err := shutdown(server); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the client is still served")
	}
}

// Connections end, and NICs and the guard that could not be had are tried again,
// while nothing else happens. The clock is the test's own.
func TestWhatIsDueByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		d, w, r := newDaemon(t, clientNIC, otherNIC)
		d.log = zap.New(core)
		r.setLinks(link(clientNIC), link(serverNIC), link(otherNIC))
		g := d.guard.(*fakeGuard)
		refuse := true
		g.fail = func(string) error {
			if refuse {
				return syscall.ENOMEM
			}
			return nil
		}
		end := follows(t, d)
		d.routes.(*fakeWatcher).changed <- struct{}{}
		synctest.Wait()
		if names := d.nics.names(); len(names) != 2 || len(g.state.Services) != 0 {
			t.Fatalf("NICs %v, guard %+v", names, g.state)
		}
		w.passes(1, otherNIC)
		if n := d.engine.Table().Len(); n != 1 {
			t.Errorf("%d connections", n)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := logs.FilterMessage("NIC").Len(); n != 1 {
			t.Errorf("one and the same failure was logged %d times", n)
		}
		if n := logs.FilterMessage("guard").Len(); n != 1 {
			t.Errorf("one and the same failure of the guard was logged %d times", n)
		}
		g.mu.Lock()
		refuse = false
		g.mu.Unlock()
		w.mount(serverNIC)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if names := d.nics.names(); len(names) != 3 || len(g.state.Services) != 1 || len(g.state.Servers) != 2 {
			t.Errorf("NICs %v, guard %+v", names, g.state)
		}
		sets := g.sets
		time.Sleep(40 * time.Second) // SYN_RECV lasts 60 s
		synctest.Wait()
		if n := d.engine.Table().Len(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		if g.sets != sets {
			t.Error("the guard is told again what it knows")
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// Most changes of the routes are neighbours that come and go, with which the
// guard has nothing to do.
func TestGuardIsToldOfNewAddressesOnly(t *testing.T) {
	d, _, r := newDaemon(t)
	g := d.guard.(*fakeGuard)
	d.followRoutes()
	for range 3 {
		d.followRoutes()
	}
	if g.sets != 1 {
		t.Errorf("set %d times", g.sets)
	}
	added := nic.Addr{10: 0xff, 11: 0xff, 12: 10, 15: 1}
	r.mu.Lock()
	r.more = []nic.Addr{added}
	r.mu.Unlock()
	d.followRoutes()
	if g.sets != 2 || len(g.state.Local) != 2 {
		t.Errorf("set %d times, local %v", g.sets, g.state.Local)
	}
}

// When the last connection of a deleted service ends, the guard lets go.
func TestGuardLetsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, w, r := newDaemon(t, clientNIC, otherNIC)
		d.mustReconcile(t, r)
		w.passes(1, otherNIC)
		g := d.guard.(*fakeGuard)
		if err := d.do(&control.Command{Op: control.Flush}); err != nil {
			t.Fatal(err)
		}
		if len(g.state.Services) != 1 || len(g.state.Servers) != 1 {
			t.Errorf("while a connection is left: %+v", g.state)
		}
		end := follows(t, d)
		time.Sleep(time.Minute + 2*time.Second)
		synctest.Wait()
		if len(g.state.Services)+len(g.state.Servers) != 0 {
			t.Errorf("after its end: %+v", g.state)
		}
		if kept := d.routes.(*fakeWatcher).kept; len(kept) != 0 {
			t.Errorf("neighbours are kept for servers that are no more: %v", kept)
		}
		_ = end()
	})
}

func TestStopClosesEverything(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	d.stop()
	if g := d.guard.(*fakeGuard); !g.closed || len(g.attached) != 0 {
		t.Errorf("guard closed %v, at %v", g.closed, g.attached)
	}
	dev, _ := w.at(clientNIC)
	if err := dev.Wait(0); err == nil {
		t.Error("a NIC is left open")
	}
}
