package bench

// Table is one of the paper's tables of results.
type Table struct {
	Name     string
	What     string
	Requests int
	Transfer float64 // kBytes/s
	Rate     float64 // requests/s
	Time     float64 // ms a request
	Bytes    int     // of the page
}

// The paper's tables (C. Jaña, "Implementacion de Linux Virtual Server con
// maquinas virtuales", tables I to III).
var (
	TableI   = Table{"I", "one real server", 10_000, 315.783, 71.24, 13.97, 4100}
	TableII  = Table{"II", "one real server", 100_000, 238.043, 55.24, 18.10, 4100}
	TableIII = Table{"III", "the cluster", 100_000, 580.75, 131.60, 7.60, 4100}
)

// The paper's capacity model: what a director of 100 µs a packet carries, and
// how many servers of 300 kB/s that is.
const (
	PaperPacketTime = 100e-6 // seconds
	PaperPacket     = 1500   // bytes
	PaperBandwidth  = 14.3e6 // bytes/s, as the paper words it
	PaperServerRate = 300e3  // bytes/s
	PaperServers    = 48
	PaperGain       = 154 // percent, as the paper words it
)

// Capacity is the paper's model for a director that takes packetTime seconds a
// packet and does one after the other: bytes/s, and servers that fill it.
func Capacity(packetTime float64) (bandwidth float64, servers int) {
	bandwidth = PaperPacket / packetTime
	return bandwidth, int(bandwidth / PaperServerRate)
}
