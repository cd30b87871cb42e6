package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// ErrNotRunning is wrapped by a client's errors when nobody listens at the
// socket.
var ErrNotRunning = errors.New("vsnat is not running")

// Times a client waits for: a local daemon that takes longer is stuck.
const (
	dialTimeout   = 5 * time.Second
	dialAgain     = 5 * time.Millisecond // while the socket's queue is full
	answerTimeout = 10 * time.Second
)

// Client asks a director over its control socket. It is safe for concurrent
// use.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client of the socket at path. It connects when asked.
func NewClient(path string) *Client {
	c := &Client{socket: path}
	c.http.Transport = &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
		ResponseHeaderTimeout: answerTimeout,
		MaxIdleConns:          1,
		IdleConnTimeout:       answerTimeout,
	}
	return c
}

// dial connects to the socket. When many do at the same time its queue may be
// full, and then it is tried again: a unix socket does not make one wait by
// itself, unless one blocks.
func dial(ctx context.Context, path string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(dialAgain):
		}
	}
}

// Socket returns the path it connects to.
func (c *Client) Socket() string { return c.socket }

// Close closes the connection kept for the next request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Apply runs commands in order and stops at the first that is refused: then
// the error is an [*Error].
func (c *Client) Apply(ctx context.Context, cmds ...Command) error {
	_, err := c.commands(ctx, "apply", commandsRequest{Commands: cmds})
	return err
}

// ApplyAll runs all commands in order and returns the refusals.
func (c *Client) ApplyAll(ctx context.Context, cmds ...Command) ([]*Error, error) {
	return c.commands(ctx, "apply", commandsRequest{Commands: cmds, GoOn: true})
}

// Transact runs all commands or, when one is refused, none: then the error is an
// [*Error].
func (c *Client) Transact(ctx context.Context, cmds ...Command) error {
	_, err := c.commands(ctx, "transaction", commandsRequest{Commands: cmds})
	return err
}

func (c *Client) commands(ctx context.Context, what string, req commandsRequest) ([]*Error, error) {
	var a commandsAnswer
	err := c.post(ctx, what, req, &a)
	return a.Errors, err
}

// Settings returns all settings.
func (c *Client) Settings(ctx context.Context) ([]Setting, error) {
	var a settingsAnswer
	err := c.do(ctx, http.MethodGet, "settings", nil, &a)
	return a.Settings, err
}

// Marks returns the mark rules in order.
func (c *Client) Marks(ctx context.Context) ([]MarkRule, error) {
	var a marksAnswer
	err := c.do(ctx, http.MethodGet, "marks", nil, &a)
	return a.Marks, err
}

// Pools returns the pools of ports.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	var a poolsAnswer
	err := c.do(ctx, http.MethodGet, "pools", nil, &a)
	return a.Pools, err
}

// Masquerades returns the networks that are masqueraded.
func (c *Client) Masquerades(ctx context.Context) ([]Masquerade, error) {
	var a masqueradesAnswer
	err := c.do(ctx, http.MethodGet, "masquerades", nil, &a)
	return a.Masquerades, err
}

// Helpers returns the helpers, with what they have done.
func (c *Client) Helpers(ctx context.Context) ([]HelperEntry, error) {
	var a helpersAnswer
	err := c.do(ctx, http.MethodGet, "helpers", nil, &a)
	return a.Helpers, err
}

// Services returns all services in the director's own order.
func (c *Client) Services(ctx context.Context) ([]ServiceEntry, error) {
	all := []ServiceEntry{}
	for e, err := range stream[ServiceEntry](ctx, c, "services?format="+ndjson) {
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// Service returns one service, or an [*Error] with ESRCH.
func (c *Client) Service(ctx context.Context, id ServiceID) (ServiceEntry, error) {
	var a servicesAnswer
	if err := c.do(ctx, http.MethodGet, "services?service="+url.QueryEscape(id.String()), nil, &a); err != nil {
		return ServiceEntry{}, err
	}
	if len(a.Services) != 1 {
		return ServiceEntry{}, fmt.Errorf("control: %d services answer to %s", len(a.Services), id)
	}
	return a.Services[0], nil
}

// Timeouts returns the timeouts in force.
func (c *Client) Timeouts(ctx context.Context) (Timeouts, error) {
	var t Timeouts
	return t, c.do(ctx, http.MethodGet, "timeouts", nil, &t)
}

// Daemons returns the synchronisation daemons that run.
func (c *Client) Daemons(ctx context.Context) ([]Daemon, error) {
	var a daemonsAnswer
	err := c.do(ctx, http.MethodGet, "daemons", nil, &a)
	return a.Daemons, err
}

// Info says who answers.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var i Info
	return i, c.do(ctx, http.MethodGet, "info", nil, &i)
}

// Report decodes one of the director's reports into v.
func (c *Client) Report(ctx context.Context, name Report, v any) error {
	return c.do(ctx, http.MethodGet, string(name), nil, v)
}

// stream reads a listing with one object a line.
func stream[T any](ctx context.Context, c *Client, what string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // closes the stream when the caller stops
		defer cancel()
		var none T
		resp, err := c.send(ctx, http.MethodGet, what, nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		for d := json.NewDecoder(resp.Body); ; {
			var v T
			switch err := d.Decode(&v); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(none, fmt.Errorf("control: %s: %w", what, err))
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// do sends a request and decodes the answer into v.
func (c *Client) do(ctx context.Context, method, what string, body io.Reader, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, what, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("control: %s: answer: %w", what, err)
	}
	// Read to the end, so that the connection can be used again.
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// send sends a request and returns the answer when its status is 200.
func (c *Client) send(ctx context.Context, method, what string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://vsnat/v1/"+what, body)
	if err != nil {
		return nil, fmt.Errorf("control: %s: %w", what, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("control: nobody answers at %s: %w", c.socket, ErrNotRunning)
		}
		return nil, fmt.Errorf("control: %s at %s: %w", what, c.socket, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var a errorAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&a); err != nil || a.Error == nil {
		return nil, fmt.Errorf("control: %s at %s: answer %s is not vsnat's", what, c.socket, resp.Status)
	}
	return nil, a.Error
}
