package neigh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Bounds of the solicitor.
const (
	// askedQueue is how many requests may wait; more are dropped, as the
	// packets that cause them will come again.
	askedQueue = 256
	// solicitEvery is the least time between two requests to the kernel for
	// one neighbour. It is the default of retrans_time_ms, within which the
	// kernel would not send a second solicitation either.
	solicitEvery = time.Second
	// maxKnown bounds how many neighbours are remembered.
	maxKnown = 1 << 14
)

// Solicit has the kernel resolve the neighbour nexthop on the link with that
// ifindex: call it for a hop that is unresolved, or failed and worth another
// try. The neighbour is then kept verified until it fails. Solicit never
// blocks and allocates nothing; when too many requests wait, or one for the
// same neighbour was made within the last second, it does nothing.
func (w *Watcher) Solicit(index int, nexthop nic.Addr) {
	select {
	case w.solicitor.asked <- neighKey{fromAddr(nexthop), int32(index)}:
	default:
	}
}

// Keep replaces the set of destinations whose next hops are to be resolved now
// and kept verified for ever, whether there is traffic or not: the addresses
// of all real servers. Gateways that are resolved are always kept.
func (w *Watcher) Keep(addrs []nic.Addr) {
	kept := slices.Clone(addrs)
	w.solicitor.kept.Store(&kept)
	select {
	case w.solicitor.kick <- struct{}{}:
	default: // a round is due anyway
	}
}

// solicitor asks the kernel to resolve and verify neighbours.
type solicitor struct {
	w     *Watcher
	sock  *socket
	asked chan neighKey
	kick  chan struct{}
	kept  atomic.Pointer[[]nic.Addr]

	sent, refused atomic.Uint64

	known map[neighKey]known
}

// known is what is remembered of a neighbour.
type known struct {
	last  time.Time // of the last request to the kernel
	asked bool      // by Solicit, so that it is kept
}

// run serves requests until the context ends.
func (s *solicitor) run(ctx context.Context) {
	s.known = map[neighKey]known{}
	tick := time.NewTicker(s.w.options.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-s.asked:
			s.solicit(k, true, time.Now())
		case <-s.kick:
			s.round(time.Now())
		case <-tick.C:
			s.round(time.Now())
		}
	}
}

// round refreshes all neighbours that are in use and forgets the others.
func (s *solicitor) round(now time.Time) {
	snap := s.w.current.Load()
	for k, e := range s.known {
		switch {
		case !e.asked && now.Sub(e.last) < solicitEvery: // remembered for the rate alone
		case !e.asked, !snap.resolvable(k), snap.neighbours.get(k).state == nic.HopFailed:
			delete(s.known, k)
		default:
			s.solicit(k, true, now)
		}
	}
	for _, k := range snap.fib.gateways {
		if snap.neighbours.get(k).state == nic.HopResolved {
			s.solicit(k, false, now)
		}
	}
	if kept := s.kept.Load(); kept != nil {
		for _, dst := range *kept {
			hop := snap.Lookup(dst)
			switch hop.State {
			case nic.HopResolved, nic.HopUnresolved, nic.HopFailed:
				s.solicit(neighKey{fromAddr(hop.NextHop), int32(hop.Index)}, false, now)
			}
		}
	}
}

// solicit asks the kernel, unless that makes no sense or was just done.
func (s *solicitor) solicit(k neighKey, asked bool, now time.Time) {
	snap := s.w.current.Load()
	if !snap.resolvable(k) {
		return
	}
	e := s.known[k]
	e.asked = e.asked || asked
	if now.Sub(e.last) < solicitEvery {
		s.known[k] = e
		return
	}
	if len(s.known) >= maxKnown {
		s.forget(snap)
	}
	e.last = now
	s.known[k] = e
	s.sent.Add(1)
	if err := s.use(k); err != nil {
		s.refused.Add(1)
		// The link may be gone meanwhile, and a full neighbour table or a
		// missing privilege would be told again and again.
		if s.refused.Load() == 1 {
			s.w.options.OnError(fmt.Errorf("neigh: the kernel refuses to resolve a neighbour (it needs CAP_NET_ADMIN): %w", err))
		}
	}
}

// resolvable reports whether the kernel can be asked to resolve the neighbour:
// its link exists, is up and has link-layer addresses, and it is not an entry
// that somebody has set for good. On a permanent entry NTF_USE would end its
// being permanent.
func (s *snapshot) resolvable(k neighKey) bool {
	i, ok := s.fib.place(int(k.index))
	return ok && s.fib.links[i].Up && !s.fib.traits[i].bare && k.ip.routable() && !s.neighbours.get(k).fixed
}

// forget makes room: by all that are not resolved, or else by all. Those that
// are in use will be asked for again.
func (s *solicitor) forget(snap *snapshot) {
	for k := range s.known {
		if snap.neighbours.get(k).state != nic.HopResolved {
			delete(s.known, k)
		}
	}
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
}

// use sends RTM_NEWNEIGH with NTF_USE: the kernel creates the entry if there is
// none, leaves its state and address alone, and then does as if it had a
// packet for it (neigh_add in net/core/neighbour.c).
func (s *solicitor) use(k neighKey) error {
	addr := k.ip.bytes()
	body := make([]byte, unix.SizeofNdMsg, unix.SizeofNdMsg+unix.SizeofRtAttr+len(addr))
	body[0] = unix.AF_INET6
	if k.ip.is4() {
		body[0] = unix.AF_INET
	}
	native.PutUint32(body[4:], uint32(k.index))
	body[10] = unix.NTF_USE
	body = native.AppendUint16(body, uint16(unix.SizeofRtAttr+len(addr)))
	body = native.AppendUint16(body, unix.NDA_DST)
	body = append(body, addr...)
	err := s.sock.request(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_ACK, body, func(uint16, []byte) {})
	if errors.Is(err, unix.ENODEV) {
		return nil // gone since the snapshot
	}
	return err
}
