// Package sched holds the schedulers: each picks a real server for a new
// connection, as the kernel's scheduler of the same name does
// (net/netfilter/ipvs/ip_vs_*.c, as of 6.1.183 and later); lrt alone is not the
// kernel's. One file is one algorithm, named as ipvsadm names it. What each is
// good for, and what it costs, is in docs/schedulers.md.
//
// A scheduler is called with its service's lock held, but for what an
// [Observer] is told: it needs no lock of its own, starts no goroutine, reads no
// clock and allocates nothing in Pick. What it needs of the outside comes in:
// the packet and the time in a [Request], a seed and sizes in [Options].
//
// # How to write a scheduler
//
// Add one file, name.go, with a type that implements [Scheduler] and one line
// that registers it:
//
//	func init() { register("name", func(Options) Scheduler { return &name{} }) }
//
// New then knows it and Names lists it. A row in kit_test.go says how its picks
// should be spread and puts it to the laws every scheduler keeps (package
// schedtest); a scheduler without a row fails the tests. A slow model of its rule
// belongs in model_test.go.
//
//   - Pick returns a server of the list it was given that is [Server.Usable], or
//     nil; it never allocates and never changes the list.
//   - All ties go to the server that comes first in the list, the one added last.
//   - A scheduler without state embeds [stateless]. One that keeps a position
//     keeps it as an index and moves it in Changed; one that keeps servers from
//     an earlier list checks Server.Available before it returns one.
//   - Loads are compared by 64-bit cross products, never by division, so that no
//     rounding decides.
//   - Clone and Explain tell what Pick would do and why, for `vsnat explain`, and
//     change nothing. A clone is whole: it gets its own copy of all that a pick
//     changes.
//   - Work that falls due by time, not by packet, goes into Tick ([Cache]).
//   - One that can serve only so many servers says so ([Limited]).
//   - One that learns from what becomes of connections is told of it beside its
//     picks ([Observer]). What it learns of a server stands in that Server, so
//     that a pick needs no look-up.
package sched
