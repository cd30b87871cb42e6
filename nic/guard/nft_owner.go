package guard

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// tableOwned is NFT_TABLE_F_OWNER (include/uapi/linux/netfilter/nf_tables.h):
// the table belongs to the netlink socket that made it and goes when that
// socket is closed; no other socket can change it.
const tableOwned = 2

// tablePrefix begins the names of our tables.
const tablePrefix = "vsnat-guard-"

// openOwned opens a netlink connection and makes a table that it owns. The
// library cannot set a table's flags, so that message is made here; all else
// goes through the library over the same socket.
func openOwned() (*nftables.Conn, *nftables.Table, error) {
	var sock *netlink.Conn
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		sock = c
		return nil
	}))
	if err != nil {
		return nil, nil, err
	}
	port, err := netlinkPort(sock)
	if err == nil {
		t := &nftables.Table{Name: fmt.Sprint(tablePrefix, port), Family: nftables.TableFamilyNetdev}
		if err = makeOwned(sock, t.Name); err == nil {
			return conn, t, nil
		}
	}
	return nil, nil, errors.Join(err, conn.CloseLasting())
}

// netlinkPort returns the socket's port, which is unique in its namespace.
func netlinkPort(sock *netlink.Conn) (uint32, error) {
	raw, err := sock.SyscallConn()
	if err != nil {
		return 0, err
	}
	var sa unix.Sockaddr
	var errName error
	if err := raw.Control(func(fd uintptr) { sa, errName = unix.Getsockname(int(fd)) }); err != nil {
		return 0, err
	}
	if errName != nil {
		return 0, errName
	}
	return sa.(*unix.SockaddrNetlink).Pid, nil
}

// makeOwned makes the table in the netdev family.
func makeOwned(sock *netlink.Conn, name string) error {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: append([]byte(name), 0)},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, tableOwned)},
	})
	if err != nil {
		return err
	}
	_, err = sock.SendMessages([]netlink.Message{
		{
			Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request},
			Data:   nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		},
		{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE,
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
			},
			Data: append(nfgenmsg(unix.NFPROTO_NETDEV, 0), attrs...),
		},
		{
			Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request},
			Data:   nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		},
	})
	if err != nil {
		return err
	}
	_, err = sock.Receive()
	// Which of the two says that a flag is not known depends on the release.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return &nic.Feature{Name: "NFT_TABLE_F_OWNER for nftables' netdev family", MinKernel: "5.12", Err: err}
	}
	return err
}

// nfgenmsg returns the header that is before the attributes of every nfnetlink
// message (struct nfgenmsg, include/uapi/linux/netfilter/nfnetlink.h).
func nfgenmsg(family uint8, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}
