package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

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

// maxPath is the room for a path in a unix socket address (sun_path, 108 bytes
// with the final zero), less the suffix of the name it is made under.
const maxPath = 107 - len(newSuffix)

const (
	newSuffix  = ".new"
	lockSuffix = ".lock"
)

// Listener is the control socket. Closing it removes it.
type Listener struct {
	*net.UnixListener
	path string
	lock *os.File
	made os.FileInfo // the socket, to remove no other
}

// Listen takes the control socket at path, mode 0600. It is refused while
// another process has it.
//
// A lock on the file beside it, not the socket, says who has it: the kernel
// drops the lock with the process, however that ends, so a socket without a
// lock is stale and is replaced. The new socket is made under another name and
// renamed, so that nobody finds it without its mode or before it listens.
func Listen(path string) (*Listener, error) {
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
	l := &Listener{path: path, lock: lock}
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
		// A socket somebody answers on without our lock is another program's.
		if c, err := net.Dial("unix", l.path); err == nil {
			c.Close()
			return errors.New("another program answers there: stop it, or set VSNAT_SOCKET to another path")
		}
	}
	name := l.path + newSuffix
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return err
	}
	ul.SetUnlinkOnClose(false) // the name it knows is not the one it ends up with
	err = os.Chmod(name, 0o600)
	if err == nil {
		l.made, err = os.Lstat(name)
	}
	if err == nil {
		err = os.Rename(name, l.path)
	}
	if err != nil {
		return errors.Join(err, ul.Close(), os.Remove(name))
	}
	l.UnixListener = ul
	return nil
}

// Close stops listening and removes the socket and the lock, unless somebody
// put something else at the socket's path meanwhile.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return err // closed before: the path may be another's by now
	}
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
