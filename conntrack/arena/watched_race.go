//go:build race

package arena

// watched is up to how many bytes come from Go's own memory: the race detector sees
// no other.
const watched = 16 << 20
