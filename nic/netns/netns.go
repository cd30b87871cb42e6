// Package netns runs functions in other network namespaces without leaving a
// thread in the wrong one.
//
// On Linux a namespace belongs to a thread, while Go moves goroutines between
// threads as it likes. [Do] therefore gives the function a goroutine of its
// own, locked to one thread, and puts that thread back before the runtime may
// use it for anything else; a thread that cannot be put back is thrown away.
//
// What holds inside such a function:
//
//   - Only the function's own goroutine is in the namespace. Goroutines that it
//     starts run on other threads, in the ORIGINAL namespace of the process.
//   - A socket stays for ever in the namespace in which it was opened, whichever
//     thread uses it later; so does a file under /proc/sys/net. To open them
//     inside and to use them outside is the usual pattern.
//   - /proc/self/net and /proc/net show the namespace of the process's first
//     thread; inside, read /proc/thread-self/net. Paths under /proc/sys/net
//     follow the thread that opens them. /sys/class/net follows the mount.
package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// threadPath is the network namespace of the calling thread. The path under
// /proc/self would be that of the process's first thread.
const threadPath = "/proc/thread-self/ns/net"

// Handle refers to a network namespace and keeps it alive. A handle that is
// dropped without [Handle.Close] is closed by the garbage collector.
type Handle struct {
	file *os.File
}

// Open returns the namespace that a file stands for, such as one that
// `ip netns add` made under /run/netns.
func Open(path string) (*Handle, error) {
	// With O_NONBLOCK the open of a FIFO, given by mistake, does not wait.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err == nil && kind == unix.CLONE_NEWNET {
		return &Handle{file: f}, nil
	}
	if err == nil {
		err = fmt.Errorf("a namespace of type %#x", kind)
	}
	return nil, errors.Join(fmt.Errorf("netns: %s is no network namespace: %w", path, err), f.Close())
}

// OfProcess returns the namespace of a process, as its first thread has it.
func OfProcess(pid int) (*Handle, error) {
	return Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
}

// Current returns the namespace of the calling thread. Inside [Do] that is the
// namespace of Do; elsewhere it is the original one of the process.
func Current() (*Handle, error) { return Open(threadPath) }

// New makes a namespace that has no name and lives as long as a handle, a
// socket or a thread is in it. Its loopback interface is up and has 127.0.0.1
// and ::1; there is no other. It needs CAP_SYS_ADMIN.
func New() (*Handle, error) {
	var h *Handle
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netns: cannot make a network namespace (it needs CAP_SYS_ADMIN): %w", err)
		}
		var err error
		if h, err = Current(); err != nil {
			return err
		}
		return loopbackUp()
	})
	if err != nil && h != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, err
}

// Close gives the namespace up. The kernel removes it, with its virtual
// interfaces, once nothing else refers to it.
func (h *Handle) Close() error { return h.file.Close() }

// Fd returns the file descriptor, which is valid only as long as the handle is
// reachable and open: use [runtime.KeepAlive] when the handle might not be.
func (h *Handle) Fd() int { return int(h.file.Fd()) }

// String returns the kernel's name for the namespace, "net:[INODE]". Two open
// handles refer to the same namespace if their strings are equal.
func (h *Handle) String() string {
	var st unix.Stat_t
	if err := unix.Fstat(h.Fd(), &st); err != nil {
		return "net:[closed]"
	}
	return fmt.Sprintf("net:[%d]", st.Ino)
}

// loopbackUp brings lo up in the namespace of the calling thread.
func loopbackUp() error {
	if err := setUp("lo"); err != nil {
		return fmt.Errorf("netns: cannot bring lo up: %w", err)
	}
	return nil
}

func setUp(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}
