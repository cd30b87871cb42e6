// Package address puts addresses on NICs while the process runs, and tells their
// links whose they are now.
//
// The addresses have a lifetime of half a minute that is renewed all the while:
// they go when they are taken away, and soon after a process that was killed. An
// address that somebody else has put there is used as it is, and stays.
package address
