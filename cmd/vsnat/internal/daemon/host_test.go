package daemon

import (
	"errors"
	"slices"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
	"vsnat/nic"
	"vsnat/nic/tun"
)

// hostOf is the device at the host's end of a wire.
type hostOf struct {
	nic.Device
	w *wires
}

func (h hostOf) hostSender() (sender, error) { return h.w.sender(h.Index()) }

// A server on the director itself brings the port to the host's own stack, and takes
// it away again; where it cannot be made, the next look tries again.
func TestLocalServer(t *testing.T) {
	const hostPort = 99
	d, w, r := newDaemon(t, clientNIC, serverNIC)
	d.mustReconcile(t, r)
	var steered [][]tun.From
	d.steer = func(from []tun.From) error {
		steered = append(steered, slices.Clone(from))
		return nil
	}
	fails := errors.New("no tun")
	d.nics.openHost = func(mtu int) (hostDevice, error) {
		if mtu != 1500 {
			t.Errorf("MTU %d", mtu)
		}
		if err := fails; err != nil {
			fails = nil
			return nil, err
		}
		w.mount(hostPort)
		dev, err := w.device(hostPort)
		return hostOf{dev, w}, err
	}
	id := control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: vip.Addr(), Port: vip.Port()}
	local := control.RealServer{Address: vip.Addr(), Port: 8080, Method: control.Masq, Weight: 1}
	if err := d.do(addServer(id, local)); err != nil {
		t.Fatal(err)
	}
	if d.nics.host != nil || len(steered) != 1 || len(steered[0]) != 0 {
		t.Fatalf("the device failed, and steered %v", steered)
	}
	d.mu.Lock()
	d.followLocal()
	d.mu.Unlock()
	want := []tun.From{{Addr: vip.Addr().As16(), Port: 8080, Proto: nat.ProtoTCP}}
	if d.nics.host == nil || len(steered) != 2 || !slices.Equal(steered[1], want) {
		t.Fatalf("host port %v, steered %v", d.nics.host, steered)
	}
	if names := d.nics.names(); !slices.Contains(names, nicName(hostPort)) {
		t.Errorf("workers for %v", names)
	}
	if err := d.do(&control.Command{Op: control.DeleteServer, Service: &control.Service{ServiceID: id}, Server: &local}); err != nil {
		t.Fatal(err)
	}
	if d.nics.host != nil || len(d.nics.names()) != 2 || len(steered[len(steered)-1]) != 0 {
		t.Errorf("host port %v, workers %v, steered %v", d.nics.host, d.nics.names(), steered)
	}
}

func TestLeastMTU(t *testing.T) {
	all := func(l *nic.Link) bool { return l.Ether }
	for want, links := range map[int][]nic.Link{
		1500: nil,
		1400: {{MTU: 9000, Ether: true}, {MTU: 1400, Ether: true}, {MTU: 1000}},
	} {
		if got := leastMTU(links, all); got != want {
			t.Errorf("%d, want %d", got, want)
		}
	}
}
