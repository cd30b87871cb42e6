package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"syscall"

	"vsnat/nat"
)

// commandsRequest is the body of POST /v1/apply and of POST /v1/transaction.
type commandsRequest struct {
	Commands []Command `json:"commands"`
	// GoOn, of apply only, has the commands after a refused one carried out too.
	GoOn bool `json:"go_on,omitempty"`
}

// commandsAnswer is the answer: how many commands were done, and the first
// refusal. With go_on, Errors are all refusals.
type commandsAnswer struct {
	Done   int      `json:"done"`
	Error  *Error   `json:"error,omitempty"`
	Errors []*Error `json:"errors,omitempty"`
}

// serveCommands returns the handler of a list of commands. A request that is
// malformed anywhere (400) changes nothing. Where the director refuses one
// midway (409), apply keeps what was done before, as a series of netlink
// commands does, and a transaction nothing.
func serveCommands(mode Mode) handler {
	return func(s *Server, w http.ResponseWriter, r *http.Request, _ url.Values) {
		var req commandsRequest
		done, ok := s.read(w, r, &req)
		if !ok {
			return
		}
		defer done()
		mode := mode
		if req.GoOn {
			if mode == Atomic {
				fail(w, http.StatusBadRequest, &Error{Errno: Errno(syscall.EINVAL), Message: `a transaction takes no "go_on"`})
				return
			}
			mode = GoOn
		}
		s.run(w, req.Commands, mode)
	}
}

// read reads the request's body into v, or answers why it cannot. Call done when
// v is no longer needed.
func (s *Server) read(w http.ResponseWriter, r *http.Request, v any) (done func(), ok bool) {
	body := &sharedBody{r: http.MaxBytesReader(w, r.Body, s.limits.body), used: &s.bodies, max: s.limits.bodies}
	status, err := decode(body, v)
	if err != nil {
		body.release()
		fail(w, status, &Error{Errno: Errno(syscall.EINVAL), Message: err.Error()})
		return nil, false
	}
	s.gate.answering(r)
	return body.release, true
}

// errBusy is what is wrong when there is no room for a body.
var errBusy = errors.New("other requests take all the room there is: try again")

// sharedBody is a body that takes its bytes from what all bodies share: many
// large requests must not take the director's memory.
type sharedBody struct {
	r    io.Reader
	used *atomic.Int64
	max  int64
	took int64
}

func (b *sharedBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.took += int64(n)
	if b.used.Add(int64(n)) > b.max {
		return 0, errBusy
	}
	return n, err
}

// release gives back what was taken.
func (b *sharedBody) release() { b.used.Add(-b.took) }

// run has the director carry out the commands, and answers.
func (s *Server) run(w http.ResponseWriter, cmds []Command, mode Mode) {
	refused := func(i int, err error) *Error {
		e := refusal(err)
		e.Index, e.Op = &i, cmds[i].Op
		return e
	}
	for i := range cmds {
		if err := cmds[i].check(); err != nil {
			answer(w, http.StatusBadRequest, commandsAnswer{Error: refused(i, err)})
			return
		}
	}
	s.apply.Lock()
	refusals := s.director.Apply(cmds, mode)
	s.apply.Unlock()
	a := commandsAnswer{Done: len(cmds) - len(refusals)}
	for _, r := range refusals {
		a.Errors = append(a.Errors, refused(r.Index, r.Err))
	}
	status := http.StatusOK
	if len(refusals) > 0 && mode != GoOn {
		status = http.StatusConflict
		a.Error, a.Errors = a.Errors[0], nil
		if a.Done = refusals[0].Index; mode == Atomic {
			a.Done = 0
		}
	}
	answer(w, status, a)
}

// settingsAnswer is the answer of GET /v1/settings.
type settingsAnswer struct {
	Settings []Setting `json:"settings"`
}

// settingsRequest is the body of PUT /v1/settings: values by name.
type settingsRequest struct {
	Settings map[string]nat.Value `json:"settings"`
}

// putSettings changes those settings that the body names, or none.
func (s *Server) putSettings(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var req settingsRequest
	if done, ok := s.read(w, r, &req); ok {
		defer done()
		s.run(w, []Command{{Op: Set, Settings: req.Settings}}, Atomic)
	}
}

// marksAnswer is the answer of GET /v1/marks, and the body of PUT.
type marksAnswer struct {
	Marks []MarkRule `json:"marks"`
}

func marks(d Director) marksAnswer {
	a := marksAnswer{d.Marks()}
	if a.Marks == nil {
		a.Marks = []MarkRule{}
	}
	return a
}

func (s *Server) putMarks(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var req marksAnswer
	if done, ok := s.read(w, r, &req); ok {
		defer done()
		s.run(w, []Command{{Op: SetMarks, Marks: req.Marks}}, Atomic)
	}
}

// decode reads exactly one JSON value of v's shape. The status is for the
// answer when it cannot.
func decode(body io.Reader, v any) (int, error) {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("there is more after the JSON value")
		} else if errors.Is(err, io.EOF) {
			return 0, nil
		}
	}
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return http.StatusRequestEntityTooLarge, fmt.Errorf("request body is larger than %d bytes: send fewer commands at a time", tooBig.Limit)
	}
	if errors.Is(err, errBusy) {
		return http.StatusServiceUnavailable, err
	}
	return http.StatusBadRequest, fmt.Errorf("request body: %w", plain(err))
}
