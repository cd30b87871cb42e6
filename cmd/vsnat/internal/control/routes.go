package control

import (
	_ "embed"
	"net/http"
	"net/url"
	"slices"
)

// handler answers a request of one method.
type handler func(*Server, http.ResponseWriter, *http.Request, url.Values)

// Parameter is what a query may have.
type Parameter struct{ Name, About string }

// Endpoint is what a path answers to one method. The API's description is made
// of it.
type Endpoint struct {
	Method string
	Path   string // below /v1/
	About  string // what it does, in one line
	Query  []Parameter
	Body   any  // a value of the type that the body of the request has; nil for none
	Answer any  // a value of the type of the answer, or of its lines; nil is the director's
	Lines  bool // the answer is one JSON value a line
	Also   any  // the type of lines that another format has; nil for none
	// Refused is the type of a refusal of the director, if it is another than that
	// of all refusals.
	Refused any

	handle handler
}

// Endpoints returns all of them.
func Endpoints() []Endpoint { return slices.Clone(endpoints) }

// endpoints are all there are, in the order of the description.
var endpoints = []Endpoint{
	{
		Method: http.MethodPost, Path: "apply", About: "Run commands in order, stop at the first that is refused",
		Body: commandsRequest{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: serveCommands(Stop),
	},
	{
		Method: http.MethodPost, Path: "transaction", About: "Run commands, all or none",
		Body: commandsRequest{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: serveCommands(Atomic),
	},
	{
		Method: http.MethodGet, Path: "services", About: "Services with their servers and counters",
		Query: []Parameter{
			{"service", "one service: tcp:ADDRESS:PORT, udp:, sctp:, fwmark:MARK or fwmark6:MARK"},
			{"format", "json, the default, or ndjson: one service a line, which can be read while it is written"},
		},
		Answer: servicesAnswer{}, Also: ServiceEntry{}, handle: (*Server).serveServices,
	},
	{
		Method: http.MethodGet, Path: "connections", About: "The connection table, one connection a line, in no particular order",
		Query: connectionsQuery, Answer: Connection{}, Lines: true, handle: (*Server).serveConnections,
	},
	{
		Method: http.MethodPost, Path: "explain", About: "What would become of a packet, and why; nothing is sent and nothing changes",
		Body: Question{}, Answer: Decision{}, handle: (*Server).serveExplain,
	},
	{
		Method: http.MethodGet, Path: "trace", About: "Decisions as the director makes them, one a line, until the client leaves", Query: traceQuery,
		Answer: Traced{}, Lines: true, handle: (*Server).serveTrace,
	},
	getting("timeouts", "The timeouts that ipvsadm --set changes", Director.Timeouts),
	getting("daemons", "Connection synchronisation daemons", func(d Director) daemonsAnswer { return daemonsAnswer{append([]Daemon{}, d.Daemons()...)} }),
	getting("settings", "The settings that the kernel has at net.ipv4.vs", func(d Director) settingsAnswer { return settingsAnswer{d.Settings()} }),
	{
		Method: http.MethodPut, Path: "settings", About: "Change those settings that are named, or none",
		Body: settingsRequest{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: (*Server).putSettings,
	},
	getting("marks", "The rules that give packets firewall marks", marks),
	{
		Method: http.MethodPut, Path: "marks", About: "Replace the rules that give packets firewall marks",
		Body: marksAnswer{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: (*Server).putMarks,
	},
	getting("pools", "The pools of the director's own ports", func(d Director) poolsAnswer { return poolsAnswer{append([]Pool{}, d.Pools()...)} }),
	{
		Method: http.MethodPut, Path: "pools", About: "Replace the pools of the director's own ports",
		Body: poolsAnswer{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: (*Server).putPools,
	},
	getting("masquerades", "The networks that are masqueraded", func(d Director) masqueradesAnswer {
		return masqueradesAnswer{append([]Masquerade{}, d.Masquerades()...)}
	}),
	{
		Method: http.MethodPut, Path: "masquerades", About: "Replace the networks that are masqueraded",
		Body: masqueradesAnswer{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: (*Server).putMasquerades,
	},
	getting("helpers", "The helpers for FTP and TFTP, and what they have done", func(d Director) helpersAnswer {
		return helpersAnswer{append([]HelperEntry{}, d.Helpers()...)}
	}),
	{
		Method: http.MethodPut, Path: "helpers", About: "Attach those helpers that are named to other ports",
		Body: helpersRequest{}, Answer: commandsAnswer{}, Refused: commandsAnswer{}, handle: (*Server).putHelpers,
	},
	{
		Method: http.MethodPost, Path: "plan", About: "What it would take to be as configuration files say, or without any as the director's own",
		Body: planRequest{}, Answer: planAnswer{}, handle: serveDeclared(servePlan),
	},
	{
		Method: http.MethodPost, Path: "reload", About: "Be as the director's own configuration file says, or stay as it was",
		Body: reloadRequest{}, Answer: planAnswer{}, handle: serveDeclared(serveReload),
	},
	{
		Method: http.MethodPost, Path: "confirm", About: "Keep what a reload did that is to be confirmed",
		Body: struct{}{}, Answer: struct{}{}, handle: serveDeclared(serveConfirm),
	},
	getting("info", "Who answers: version, process, size of the table", Director.Info),
	report(StatusReport, "What the director does now"),
	report(DropsReport, "What became of every frame, by NIC and reason"),
	report(LatencyReport, "How long packets took, against the budget, and the slowest of the last minute"),
	{
		Method: http.MethodPost, Path: string(LatencyReport), About: "Begin the record of how long packets take anew; record single services, or no longer",
		Body: Measuring{}, Answer: struct{}{}, handle: (*Server).serveMeasuring,
	},
	{
		Method: http.MethodGet, Path: "openapi.json", About: "This description (OpenAPI 3.1)",
		handle: (*Server).serveDescription,
	},
}

// getting returns the endpoint of what a director tells without being asked
// anything further.
func getting[A any](path, about string, get func(Director) A) Endpoint {
	return Endpoint{
		Method: http.MethodGet, Path: path, About: about, Answer: *new(A),
		handle: func(s *Server, w http.ResponseWriter, _ *http.Request, _ url.Values) {
			answer(w, http.StatusOK, get(s.director))
		},
	}
}

// report returns the endpoint of one of the director's reports.
func report(name Report, about string) Endpoint {
	return Endpoint{
		Method: http.MethodGet, Path: string(name), About: about,
		handle: func(s *Server, w http.ResponseWriter, _ *http.Request, _ url.Values) {
			v, err := s.director.Report(name)
			if err != nil {
				fail(w, http.StatusServiceUnavailable, refusal(err))
				return
			}
			answer(w, http.StatusOK, v)
		},
	}
}

// routes are the endpoints by path and method.
var routes = func() map[string]map[string]*Endpoint {
	m := make(map[string]map[string]*Endpoint)
	for i := range endpoints {
		e := &endpoints[i]
		if m[e.Path] == nil {
			m[e.Path] = make(map[string]*Endpoint)
		}
		m[e.Path][e.Method] = e
	}
	return m
}()

// description is the API's OpenAPI file. `make docs' makes it of the endpoints
// and their types.
//
//go:embed openapi.json
var description []byte

func (s *Server) serveDescription(w http.ResponseWriter, _ *http.Request, _ url.Values) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description) // a client that is gone needs none
}

// RefusedAnswer returns a value of the type that refusals have, but where an
// [Endpoint] says otherwise.
func RefusedAnswer() any { return errorAnswer{} }
