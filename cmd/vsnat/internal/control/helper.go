package control

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// Helper is a helper for an application protocol, which reads what the
// masquerading connections to its ports say.
type Helper struct {
	Name string `json:"name"` // ftp or tftp
	// Ports are the virtual ports that it is attached to, at most 8; without any it
	// is off.
	Ports []uint16 `json:"ports"`
}

// Equal reports whether the helpers are the same and at the same ports.
func (h Helper) Equal(o Helper) bool { return h.Name == o.Name && slices.Equal(h.Ports, o.Ports) }

// Where returns the helper's ports as "21,2121", or "off".
func (h Helper) Where() string {
	if len(h.Ports) == 0 {
		return "off"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(h.Ports), "[]"), " ", ",")
}

// check reports what no helper can be.
func (h *Helper) check() error {
	if h.Name == "" {
		return malformed(syscall.EINVAL, "a helper needs a name")
	}
	return nil
}

// HelperEntry is a helper as it stands, with what it has done.
type HelperEntry struct {
	Helper
	Protocol Protocol `json:"protocol"`
	Expected uint64   `json:"expected"` // connections that it had expected
	Changed  uint64   `json:"changed"`  // packets that it has changed
	Refused  uint64   `json:"refused"`  // announcements that it did not believe, or had no room for
}

// helpersAnswer is the answer of GET /v1/helpers.
type helpersAnswer struct {
	Helpers []HelperEntry `json:"helpers"`
}

// helpersRequest is the body of PUT /v1/helpers.
type helpersRequest struct {
	Helpers []Helper `json:"helpers"`
}

func (s *Server) putHelpers(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var req helpersRequest
	if done, ok := s.read(w, r, &req); ok {
		defer done()
		s.run(w, []Command{{Op: SetHelpers, Helpers: req.Helpers}}, Atomic)
	}
}
