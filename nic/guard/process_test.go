package guard

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic/netns"
)

// childEnv makes the test binary a child that does what the value says.
const childEnv = "VSNAT_GUARD_CHILD"

// ready is what a child prints when it is done with what it had to do.
const ready = "ready"

func TestMain(m *testing.M) {
	var err error
	switch what := os.Getenv(childEnv); what {
	case "":
		os.Exit(m.Run())
	case TCX, NFT:
		err = holdGuard(what)
	case "user":
		err = userNamespace()
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(ready)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent goes or kills
	os.Exit(0)
}

// holdGuard opens a guard in the namespace of file 3, at all its interfaces.
func holdGuard(kind string) error {
	ns, err := netns.Open("/proc/self/fd/3")
	if err != nil {
		return err
	}
	g, err := Open(Options{NS: ns, Force: kind})
	if err != nil {
		return err
	}
	if err := g.Set(labState()); err != nil {
		return err
	}
	return netns.Do(ns, func() error {
		d0, _, err := index("d0")
		if err != nil {
			return err
		}
		d1, _, err := index("d1")
		if err != nil {
			return err
		}
		return errors.Join(g.Attach(d0), g.Attach(d1))
	})
}

// userNamespace runs in a user and a network namespace of its own. There tcx
// is not allowed.
func userNamespace() error {
	g, err := Open(Options{})
	if err != nil {
		return err
	}
	if g.Kind() != NFT || g.Why() == "" {
		return fmt.Errorf("the guard is of kind %q because %q", g.Kind(), g.Why())
	}
	if err := errors.Join(sysctl("net/ipv6/conf/default/disable_ipv6", "1"), veth("a0", "b0", nil), up("b0")); err != nil {
		return err
	}
	a0, mac, err := index("a0")
	if err != nil {
		return err
	}
	b0, _, err := index("b0")
	if err != nil {
		return err
	}
	if err := errors.Join(g.Set(labState()), g.Attach(a0)); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	frame := packet{src: client4, dst: vip4, proto: unix.IPPROTO_TCP, dport: servicePort}.frame(&lab{macD0: mac, macC0: mac})
	proto := binary.NativeEndian.Uint16([]byte{unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff})
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: b0, Protocol: proto}); err != nil {
		return err
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s, err := g.Stats()
		if err != nil {
			return err
		}
		if s == (Stats{Services: 1}) {
			return g.Close()
		}
	}
	return errors.New("the frame was not dropped")
}

// child starts the test binary as a child and waits until it is ready.
func child(t *testing.T, what string, attr *syscall.SysProcAttr, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	cmd.SysProcAttr, cmd.ExtraFiles = attr, files
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("needs leave to make user namespaces: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != ready+"\n" {
		t.Fatalf("the child says %q (%v)", line, err)
	}
	return cmd
}

// A killed process leaves a host without guard.
func TestKill(t *testing.T) {
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		l.guard(t, kind).Close() // or skip
		expect(t, "no guard", refused, dial, l.client, vip4, servicePort)

		ns, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", l.director.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		defer ns.Close()
		cmd := child(t, kind, nil, ns)
		expect(t, "guard", silence, dial, l.client, vip4, servicePort)
		if n := len(tables(t, l.director)); kind == NFT && n != 1 || kind == TCX && n != 0 {
			t.Errorf("%d tables", n)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // says that it was killed
		expect(t, "killed: TCP", refused, dial, l.client, vip4, servicePort)
		expect(t, "killed: UDP over IPv6", refused, datagram, l.client, vip6, servicePort)
		expect(t, "killed: through the host", refused, datagram, l.client, server4, deadPort)
		if names := tables(t, l.director); len(names) != 0 {
			t.Errorf("killed: tables left: %q", names)
		}
	})
}

// Without rights outside its user namespace a process gets the nft kind.
func TestUserNamespace(t *testing.T) {
	t.Parallel()
	child(t, "user", &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	})
}
