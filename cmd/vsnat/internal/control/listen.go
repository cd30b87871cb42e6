package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// DefaultSocket is where the director listens when VSNAT_SOCKET is not set.
const DefaultSocket = "/run/vsnat.sock"

// SocketPath returns the control socket's path: $VSNAT_SOCKET or [DefaultSocket].
func SocketPath() string {
	if p := os.Getenv("VSNAT_SOCKET"); p != "" {
		return p
	}
	return DefaultSocket
}

// maxPath is the room for a path in a unix socket address: sun_path has 108
// bytes, the last of them zero.
const maxPath = 107

// lockSuffix makes the lock's name of the socket's.
const lockSuffix = ".lock"

// backlog is how many clients may wait to be accepted, if the kernel allows as
// many (net.core.somaxconn).
const backlog = 1024

// Listener is the control socket. Closing it removes it.
type Listener struct {
	net.Listener
	path  string
	group int // NoGroup, or the group that may use it
	lock  *os.File
	made  os.FileInfo // the socket, to remove no other

	once   sync.Once
	closed error // what Close returned
}

// NoGroup is no group of [ListenGroup].
const NoGroup = -1

// Listen takes the control socket at path, mode 0600. It is refused while
// another process has it.
func Listen(path string) (*Listener, error) { return ListenGroup(path, NoGroup) }

// ListenGroup is Listen with the socket belonging to a group, by number, whose
// members may use it: mode 0660.
//
// A lock on the file beside it, not the socket, says who has it: the kernel
// drops the lock with the process, however that ends, so a socket without a
// lock is stale and is replaced.
func ListenGroup(path string, group int) (*Listener, error) {
	path, err := filepath.Abs(path) // also keeps "@name" from meaning an abstract socket
	if err != nil {
		return nil, fmt.Errorf("control: listen on %s: %w", path, err)
	}
	if len(path) > maxPath {
		return nil, fmt.Errorf("control: socket path %s is longer than %d bytes: set VSNAT_SOCKET to a shorter one", path, maxPath)
	}
	lock, err := takeLock(path + lockSuffix)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("control: another vsnat%s has the socket %s: stop it, or set VSNAT_SOCKET to another path", owner(path), path)
	}
	if err != nil {
		return nil, fmt.Errorf("control: listen on %s: %w", path, err)
	}
	l := &Listener{path: path, group: group, lock: lock}
	if err := l.bind(); err != nil {
		return nil, errors.Join(fmt.Errorf("control: listen on %s: %w", path, err), l.dropLock())
	}
	return l, nil
}

// bind makes the socket. The caller has the lock.
func (l *Listener) bind() error {
	switch fi, err := os.Lstat(l.path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file of that name that is no socket: remove it, or set VSNAT_SOCKET to another path")
	default:
		// Only a socket that nobody listens on is stale. One that somebody does
		// listen on without our lock is another program's.
		c, err := net.Dial("unix", l.path)
		if err == nil {
			c.Close()
			return errors.New("another program answers there: stop it, or set VSNAT_SOCKET to another path")
		}
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("who has the socket that is there? %w", err)
		}
	}
	if err := os.Remove(l.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.open()
}

// open makes a socket at a free path. It gets its mode while nobody can
// connect yet, because it does not listen.
func (l *Listener) open() (err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), l.path)
	defer f.Close() // the listener has its own
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: l.path}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(l.path))
		}
	}()
	mode := fs.FileMode(0o600)
	if l.group != NoGroup {
		if err := os.Lchown(l.path, -1, l.group); err != nil {
			return err
		}
		mode = 0o660
	}
	if err := os.Chmod(l.path, mode); err != nil {
		return err
	}
	if l.made, err = os.Lstat(l.path); err != nil {
		return err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l.Listener, err = net.FileListener(f)
	return err
}

// Close stops listening and removes the socket and the lock, unless somebody
// put something else at the socket's path meanwhile. To close again does
// nothing, so that an http.Server and its owner may both do it.
func (l *Listener) Close() error {
	l.once.Do(func() { l.closed = l.close() })
	return l.closed
}

func (l *Listener) close() error {
	err := l.Listener.Close()
	if fi, e := os.Lstat(l.path); e == nil && os.SameFile(fi, l.made) {
		err = errors.Join(err, os.Remove(l.path))
	}
	return errors.Join(err, l.dropLock())
}

// dropLock removes the lock file while it is still locked, then unlocks it.
func (l *Listener) dropLock() error {
	return errors.Join(os.Remove(l.lock.Name()), l.lock.Close())
}

// takeLock opens and locks a file, or returns EWOULDBLOCK. Its last owner
// removes the file, so the one opened may be gone by the time it is locked:
// then the lock means nothing and the next file is tried.
func takeLock(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if there, err := os.Lstat(name); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close()
	}
}

// owner returns " (process N)" of the director that answers at path, or "".
func owner(path string) string {
	c, err := net.Dial("unix", path)
	if err != nil {
		return ""
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ""
	}
	pid := int32(0)
	raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	if pid == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
