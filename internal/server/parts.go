package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// Parts are what the command needs beside a server to ask. authFiles hold
// credentials for the registries that are scanned.
func Parts(version string, authFiles []string) cli.Deps {
	p := parts{version}
	scanner := Scanner{Version: version, AuthFiles: authFiles, Clock: time.Now} //nolint:forbidigo // wiring hands the clock of the machine to all others
	return cli.Deps{Serve: p.serve, Init: p.init, Fsck: p.fsck, Audit: p.audit, Scan: scanner.Scan, Verify: scanner.Verify, Rotate: p.rotate}
}

type parts struct{ version string }

// serve runs a server until ctx ends.
func (p parts) serve(ctx context.Context, c *config.Config, o cli.ServeOptions) error {
	s, err := New(ctx, Options{Config: c, Dev: o.Dev, Version: o.Version, Log: o.Log, Metrics: o.Metrics, Tracing: o.Tracing})
	if err != nil {
		return openError(err)
	}
	started, err := s.Started(ctx)
	if err != nil {
		return fmt.Errorf("%w%s", err, suffix(s.close()))
	}
	return s.Run(ctx, func() {
		if o.Ready != nil {
			o.Ready(*started)
		}
	})
}

// suffix is a second error behind a first.
func suffix(err error) string {
	if err == nil {
		return ""
	}
	return "; and " + err.Error()
}

// open opens a server that answers nobody, on any port. o has what is not the
// same for all that are opened so.
func (p parts) open(ctx context.Context, c *config.Config, o Options) (*Server, error) {
	quiet := *c
	quiet.Listen, quiet.Metrics.Listen = "127.0.0.1:0", ""
	tracing, err := telemetry.StartTracing(ctx, telemetry.TraceOptions{Log: o.Log})
	if err != nil {
		return nil, err
	}
	o.Config, o.Version, o.Metrics, o.Tracing = &quiet, p.version, telemetry.NewRegistry(p.version), tracing
	s, err := New(ctx, o)
	return s, openError(err)
}

// openError gives an error of New its kind for the command, where it is not the
// program's fault.
func openError(err error) error {
	switch {
	case errors.Is(err, db.ErrInUse):
		return cli.Unavailable(err, "ask the server that runs on it, or stop it first")
	case errors.Is(err, db.ErrNewer):
		return cli.Unavailable(err, "run the newer program, or restore a backup from before it ran")
	case errors.Is(err, db.ErrOlder):
		return cli.Unavailable(err, "start the server once, or bonded init, which bring it up to date")
	case errors.Is(err, db.ErrFull):
		return cli.Unavailable(err, "make room on that disk, or choose another folder: --data FOLDER")
	}
	return err
}

// init makes what a server needs on its first start.
func (p parts) init(ctx context.Context, c *config.Config, log *slog.Logger) (_ *cli.Started, err error) {
	url, err := futureURL(c)
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx, c, Options{URL: url, Log: log})
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, s) }()
	started, err := s.Started(ctx)
	if err == nil {
		started.URL = url
	}
	return started, err
}

// futureURL is how clients will reach a server of this configuration.
func futureURL(c *config.Config) (string, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return "", fmt.Errorf("reading listen: %w", err)
	}
	return publicURL(c.URL, schemeOf(c, false), hostname(), addr), nil
}

func closing(err error, s *Server) error {
	if closeErr := s.close(); err == nil {
		return closeErr
	}
	return err
}

// fsck recomputes what must be true of stored state.
func (p parts) fsck(ctx context.Context, c *config.Config, r cli.FsckRequest) (_ *fsck.Report, err error) {
	s, err := p.open(ctx, c, Options{Inspect: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, s) }()
	return s.Fsck(ctx, r.Content, r.Progress)
}

// audit verifies the audit log of data that no server runs on.
func (p parts) audit(ctx context.Context, c *config.Config, r cli.AuditRequest) (_ *api.AuditCheck, err error) {
	s, err := p.open(ctx, c, Options{Inspect: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { err = closing(err, s) }()
	return s.checkAudit(ctx, r)
}

// Fsck recomputes what must be true of what this server stores.
func (s *Server) Fsck(ctx context.Context, content bool, progress func(done int)) (*fsck.Report, error) {
	logs, err := s.fsckLogs(ctx)
	if err != nil {
		return nil, err
	}
	return fsck.Check(ctx, fsck.Options{
		Zones: s.zones, Census: s.db, Lookups: s.db, Blobs: s.content.blobs, Logs: logs, Content: content, Progress: progress,
		Audit: func(ctx context.Context) (*api.AuditCheck, error) { return s.checkAudit(ctx, cli.AuditRequest{}) },
	})
}
