package control

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"vsnat/conntrack/state"
	"vsnat/nat"
)

// ConnectionFilter tells which connections a listing has. The zero value takes all.
type ConnectionFilter struct {
	Client, Virtual, Server EndpointSet
	Protocol                string   // see ConnectionProtocols
	States                  []string // see ConnectionStates
	Why                     []string // see ConnectionReasons
	Templates               bool     // only persistence templates
}

// What a filter may say of connections. Templates of a mark's service have the
// protocol ip, and pings that are masqueraded icmp and icmpv6. Case does not matter.
var (
	ConnectionProtocols = []string{"tcp", "udp", "sctp", "icmp", "icmpv6", "ip"}
	ConnectionReasons   = []string{"scheduled", "template", "helper", "moved", "bypass", "synced"}

	// ConnectionStates are the names of all states, in small letters.
	ConnectionStates = sync.OnceValue(func() (names []string) {
		add := func(name string) {
			if name = strings.ToLower(name); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		for s := range uint8(state.TCPStates) {
			add(state.Name(nat.ProtoTCP, s))
		}
		for s := range uint8(state.SCTPStates) {
			add(state.Name(nat.ProtoSCTP, s))
		}
		add(state.Name(nat.ProtoUDP, 0))
		add(state.TemplateName(true))
		add(state.TemplateName(false))
		return names
	})
)

// Takes reports whether the listing has the connection.
func (f *ConnectionFilter) Takes(c *Connection) bool {
	return f.Client.Takes(c.Client) && f.Virtual.Takes(c.Virtual) && f.Server.Takes(c.Destination) &&
		(f.Protocol == "" || strings.EqualFold(f.Protocol, string(c.Protocol))) &&
		(!f.Templates || c.Template) &&
		(len(f.States) == 0 || OneOf(f.States, c.State)) && (len(f.Why) == 0 || OneOf(f.Why, c.Why))
}

// OneOf reports whether the word is one of those, in letters of any case.
func OneOf(words []string, word string) bool {
	return slices.ContainsFunc(words, func(s string) bool { return strings.EqualFold(s, word) })
}

// connectionsQuery are the parameters of GET /v1/connections.
var connectionsQuery = []Parameter{
	{"client", "only of clients at this address, ADDRESS:PORT, or network"},
	{"virtual", "only to such a virtual address"},
	{"server", "only of servers at such an address"},
	{"protocol", strings.Join(ConnectionProtocols, ", ")},
	{"state", "only in this state, such as established, or in one of several with commas between"},
	{"why", "only those that have their server for this, or one of several with commas between: " + strings.Join(ConnectionReasons, ", ")},
	{"templates", "true: only persistence templates"},
}

func parseConnectionFilter(q url.Values) (f ConnectionFilter, err error) {
	for name, to := range map[string]*EndpointSet{"client": &f.Client, "virtual": &f.Virtual, "server": &f.Server} {
		if v := q.Get(name); v != "" {
			if *to, err = ParseEndpoints(v); err != nil {
				return f, fmt.Errorf("%s %q: %w", name, v, err)
			}
		}
	}
	// A slip must not look like a table without such connections.
	words := func(name string, all []string) (given []string) {
		if v := q.Get(name); v != "" {
			given = strings.Split(v, ",")
		}
		for _, w := range given {
			if err == nil && !OneOf(all, w) {
				err = fmt.Errorf("%s %q is none of %s", name, w, strings.Join(all, ", "))
			}
		}
		return given
	}
	f.States, f.Why = words("state", ConnectionStates()), words("why", ConnectionReasons)
	if f.Protocol = q.Get("protocol"); err == nil && f.Protocol != "" && !OneOf(ConnectionProtocols, f.Protocol) {
		err = fmt.Errorf("protocol %q is none of %s", f.Protocol, strings.Join(ConnectionProtocols, ", "))
	}
	if v := q.Get("templates"); err == nil && v != "" {
		if f.Templates, err = strconv.ParseBool(v); err != nil {
			err = fmt.Errorf("templates %q is neither true nor false", v)
		}
	}
	return f, err
}

func (f *ConnectionFilter) query() string {
	q := url.Values{}
	for name, value := range map[string]string{
		"client": f.Client.String(), "virtual": f.Virtual.String(), "server": f.Server.String(),
		"protocol": f.Protocol, "state": strings.Join(f.States, ","), "why": strings.Join(f.Why, ","),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Templates {
		q.Set("templates", "true")
	}
	return q.Encode()
}

// serveConnections streams: the table may be larger than memory should be.
func (s *Server) serveConnections(w http.ResponseWriter, r *http.Request, q url.Values) {
	f, err := parseConnectionFilter(q)
	if err != nil {
		fail(w, http.StatusBadRequest, &Error{Errno: Errno(syscall.EINVAL), Message: err.Error()})
		return
	}
	conns := make([]Connection, s.limits.batch)
	cursor := uint64(0)
	s.stream(w, r, func(put func(any)) bool {
		var n int
		n, cursor = s.director.Connections(cursor, conns)
		for i := range conns[:n] {
			if f.Takes(&conns[i]) {
				put(&conns[i])
			}
		}
		return cursor != 0
	})
}

// Connections walks the connection table. It yields an error last when the
// walk did not get to the end.
func (c *Client) Connections(ctx context.Context) iter.Seq2[Connection, error] {
	return c.FindConnections(ctx, ConnectionFilter{})
}

// FindConnections is Connections with those alone that the filter takes.
func (c *Client) FindConnections(ctx context.Context, f ConnectionFilter) iter.Seq2[Connection, error] {
	what := "connections"
	if q := f.query(); q != "" {
		what += "?" + q
	}
	return stream[Connection](ctx, c, what)
}
