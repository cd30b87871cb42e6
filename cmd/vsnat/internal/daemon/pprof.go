package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/control"
)

// listenPprof listens for those who want profiles: at a TCP address, or at a unix
// socket if there is a slash in it.
func listenPprof(address string) (net.Listener, error) {
	if strings.Contains(address, "/") {
		return control.Listen(address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("daemon: profiles: %w", err)
	}
	return l, nil
}

// servePprof answers at /debug/pprof/, as net/http/pprof describes, until ctx ends.
func servePprof(ctx context.Context, l net.Listener, log *zap.Logger) {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Warn("profiles", zap.Error(err))
		}
	}()
	log.Info("profiles", zap.Stringer("at", l.Addr()))
}
