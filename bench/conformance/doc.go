// Package conformance compares vsnat's engine with the kernel's own IPVS: both
// are given the same random commands and packets, step by step, and must pick
// the same servers, send on the same packets to the byte, refuse the same
// commands, count the same and hold the same connections.
//
// A [Run] is a list of steps that [Generate] makes from a seed. An [Oracle]
// does them: [NewEngine] is the engine with a clock of its own, [NewKernel] the
// kernel's IPVS in a network namespace, its packets going through TUN devices.
// The kernel comes first, as its clock is the real one: [Record] writes down
// what it did and when, and [Compare] has the engine do the same at the same
// times. A kernel with IPVS that is not this machine's own is asked in a guest:
// see [Guest].
package conformance
