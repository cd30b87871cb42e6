package bench

// Need is what a director takes for one link and one kind of traffic. It is
// computed, not measured: packets and connections a second of a full link, times
// what one costs.
type Need struct {
	Link    float64 `json:"link_bits_per_second"`
	Traffic string  `json:"traffic"`
	// Packets are those of both directions a second, New connections that begin.
	Packets float64 `json:"packets_per_second"`
	New     float64 `json:"connections_per_second,omitempty"`
	Entries float64 `json:"connections"` // in the table
	// Engine is how many cores judge and rewrite, Director how many do all of the
	// director's work, kernel included; 0 if that was not measured.
	Engine   float64 `json:"engine_cores"`
	Director float64 `json:"director_cores,omitempty"`
	Memory   float64 `json:"table_bytes"`
}

// links are those that directors are wanted for, in bits a second.
var links = []float64{10e9, 25e9, 100e9}

// wireOverhead is what a frame takes on an Ethernet link besides itself, in
// bytes: preamble, checksum and the gap to the next one.
const wireOverhead = 8 + 4 + 12

// traffic is a kind of traffic from servers to clients that fills a link.
type traffic struct {
	name string
	// frame is the mean length of the servers' frames in bytes, without their
	// checksum; back is how many of the clients' come for each of them.
	frame, back float64
	// Of connections that begin and end: the servers' and the clients' packets of one,
	// and how long its entry stays when it is over, in seconds.
	packets, answers, lingers float64
	rate                      float64 // bits a second of a connection that lasts
}

// The kinds of traffic. The mix is the "simple IMIX" that routers are commonly
// measured with: 7 frames of 64 bytes, 4 of 594 and one of 1518, checksums
// included. A page of 4100 bytes takes a connection of 6 packets to the server and
// 6 from it, three of them full or nearly, as ab and nginx exchange them; its
// entry stays two minutes, TIME_WAIT.
var traffics = []traffic{
	{name: "64-byte frames", frame: 60, back: 1, rate: 1e5},
	{name: "simple IMIX", frame: (7*64+4*594+1518)/12. - 4, back: 1, rate: 1e6},
	{name: "full frames", frame: 1514, back: 0.5, rate: 1e7},
	{name: "pages of 4100 bytes", frame: (4100 + 250 + 6*66) / 6., packets: 6, answers: 6, lingers: 120},
}

// needs computes what directors take. cost is the point of the connections' axis
// that is nearest.
func (r *ScaleResult) needs() {
	r.Needs = nil
	if len(r.Connections) == 0 {
		return
	}
	for _, t := range traffics {
		for _, link := range links {
			r.Needs = append(r.Needs, r.need(&t, link))
		}
	}
}

func (r *ScaleResult) need(t *traffic, link float64) Need {
	n := Need{Link: link, Traffic: t.name}
	frames := link / (8 * (t.frame + wireOverhead))
	if t.packets > 0 {
		n.New = frames / t.packets
		n.Packets = n.New * (t.packets + t.answers)
		n.Entries = n.New * t.lingers
	} else {
		n.Packets = frames * (1 + t.back)
		n.Entries = link / t.rate
	}
	at := r.at(n.Entries)
	first := at.New.Median() - at.Packet.Median() // beyond a packet as any
	n.Engine = (n.Packets*at.Packet.Median() + n.New*max(first, 0)) / 1e9
	if r.Director > 0 {
		n.Director = n.Engine + n.Packets*max(r.Director-r.Connections[0].Packet.Median(), 0)/1e9
	}
	n.Memory = n.Entries * at.Bytes
	return n
}

// at returns the point of the connections' axis from which so many cost: the
// first that is not smaller, or the last.
func (r *ScaleResult) at(conns float64) *ScalePoint {
	for i := range r.Connections {
		if float64(r.Connections[i].N) >= conns {
			return &r.Connections[i]
		}
	}
	return &r.Connections[len(r.Connections)-1]
}
