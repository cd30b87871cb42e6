package peer

import "context"

// Forward is plain forwarding by the kernel: no service, and no VIP. Clients
// ask the real servers themselves. It is the ceiling: no director does less.
type Forward struct{}

// Name implements [Peer].
func (Forward) Name() string { return "forwarding" }

// Missing implements [Peer].
func (Forward) Missing(context.Context, Director) string { return "" }

// Start implements [Peer]; it has nothing to do.
func (Forward) Start(context.Context, Director, []Service) (*Running, error) {
	return &Running{Stop: func() error { return nil }}, nil
}
