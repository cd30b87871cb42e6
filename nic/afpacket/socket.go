package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// listen opens a packet socket that is bound to the interface but, with
// protocol 0, receives nothing yet, and returns a descriptor of ours for it.
//
// A [packet.Conn] keeps its socket registered with the Go runtime's poller,
// which then wakes a thread for every frame that comes in, for nobody to read.
// So the socket is duplicated and the Conn closed: Close takes it off the
// poller, and the duplicate keeps it alive.
func listen(ifi *net.Interface) (int, error) {
	conn, err := packet.Listen(ifi, packet.Raw, 0, nil)
	if err != nil {
		return 0, explain(err)
	}
	fd, err := duplicate(conn)
	if errClose := conn.Close(); errClose != nil && err == nil {
		err = errors.Join(errClose, unix.Close(fd))
	}
	return fd, err
}

// duplicate returns a second descriptor of the connection's socket. It does
// not block, as the first does not.
func duplicate(conn *packet.Conn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var errDup error
	err = raw.Control(func(s uintptr) { fd, errDup = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, os.NewSyscallError("fcntl", errDup))
}

// explain names the privilege that was missing, if that was it.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("no permission for packet sockets: run as root or with CAP_NET_RAW: %w", err)
	}
	return err
}

// bindAll lets the socket receive every frame of the interface. Only a socket
// for all protocols stands before the ingress hooks, and so sees the frames
// that are dropped there to keep them from the host's stack.
func bindAll(fd, index int) error {
	var proto [2]byte
	binary.BigEndian.PutUint16(proto[:], unix.ETH_P_ALL)
	sa := &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(proto[:]), Ifindex: index}
	return os.NewSyscallError("bind", unix.Bind(fd, sa))
}

// option is a socket option of level SOL_PACKET, and the first kernel with it.
type option struct {
	opt, value int
	name       string
	kernel     string
}

// ringOptions are set before the ring exists; most cannot be changed after.
var ringOptions = []option{
	{unix.PACKET_VERSION, unix.TPACKET_V2, "PACKET_VERSION TPACKET_V2", "2.6.27"},
	{unix.PACKET_VNET_HDR, 1, "PACKET_VNET_HDR", "2.6.27"},
	{unix.PACKET_RESERVE, reserve, "PACKET_RESERVE", "2.6.27"},
	// Frames that are longer than a slot are queued as well.
	{unix.PACKET_COPY_THRESH, 1, "PACKET_COPY_THRESH", "2.6.27"},
	// What we send would come back to us.
	{unix.PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING", "4.20"},
}

// sendOptions are those of a sending socket.
var sendOptions = []option{
	{unix.PACKET_VNET_HDR, 1, "PACKET_VNET_HDR", "2.6.27"},
	bypassOption,
}

// bypassOption hands frames to the driver without a queueing discipline, and
// without showing them to packet sockets.
var bypassOption = option{unix.PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS", "3.14"}

// setOptions sets the options in order.
func setOptions(fd int, opts []option) error {
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, o.opt, o.value); err != nil {
			return o.failed(err)
		}
	}
	return nil
}

// failed tells a kernel that does not know the option from other failures.
func (o option) failed(err error) error {
	if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EINVAL) {
		return &nic.Feature{Name: o.name, MinKernel: o.kernel, Err: err}
	}
	return fmt.Errorf("setsockopt %s: %w", o.name, err)
}
