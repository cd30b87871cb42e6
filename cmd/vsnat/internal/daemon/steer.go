package daemon

import (
	"bytes"
	"maps"
	"slices"

	"vsnat/nat"
	"vsnat/nic"
	"vsnat/nic/afpacket"
)

// mostQueues is how many queues a NIC has by default at most.
const mostQueues = 4

// queues returns how many queues a NIC has by default: one for each thread, as both
// directions of a flow are steered to queues of the same number.
func queues(threads int) int { return min(threads, mostQueues) }

// steered is a device with which others were opened, that the kernel spreads frames
// over.
type steered interface {
	Steer(vips []nic.Addr) error
}

// openQueues opens a NIC.
func openQueues(index, queues int, vips []nic.Addr) ([]nic.Device, error) {
	if queues <= 1 {
		dev, err := afpacket.Open(afpacket.Config{Index: index})
		if err != nil {
			return nil, err
		}
		return []nic.Device{dev}, nil
	}
	// Together they have as much memory as one has by itself.
	slots := max(afpacket.DefaultSlots/queues, afpacket.DefaultSlots/4)
	all, err := afpacket.OpenQueues(afpacket.Config{Index: index, Slots: slots}, queues, vips)
	devs := make([]nic.Device, len(all))
	for i, dev := range all {
		devs[i] = dev
	}
	return devs, err
}

// steerFlows has frames of flows to these endpoints, and of their answers, go to the
// same thread. That it fails costs speed alone.
func (d *daemon) steerFlows(services []nat.Endpoint) {
	if d.cfg.Queues > 1 && d.nics != nil { // at the start there are no services yet
		d.warnings.tell(d.log, "steering", d.nics.steer(services))
	}
}

// steer tells the NICs the addresses of the services.
func (n *nics) steer(services []nat.Endpoint) error {
	vips := slices.SortedFunc(maps.Keys(addresses(services)), func(a, b nic.Addr) int { return bytes.Compare(a[:], b[:]) })
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(vips, n.vips) {
		return nil
	}
	n.vips = vips
	for _, t := range n.taken {
		if len(t.queues) < 2 {
			continue
		}
		if dev, ok := t.queues[0].dev.(steered); ok {
			if err := dev.Steer(vips); err != nil {
				return err
			}
		}
	}
	return nil
}
