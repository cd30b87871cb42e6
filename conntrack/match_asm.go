//go:build amd64 && !race

package conntrack

// match returns which entries of a line have these bits above their numbers: bit i is
// entry i. Entries of 0 are among them if the tag is 0.
//
//go:noescape
func match(l *line, tag, ids uint32) uint32

// bringNear answers the first n queries, at least one: it asks for their lines, notes
// for each the newest record with its tag, and asks for that, both cache lines.
// It does not wait for the records.
//
//go:noescape
func bringNear(q *queries, n int, ids uint32, spills []spill, records []Conn)
