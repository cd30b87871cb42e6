package pcap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"vsnat/nic"
)

// Writer is a [nic.Sender] that writes a pcap file with times in nanoseconds.
// Frames are written as they are: super-frames whole, and checksums that were
// left to the hardware not completed. All methods but Stats belong to one
// goroutine.
type Writer struct {
	name  string
	close io.Closer // nil if the writer below is not ours
	buf   *bufio.Writer
	pcap  *pcapgo.Writer
	now   func() time.Time

	joined []byte // a frame in several pieces as one

	frames, bytes, errors atomic.Uint64
}

var _ nic.Sender = (*Writer)(nil)

// Create makes a capture file, or empties the one of that name. See
// [NewWriter].
func Create(file string, now func() time.Time) (*Writer, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("pcap: %w", err)
	}
	w, err := NewWriter(f, file, now)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w.close = f
	return w, nil
}

// NewWriter writes a capture to w; file is its name in errors. Frames get the
// time that now returns; without it they keep the time at which they were
// received.
func NewWriter(w io.Writer, file string, now func() time.Time) (*Writer, error) {
	buf := bufio.NewWriterSize(w, 64<<10)
	wr := &Writer{name: file, buf: buf, pcap: pcapgo.NewWriterNanos(buf), now: now}
	if err := wr.pcap.WriteFileHeader(MaxFrame, layers.LinkTypeEthernet); err != nil {
		return nil, fmt.Errorf("pcap: %s: %w", file, err)
	}
	return wr, nil
}

// Send writes the frames. One that is longer than MaxFrame gets EMSGSIZE, and
// when the file cannot be written all get the errno for that; Close tells it
// as well.
func (w *Writer) Send(frames []*nic.Frame, errs []syscall.Errno) int {
	sent := 0
	var bytes uint64
	for i, f := range frames {
		if errs[i] = w.write(f); errs[i] == 0 {
			sent++
			bytes += uint64(f.Len())
		}
	}
	w.frames.Add(uint64(sent))
	w.bytes.Add(bytes)
	w.errors.Add(uint64(len(frames) - sent))
	return sent
}

// write writes one frame.
func (w *Writer) write(f *nic.Frame) syscall.Errno {
	if len(f.Buf) < nic.VNetHdrLen {
		return syscall.EINVAL
	}
	data := f.Eth()
	if f.Len() > MaxFrame {
		return syscall.EMSGSIZE
	}
	if f.Len() > len(data) {
		w.joined = w.joined[:0]
		for _, part := range f.Parts(new([4]byte)) {
			w.joined = append(w.joined, part...)
		}
		for _, segment := range f.Segments {
			w.joined = append(w.joined, segment...)
		}
		data = w.joined[nic.VNetHdrLen:]
	}
	at := time.Unix(0, f.Time)
	if w.now != nil {
		at = w.now()
	}
	// What is sent may have grown since it was received.
	info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(data), Length: max(f.WireLen, len(data))}
	if err := w.pcap.WritePacket(info, data); err != nil {
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return errno
		}
		return syscall.EIO
	}
	return 0
}

// Stats returns the sending half of the counters since the file was made.
func (w *Writer) Stats() nic.Stats {
	return nic.Stats{TxFrames: w.frames.Load(), TxBytes: w.bytes.Load(), TxErrors: w.errors.Load()}
}

// Close writes what is still in memory and closes the file, if Create made it.
// It must be called, or frames are lost.
func (w *Writer) Close() error {
	err := w.buf.Flush()
	if w.close != nil {
		err = errors.Join(err, w.close.Close())
		w.close = nil
	}
	if err != nil {
		return fmt.Errorf("pcap: %s: %w", w.name, err)
	}
	return nil
}
