package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nic"
	"vsnat/sched"
)

// folder returns the folder that the environment variable names, or the
// package's own copy.
func folder(env, own string) string {
	if dir := os.Getenv(env); dir != "" {
		return dir
	}
	return filepath.Join("testdata", own)
}

// wanted returns the recordings to replay and lists those the test was told to
// leave out.
func wanted(t *testing.T, names []string, leaveOut func(name string) bool) (run []string) {
	t.Helper()
	if len(names) == 0 {
		t.Fatal("no recordings in the folder")
	}
	var left []string
	for _, n := range names {
		if leaveOut(n) {
			left = append(left, n)
		} else {
			run = append(run, n)
		}
	}
	if len(left) > 0 {
		t.Logf("left out: %s", strings.Join(left, " "))
	}
	return run
}

// leaveOut reads the comma-separated patterns (filepath.Match) of
// VSNAT_LEAVE_OUT. Without it, those given count for the package's own copy of
// the recordings, and in a folder that env names nothing is left out.
func leaveOut(env, patterns string) func(string) bool {
	if e, ok := os.LookupEnv("VSNAT_LEAVE_OUT"); ok {
		patterns = e
	} else if os.Getenv(env) != "" {
		patterns = ""
	}
	return func(name string) bool {
		return slices.ContainsFunc(strings.Split(patterns, ","), func(p string) bool {
			ok, _ := filepath.Match(p, name)
			return ok
		})
	}
}

// command executes one line of ipvsadm arguments, as far as recordings use
// them. The engine's own front end is elsewhere; this reads only well-formed
// text, and fails on what it does not know.
func command(e *Engine, line string) error {
	f := strings.Fields(line)
	f = slices.DeleteFunc(f, func(s string) bool { return s == "ipvsadm" })
	var (
		svc    = ServiceSpec{Scheduler: "wlc", Netmask: 0xffffffff}
		srv    = ServerSpec{Method: conntrack.Direct, Weight: 1}
		op     = f[0]
		number = func(s string) uint32 {
			n, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				panic(err)
			}
			return uint32(n)
		}
	)
	for i := 1; i < len(f); i++ {
		next := func() string { i++; return f[i] }
		switch f[i] {
		case "-t", "-u", "--sctp-service":
			svc.Key.Proto = map[string]uint8{"-t": ProtoTCP, "-u": ProtoUDP, "--sctp-service": ProtoSCTP}[f[i]]
			ap := netip.MustParseAddrPort(next())
			svc.Key.Addr, svc.Key.Port = ap.Addr().As16(), ap.Port()
			if ap.Addr().Is6() {
				svc.Netmask = 128
			}
		case "-f":
			svc.Key.Mark = number(next())
		case "-6":
			svc.Key.V6, svc.Netmask = true, 128
		case "-s":
			svc.Scheduler = next()
		case "-b":
			for _, flag := range strings.Split(next(), ",") {
				switch flag {
				case "sh-fallback", "mh-fallback", "flag-1":
					svc.Flags |= sched.Flag1
				case "sh-port", "mh-port", "flag-2":
					svc.Flags |= sched.Flag2
				default:
					return fmt.Errorf("scheduler flag %q", flag)
				}
			}
		case "-r":
			ap := netip.MustParseAddrPort(next())
			srv.Key = ServerKey{Addr: ap.Addr().As16(), Port: ap.Port()}
		case "-g":
			srv.Method = conntrack.Direct
		case "-m":
			srv.Method = conntrack.Masq
		case "-i":
			srv.Method = conntrack.Tunnel
		case "--tun-type":
			srv.Tunnel.Type = map[string]forward.TunnelType{"ipip": forward.IPIP, "gue": forward.GUE, "gre": forward.GRE}[next()]
		case "--tun-port":
			srv.Tunnel.Port = uint16(number(next()))
		case "--tun-csum":
			srv.Tunnel.Flags = forward.TunnelChecksum
		case "--tun-remcsum":
			srv.Tunnel.Flags = forward.TunnelRemoteChecksum
		case "--tun-nocsum":
		case "-F":
			srv.Method = conntrack.Full
		case "--pool":
			srv.Pool = next()
		case "-w":
			srv.Weight = int32(number(next()))
		case "-x":
			srv.Upper = number(next())
		case "-p":
			svc.Persistent, svc.Timeout = true, number(next())
		case "-o":
			svc.OnePacket = true
		case "--pe":
			svc.PE = next()
		case "-M":
			mask, err := netip.ParseAddr(next())
			if err != nil {
				svc.Netmask = number(f[i])
				break
			}
			v4 := mask.As4()
			svc.Netmask = binary.BigEndian.Uint32(v4[:])
		case "-y":
			srv.Lower = number(next())
		default:
			return fmt.Errorf("%q: argument %q", line, f[i])
		}
	}
	var err error
	e.Update(func(tx *Tx) {
		switch op {
		case "-C":
			tx.Flush()
		case "-A":
			err = tx.AddService(svc)
		case "-E":
			err = tx.EditService(svc)
		case "-D":
			err = tx.DeleteService(svc.Key)
		case "-a":
			err = tx.AddServer(svc.Key, srv)
		case "-e":
			err = tx.EditServer(svc.Key, srv)
		case "-d":
			err = tx.DeleteServer(svc.Key, srv.Key)
		default:
			err = fmt.Errorf("command %q", op)
		}
	})
	return err
}

// testRoutes is a host's routes as a plain table, longest prefix first.
type testRoutes struct {
	local  []netip.Addr
	routes []testRoute
	links  []nic.Link
	router bool
}

type testRoute struct {
	to  netip.Prefix
	hop nic.Hop
}

func (r *testRoutes) Lookup(dst nic.Addr) nic.Hop {
	if r.Local(dst) {
		return nic.Hop{State: nic.HopLocal}
	}
	a := netip.AddrFrom16(dst).Unmap()
	for _, rt := range r.routes {
		if rt.to.Contains(a) {
			return rt.hop
		}
	}
	return nic.Hop{State: nic.HopNoRoute}
}

func (r *testRoutes) Local(a nic.Addr) bool {
	return slices.Contains(r.local, netip.AddrFrom16(a).Unmap())
}

func (r *testRoutes) Link(index int) (nic.Link, bool) {
	for _, l := range r.links {
		if l.Index == index {
			return l, true
		}
	}
	return nic.Link{}, false
}

func (r *testRoutes) Locals() (all []nic.Addr) {
	for _, a := range r.local {
		all = append(all, a.As16())
	}
	return all
}
func (r *testRoutes) Links() []nic.Link         { return r.links }
func (r *testRoutes) Forwarding(int, bool) bool { return r.router }

func newEngine(t testing.TB, opt Options, r nic.Routes) *Engine {
	t.Helper()
	if opt.Conns.Max == 0 {
		opt.Conns.Max = 1 << 16
	}
	opt.Conns.Seed = 42
	e, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	e.SetRoutes(r)
	return e
}
