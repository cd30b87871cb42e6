package neigh

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// kinds is a set of kinds of kernel objects.
type kinds uint8

const (
	kindLinks kinds = 1 << iota
	kindAddrs
	kindConfs
	kindRules
	kindNexthops
	kindRoutes
	kindNeighbours

	kindAll = kindNeighbours<<1 - 1
)

// groups are the multicast groups whose messages tell of changes.
var groups = []int{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH, unix.RTNLGRP_NEXTHOP,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
}

// stale returns what has to be dumped anew after a message of that kind. When
// a link goes down or an address goes away, IPv4 drops routes without a
// message (fib_sync_down_dev and fib_sync_down_addr), and a message about a
// route of several paths does not say all; so routes are never patched.
func stale(message uint16) kinds {
	switch message {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return kindLinks | kindAddrs | kindConfs | kindNexthops | kindRoutes
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return kindAddrs | kindRoutes
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return kindRoutes
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return kindRules
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		return kindNexthops | kindRoutes
	case unix.RTM_NEWNETCONF, rtmDelNetconf:
		return kindConfs
	}
	return 0
}

// rtmDelNetconf is RTM_DELNETCONF, which x/sys has not.
const rtmDelNetconf = 81

// dump reads the given kinds of objects from the kernel into the state, and
// the neighbours into the editor. It answers which of them have to be read
// once more because they changed meanwhile; what was read of them is there.
func (s *state) dump(sock *socket, which kinds, neighbours *neighEditor) (again kinds, err error) {
	step := func(k kinds, what string, read func() error) {
		if which&k == 0 || err != nil {
			return
		}
		switch e := read(); {
		case e == errInterrupted:
			again |= k
		case e != nil:
			err = fmt.Errorf("neigh: cannot read the kernel's %s: %w", what, e)
		}
	}
	step(kindLinks, "links", func() error {
		return list(sock, &s.links, unix.RTM_GETLINK, unix.RTM_NEWLINK, make([]byte, unix.SizeofIfInfomsg), decodeLink)
	})
	step(kindAddrs, "addresses", func() error {
		return list(sock, &s.addrs, unix.RTM_GETADDR, unix.RTM_NEWADDR, make([]byte, unix.SizeofIfAddrmsg), decodeAddr)
	})
	step(kindConfs, "forwarding switches", func() error {
		var v4, v6 []confRecord
		err := list(sock, &v4, unix.RTM_GETNETCONF, unix.RTM_NEWNETCONF, []byte{unix.AF_INET, 0, 0, 0}, decodeConf)
		err6 := list(sock, &v6, unix.RTM_GETNETCONF, unix.RTM_NEWNETCONF, []byte{unix.AF_INET6, 0, 0, 0}, decodeConf)
		s.confs = append(v4, v6...)
		if err == nil {
			err = missing(err6) // a kernel without IPv6
		}
		return err
	})
	step(kindRules, "policy rules", func() error {
		// Without policy routing there is nothing to read.
		return missing(list(sock, &s.rules, unix.RTM_GETRULE, unix.RTM_NEWRULE, make([]byte, 12), decodeRule))
	})
	step(kindNexthops, "nexthops", func() error {
		// Before Linux 5.3 there are none.
		return missing(list(sock, &s.nexthops, unix.RTM_GETNEXTHOP, unix.RTM_NEWNEXTHOP, make([]byte, 8), decodeNexthop))
	})
	step(kindRoutes, "routes", func() error {
		return list(sock, &s.routes, unix.RTM_GETROUTE, unix.RTM_NEWROUTE, make([]byte, unix.SizeofRtMsg), decodeRoute)
	})
	step(kindNeighbours, "neighbours", func() error {
		var all []neighRecord
		err := list(sock, &all, unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, make([]byte, unix.SizeofNdMsg), decodeNeigh)
		if err == nil || err == errInterrupted {
			neighbours.reset(all)
		}
		return err
	})
	return again, err
}

// missing drops the error of a kernel that does not know the request.
func missing(err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// list replaces *out by all objects of one kind, which are dumped by a get
// request and come as messages of kind item. On errors but errInterrupted *out
// is left alone.
func list[T any](sock *socket, out *[]T, get, item uint16, body []byte, decode func([]byte) (T, bool)) error {
	all := make([]T, 0, len(*out))
	err := sock.request(get, unix.NLM_F_DUMP, body, func(kind uint16, body []byte) {
		if kind != item {
			return
		}
		if r, ok := decode(body); ok {
			all = append(all, r)
		}
	})
	if err == nil || err == errInterrupted {
		*out = all
	}
	return err
}
