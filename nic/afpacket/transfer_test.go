package afpacket

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// bridge forwards every frame of one device to another, unchanged, as a worker
// does, until it is stopped.
type bridge struct {
	from *Device
	to   *Sender

	frames, super, partial atomic.Uint64
	stop                   atomic.Bool
}

func (br *bridge) run() error {
	var b nic.Batch
	frames := make([]*nic.Frame, 0, nic.MaxBatch)
	errs := make([]unix.Errno, nic.MaxBatch)
	for !br.stop.Load() {
		n, err := br.from.Recv(&b)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := br.from.Wait(10 * time.Millisecond); err != nil {
				return err
			}
			continue
		}
		frames = frames[:0]
		for i := range b.Frames[:n] {
			f := &b.Frames[i]
			if f.VNet().GSOType() != nic.VNetGSONone && len(f.Eth()) > 1514 {
				br.super.Add(1)
			}
			if f.VNet().Partial() {
				br.partial.Add(1)
			}
			frames = append(frames, f)
		}
		br.frames.Add(uint64(n))
		br.to.Send(frames, errs)
		br.from.Release()
	}
	return nil
}

// transfer moves size bytes by TCP from a client through a bridge to a server
// that reads slowly, and checks that they arrive as they were. prepare may
// change the director's interfaces "in" and "out" before.
func transfer(t *testing.T, size int, cfg Config, prepare func(director *space)) (there, back *bridge) {
	t.Helper()
	client, director, server := newSpace(t), newSpace(t), newSpace(t)
	wire(t, director, "in", client, "client")
	wire(t, director, "out", server, "server")
	client.addr("client", "192.0.2.1/24")
	server.addr("server", "192.0.2.2/24")
	if prepare != nil {
		prepare(director)
	}

	open := func(from, to string) *bridge {
		c := cfg
		c.Name = from
		return &bridge{from: director.open(c), to: director.sender(to)}
	}
	there, back = open("in", "out"), open("out", "in")
	var bridges sync.WaitGroup
	for _, br := range []*bridge{there, back} {
		bridges.Go(func() {
			if err := br.run(); err != nil {
				t.Error(err)
			}
		})
	}
	defer func() {
		there.stop.Store(true)
		back.stop.Store(true)
		bridges.Wait()
	}()

	var ln net.Listener
	var err error
	server.do(func() { ln, err = net.Listen("tcp4", "192.0.2.2:80") })
	check(t, err)
	defer ln.Close()
	got := make(chan hash.Hash, 1)
	go func() {
		sum := sha256.New()
		defer func() { got <- sum }()
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		check := c.SetDeadline(time.Now().Add(3 * patience))
		if check != nil {
			t.Error(check)
		}
		buf := make([]byte, 256<<10)
		for i := 0; ; i++ {
			n, err := c.Read(buf)
			sum.Write(buf[:n])
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			if i%8 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()

	var c net.Conn
	client.do(func() { c, err = net.DialTimeout("tcp4", "192.0.2.2:80", patience) })
	check(t, err)
	check(t, c.SetDeadline(time.Now().Add(3*patience)))
	sum := sha256.New()
	rnd := rand.NewChaCha8([32]byte{1})
	_, err = io.CopyN(io.MultiWriter(c, sum), rnd, int64(size))
	check(t, err)
	check(t, c.Close())
	if a, b := fmt.Sprintf("%x", sum.Sum(nil)), fmt.Sprintf("%x", (<-got).Sum(nil)); a != b {
		t.Errorf("sent SHA-256 %s, received %s", a, b)
	}
	return there, back
}

// TestBulkTransferWithOffloads has super-frames come by the socket's queue, in slots,
// and by both ways in turn.
func TestBulkTransferWithOffloads(t *testing.T) {
	for name, cfg := range map[string]Config{
		"queue": {},
		"slots": {Slots: 32, SlotSize: 68 << 10},
		"both":  {Slots: 32, SlotSize: 32 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			there, back := transfer(t, 32<<20, cfg, nil)
			t.Logf("there: %d frames, %d of them super-frames, %d with partial checksums; %+v",
				there.frames.Load(), there.super.Load(), there.partial.Load(), there.from.Stats())
			t.Logf("back: %d frames; sender %+v", back.frames.Load(), there.to.Stats())
			if there.super.Load() == 0 || there.partial.Load() == 0 {
				t.Errorf("%d super-frames and %d partial checksums seen, want some of both", there.super.Load(), there.partial.Load())
			}
			if rounds := there.frames.Load() / uint64(len(there.from.ring.at)); rounds < 2 && name == "slots" {
				t.Errorf("only %d full rounds of the ring", rounds)
			}
		})
	}
}

// TestDriverWithoutSegmentation has the egress interface refuse super-frames.
func TestDriverWithoutSegmentation(t *testing.T) {
	there, _ := transfer(t, 4<<20, Config{}, func(director *space) {
		var err error
		director.do(func() { err = setTSO("out", false) })
		check(t, err)
	})
	t.Logf("%d super-frames; sender %+v", there.super.Load(), there.to.Stats())
	if there.super.Load() == 0 {
		t.Error("no super-frame came")
	}
	if there.super.Load() > refusals && there.to.bypass {
		t.Error("goes on trying the way that the driver refuses")
	}
	if st := there.to.Stats(); st.TxErrors != 0 {
		t.Errorf("%d frames were not sent", st.TxErrors)
	}
}
