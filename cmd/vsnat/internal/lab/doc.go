// Package lab is the verb `vsnat lab`: clusters in network namespaces that stay
// up while other commands come and go.
//
// `up` starts a supervisor: this same program, as process 1 of a PID namespace
// of its own, in a session of its own. It builds the cluster with [vsnat/bench/lab],
// keeps its programs running, and answers on a unix socket. The other verbs talk
// to it: only a process that is already inside can start one in a host when the
// cluster belongs to a user namespace, since a Go program, having threads, can
// never enter one.
//
// The PID namespace is what makes the end certain: when its first process is
// gone, however it died, the kernel kills every other process in it, and with
// the last one go the namespaces and links. What may stay is the state
// directory; its lock tells whether its owner still lives, and the next up, run,
// list or down removes it if not.
package lab
