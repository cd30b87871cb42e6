// Package e2e tests the vsnat program from end to end: the paper's cluster is
// raised in network namespaces, `vsnat run` runs in its director, it is set up
// with ipvsadm, and real clients and servers talk through it.
//
// Some tests bring their own clients and servers and run wherever a cluster
// can be built. Others use programs of Debian packages; as root they try to
// install what is missing, and skip with the package's name if they cannot.
//
// After every test the director's ledger must balance on each NIC, and the
// director must leave in good order. Nothing of a test is left behind.
package e2e
