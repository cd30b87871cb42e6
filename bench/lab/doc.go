// Package lab builds whole clusters on one machine: every host is a network
// namespace, every cable a veth pair, every switch a bridge in a namespace of
// its own. `vsnat lab`, the benches and the end-to-end tests all run in it.
//
// A [Topology] says which hosts, links, addresses, routes and kernel settings
// there are; [Paper] is the one of the paper. [New] makes a [Cluster] of it.
// [Start] makes one and starts what runs in it: a page server on every real
// server, the director's program, and the commands that set it up.
//
// Nothing has a name outside the process: no file under /run/netns, no link in
// the machine's own namespace. Namespaces are held by open files and threads of
// this process, and every process started in one is killed by the kernel when
// that thread ends (PR_SET_PDEATHSIG). So the kernel clears everything away,
// however this process dies.
//
// It needs CAP_SYS_ADMIN and CAP_NET_ADMIN, or a kernel that grants user
// namespaces; [StartIsolated] and, for tests, [Main] see to that.
package lab
