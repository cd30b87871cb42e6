package pcap

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"vsnat/nic"
)

var mac = [6]byte{2, 0, 0, 0, 0, 1}

// eth returns an Ethernet frame of n bytes to dst.
func eth(dst [6]byte, fill byte, n int) []byte {
	b := bytes.Repeat([]byte{fill}, n)
	copy(b, dst[:])
	return b
}

// record is a frame in a file.
type record struct {
	at      time.Time
	data    []byte
	wireLen int
}

// records are the frames of the test files.
var records = []record{
	{time.Unix(1700000000, 123456000), eth(mac, 1, 60), 60},
	{time.Unix(1700000001, 0), eth([6]byte{2, 0, 0, 0, 0, 2}, 2, 96), 1514},
	{time.Unix(1700000001, 999999000), eth([6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 3, 65000), 65000},
	{time.Unix(1700000002, 5000), eth([6]byte{1}, 4, 14), 14},
}

func (r record) info() gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: r.at, CaptureLength: len(r.data), Length: r.wireLen}
}

// classic builds a pcap file by hand, with the given byte order and number of
// the file's time units in a second.
func classic(order binary.AppendByteOrder, perSecond int64, linkType uint32) []byte {
	magic := uint32(magicMicros)
	if perSecond == 1e9 {
		magic = magicNanos
	}
	b := order.AppendUint32(nil, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 1500) // a limit that the frames do not keep
	b = order.AppendUint32(b, linkType)
	for _, r := range records {
		b = order.AppendUint32(b, uint32(r.at.Unix()))
		b = order.AppendUint32(b, uint32(int64(r.at.Nanosecond())*perSecond/1e9))
		b = order.AppendUint32(b, uint32(len(r.data)))
		b = order.AppendUint32(b, uint32(r.wireLen))
		b = append(b, r.data...)
	}
	return b
}

// ng builds a pcapng file by pcapgo's writer.
func ng(t testing.TB) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := pcapgo.NewNgWriter(&buf, layers.LinkTypeEthernet)
	check(t, err)
	for _, r := range records {
		check(t, w.WritePacket(r.info(), r.data))
	}
	check(t, w.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{LastUpdate: records[0].at, PacketsReceived: 4}))
	check(t, w.Flush())
	return buf.Bytes()
}

// block builds a pcapng block.
func block(order binary.AppendByteOrder, typ uint32, body ...byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + 12)
	b := order.AppendUint32(nil, typ)
	b = order.AppendUint32(b, n)
	b = append(b, body...)
	return order.AppendUint32(b, n)
}

// section and iface build the two blocks that come before frames.
func section(order binary.AppendByteOrder, options ...byte) []byte {
	body := order.AppendUint32(nil, byteOrderMagic)
	body = order.AppendUint16(body, 1)
	body = order.AppendUint16(body, 0)
	body = order.AppendUint64(body, 1<<64-1)
	return block(order, blockSection, append(body, options...)...)
}

func iface(order binary.AppendByteOrder, link uint16, snap uint32, options ...byte) []byte {
	body := order.AppendUint16(nil, link)
	body = order.AppendUint16(body, 0)
	body = order.AppendUint32(body, snap)
	return block(order, blockInterface, append(body, options...)...)
}

// packet builds an enhanced packet block that says that it holds n bytes.
func packet(order binary.AppendByteOrder, iface uint32, ticks uint64, n, wire uint32, data ...byte) []byte {
	body := order.AppendUint32(nil, iface)
	body = order.AppendUint32(body, uint32(ticks>>32))
	body = order.AppendUint32(body, uint32(ticks))
	body = order.AppendUint32(body, n)
	body = order.AppendUint32(body, wire)
	return block(order, blockPacket, append(body, data...)...)
}

