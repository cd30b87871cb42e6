//go:build race

package control

// racing tells that the race detector, with which all takes ten times as long, looks on.
const racing = true
