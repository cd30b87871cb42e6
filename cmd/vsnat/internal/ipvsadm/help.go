package ipvsadm

import (
	"fmt"
	"strings"
)

func (a *app) printVersion() error {
	fmt.Fprintln(a.out, "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)")
	return nil
}

// printHelp prints the usage, of ipvsadm's shape in vsnat's words. P stands
// for the program's name.
func (a *app) printHelp() error {
	a.printVersion()
	fmt.Fprint(a.out, strings.ReplaceAll(helpUsage, "P ", a.name+" "), helpRest)
	return nil
}

const helpUsage = `Usage:
  P -A|E virtual-service [-s scheduler] [-p [timeout]] [-M netmask] [--pe engine] [-b flags]
  P -D virtual-service
  P -C
  P -R [--atomic]
  P -S [-n]
  P -a|e virtual-service -r server-address [options]
  P -d virtual-service -r server-address
  P -L|l [virtual-service] [options]
  P -Z [virtual-service]
  P --set tcp tcpfin udp
  P --start-daemon {master|backup} [daemon-options]
  P --stop-daemon {master|backup}
  P -h

Example:
  P -A -t 192.168.28.167:80 -s rr
  P -a -t 192.168.28.167:80 -r 10.0.100.11:80 -m
  P -L -n

`

const helpRest = `Commands, one of them first, long or short:
  --add-service     -A        add a virtual service
  --edit-service    -E        change a virtual service
  --delete-service  -D        delete a virtual service
  --clear           -C        delete all virtual services
  --restore         -R        read rules from standard input
  --save            -S        write rules to standard output
  --add-server      -a        add a real server to a service
  --edit-server     -e        change a real server
  --delete-server   -d        delete a real server
  --list            -L|-l     list the table
  --zero            -Z        zero the counters of a service or of all
  --set tcp tcpfin udp        set connection timeouts in seconds, 0 leaves one as it is
  --start-daemon              start a connection synchronisation daemon
  --stop-daemon               stop it
  --help            -h        this text
  --version         -v        the version

virtual-service:
  --tcp-service|-t  address           host[:port], [IPv6]:port
  --udp-service|-u  address           likewise
  --sctp-service    address           likewise
  --fwmark-service|-f mark            a firewall mark, 1 or more

Options:
  --ipv6         -6                   the firewall mark's IPv6 service
  --scheduler    -s scheduler         rr|wrr|lc|wlc|lblc|lblcr|dh|sh|sed|nq|fo|ovf|mh, wlc by default
  --pe            engine              persistence engine: sip
  --persistent   -p [timeout]         keep a client at its server, for 360 seconds by default
  --netmask      -M netmask           keep a client's whole network together
  --ops          -o                   schedule every UDP packet by itself
  --sched-flags  -b flags             scheduler flags, with commas between
  --real-server  -r address           host[:port] of the real server
  --gatewaying   -g                   direct routing (default)
  --ipip         -i                   tunneling
  --masquerading -m                   masquerading (NAT)
  --full-nat                          masquerading, with the director as the server's client
  --pool          name                of ports for --full-nat: see vsnat pool
  --tun-type      type                ipip|gue|gre, ipip by default
  --tun-port      port                tunnel destination port
  --tun-nocsum                        tunnel without checksum
  --tun-csum                          tunnel with checksum
  --tun-remcsum                       tunnel with remote checksum offload
  --weight       -w weight            share of the real server, 1 by default, 0 for no new connections
  --u-threshold  -x connections       no new ones from this many on
  --l-threshold  -y connections       until there are fewer than this many
  --connection   -c                   list connections
  --timeout                           list timeouts (tcp tcpfin udp)
  --daemon                            list synchronisation daemons
  --stats                             show counters
  --rate                              show rates
  --exact        -X                   show numbers in full
  --thresholds                        show thresholds
  --persistent-conn                   show counts of persistent connections
  --tun-info                          show tunnels
  --nosort                            do not sort
  --sort                              does nothing
  --atomic                            restore all rules or, if one is refused, none
  --numeric      -n                   show numbers, not names
Daemon options:
  --syncid id                         0 by default
  --sync-maxlen bytes                 longest message, 1472 by default
  --mcast-interface interface         eth0 by default
  --mcast-group address               224.0.0.81 by default
  --mcast-port port                   8848 by default
  --mcast-ttl ttl                     1 by default

The director is the vsnat that listens at $VSNAT_SOCKET, /run/vsnat.sock by default.
`
