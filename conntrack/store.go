//go:build !race

package conntrack

// store sets a word of the index, which others may be reading for a hint. Every machine
// writes a word at once, and hints need no order.
func store(p *uint32, v uint32) { *p = v }
