//go:build !amd64 && !arm64

package conntrack

// prefetch does nothing: Go has no way to ask for it here.
func prefetch(*Conn) {}

func prefetchBucket(*bucket) {}
