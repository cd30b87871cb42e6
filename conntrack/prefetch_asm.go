//go:build amd64 || arm64

package conntrack

// prefetch asks for a connection's two cache lines, and does not wait for them.
//
//go:noescape
func prefetch(c *Conn)

// prefetchBucket asks for the first of a bucket's two cache lines.
//
//go:noescape
func prefetchBucket(b *bucket)
