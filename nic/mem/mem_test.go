package mem_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vsnat/nic"
	"vsnat/nic/mem"
)

var (
	macA = [6]byte{2, 0, 0, 0, 0, 1}
	macB = [6]byte{2, 0, 0, 0, 0, 2}
)

// frame builds a frame of n bytes to dst, which all have the value fill.
func frame(dst [6]byte, fill byte, n int) *nic.Frame {
	f := &nic.Frame{Buf: make([]byte, nic.VNetHdrLen, nic.VNetHdrLen+n)}
	f.Buf = append(f.Buf, bytes.Repeat([]byte{fill}, n)...)
	copy(f.Eth(), dst[:])
	return f
}

// send sends the frames and returns their errors.
func send(t *testing.T, d nic.Sender, frames ...*nic.Frame) []syscall.Errno {
	t.Helper()
	errs := make([]syscall.Errno, len(frames))
	for i := range errs {
		errs[i] = syscall.EDOM
	}
	want := 0
	n := d.Send(frames, errs)
	for _, e := range errs {
		if e == 0 {
			want++
		}
	}
	if n != want {
		t.Errorf("Send returned %d, but %v", n, errs)
	}
	return errs
}

func TestFrameArrivesAsSent(t *testing.T) {
	now := time.Unix(1234, 5678)
	a, b := mem.Pair(mem.Config{Name: "a", Index: 7, MAC: macA}, mem.Config{Name: "b", MAC: macB, Now: func() time.Time { return now }})
	if a.Name() != "a" || a.Index() != 7 {
		t.Errorf("device is %s, number %d", a.Name(), a.Index())
	}
	super := frame(macB, 3, 60000)
	copy(super.Buf, []byte{1, nic.VNetGSOTCPv4, 54, 0, 0xb4, 5, 34, 0, 16, 0})
	sent := []*nic.Frame{frame(macB, 1, 60), frame(macA, 2, 14), super, frame([6]byte{1}, 4, 99), frame([6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 5, 99)}
	types := []nic.PacketType{nic.ToHost, nic.ToOther, nic.ToHost, nic.ToMulticast, nic.ToBroadcast}
	var want [][]byte
	for _, f := range sent {
		want = append(want, bytes.Clone(f.Buf))
	}
	super.Buf, super.Tail, super.Segments = super.Buf[:64], super.Buf[64:100], [][]byte{super.Buf[100:200], super.Buf[200:]}
	send(t, a, sent...)
	for _, f := range sent {
		clear(f.Buf) // the sender's memory is the sender's again
		clear(f.Tail)
		for _, s := range f.Segments {
			clear(s)
		}
	}
	var batch nic.Batch
	if n, err := b.Recv(&batch); n != len(sent) || batch.N != n || err != nil {
		t.Fatalf("received %d frames, %v", n, err)
	}
	for i, w := range want {
		f := &batch.Frames[i]
		if !bytes.Equal(f.Buf, w) || f.Type != types[i] || f.Cut() || f.WireLen != len(w)-nic.VNetHdrLen || f.Time != now.UnixNano() {
			t.Errorf("frame %d: type %d, wire length %d, time %d, bytes %x", i, f.Type, f.WireLen, f.Time, f.Buf)
		}
		if cap(f.Buf) != 68<<10 {
			t.Errorf("frame %d has room for %d bytes", i, cap(f.Buf))
		}
		if !f.Prepend(nic.Headroom) || !bytes.Equal(f.Buf[nic.Headroom:], w) {
			t.Errorf("frame %d has no room before it", i)
		}
	}
	if st := a.Stats(); st != (nic.Stats{TxFrames: 5, TxBytes: 60 + 14 + 60000 + 99 + 99, TxMerged: 1}) {
		t.Errorf("sender counted %+v", st)
	}
	if st := b.Stats(); st != (nic.Stats{RxFrames: 5, RxBytes: 60 + 14 + 60000 + 99 + 99}) {
		t.Errorf("receiver counted %+v", st)
	}
	if n, err := a.Recv(&batch); n != 0 || err != nil {
		t.Errorf("the sender received %d frames, %v", n, err)
	}
}

func TestRefusedFrames(t *testing.T) {
	a, b := mem.Pair(mem.Config{MTU: 100}, mem.Config{SlotSize: 80})
	super := frame(macB, 1, 115)
	super.Buf[1] = nic.VNetGSOTCPv6
	errs := send(t, a, frame(macB, 1, 114), frame(macB, 1, 115), super, frame(macB, 1, 13), &nic.Frame{})
	want := []syscall.Errno{0, syscall.EMSGSIZE, 0, syscall.EINVAL, syscall.EINVAL}
	for i, w := range want {
		if errs[i] != w {
			t.Errorf("frame %d: %v, want %v", i, errs[i], w)
		}
	}
	if st := a.Stats(); st.TxFrames != 2 || st.TxErrors != 3 {
		t.Errorf("sender counted %+v", st)
	}
	var batch nic.Batch
	if n, _ := b.Recv(&batch); n != 2 || !batch.Frames[0].Cut() || batch.Frames[0].WireLen != 114 || len(batch.Frames[0].Buf) != 80 {
		t.Errorf("received %d frames, the first of wire length %d with %d bytes", n, batch.Frames[0].WireLen, len(batch.Frames[0].Buf))
	}
	if st := b.Stats(); st.RxCut != 2 {
		t.Errorf("receiver counted %+v", st)
	}
}

// TestAgainstModel compares a device with a queue of numbers under random
// sends, receives and releases.
func TestAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const slots = 100
	a, b := mem.Pair(mem.Config{}, mem.Config{Slots: slots})
	var queue, held []byte
	var batch nic.Batch
	var views []nic.Frame
	next, dropped := byte(0), uint64(0)
	for range 5000 {
		switch rnd.IntN(4) {
		case 0, 1:
			for range rnd.IntN(40) {
				next++
				send(t, a, frame(macB, next, 20))
				if len(queue)+len(held) == slots {
					dropped++
				} else {
					queue = append(queue, next)
				}
			}
		case 2:
			n, err := b.Recv(&batch)
			if want := min(len(queue), nic.MaxBatch); n != want || err != nil {
				t.Fatalf("received %d frames, want %d, %v", n, want, err)
			}
			views = append(views, batch.Frames[:n]...)
			held = append(held, queue[:n]...)
			queue = queue[n:]
		case 3:
			// Until now nobody may have written to them.
			for i := range views {
				if got := views[i].Eth()[19]; got != held[i] {
					t.Fatalf("held frame %d is %d, want %d", i, got, held[i])
				}
			}
			b.Release()
			views, held = views[:0], held[:0]
		}
	}
	if st := b.Stats(); st.RxDropped != dropped || dropped == 0 {
		t.Errorf("%d dropped, want %d and some", st.RxDropped, dropped)
	}
}

