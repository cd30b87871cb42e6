// Package control is vsnat's control API: HTTP and JSON over a unix socket,
// versioned under /v1/. It holds the types that travel, the [Server] that the
// director runs and the [Client] that its tools use.
//
//	POST /v1/apply        run commands in order, stop at the first refused;
//	                      with "go_on" go on after it
//	POST /v1/transaction  run commands, all or none
//	GET  /v1/services     services with their servers and counters; with
//	                      ?service=tcp:192.0.2.1:80 one of them, and with
//	                      ?format=ndjson one JSON object a line
//	GET  /v1/connections  the connection table, one JSON object a line
//	GET  /v1/timeouts     the timeouts that ipvsadm --set changes
//	GET  /v1/daemons      connection synchronisation daemons
//	GET  /v1/settings     the settings net.ipv4.vs.*; PUT changes some
//	GET  /v1/marks        the rules that give packets firewall marks; PUT
//	                      replaces them
//	POST /v1/plan         what it would take to be as a configuration file says
//	POST /v1/reload       be as the director's own file says, or stay as it was
//	POST /v1/confirm      keep what a reload did that is to be confirmed
//	GET  /v1/info         version, table size, process
//	GET  /v1/status, /v1/drops, /v1/latency   reports of the director
//
// Whoever may open the socket may do everything: the socket's mode, 0600, or 0660
// with a group of one's choice, is the access control. Refusals carry the errno that the kernel's IPVS gives for
// the same command, so that tools written for IPVS understand them.
package control
