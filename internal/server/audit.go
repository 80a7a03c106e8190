package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// pathAudit is where the audit log is read, by those who may read audit events.
const pathAudit = "/audit/log"

// auditFresh is how old cosignatures of the audit log may be where the server
// itself verifies it: a log that does not grow is cosigned again every ten minutes.
const auditFresh = time.Hour

// log returns an open log by its name.
func (t *trusted) log(name string) *openLog {
	for _, l := range t.logs {
		if l.name == name {
			return l
		}
	}
	return nil
}

// wireAudit sets up what moves events into the audit log. Who only inspects a
// server logs nothing.
func (s *Server) wireAudit() {
	if s.trust == nil {
		return
	}
	integrator := audit.NewIntegrator(audit.IntegratorOptions{Store: s.db, Log: s.trust.log(logAudit), Broken: s.chainBroken, Logger: s.log})
	s.sequencer = audit.NewSequencer(audit.SequencerOptions{Log: integrator, Logger: s.log, Registerer: s.metrics})
	s.pulls = audit.NewPulls(audit.PullsOptions{Write: s.recordAll, Event: s.event, Clock: s.clock, Logger: s.log})
	s.db.OnCommit(func(c db.Commit) {
		if c.Events || c.Unknown {
			s.sequencer.Wake()
		}
	})
}

// chainBroken records that the chain of before there was a log was changed.
func (s *Server) chainBroken(ctx context.Context, seq int64) error {
	e, err := s.event(authz.Internal("audit"), "chain.broken")
	if err != nil {
		return err
	}
	return s.record(ctx, e.With("entry", strconv.FormatInt(seq, 10)))
}

// recordAll commits events together.
func (s *Server) recordAll(ctx context.Context, events []audit.Event) error {
	return s.db.Update(ctx, func(tx *db.Tx) error {
		for _, e := range events {
			if err := tx.Append(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// auditProblem says why events are not logged; "" while they are.
func (s *Server) auditProblem() string {
	if s.sequencer == nil {
		return ""
	}
	if err := s.sequencer.Err(); err != nil {
		return err.Error()
	}
	return ""
}

// auditRoutes puts the audit log below its prefix.
func (s *Server) auditRoutes(mux *http.ServeMux, auth authenticator) {
	l := s.trust.log(logAudit)
	tiles := tlog.NewHandler(tlog.HandlerOptions{Source: l, Private: true, Logger: s.log})
	mux.Handle(pathAudit+"/", s.permitted(auth, authz.ReadAudit, http.StripPrefix(pathAudit, tiles)))
}

// auditor answers about the audit log.
type auditor struct {
	audit.Rows
	server *Server
}

func (a auditor) Verify(ctx context.Context) (*api.AuditCheck, error) {
	return a.server.checkAudit(ctx, cli.AuditRequest{})
}

// checkAudit verifies the audit log, and the rows of the database against it.
func (s *Server) checkAudit(ctx context.Context, r cli.AuditRequest) (*api.AuditCheck, error) {
	o, err := s.auditOptions(ctx)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return s.unbegun(ctx)
	}
	for _, text := range r.Heads {
		c, err := audit.ReadHead(o.Verifier, text)
		if err != nil {
			return nil, cli.Misused(err, "a head is SIZE:ROOT, or a checkpoint that the log signed")
		}
		o.Known = append(o.Known, tlog.Known{From: "somebody else", Checkpoint: c})
	}
	o.Progress = r.Progress
	return audit.Verify(ctx, *o)
}

// auditOptions are those by which this server's audit log is verified; nil where
// there is none yet.
func (s *Server) auditOptions(ctx context.Context) (*audit.VerifyOptions, error) {
	store := s.db.AuditLog()
	if _, err := store.Head(ctx); errors.Is(err, tlog.ErrNoLog) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	src := &tlog.Reader{Store: store, Blobs: s.content.blobs}
	o := &audit.VerifyOptions{
		Source: src, Unpublished: src.Unpublished(), Rows: s.db, Clock: s.clock,
		Quorum: s.config.Trust.NeededWitnesses(), Fresh: auditFresh,
		Appended: func(ctx context.Context) (int64, error) {
			h, err := store.Head(ctx)
			return h.Size, err
		},
	}
	for i, w := range s.config.Trust.Witnesses {
		v, err := tlog.ParseVerifier(w.Key)
		if err != nil {
			return nil, fmt.Errorf("reading trust.witnesses[%d].key: %w", i, err)
		}
		o.Witnesses = append(o.Witnesses, v)
	}
	return o, s.auditKeys(ctx, o)
}

// auditKeys fills in what the instance says: as it was opened, or as its folder
// has it where the server is only inspected.
func (s *Server) auditKeys(ctx context.Context, o *audit.VerifyOptions) error {
	heads, err := headStore(s.config)
	if err != nil {
		return err
	}
	if s.trust != nil {
		l := s.trust.log(logAudit)
		k := l.now.Load()
		o.Origin, o.Verifier, o.Heads = l.o.Origin, k.verifier, k.heads
		return nil
	}
	to, err := TrustOptions(s.config, s.url)
	if err != nil {
		return err
	}
	to.Clock, to.Log, to.Rand = s.clock, s.log, s.rand
	instance, err := trust.Open(ctx, to)
	if err != nil {
		return fmt.Errorf("the database has an audit log, and the keys it is verified by cannot be read: %w", err)
	}
	o.Origin = instance.Origin() + auditSuffix
	var known []note.Verifier
	for _, p := range instance.Logs(trust.LogAudit) {
		v, err := verifierOf(o.Origin, p.SPKI)
		if err != nil {
			return err
		}
		known = append(known, v)
	}
	o.Verifier = known[len(known)-1]
	if heads == nil {
		return nil
	}
	signer, err := tlog.NewEd25519Signer(o.Origin, instance.Key(trust.LogAudit).Signer)
	o.Heads = heirs{heads, known, signer}
	return err
}

// unbegun is the answer about a server that has not begun its audit log: one
// that was never started, or not since it was brought up to date.
func (s *Server) unbegun(ctx context.Context) (*api.AuditCheck, error) {
	n, err := s.db.Numbered(ctx)
	if err != nil {
		return nil, err
	}
	check := &api.AuditCheck{At: s.clock().UTC()}
	part := api.AuditPart{Name: "tree", State: api.AuditNone, Text: "there is no audit log yet: the first start of the server begins it"}
	if n > 0 {
		part = api.AuditPart{
			Name: "tree", State: api.AuditWrong, Text: fmt.Sprintf("the database has %d numbered events, and no log: it was removed", n),
			Next: "keep the data as it is, and compare with a backup",
		}
	}
	check.Checks = []api.AuditPart{part}
	audit.Conclude(check)
	return check, nil
}
