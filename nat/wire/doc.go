// Package wire is what stands on the wire: Ethernet, VLAN, ARP, IPv4, IPv6,
// TCP, UDP, SCTP and ICMP headers as byte slices that are read and written
// where they lie, their checksums, the address and port rewriting of network
// address translation, and the few packets a director answers with itself.
//
// A header type is valid to use once its IsValid (or [Packet.Parse]) has said
// so; before that, every other method may panic. Nothing here allocates. All
// numbers are in host byte order unless a comment says otherwise; addresses
// are arrays in network byte order.
package wire
