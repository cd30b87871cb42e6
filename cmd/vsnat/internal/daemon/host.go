package daemon

import (
	"fmt"

	"vsnat/nic"
	"vsnat/nic/tun"
)

// The way to real servers on the director itself: a TUN device, by which the host's
// own stack gets their packets and, by policy rules for their ports, sends what they
// answer. It is there as long as there is such a server.

// hostDevice is the device.
type hostDevice interface {
	nic.Device
	hostSender() (sender, error)
}

// hostNIC is the device's name.
const hostNIC = "vsnat0"

// tunDevice is a [tun.Device] as a hostDevice.
type tunDevice struct{ *tun.Device }

func (d tunDevice) hostSender() (sender, error) { return d.Sender() }

// openTUN makes the device for links of that MTU.
func openTUN(mtu int) (hostDevice, error) {
	dev, err := tun.Open(hostNIC)
	if err != nil {
		return nil, err
	}
	if err := dev.Up(mtu); err != nil {
		_ = dev.Close() // never used
		return nil, err
	}
	return tunDevice{dev}, nil
}

// followLocal gives the host its port, or takes it away, and has it send by that what
// servers on the director answer. d.mu is held, except before the director runs.
func (d *daemon) followLocal() {
	eps := d.engine.LocalServers()
	if len(eps) == 0 && !d.local {
		return
	}
	err := d.nics.setHost(len(eps) > 0, d.routes.Routes())
	from := make([]tun.From, 0, len(eps))
	if err == nil {
		for _, ep := range eps {
			from = append(from, tun.From{Addr: ep.Addr, Port: ep.Port, Proto: ep.Proto})
		}
	}
	if errSteer := d.steer(from); err == nil {
		err = errSteer
	}
	d.local = len(eps) > 0 || err != nil
	if err != nil {
		err = fmt.Errorf("servers on the director itself are not reached: %w", err)
	}
	d.warnings.tell(d.log, "local", err)
}

// leaveLocal takes the rules away, when the director leaves.
func (d *daemon) leaveLocal() {
	if d.local {
		d.warn("local", d.steer(nil))
	}
}

// setHost opens the port to the host's own stack, or closes it.
func (n *nics) setHost(on bool, routes nic.Routes) error {
	n.mu.Lock()
	if on == (n.host != nil) {
		n.mu.Unlock()
		return nil
	}
	if on {
		dev, err := n.openHost(leastMTU(routes.Links(), n.wanted))
		if err != nil {
			n.mu.Unlock()
			return err
		}
		n.host = dev
		n.d.engine.SetHostPort(dev.Index())
	} else {
		n.d.engine.SetHostPort(0)
		n.host = nil // reconcile closes it
	}
	n.mu.Unlock()
	return n.reconcile(routes)
}

// leastMTU is that of the links that frames leave by: the host's segments fit them
// all.
func leastMTU(links []nic.Link, wanted func(*nic.Link) bool) int {
	least := 0
	for i := range links {
		if l := &links[i]; wanted(l) && l.MTU > 0 && (least == 0 || l.MTU < least) {
			least = l.MTU
		}
	}
	if least == 0 {
		return 1500
	}
	return least
}

// openFor opens the interface of that number: a NIC, behind the guard, or the port to
// the host.
func (n *nics) openFor(index int) ([]nic.Device, error) {
	if n.host != nil && n.host.Index() == index {
		return []nic.Device{n.host}, nil
	}
	if n.d.guard == nil {
		return n.openDevices(index, n.d.cfg.Queues, n.vips)
	}
	if err := n.d.guard.Attach(index); err != nil {
		return nil, err
	}
	devs, err := n.openDevices(index, n.d.cfg.Queues, n.vips)
	if err != nil {
		n.letGo(index)
	}
	return devs, err
}

// senderFor opens a way out by the interface of that number.
func (n *nics) senderFor(index int) (sender, error) {
	if n.host != nil && n.host.Index() == index {
		return n.host.hostSender()
	}
	return n.openSender(index)
}
