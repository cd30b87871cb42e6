package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// scratchPrefix begins the names of the directories that labs make themselves.
const scratchPrefix = "vsnat-lab-"

// scratch is a directory for the files of one lab. Its lock tells others that
// the lab lives: the kernel takes it away with the process, however that ends.
type scratch struct {
	path string
	lock *os.File // the directory itself, opened
}

// newScratch makes a directory, after removing those whose lab was killed.
func newScratch() (*scratch, error) {
	if err := sweepScratch(); err != nil {
		return nil, err
	}
	for {
		path, err := os.MkdirTemp("", scratchPrefix)
		if err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		lock, err := lockDir(path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lab: %w", err), os.RemoveAll(path))
		}
		if lock != nil {
			return &scratch{path, lock}, nil
		}
		// Another process took it, in that moment, for one that was left.
	}
}

// remove removes the directory and all that is in it.
func (s *scratch) remove() error {
	// In this order no other process ever sees it without its lock.
	return errors.Join(os.RemoveAll(s.path), s.lock.Close())
}

// sweepScratch removes what killed labs of this user have left.
func sweepScratch() error {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), scratchPrefix+"*"))
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for _, path := range found {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
			continue // gone already, or not ours
		}
		lock, err := lockDir(path)
		if err != nil || lock == nil {
			continue // as above, or in use
		}
		if err := errors.Join(os.RemoveAll(path), lock.Close()); err != nil {
			return fmt.Errorf("lab: remove what a killed lab has left: %w", err)
		}
	}
	return nil
}

// lockDir locks a directory. It returns nil if another has it, or had it and
// has removed it.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		var opened, there os.FileInfo
		if opened, err = f.Stat(); err == nil {
			if there, err = os.Lstat(path); err == nil && os.SameFile(opened, there) {
				return f, nil
			}
		}
	}
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
		return nil, f.Close()
	}
	return nil, errors.Join(err, f.Close())
}
