package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Declared is a Director that follows a configuration file. What it returns of a
// plan is for JSON; its shape is the director's.
type Declared interface {
	// Plan tells what it would take to be as these files say, or without any as
	// the director's own.
	Plan(files []File) (plan any, err error)
	// Reload reads the director's file and is as it says, or stays as it was. If
	// confirm is not 0 it goes back after that time, unless there is a Confirm.
	Reload(confirm time.Duration) (plan any, err error)
	// Confirm keeps what the last Reload did.
	Confirm() error
}

// File is a file with its text.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// maxConfirm is the longest that a reload can wait for its confirmation.
const maxConfirm = 24 * time.Hour

// planRequest is the body of POST /v1/plan.
type planRequest struct {
	Files []File `json:"files,omitempty"`
}

// reloadRequest is the body of POST /v1/reload.
type reloadRequest struct {
	Confirm uint32 `json:"confirm,omitempty"` // seconds
}

// planAnswer is the answer of POST /v1/plan and of POST /v1/reload.
type planAnswer struct {
	Plan any `json:"plan"`
}

// serveDeclared returns the handler of a request with a body of that type.
func serveDeclared[T any](do func(Declared, *T) (any, error)) handler {
	return func(s *Server, w http.ResponseWriter, r *http.Request, _ url.Values) {
		req := new(T)
		done, ok := s.read(w, r, req)
		if !ok {
			return
		}
		defer done()
		d, ok := s.director.(Declared)
		if !ok {
			fail(w, http.StatusConflict, refusal(fmt.Errorf("this director follows no configuration file: %w", syscall.EOPNOTSUPP)))
			return
		}
		a, err := do(d, req)
		if err != nil {
			fail(w, http.StatusConflict, refusal(err))
			return
		}
		answer(w, http.StatusOK, a)
	}
}

func servePlan(d Declared, req *planRequest) (any, error) {
	p, err := d.Plan(req.Files)
	return planAnswer{p}, err
}

func serveReload(d Declared, req *reloadRequest) (any, error) {
	confirm := time.Duration(req.Confirm) * time.Second
	if confirm > maxConfirm {
		return nil, fmt.Errorf("a reload waits a day at most to be confirmed, not %s: %w", confirm, syscall.EINVAL)
	}
	p, err := d.Reload(confirm)
	return planAnswer{p}, err
}

func serveConfirm(d Declared, _ *struct{}) (any, error) { return struct{}{}, d.Confirm() }

// Plan asks what it would take for the director to be as the files say, or
// without any as its own file. The answer goes into plan.
func (c *Client) Plan(ctx context.Context, files []File, plan any) error {
	return c.post(ctx, "plan", planRequest{files}, &planAnswer{plan})
}

// Reload has the director be as its file says; confirm, if not 0, is how long it
// waits for [Client.Confirm] before it goes back. What was done goes into plan.
func (c *Client) Reload(ctx context.Context, confirm time.Duration, plan any) error {
	return c.post(ctx, "reload", reloadRequest{uint32(confirm / time.Second)}, &planAnswer{plan})
}

// Confirm keeps what the last reload did.
func (c *Client) Confirm(ctx context.Context) error {
	return c.post(ctx, "confirm", struct{}{}, &struct{}{})
}

// post sends a value and decodes the answer into v.
func (c *Client) post(ctx context.Context, what string, body, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("control: %s: %w", what, err)
	}
	return c.do(ctx, http.MethodPost, what, bytes.NewReader(b), v)
}
