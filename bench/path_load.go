package bench

// PathLoad is one kind of load.
type PathLoad struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit"`
	scale float64
	kind  string
	port  uint16
	conns int
	flows int
	pace  float64 // packets/s that are sent; 0 is as many as can be
	// near has the endpoints on one CPU, and the director on the others.
	near bool
}

// PathLoads returns all loads.
func PathLoads() []PathLoad {
	return []PathLoad{
		{
			Name: "udp-1k", Title: "UDP packets of 64 bytes, 1,024 flows, as many as one thread sends", Unit: "1000 packets/s",
			scale: 1e3, kind: PartUDP, port: portUDP, flows: 1024, near: true,
		},
		{
			Name: "udp-1m", Title: "UDP packets of 64 bytes, 1,048,576 flows", Unit: "1000 packets/s",
			scale: 1e3, kind: PartUDP, port: portUDP, flows: 1 << 20, near: true,
		},
		{
			Name: "udp-pace", Title: "UDP packets of 64 bytes, 1,024 flows, 100,000 a second", Unit: "1000 packets/s",
			scale: 1e3, kind: PartUDP, port: portUDP, flows: 1024, pace: 100e3, near: true,
		},
		{
			Name: "tcp-1", Title: "Bulk TCP, 1 connection", Unit: "Gbit/s",
			scale: 1e9, kind: PartBulk, port: portSink, conns: 1,
		},
		{
			Name: "tcp-16", Title: "Bulk TCP, 16 connections", Unit: "Gbit/s",
			scale: 1e9, kind: PartBulk, port: portSink, conns: 16,
		},
		{
			Name: "rr", Title: "Request and response of 64 bytes, 1 TCP connection", Unit: "µs, median round trip",
			scale: 1e3, kind: PartRR, port: portEcho, conns: 1, near: true,
		},
		{
			Name: "http", Title: "New HTTP connections, a page of 4100 bytes each, 16 clients", Unit: "connections/s",
			scale: 1, kind: PartHTTP, port: portPage, conns: 16,
		},
	}
}

// Turn is one load on one peer, once: raw figures.
type Turn struct {
	Round int    `json:"round"`
	Peer  string `json:"peer"`
	Load  string `json:"load"`
	// Rate is the figure in the load's unit, of what arrived: packets, bits,
	// connections a second; for request and response the median round trip.
	Rate    float64 `json:"rate"`
	Seconds float64 `json:"seconds"`
	Loss    float64 `json:"loss"` // share of the UDP packets sent that did not arrive
	// Units is what there was a second of what Cost is for: packets that
	// arrived, requests, connections, or kilobytes (1000 bytes) of bulk.
	Units   float64    `json:"units_per_second"`
	Cost    Cost       `json:"cost_ns"` // of one of Units, in nanoseconds
	Result  PartResult `json:"result"`
	Begin   Sample     `json:"begin"`
	End     Sample     `json:"end"`
	Arrived [2]Sample  `json:"arrived,omitzero"` // at the sink: at the beginning and the end
	// Latency is vsnat's own report of the packets of the turn, at a pace.
	Latency *DirectorLatency `json:"director_latency,omitempty"`
	Ticks   Ticks            `json:"cpu_seconds"`
	Others  float64          `json:"other_processes_cpu_seconds"`
	Error   string           `json:"error,omitempty"`
}

// Cost is CPU time by who it was charged to. The kernel charges what it does
// in softirqs to whoever it interrupts: for a frame on a veth pair, to its
// sender. So only the sum compares, and only with that of the cable.
type Cost struct {
	Client   float64 `json:"client"`
	Server   float64 `json:"server"`
	Director float64 `json:"director"` // vsnat's process
	SoftIRQ  float64 `json:"ksoftirqd"`
}

// Sum returns all of it.
func (c Cost) Sum() float64 { return c.Client + c.Server + c.Director + c.SoftIRQ }
