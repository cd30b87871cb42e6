package control

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"syscall"
)

// Measured is a Director that keeps a record of how long packets take, the report
// [LatencyReport].
type Measured interface {
	// Measure changes what is recorded.
	Measure(m Measuring) error
}

// MostMeasured is how many services a director measures by themselves at most.
const MostMeasured = 64

// Measuring says what is to become of the record of how long packets take. What
// it does not name stays as it is.
type Measuring struct {
	Reset  bool        `json:"reset,omitempty"`  // begin anew
	Record []ServiceID `json:"record,omitempty"` // services that get a record of their own
	Forget []ServiceID `json:"forget,omitempty"` // services that have none any more
}

func (m *Measuring) check() error {
	for _, list := range [][]ServiceID{m.Record, m.Forget} {
		for i := range list {
			if err := list[i].check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// serveMeasuring answers POST /v1/latency.
func (s *Server) serveMeasuring(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var m Measuring
	done, ok := s.read(w, r, &m)
	if !ok {
		return
	}
	defer done()
	if err := m.check(); err != nil {
		fail(w, http.StatusBadRequest, refusal(err))
		return
	}
	d, ok := s.director.(Measured)
	if !ok {
		fail(w, http.StatusConflict, refusal(fmt.Errorf("this director keeps no record of how long packets take: %w", syscall.EOPNOTSUPP)))
		return
	}
	if err := d.Measure(m); err != nil {
		fail(w, http.StatusConflict, refusal(err))
		return
	}
	answer(w, http.StatusOK, struct{}{})
}

// Measure changes what the director records of how long packets take.
func (c *Client) Measure(ctx context.Context, m Measuring) error {
	return c.post(ctx, string(LatencyReport), m, &struct{}{})
}
