package ipvsadm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"vsnat/cmd/vsnat/internal/control"
)

// refusals are ipvsadm's words for an errno of certain commands, or of all
// where it names none. The first that fits counts.
var refusals = []struct {
	errno syscall.Errno
	text  string
	cmds  []command
}{
	{syscall.EEXIST, "Service already exists", []command{cmdAdd}},
	{syscall.ENOENT, "Scheduler or persistence engine not found", []command{cmdAdd, cmdEdit}},
	{syscall.ESRCH, "No such service", []command{cmdEdit, cmdDelete, cmdZero, cmdList}},
	{syscall.ESRCH, "Service not defined", []command{cmdAddServer, cmdEditServer, cmdDeleteServer}},
	{syscall.EEXIST, "Destination already exists", []command{cmdAddServer}},
	{syscall.ENOENT, "No such destination", []command{cmdEditServer, cmdDeleteServer}},
	{syscall.EEXIST, "Daemon has already run", []command{cmdStartDaemon}},
	{syscall.ESRCH, "No daemon is running", []command{cmdStopDaemon}},
	{syscall.EPERM, "Permission denied (you must be root)", nil},
	{syscall.EINVAL, "Invalid operation.  Possibly wrong module version, address not unicast, ...", nil},
	{syscall.ENOPROTOOPT, "Protocol not available", nil},
	{syscall.ENOMEM, "Memory allocation problem", nil},
	{syscall.EAFNOSUPPORT, "Operation not supported with specified address family", nil},
	{syscall.EMSGSIZE, "Module is wrong version", nil},
}

// errorText returns what is printed for a refusal of the director.
func (a *app) errorText(cmd command, err error) string {
	refused := (*control.Error)(nil)
	if !errors.As(err, &refused) || refused.Errno == 0 {
		return fmt.Sprintf("%s: %v", a.name, err)
	}
	errno := syscall.Errno(refused.Errno)
	switch errno {
	case syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EPROTONOSUPPORT, syscall.EIO:
		// Not the kernel's to say: vsnat cannot do it yet, or failed.
		return strerror(errno) + ": " + refused.Message
	}
	for _, r := range refusals {
		if r.errno == errno && (r.cmds == nil || slices.Contains(r.cmds, cmd)) {
			return r.text
		}
	}
	return strerror(errno)
}

// strerror returns an errno's text as C has it, which differs from Go's in
// the first letter.
func strerror(errno syscall.Errno) string {
	s := errno.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}
