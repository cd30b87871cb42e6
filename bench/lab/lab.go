package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Options says what [Start] builds and what runs in it.
type Options struct {
	Topology Topology
	// Dir is an existing directory for the logs and the director's control
	// socket. If it is empty, Start makes one and Close removes it.
	Dir string
	// Page, if not nil, has every real server serve the paper's page.
	Page *PageOptions
	// Decap, if not 0, has every real server take packets out of tunnels: IPIP, GRE,
	// and GUE at this UDP port, such as [GUEPort]. The topology is then one in which
	// they answer clients themselves, as that of [Direct].
	Decap int
	// Director is the command line of the program that runs in the first
	// director; it may be empty. Start waits until the control socket that the
	// variable VSNAT_SOCKET names answers GET /v1/status.
	Director []string
	// Setup are commands that run in the first director, one after the other,
	// when its program is ready, such as "vsnat ipvsadm -A -t …".
	Setup [][]string
}

// PageOptions are those of all page servers.
type PageOptions struct {
	Rate float64 `json:"rate"` // requests/s that each is held to; 0 is no limit
}

// pagePort is where the page servers listen.
const pagePort = 80

// readyPatience is how long a program may take to answer for the first time.
const readyPatience = 15 * time.Second

// Lab is a cluster and what runs in it.
type Lab struct {
	*Cluster
	Dir       string
	Processes []*Process // immutable once Start has returned
	scratch   *scratch   // Dir if it is the lab's own, to be removed, else nil
}

// Start builds a cluster and starts its programs. The page servers are this
// same program, called as `lab page`, and the tunnels' ends too, as `lab decap`: a
// program that uses Start with them hands these verbs to [PageMain] and
// [DecapMain], as [Main] does for tests. ctx ends the starting, not the lab.
func Start(ctx context.Context, o Options) (_ *Lab, err error) {
	l := &Lab{Dir: o.Dir}
	if l.Dir == "" {
		if l.scratch, err = newScratch(); err != nil {
			return nil, err
		}
		l.Dir = l.scratch.path
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.Cluster, err = New(ctx, o.Topology); err != nil {
		return nil, err
	}
	if o.Page != nil {
		if err := l.startPages(ctx, *o.Page); err != nil {
			return nil, err
		}
	}
	if o.Decap != 0 {
		if err := l.startDecap(ctx, o.Decap); err != nil {
			return nil, err
		}
	}
	if len(o.Director) == 0 && len(o.Setup) == 0 {
		return l, nil
	}
	directors := o.Topology.Names(Director)
	if len(directors) == 0 {
		return nil, fmt.Errorf("lab: the topology %s has no director to run %q in", o.Topology.Name, append(o.Director, ""))
	}
	if len(o.Director) > 0 {
		if err := l.startDirector(ctx, directors[0], o.Director); err != nil {
			return nil, err
		}
	}
	for _, argv := range o.Setup {
		if err := l.run(ctx, directors[0], argv); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Socket returns the path of the director's control socket.
func (l *Lab) Socket() string { return filepath.Join(l.Dir, "vsnat.sock") }

// Env returns what a command in a host finds in its environment: VSNAT_SOCKET,
// VSNAT_LAB with the cluster's name and VSNAT_LAB_HOST with the host's.
func (l *Lab) Env(host string) []string {
	return []string{
		"VSNAT_SOCKET=" + l.Socket(),
		"VSNAT_LAB=" + l.topology.Name,
		"VSNAT_LAB_HOST=" + host,
	}
}

// startPages starts a page server on every real server.
func (l *Lab) startPages(ctx context.Context, o PageOptions) error {
	if _, err := NewPage("", o.Rate); err != nil {
		return err
	}
	for _, name := range l.topology.Names(Server) {
		h := l.Host(name)
		// All addresses: a server may have a VIP on lo, and IPv6.
		ln, err := h.Listen("tcp", ":"+strconv.Itoa(pagePort))
		if err != nil {
			return fmt.Errorf("lab: host %s: %w", name, err)
		}
		file, err := ln.(*net.TCPListener).File()
		if err != nil {
			return errors.Join(fmt.Errorf("lab: host %s: %w", name, err), ln.Close())
		}
		what := "page :" + strconv.Itoa(pagePort)
		if o.Rate != 0 {
			what += fmt.Sprintf(" %g/s", o.Rate)
		}
		p, err := l.start(what, name, []*os.File{file}, Self, "lab", "page",
			"-server", l.topology.Addr(name).String(), "-rate", strconv.FormatFloat(o.Rate, 'g', -1, 64))
		// The server has its own copy of the socket.
		if err := errors.Join(err, file.Close(), ln.Close()); err != nil {
			return err
		}
		p.ServesPage = true
		l.Processes = append(l.Processes, p)
	}
	// All at once start faster than one by one, so they are awaited last.
	for _, p := range l.Processes {
		if err := l.await(ctx, p, func(ctx context.Context) error {
			_, err := l.PageStats(ctx, p.Host)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// PageStats asks a real server for its figures.
func (l *Lab) PageStats(ctx context.Context, host string) (PageStats, error) {
	h := l.Host(host)
	if h == nil {
		return PageStats{}, fmt.Errorf("lab: there is no host %q", host)
	}
	addr := net.JoinHostPort(l.topology.Addr(host).String(), strconv.Itoa(pagePort))
	var s PageStats
	body, err := get(ctx, "http://"+addr+"/stats", func(ctx context.Context) (net.Conn, error) {
		return h.Dial(ctx, "tcp", addr)
	})
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	if err != nil {
		return PageStats{}, fmt.Errorf("lab: host %s: no figures of its page server: %w", host, err)
	}
	return s, nil
}

// startDirector starts the director's program and waits for its control socket.
func (l *Lab) startDirector(ctx context.Context, host string, argv []string) error {
	what := filepath.Base(programName(argv))
	if len(argv) > 1 {
		what += " " + argv[1]
	}
	p, err := l.start(what, host, nil, argv...)
	if err != nil {
		return err
	}
	l.Processes = append(l.Processes, p)
	return l.await(ctx, p, func(ctx context.Context) error {
		_, err := get(ctx, "http://vsnat/v1/status", func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", l.Socket())
		})
		return err
	})
}

// await asks a program again and again until it answers or ends.
func (l *Lab) await(ctx context.Context, p *Process, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("lab: host %s: %s ended (%s) before it was ready; %s", p.Host, p.What, p.State(), p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("lab: host %s: %s is not ready: %w; %s", p.Host, p.What, err, p.logTail())
		case <-tick.C:
		}
	}
}

// Close ends the director's program in good order, kills all others and removes
// the cluster. It may be called twice.
func (l *Lab) Close() error {
	var err error
	if l.Cluster != nil {
		for _, p := range l.Processes {
			if l.Host(p.Host).Role() == Director {
				p.stop(3 * time.Second)
			}
		}
		err = l.Cluster.Close()
		for _, p := range l.Processes {
			<-p.done // killed
		}
	}
	if l.scratch != nil {
		err = errors.Join(err, l.scratch.remove())
		l.scratch = nil
	}
	return err
}

// get fetches a document over a connection of its own.
func get(ctx context.Context, url string, dial func(context.Context) (net.Conn, error)) ([]byte, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := readAll(resp)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return body, nil
}

// readAll reads an answer of at most 16 MB and closes it.
func readAll(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	return body, errors.Join(err, resp.Body.Close())
}
