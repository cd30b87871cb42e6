package nic

import (
	"fmt"
	"syscall"
	"time"
)

// Receiver is the receiving half of a device. Only one goroutine uses it.
type Receiver interface {
	// Recv fills b with the frames that are waiting, at most MaxBatch of
	// them, sets b.N and returns it. It never blocks; 0 means none waits. An
	// error means that the device is of no more use (gone, closed), but for
	// ENETDOWN, which may pass. At the end of a capture it is io.EOF.
	Recv(b *Batch) (int, error)
	// Wait blocks until a frame waits, for at most d; d < 0 is without end.
	// Neither a timeout nor an interrupting signal is an error.
	Wait(d time.Duration) error
	// Release hands the memory of all frames received since the last Release
	// back to the device. Those frames must not be touched any more.
	Release()
}

// Sender is the sending half of a device. Only one goroutine uses it.
type Sender interface {
	// Send transmits the frames in order. Their memory may be touched again
	// when it returns. errs[i] is set to 0 for a frame
	// that was sent and to the kernel's errno for one that was not; a frame
	// that fails does not keep those behind it. It returns how many were
	// sent. errs is at least as long as frames.
	Send(frames []*Frame, errs []syscall.Errno) int
}

// Device is one interface with both halves, opened for one worker.
type Device interface {
	Receiver
	Sender
	// Name returns the interface's name and Index its number (ifindex).
	Name() string
	Index() int
	// Stats returns the device's own counters; any goroutine may call it.
	Stats() Stats
	Close() error
}

// Polled is a Device that has a file descriptor to wait by, so that one thread can
// wait for several devices at once: by poll(2) instead of Wait.
type Polled interface {
	Device
	// FD returns the descriptor, on which POLLIN tells that a frame waits.
	FD() int
	// Polled takes what poll told of the descriptor, if that was anything, and
	// returns what Wait would.
	Polled(revents int16) error
	// Look finds out what poll does not tell. It is to be called ten times a second
	// or so, whether frames come or not.
	Look() error
}

// Stats are counters of one device since it was opened.
type Stats struct {
	RxFrames  uint64 // frames handed to the worker
	RxBytes   uint64 // their bytes, Ethernet header included
	RxDropped uint64 // frames the kernel dropped because the ring was full
	RxCut     uint64 // frames longer than there was memory for
	TxFrames  uint64 // frames sent
	TxBytes   uint64
	TxErrors  uint64 // frames that were not sent
	TxMerged  uint64 // frames that were sent as part of another, which alone is one of TxFrames
}

// Feature is something the running kernel lacks.
type Feature struct {
	Name      string // what is missing, as the kernel names it
	MinKernel string // first kernel release that has it, such as "4.20"
	Err       error  // what the kernel answered
}

// Error tells what is missing and what to do about it.
func (f *Feature) Error() string {
	return fmt.Sprintf("nic: this kernel has no %s: Linux %s or later is needed: %v", f.Name, f.MinKernel, f.Err)
}

// Unwrap returns the kernel's answer.
func (f *Feature) Unwrap() error { return f.Err }
