// Package control is vsnat's control API: HTTP and JSON over a unix socket,
// versioned under /v1/. It holds the types that travel, the [Server] that the
// director runs and the [Client] that its tools use.
//
// Its endpoints are in routes.go; docs/api.md tells how to use them, and
// GET /v1/openapi.json describes every field.
//
// Whoever may open the socket may do everything: the socket's mode, 0600, or 0660
// with a group of one's choice, is the access control. Refusals carry the errno that the kernel's IPVS gives for
// the same command, so that tools written for IPVS understand them.
package control