// ngBig builds a big-endian pcapng file by hand, with all kinds of packet
// blocks, unknown blocks, options, two interfaces and two sections.
func ngBig() []byte {
	o := binary.BigEndian
	comment := []byte{0, 1, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0, 0, 0, 0}
	millis := []byte{0, optionTSResol, 0, 1, 3, 0, 0, 0}
	r := records
	b := section(o, comment...)
	b = append(b, block(o, 0xbad, 1, 2, 3, 4, 5)...)
	b = append(b, iface(o, 101, 0)...) // raw IP, and no frame from it
	b = append(b, iface(o, 1, 0xffffffff, comment...)...)
	data := append(bytes.Clone(r[0].data), comment...)
	b = append(b, packet(o, 1, uint64(r[0].at.UnixMicro()), 60, 60, data...)...)
	b = append(b, section(binary.LittleEndian)...)
	o2 := binary.LittleEndian
	b = append(b, iface(o2, 1, 0, 9, 0, 1, 0, 6, 0, 0, 0)...)
	b = append(b, packet(o2, 0, uint64(r[1].at.UnixMicro()), 96, 1514, r[1].data...)...)
	b = append(b, section(o)...)
	b = append(b, iface(o, 1, 0, millis...)...)
	old := o.AppendUint16(nil, 0)
	old = o.AppendUint16(old, 7) // drops
	old = o.AppendUint64(old, uint64(r[1].at.UnixMilli()))
	old = o.AppendUint32(old, 14)
	old = o.AppendUint32(old, 14)
	b = append(b, block(o, blockOldPacket, append(old, r[3].data...)...)...)
	return append(b, block(o, blockSimple, append(o.AppendUint32(nil, 14), r[3].data...)...)...)
}

