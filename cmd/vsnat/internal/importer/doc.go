// Package importer makes vsnat's configuration file of what other programs of
// the Linux Virtual Server are told by: ipvsadm -S text, keepalived.conf and
// ldirectord.cf. What it cannot carry over it lists, each with its line: nothing
// is left out in silence.
//
// What it writes has no errors for package config but one: that no rule gives
// packets a mark, which only the host's packet filter tells.
package importer
