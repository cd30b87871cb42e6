package control

import (
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

// TestRefusal checks that a refusal keeps the words that only its errno has.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Error
	}{
		{fmt.Errorf("daemon: no reload waits: %w", syscall.ENOENT), Error{Errno: Errno(syscall.ENOENT), Message: "daemon: no reload waits"}},
		{
			fmt.Errorf("config: %w", &fs.PathError{Op: "stat", Path: "/etc/vsnat.toml", Err: syscall.ENOENT}),
			Error{Errno: Errno(syscall.ENOENT), Message: "config: stat /etc/vsnat.toml: no such file or directory"},
		},
		{fmt.Errorf("daemon: tired"), Error{Errno: Errno(syscall.EIO), Message: "daemon: tired"}},
	} {
		if got := refusal(c.err); *got != c.want {
			t.Errorf("%v: %+v", c.err, *got)
		}
	}
}
