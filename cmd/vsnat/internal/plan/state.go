package plan

import (
	"net/netip"
	"slices"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// State is what a file declares, or what a director has.
type State struct {
	Services []Service
	// Settings by name: of a file those that it names.
	Settings map[string]nat.Value
	// Timeouts in seconds; of a file 0 is one that it does not name.
	Timeouts  control.Timeouts
	Marks     []control.MarkRule
	Pools     []control.Pool
	Inside    []control.Masquerade // networks that are masqueraded
	Helpers   []control.Helper     // of a file those that it names
	Addresses []config.Address     // of a file only
	Director  *config.Director     // of a file only
}

// Service is a virtual service with its servers.
type Service struct {
	Name string // in the file, "" if it is not from one
	control.Service
	Servers []Server
}

// Server is a real server, and the connections that it has.
type Server struct {
	control.RealServer
	Active, Inactive uint32
}

// Desired returns what a configuration declares.
func Desired(c *config.Config) *State {
	s := &State{Settings: c.Settings, Timeouts: c.Timeouts, Marks: c.Marks, Pools: c.Pools, Inside: c.Inside, Helpers: c.Helpers, Addresses: c.Addresses, Director: &c.Director}
	for i := range c.Services {
		for _, v := range c.Services[i].Virtual {
			service := Service{Name: c.Services[i].Name, Service: v.Service, Servers: make([]Server, len(v.Servers))}
			for j := range v.Servers {
				service.Servers[j].RealServer = v.Servers[j]
			}
			s.Services = append(s.Services, service)
		}
	}
	return s
}

// Actual returns what a director has.
func Actual(services []control.ServiceEntry, settings []control.Setting, timeouts control.Timeouts, marks []control.MarkRule) *State {
	s := &State{Settings: make(map[string]nat.Value, len(settings)), Timeouts: timeouts, Marks: marks}
	for _, v := range settings {
		s.Settings[v.Name] = v.Value
	}
	for i := range services {
		e := &services[i]
		service := Service{Service: e.Service, Servers: make([]Server, len(e.Servers))}
		// A director lists the newest first, a file the oldest.
		for j := range e.Servers {
			from := &e.Servers[len(e.Servers)-1-j]
			service.Servers[j] = Server{from.RealServer, from.Active, from.Inactive}
		}
		s.Services = append(s.Services, service)
	}
	slices.Reverse(s.Services)
	return s
}

// serviceKey is what tells services apart.
func serviceKey(s *Service) control.ServiceID { return s.ServiceID }

// serverKey is what tells servers apart.
func serverKey(s *Server) netip.AddrPort { return netip.AddrPortFrom(s.Address, s.Port) }

// byKey returns the places of items by what tells them apart.
func byKey[T any, K comparable](items []T, key func(*T) K) map[K]*T {
	m := make(map[K]*T, len(items))
	for i := range items {
		m[key(&items[i])] = &items[i]
	}
	return m
}
