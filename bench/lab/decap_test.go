package lab

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func TestDecap(t *testing.T) {
	v4 := "45000015000000004006000001010101020202027f" // 21 bytes
	v6 := "60000000000106400000000000000000000000000000000000000000000000000000000000000000" + "7f"
	for _, c := range []struct {
		name  string
		decap func([]byte) ([]byte, error)
		in    string
		want  string
		err   error
	}{
		{"gue", decapGUE, "00040000" + v4, v4, nil},
		{"gue, IPv6", decapGUE, "00290000" + v6, v6, nil},
		{"gue, other protocol", decapGUE, "00290000" + v4, "", errInner},
		{"gue, longer than its packet", decapGUE, "00040000" + v4 + "00", "", errInner},
		{"gue control", decapGUE, "20040000" + v4, "", errHeader},
		{"gue with fields", decapGUE, "01040000" + "00000000" + v4, "", errHeader},
		{"gue flags", decapGUE, "00040001" + v4, "", errHeader},
		{"gue cut", decapGUE, "000400", "", errShort},
		{"gre", decapGRE, "00000800" + v4, v4, nil},
		{"gre, IPv6", decapGRE, "000086dd" + v6, v6, nil},
		{"gre, other type", decapGRE, "000086dd" + v4, "", errInner},
		{"gre, ARP", decapGRE, "00000806" + v4, "", errInner},
		{"gre with checksum", decapGRE, "80000800" + "6ddd0000" + v4, v4, nil},
		{"gre with a wrong checksum", decapGRE, "80000800" + "6dde0000" + v4, "", errChecksum},
		{"gre with key", decapGRE, "20000800" + "00000001" + v4, "", errHeader},
		{"gre cut", decapGRE, "800008000000", "", errShort},
		{"nothing", decapGRE, "", "", errShort},
	} {
		in, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := hex.DecodeString(c.want)
		got, err := c.decap(in)
		if !errors.Is(err, c.err) || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, want %x, %v", c.name, got, err, want, c.err)
		}
		if err != nil && (!fault(err) || !strings.HasPrefix(err.Error(), "lab: ")) {
			t.Errorf("%s: %v is no fault of the packet", c.name, err)
		}
	}
}

// FuzzDecap has any bytes give a whole packet or an error.
func FuzzDecap(f *testing.F) {
	f.Add([]byte{0x80, 0, 8, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 4, 0, 0, 0x45})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, decap := range []func([]byte) ([]byte, error){decapGUE, decapGRE} {
			if pkt, err := decap(b); err == nil && len(pkt) < 20 {
				t.Errorf("a packet of %d bytes", len(pkt))
			}
		}
	})
}
