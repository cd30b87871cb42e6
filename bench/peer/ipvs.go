package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// IPVS is the kernel's own virtual server, set up by the kernel's own ipvsadm.
type IPVS struct{}

// Name implements [Peer].
func (IPVS) Name() string { return "IPVS" }

// Missing implements [Peer].
func (IPVS) Missing(ctx context.Context, d Director) string {
	if kernelsOwn() == "" {
		return "the kernel's own ipvsadm is not there (package ipvsadm)"
	}
	// It has the kernel load its module, if there is one.
	if err := ipvsadm(ctx, d, "", "-L", "-n"); err != nil {
		return "this kernel has no IPVS: " + err.Error()
	}
	return ""
}

// Start implements [Peer].
func (IPVS) Start(ctx context.Context, d Director, services []Service) (*Running, error) {
	if err := ipvsadm(ctx, d, Rules(services), "-R"); err != nil {
		return nil, fmt.Errorf("peer: IPVS: %w", err)
	}
	return &Running{Stop: func() error {
		if err := ipvsadm(context.WithoutCancel(ctx), d, "", "-C"); err != nil {
			return fmt.Errorf("peer: IPVS: %w", err)
		}
		return nil
	}}, nil
}

// kernelsOwn returns the path of the ipvsadm that speaks to the kernel, "" if there is
// none: vsnat may be installed by that name too, and comes first in PATH then.
func kernelsOwn() string {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, "ipvsadm")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && !os.SameFile(self, info) {
			return path
		}
	}
	return ""
}

// nobody is a control socket that there never is. Whatever is called ipvsadm, a
// director that runs on this machine must not get what is meant for the kernel.
const nobody = "VSNAT_SOCKET=/dev/null/nobody"

// ipvsadm runs the kernel's own one in the director. The error is what it said, in
// one line.
func ipvsadm(ctx context.Context, d Director, stdin string, args ...string) error {
	cmd := d.Lab.Host(d.Host).Command(ctx, kernelsOwn(), args...)
	cmd.Env = append(os.Environ(), nobody)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if said := strings.Join(strings.Fields(string(out)), " "); err != nil && said != "" {
		return errors.New(said)
	}
	return err
}
