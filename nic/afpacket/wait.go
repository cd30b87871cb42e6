package afpacket

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// downCheck is how often a device whose interface is down looks whether the
// interface is still there. The kernel signals only that it goes down, which is
// the first part of its removal, and nothing after that.
const downCheck = 100 * time.Millisecond

// FD returns the receiving socket.
func (d *Device) FD() int { return d.fd }

// Look finds out whether an interface that went down is up again or gone.
func (d *Device) Look() error {
	if d.err != nil || !d.down {
		return d.err
	}
	return d.look()
}

// Polled takes what poll(2) told of the receiving socket.
func (d *Device) Polled(revents int16) error {
	if revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) == 0 {
		return d.err
	}
	return d.socketError()
}

// wait polls the socket.
func (d *Device) wait(timeout time.Duration) error {
	if err := d.Look(); err != nil {
		return err
	}
	if d.down && (timeout < 0 || timeout > downCheck) {
		timeout = downCheck
	}
	fds := [1]unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	if _, err := unix.Ppoll(fds[:], ts, nil); err != nil {
		if errors.Is(err, unix.EINTR) {
			return nil
		}
		return fmt.Errorf("afpacket: %s: %w", d.name, os.NewSyscallError("ppoll", err))
	}
	return d.Polled(fds[0].Revents)
}

// socketError reads the socket's pending error, and so clears it: a poll that
// met it again would return at once, for ever.
func (d *Device) socketError() error {
	v, err := unix.GetsockoptInt(d.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch errno := unix.Errno(v); {
	case err != nil:
		return fmt.Errorf("afpacket: %s: %w", d.name, os.NewSyscallError("getsockopt", err))
	case errno == 0:
		return nil
	case errno != unix.ENETDOWN:
		return fmt.Errorf("afpacket: %s: %w", d.name, errno)
	}
	return d.wentDown()
}

// wentDown returns what is to be told when the interface has gone down.
func (d *Device) wentDown() error {
	d.down, d.missed = true, false
	if err := d.look(); err != nil {
		return err
	}
	return d.errDown
}

// look finds out whether an interface that went down is up again or gone. It
// returns an error only for the latter.
func (d *Device) look() error {
	sa, err := unix.Getsockname(d.fd)
	if err != nil {
		return fmt.Errorf("afpacket: %s: %w", d.name, os.NewSyscallError("getsockname", err))
	}
	// The kernel unbinds the sockets of an interface that is removed
	// (packet_notifier in net/packet/af_packet.c).
	if ll, ok := sa.(*unix.SockaddrLinklayer); ok && ll.Ifindex != d.index {
		d.err = d.errGone
		return d.err
	}
	ifr, err := unix.NewIfreq(d.name)
	if err != nil {
		return fmt.Errorf("afpacket: %s: %w", d.name, err)
	}
	// If it was renamed it stays down for us, which only costs the checks.
	if err := unix.IoctlIfreq(d.fd, unix.SIOCGIFFLAGS, ifr); err == nil && ifr.Uint16()&unix.IFF_UP != 0 {
		d.down = false
	}
	return nil
}
