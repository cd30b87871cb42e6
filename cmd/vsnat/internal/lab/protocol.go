package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// The supervisor's socket speaks JSON values, one after the other. A connection
// begins with one byte, which carries the three descriptors of an exec; then
// comes a request, and the answers. While a command runs, its caller may send
// signals.

// The verbs of a request.
const (
	verbExec   = "exec"
	verbStatus = "status"
)

// request is the first value of a connection.
type request struct {
	Verb     string   `json:"verb"`
	Host     string   `json:"host,omitempty"`
	Path     string   `json:"path,omitempty"` // the program's file, absolute
	Argv     []string `json:"argv,omitempty"`
	Env      []string `json:"env,omitempty"`
	Dir      string   `json:"dir,omitempty"`
	Terminal bool     `json:"terminal,omitempty"` // descriptor 0 shall be its controlling terminal
}

// forward asks for a signal to the command's process group.
type forward struct {
	Signal syscall.Signal `json:"signal"`
}

// reply is the answer to a request.
type reply struct {
	Error string `json:"error,omitempty"`
	Exit  *int   `json:"exit,omitempty"`  // exec: its exit status, as a shell would say
	State *State `json:"state,omitempty"` // status
}

// dial connects to a supervisor and sends a request, with descriptors if there
// are any.
func dial(dir string, req request, files ...*os.File) (*net.UnixConn, error) {
	fail := func(err error) (*net.UnixConn, error) {
		return nil, fmt.Errorf("lab: the supervisor does not answer: %w", err)
	}
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(dir, socketFile), Net: "unix"})
	if err != nil {
		return fail(err)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = syscall.UnixRights(fds...)
	}
	if _, _, err = c.WriteMsgUnix([]byte{0}, rights, nil); err == nil {
		err = json.NewEncoder(c).Encode(req)
	}
	if err != nil {
		_ = c.Close()
		return fail(err)
	}
	return c, nil
}

// accept reads the first byte of a connection and the descriptors with it.
func accept(c *net.UnixConn) ([]*os.File, error) {
	var first [1]byte
	rights := make([]byte, syscall.CmsgSpace(3*4))
	n, oobn, _, _, err := c.ReadMsgUnix(first[:], rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("lab: a connection without a first byte")
	}
	messages, err := syscall.ParseSocketControlMessage(rights[:oobn])
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			continue // something else than descriptors
		}
		for _, fd := range fds { // close-on-exec already: net asks for that
			files = append(files, os.NewFile(uintptr(fd), "exec"))
		}
	}
	return files, nil
}