func TestWireWithThreeDevices(t *testing.T) {
	var w mem.Wire
	a, b, c := w.Attach(mem.Config{}), w.Attach(mem.Config{}), w.Attach(mem.Config{})
	send(t, b, frame(macA, 1, 60))
	var batch nic.Batch
	for name, want := range map[*mem.Device]int{a: 1, b: 0, c: 1} {
		if n, _ := name.Recv(&batch); n != want {
			t.Errorf("received %d frames, want %d", n, want)
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mem.Pair(mem.Config{}, mem.Config{})
		start := time.Now()
		if err := b.Wait(3 * time.Second); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("waited %v, %v", time.Since(start), err)
		}
		if err := b.Wait(0); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("waited %v, %v", time.Since(start), err)
		}

		done := make(chan error, 1)
		go func() { done <- b.Wait(-1) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		default:
		}
		send(t, a, frame(macB, 1, 60))
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := b.Wait(-1); err != nil { // the frame still waits
			t.Error(err)
		}
		var batch nic.Batch
		if n, _ := b.Recv(&batch); n != 1 {
			t.Errorf("received %d frames", n)
		}
		b.Release()
		start = time.Now()
		if err := b.Wait(time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("an old token ended the wait after %v, %v", time.Since(start), err)
		}
	})
}

func TestDownUpRemovedClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mem.Pair(mem.Config{Name: "a"}, mem.Config{Name: "b"})
		var batch nic.Batch
		waiting := func() <-chan error {
			done := make(chan error, 1)
			go func() { done <- b.Wait(-1) }()
			synctest.Wait()
			return done
		}

		done := waiting()
		b.Down()
		if err := <-done; !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("down: %v", err)
		}
		if err := b.Wait(time.Second); err != nil {
			t.Errorf("told twice: %v", err)
		}
		if errs := send(t, b, frame(macA, 1, 60)); errs[0] != syscall.ENETDOWN {
			t.Errorf("sent while down: %v", errs)
		}
		if errs := send(t, a, frame(macB, 1, 60)); errs[0] != 0 {
			t.Errorf("sent to a device that is down: %v", errs)
		}
		b.Up()
		if n, err := b.Recv(&batch); n != 0 || err != nil {
			t.Errorf("received %d frames that came while down, %v", n, err)
		}
		done = waiting()
		send(t, a, frame(macB, 1, 60))
		if err := <-done; err != nil {
			t.Errorf("up: %v", err)
		}

		b.Remove()
		if n, err := b.Recv(&batch); n != 1 || err != nil {
			t.Errorf("received %d frames that came before, %v", n, err)
		}
		b.Release()
		if err := <-waiting(); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("removed: %v", err)
		}
		if _, err := b.Recv(&batch); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("removed: %v", err)
		}
		if errs := send(t, b, frame(macA, 1, 60)); errs[0] != syscall.ENXIO {
			t.Errorf("sent by nothing: %v", errs)
		}
		b.Up()
		if err := b.Wait(-1); !errors.Is(err, syscall.ENODEV) {
			t.Errorf("came back: %v", err)
		}

		ended := make(chan error, 1)
		go func() { ended <- a.Wait(-1) }()
		synctest.Wait()
		a.Close()
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if _, err := a.Recv(&batch); !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
		if errs := send(t, a, frame(macB, 1, 60)); errs[0] != syscall.EBADF {
			t.Errorf("sent by a closed device: %v", errs)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	a, b := mem.Pair(mem.Config{}, mem.Config{Slots: 8})
	frames := []*nic.Frame{frame(macB, 1, 60), frame(macB, 2, 1500), frame(macB, 3, 60), frame(macB, 4, 60)}
	errs := make([]syscall.Errno, len(frames))
	var batch nic.Batch
	round := func() {
		a.Send(frames, errs)
		if n, _ := b.Recv(&batch); n != len(frames) {
			t.Errorf("received %d frames", n)
		}
		b.Release()
	}
	round()
	round() // every slot has its memory now
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}
