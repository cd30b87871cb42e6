package peer

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// IPVS is the kernel's own virtual server, set up by the kernel's own ipvsadm.
type IPVS struct{}

// Name implements [Peer].
func (IPVS) Name() string { return "IPVS" }

// Missing implements [Peer].
func (IPVS) Missing(ctx context.Context, d Director) string {
	if _, err := exec.LookPath("ipvsadm"); err != nil {
		return "the program ipvsadm is not there (package ipvsadm)"
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

// ipvsadm runs the program of that name in the director. The error is what it
// said, in one line.
func ipvsadm(ctx context.Context, d Director, stdin string, args ...string) error {
	cmd := d.Lab.Host(d.Host).Command(ctx, "ipvsadm", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if said := strings.Join(strings.Fields(string(out)), " "); err != nil && said != "" {
		return errors.New(said)
	}
	return err
}
