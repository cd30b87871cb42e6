package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/bench/lab"
)

// State is what is known of a lab, as `status --json` prints it. Process
// numbers are those of the namespace the supervisor was started from.
type State struct {
	Name          string       `json:"name"`
	Supervisor    int          `json:"supervisor"`       // process number
	Start         uint64       `json:"supervisor_start"` // its start time, clock ticks since boot
	Since         time.Time    `json:"since"`
	UserNamespace bool         `json:"user_namespace"` // it was started without root's capabilities
	Topology      lab.Topology `json:"topology"`
	Processes     []Process    `json:"processes"`
}

// Process is one program of a lab.
type Process struct {
	What  string         `json:"what"`
	Host  string         `json:"host"`
	PID   int            `json:"pid"`
	Since time.Time      `json:"since"`
	State string         `json:"state"`          // "running", or how it ended
	Log   string         `json:"log,omitempty"`  // file with its output
	Page  *lab.PageStats `json:"page,omitempty"` // figures of a page server
}

// The files of a state directory, besides the logs.
const (
	lockFile   = "lock"       // held by the supervisor as long as it lives
	stateFile  = "state.json" // a State, written when the lab is up
	socketFile = "lab.sock"   // where the supervisor answers
	logFile    = "supervisor.log"
)

// maxSocketPath is the longest path of a unix socket (sun_path in unix(7), less
// the zero byte).
const maxSocketPath = 107

// baseDir returns the directory that holds the state directories of this user.
func baseDir() (string, error) {
	run := os.Getenv("XDG_RUNTIME_DIR")
	switch {
	case run != "":
	case os.Geteuid() == 0:
		run = "/run"
	default:
		// A directory others may write to: ours must be ours alone.
		dir := filepath.Join(os.TempDir(), "vsnat-lab-"+strconv.Itoa(os.Geteuid()))
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("lab: %w", err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(dir, &st); err != nil {
			return "", fmt.Errorf("lab: %s: %w", dir, err)
		}
		if st.Mode != unix.S_IFDIR|0o700 || int(st.Uid) != os.Geteuid() {
			return "", fmt.Errorf("lab: %s is not a directory of yours alone: set XDG_RUNTIME_DIR", dir)
		}
		return dir, nil
	}
	dir := filepath.Join(run, "vsnat-lab")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("lab: no place for the state, set XDG_RUNTIME_DIR: %w", err)
	}
	return dir, nil
}

// checkName refuses names that are no good as the name of a directory.
func checkName(name string) error {
	if name == "" || len(name) > 32 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return fmt.Errorf("invalid argument %q for the name of a lab: 1 to 32 letters, digits, - and _", name)
	}
	return nil
}

// stateDir returns the state directory of a lab, which need not exist.
func stateDir(name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	base, err := baseDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, name)
	if path := filepath.Join(dir, "vsnat.sock"); len(path) > maxSocketPath {
		return "", fmt.Errorf("lab: the socket %s would have a path of more than %d bytes: set XDG_RUNTIME_DIR to a shorter one", path, maxSocketPath)
	}
	return dir, nil
}

// errAlive is returned by lockDir if a supervisor has the directory.
var errAlive = errors.New("lab: it is up")

// lockDir takes the lock of a state directory, which must exist. Holding it
// means that no supervisor lives there. With errAlive one does.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // not written to
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errAlive
		}
		return nil, fmt.Errorf("lab: cannot lock %s: %w", f.Name(), err)
	}
	// Between opening and locking, the last owner may have removed the directory.
	var held, there unix.Stat_t
	err = errors.Join(unix.Fstat(int(f.Fd()), &held), unix.Stat(f.Name(), &there))
	if err != nil || held.Ino != there.Ino || held.Dev != there.Dev {
		_ = f.Close() // not written to
		return nil, fs.ErrNotExist
	}
	return f, nil
}

// claim makes a state directory afresh and returns it locked. What a supervisor
// that was killed has left there is removed first.
func claim(name string) (dir string, lock *os.File, err error) {
	if dir, err = stateDir(name); err != nil {
		return "", nil, err
	}
	for tries := 0; ; tries++ {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", nil, fmt.Errorf("lab: %w", err)
		}
		lock, err = lockDir(dir)
		switch {
		case errors.Is(err, errAlive) && tries < 10:
			// Perhaps only a look by another verb, which takes the lock for a moment.
			time.Sleep(10 * time.Millisecond)
		case errors.Is(err, errAlive):
			return "", nil, fmt.Errorf("lab: there is a lab %s already: `vsnat lab status %s` shows it, `vsnat lab down %s` ends it", name, name, name)
		case errors.Is(err, fs.ErrNotExist): // it was just being removed
		case err != nil:
			return "", nil, err
		default:
			if err := empty(dir); err != nil {
				return "", nil, errors.Join(err, lock.Close())
			}
			return dir, lock, nil
		}
	}
}

// empty removes everything in a state directory but the lock.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockFile {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("lab: cannot clear away what a killed lab left: %w", err)
			}
		}
	}
	return nil
}

// sweep removes the directories of supervisors that are dead, and returns the
// names of those that live.
func sweep() ([]string, error) {
	base, err := baseDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	var alive []string
	for _, e := range entries {
		if !e.IsDir() || checkName(e.Name()) != nil {
			continue
		}
		switch err := discard(filepath.Join(base, e.Name())); {
		case errors.Is(err, errAlive):
			alive = append(alive, e.Name())
		case err != nil:
			return nil, err
		}
	}
	return alive, nil
}

// discard removes a state directory unless a supervisor lives there, which is
// errAlive. It does so under the lock, so that nobody else is just claiming it.
func discard(dir string) error {
	lock, err := lockDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// pick returns the lab a verb is for: the one named, or the only one there is.
func pick(name string) (string, error) {
	if name != "" {
		return name, checkName(name)
	}
	alive, err := sweep()
	switch {
	case err != nil:
		return "", err
	case len(alive) == 0:
		return "", errors.New("lab: no lab is up: `vsnat lab up` starts one")
	case len(alive) > 1:
		return "", fmt.Errorf("lab: several labs are up, name one of them: %s", strings.Join(alive, ", "))
	}
	return alive[0], nil
}

// save writes the state whole or not at all.
func (s *State) save(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		tmp := filepath.Join(dir, stateFile+".new")
		if err = os.WriteFile(tmp, append(b, '\n'), 0o600); err == nil {
			err = os.Rename(tmp, filepath.Join(dir, stateFile))
		}
	}
	if err != nil {
		return fmt.Errorf("lab: cannot write the state: %w", err)
	}
	return nil
}

// load reads the state of a lab whose supervisor lives.
func load(name string) (dir string, s *State, err error) {
	if dir, err = stateDir(name); err != nil {
		return "", nil, err
	}
	switch err := discard(dir); {
	case err == nil:
		return "", nil, fmt.Errorf("lab: there is no lab %s: `vsnat lab up %s` starts it", name, name)
	case !errors.Is(err, errAlive):
		return "", nil, err
	}
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("lab: the lab %s is just starting or ending: try again", name)
	}
	s = new(State)
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return "", nil, fmt.Errorf("lab: the state of %s cannot be read: %w", name, err)
	}
	return dir, s, nil
}
