//go:build !race

package arena

// watched is up to how many bytes come from Go's own memory.
const watched = 0
