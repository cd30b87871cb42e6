package lab

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// GUEPort is the UDP port at which the lab's real servers take GUE.
const GUEPort = 5555

// startDecap has every real server take packets out of tunnels.
func (l *Lab) startDecap(ctx context.Context, port int) error {
	servers := l.topology.Names(Server)
	started := make([]*Process, 0, len(servers))
	for _, name := range servers {
		p, err := l.start(fmt.Sprintf("decap ipip gre gue:%d", port), name, nil, Self, "lab", "decap", "-port", strconv.Itoa(port))
		if err != nil {
			return err
		}
		l.Processes = append(l.Processes, p)
		started = append(started, p)
	}
	for _, p := range started {
		if err := l.await(ctx, p, func(context.Context) error { return l.Host(p.Host).isUp(DecapNIC) }); err != nil {
			return err
		}
	}
	return nil
}

// isUp returns an error unless the interface is there and up.
func (h *Host) isUp(nic string) error {
	link, err := h.nl.LinkByName(nic)
	if err != nil {
		return fmt.Errorf("lab: host %s: %w", h.name, err)
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("lab: host %s: %s is down", h.name, nic)
	}
	return nil
}