func zip(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(b)
	check(t, err)
	check(t, w.Close())
	return buf.Bytes()
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReplay(t *testing.T) {
	big := []record{records[0], records[1], records[3], records[3]}
	big[2].at = records[1].at.Truncate(time.Millisecond)
	big[3].at = time.Unix(0, 0) // simple packets have no time
	tests := []struct {
		name string
		file []byte
		want []record
	}{
		{"pcap", classic(binary.LittleEndian, 1e6, 1), records},
		{"pcap, big-endian", classic(binary.BigEndian, 1e6, 1), records},
		{"pcap, nanoseconds", classic(binary.LittleEndian, 1e9, 1), records},
		{"pcap, nanoseconds, big-endian", classic(binary.BigEndian, 1e9, 1), records},
		{"pcap, with bits above the link type", classic(binary.BigEndian, 1e9, 1|0x0400<<16), records},
		{"pcap, compressed", zip(t, classic(binary.LittleEndian, 1e6, 1)), records},
		{"pcapng", ng(t), records},
		{"pcapng, compressed", zip(t, ng(t)), records},
		{"pcapng, big-endian", ngBig(), big},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			d, err := New(bytes.NewReader(tc.file), "file", Config{Name: "eth0", Index: 3, MAC: mac})
			check(t, err)
			if d.Name() != "eth0" || d.Index() != 3 {
				t.Errorf("device is %s, number %d", d.Name(), d.Index())
			}
			check(t, d.Wait(-1))
			var b nic.Batch
			n, err := d.Recv(&b)
			if n != len(tc.want) || b.N != n || err != nil {
				t.Fatalf("received %d frames of %d, %v", n, len(tc.want), err)
			}
			for i, r := range tc.want {
				f := &b.Frames[i]
				if !bytes.Equal(f.Eth(), r.data) || f.WireLen != r.wireLen || f.Cut() != (r.wireLen > len(r.data)) {
					t.Errorf("frame %d: wire length %d, cut %v, bytes %x", i, f.WireLen, f.Cut(), f.Eth())
				}
				if f.Time != r.at.UnixNano() {
					t.Errorf("frame %d: time %v, want %v", i, time.Unix(0, f.Time), r.at)
				}
				if want := nic.TypeOf([6]byte(r.data), mac); f.Type != want {
					t.Errorf("frame %d: type %d, want %d", i, f.Type, want)
				}
				if !bytes.Equal(f.VNet(), make([]byte, nic.VNetHdrLen)) {
					t.Errorf("frame %d: virtio-net header %x", i, f.VNet())
				}
				if cap(f.Buf)-len(f.Buf) < room {
					t.Errorf("frame %d: room for %d bytes", i, cap(f.Buf)-len(f.Buf))
				}
				if !f.Prepend(nic.Headroom) {
					t.Errorf("frame %d: no room before it", i)
				}
				f.Buf = append(f.Buf, 0xee) // must not reach the next frame
				f.VNet()[0] = 0xee
			}
			for range 2 {
				if n, err := d.Recv(&b); n != 0 || err != io.EOF {
					t.Errorf("at the end: %d frames, %v", n, err)
				}
			}
			if st := d.Stats(); st.RxFrames != uint64(n) || st.RxCut != 1 {
				t.Errorf("counted %+v", st)
			}
			check(t, d.Close())
			if _, err := d.Recv(&b); !errors.Is(err, os.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}

// TestFramesLastUntilRelease receives more than a batch without releasing.
func TestFramesLastUntilRelease(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, "out", nil)
	check(t, err)
	const count = 2*nic.MaxBatch + 10
	for i := range count {
		send(t, w, &nic.Frame{Buf: append(make([]byte, nic.VNetHdrLen), eth(mac, byte(i), 15)...)})
	}
	check(t, w.Close())
	d, err := New(&file, "in", Config{})
	check(t, err)
	var all []nic.Frame
	var b nic.Batch
	for {
		n, err := d.Recv(&b)
		if err == io.EOF {
			break
		}
		check(t, err)
		all = append(all, b.Frames[:n]...)
	}
	if len(all) != count {
		t.Fatalf("%d frames, want %d", len(all), count)
	}
	for i := range all {
		if got := all[i].Eth()[14]; got != byte(i) {
			t.Errorf("frame %d is %d", i, got)
		}
	}
	d.Release()
}

func TestFilesThatAreRefused(t *testing.T) {
	o := binary.LittleEndian
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	good := classic(o, 1e6, 1)
	head, eth0 := section(o), iface(o, 1, 0)
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "neither a pcap nor a pcapng"},
		{"short", []byte{1, 2, 3}, "neither a pcap nor a pcapng"},
		{"text", []byte("Received: from mail"), "neither a pcap nor a pcapng"},
		{"cut file header", good[:20], "neither a pcap nor a pcapng"},
		{"compressed text", zip(t, []byte("Received: from mail")), "neither a pcap nor a pcapng"},
		{"broken compression", []byte{0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "gzip"},
		{"cooked capture", classic(o, 1e6, 113), "link type 113"},
		{"link type of 16 bits", classic(o, 1e6, 257), "link type 257"},
		{"cut record header", good[:24+8], "frame 1: unexpected EOF"},
		{"no data in record", good[:24+16], "frame 1: unexpected EOF"},
		{"cut data", good[:24+16+60+16+5], "frame 2: unexpected EOF"},
		{"huge frame", join(good[:24+8], o.AppendUint32(nil, 0xfffffff0), o.AppendUint32(nil, 0xfffffff0)), "frame 1: capture length exceeds"},
		{"more captured than sent", join(good[:24+12], []byte{1, 0, 0, 0}, good[24+16:]), "frame 1: capture length exceeds"},

		{"ng: byte order", append([]byte{10, 13, 13, 10, 28, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 16)...), "byte order 01020304"},
		{"ng: cut section", head[:10], "unexpected EOF"},
		{"ng: version", join(head[:12], []byte{9}, head[13:]), "Version"},
		{"ng: cut block", join(head, eth0)[:len(head)+10], "unexpected EOF"},
		{"ng: cut block head", join(head, eth0)[:len(head)+3], "unexpected EOF"},
		{"ng: block too small", join(head, []byte{1, 0, 0, 0, 8, 0, 0, 0}), "block of 8 bytes"},
		{"ng: block not aligned", join(head, []byte{1, 0, 0, 0, 21, 0, 0, 0}, make([]byte, 30)), "block of 21 bytes"},
		{"ng: block too large", join(head, []byte{1, 0, 0, 0, 0, 0, 0, 0xf0}), "block of 4026531840 bytes: at most"},
		{"ng: ends do not agree", join(head, eth0[:len(eth0)-4], []byte{9, 0, 0, 0}), "ends as one of 9"},
		{"ng: short interface", join(head, block(o, blockInterface, 1, 0, 0, 0)), "shorter than its content"},
		{"ng: link type of 16 bits", join(head, iface(o, 257, 0)), "link type 257"},
		{"ng: frame of other link type", join(head, iface(o, 113, 0), packet(o, 0, 0, 4, 4, 1, 2, 3, 4)), "frame 1: link type 113"},
		{"ng: binary time unit", join(head, iface(o, 1, 0, optionTSResol, 0, 1, 0, 0xff, 0, 0, 0)), "2^-127 seconds"},
		{"ng: tiny time unit", join(head, iface(o, 1, 0, optionTSResol, 0, 1, 0, 64, 0, 0, 0)), "10^-64 seconds"},
		{"ng: option behind its block", join(head, iface(o, 1, 0, 2, 0, 9, 0, 1, 2, 3, 4)), "shorter than its content"},
		{"ng: option of 64 KiB", join(head, iface(o, 1, 0, append([]byte{2, 0, 0xfe, 0xff}, make([]byte, 1<<16)...)...)), "shorter than its content"},
		{"ng: frame longer than its block", join(head, eth0, packet(o, 0, 0, 5, 5, 1, 2, 3, 4)), "shorter than its content"},
		{"ng: huge frame", join(head, eth0, packet(o, 0, 0, 0xfffffff0, 0xfffffff0, 1, 2, 3, 4)), "at most 262144"},
		{"ng: simple frame longer than its block", join(head, eth0, block(o, blockSimple, 200, 0, 0, 0, 1, 2, 3, 4)), "shorter than its content"},
		{"ng: frame without interface", join(head, packet(o, 0, 0, 4, 4, 1, 2, 3, 4)), "frame 1: Interface id 0 not present"},
		{"ng: simple frame without interface", join(head, block(o, blockSimple, 4, 0, 0, 0, 1, 2, 3, 4)), "frame 1: At least one Interface"},
		{"ng: statistics without interface", join(head, block(o, blockStatistics, make([]byte, 12)...)), "Interface id 0 not present"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			err := drain(t, tc.file)
			if err == io.EOF || !strings.HasPrefix(err.Error(), "pcap: some/file.pcap: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

// drain reads a whole file and returns the error at its end.
func drain(t *testing.T, file []byte) error {
	t.Helper()
	d, err := New(bytes.NewReader(file), "some/file.pcap", Config{})
	if err != nil {
		return err
	}
	var b nic.Batch
	for {
		n, err := d.Recv(&b)
		if n != b.N || (n == 0) != (err != nil) {
			t.Fatalf("Recv returned %d and %v with %d in the batch", n, err, b.N)
		}
		for i := range b.Frames[:n] {
			if f := &b.Frames[i]; len(f.Eth()) > MaxFrame || f.WireLen < len(f.Eth()) {
				t.Fatalf("a frame of %d bytes and wire length %d", len(f.Eth()), f.WireLen)
			}
		}
		d.Release()
		if err != nil {
			if _, again := d.Recv(&b); again != err {
				t.Fatalf("first %v, then %v", err, again)
			}
			return err
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range [][]byte{
		classic(binary.LittleEndian, 1e6, 1)[:24+16+60+16+96], classic(binary.BigEndian, 1e9, 1)[:24+16+60],
		ng(f)[:400], ngBig(), zip(f, ngBig()),
	} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 1<<16 {
			return
		}
		if err := drain(t, file); err != io.EOF && !strings.HasPrefix(err.Error(), "pcap: some/file.pcap: ") {
			t.Errorf("%v does not name the file", err)
		}
	})
}

// send sends frames which must all be taken.
func send(t *testing.T, s nic.Sender, frames ...*nic.Frame) {
	t.Helper()
	errs := make([]syscall.Errno, len(frames))
	if n := s.Send(frames, errs); n != len(frames) {
		t.Errorf("sent %d of %d frames: %v", n, len(frames), errs)
	}
}

// TestFromFileToFile replays a file into another and reads that.
func TestFromFileToFile(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.pcap"), filepath.Join(dir, "out.pcap")
	check(t, os.WriteFile(in, classic(binary.LittleEndian, 1e9, 1), 0o600))
	for _, clock := range []func() time.Time{nil, func() time.Time { return time.Unix(77, 88) }} {
		w, err := Create(out, clock)
		check(t, err)
		d, err := Open(in, Config{Out: w})
		check(t, err)
		if d.Name() != in {
			t.Errorf("device is %s", d.Name())
		}
		var b nic.Batch
		n, err := d.Recv(&b)
		if err != nil {
			t.Fatal(err)
		}
		var frames []*nic.Frame
		for i := range b.Frames[:n] {
			frames = append(frames, &b.Frames[i])
		}
		grown := frames[0]
		grown.Segments = [][]byte{{0xaa}, {0xbb}}
		send(t, d, frames...)
		d.Release()
		check(t, w.Close())
		check(t, d.Close())
		if st := d.Stats(); st.TxFrames != 4 || st.TxBytes != 62+96+65000+14 || st.TxErrors != 0 {
			t.Errorf("device counted %+v", st)
		}
		if st := w.Stats(); st.TxFrames != 4 || st.TxBytes != 62+96+65000+14 || st.TxErrors != 0 {
			t.Errorf("writer counted %+v", st)
		}

		if d, err = Open(out, Config{}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Recv(&b); n != len(records) || err != nil {
			t.Fatalf("read %d frames, %v", n, err)
		}
		for i, r := range records {
			f := &b.Frames[i]
			want, wire, at := r.data, r.wireLen, r.at
			if i == 0 {
				want, wire = append(bytes.Clone(want), 0xaa, 0xbb), 62
			}
			if clock != nil {
				at = clock()
			}
			if !bytes.Equal(f.Eth(), want) || f.WireLen != wire || f.Time != at.UnixNano() {
				t.Errorf("frame %d: wire length %d, time %v, bytes %x", i, f.WireLen, time.Unix(0, f.Time), f.Eth())
			}
		}
		check(t, d.Close())
	}
}

func TestFileErrors(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "no", "file")
	if _, err := Open(nowhere, Config{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), nowhere) {
		t.Errorf("Open: %v", err)
	}
	if _, err := Create(nowhere, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), nowhere) {
		t.Errorf("Create: %v", err)
	}
	if _, err := Open(os.Args[0], Config{}); !errors.Is(err, errNotCapture) || !strings.Contains(err.Error(), os.Args[0]) {
		t.Errorf("a program as a capture: %v", err)
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: "out", Err: syscall.ENOSPC}
}

func TestFramesThatAreNotWritten(t *testing.T) {
	w, err := NewWriter(full{}, "out", nil)
	check(t, err)
	frames := []*nic.Frame{
		{Buf: make([]byte, 5)},
		{Buf: make([]byte, nic.VNetHdrLen+MaxFrame+1)},
		{Buf: make([]byte, nic.VNetHdrLen+MaxFrame)}, // more than is kept in memory
		{Buf: make([]byte, nic.VNetHdrLen+60)},
	}
	errs := make([]syscall.Errno, len(frames))
	n := w.Send(frames, errs)
	if n != 0 || errs[0] != syscall.EINVAL || errs[1] != syscall.EMSGSIZE || errs[2] != syscall.ENOSPC || errs[3] == 0 {
		t.Errorf("wrote %d frames, %v", n, errs)
	}
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "pcap: out: ") {
		t.Errorf("Close: %v", err)
	}
	if st := w.Stats(); st.TxErrors != 4 {
		t.Errorf("counted %+v", st)
	}
}

func TestWithoutOut(t *testing.T) {
	d, err := New(bytes.NewReader(ng(t)), "file", Config{})
	check(t, err)
	errs := []syscall.Errno{syscall.EDOM, syscall.EDOM}
	if n := d.Send([]*nic.Frame{{Buf: make([]byte, 70)}}, errs); n != 1 || errs[0] != 0 || errs[1] != syscall.EDOM {
		t.Errorf("sent %d, %v", n, errs)
	}
}

func TestNoAllocations(t *testing.T) {
	for name, head := range map[string][]byte{
		"pcap":   classic(binary.LittleEndian, 1e6, 1)[:24],
		"pcapng": append(section(binary.LittleEndian), iface(binary.LittleEndian, 1, 0)...),
	} {
		t.Run(name, func(t *testing.T) {
			rec := packet(binary.LittleEndian, 0, 1, 60, 60, make([]byte, 60)...)
			if name == "pcap" {
				rec = classic(binary.LittleEndian, 1e6, 1)[24 : 24+16+60]
			}
			d, err := New(io.MultiReader(bytes.NewReader(head), bytes.NewReader(bytes.Repeat(rec, 110*nic.MaxBatch))), "file", Config{})
			check(t, err)
			w, err := NewWriter(io.Discard, "out", nil)
			check(t, err)
			d.cfg.Out = w
			var b nic.Batch
			frames := make([]*nic.Frame, nic.MaxBatch)
			errs := make([]syscall.Errno, nic.MaxBatch)
			for i := range frames {
				frames[i] = &b.Frames[i]
			}
			got := testing.AllocsPerRun(100, func() {
				if n, err := d.Recv(&b); n != nic.MaxBatch {
					t.Fatalf("read %d frames, %v", n, err)
				}
				d.Send(frames, errs)
				d.Release()
			})
			if got != 0 {
				t.Errorf("%v allocations a batch", got)
			}
		})
	}
}
