package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// interesting are the kinds of events that a monitor prints when it is not told
// which: who may do what, by which keys, what is let in by whom, and what is lost.
var interesting = []string{
	"principal.", "code.", "token.", "key.", "trust.", "gate.", "chain.", "revocation.", "placement.withdrawn", "placement.removed", "feed.dropped", "feed.held",
}

// monitorFlags are those of bonded audit monitor.
type monitorFlags struct {
	auditFlags
	kinds           []string
	all, once       bool
	every, patience time.Duration
	fresh           time.Duration
}

func (p *program) auditMonitor() *cobra.Command {
	f := monitorFlags{}
	cmd := &cobra.Command{
		Use:   "monitor",
		Short: "Watch the log, prove each step of it, and stop at trouble",
		Long: `Look at the audit log again and again: its head must be signed, go on from the
one before, and carry the signatures of witnesses; every new event must be in
it. New events of interest are printed: changes of accounts, keys and gates,
what was withdrawn or removed, feeds that are held. It begins where the last
bonded audit verify or monitor of this user ended, and remembers how far it got.

It ends with an error as soon as something is wrong: 1 when something was
changed or is shown differently, 3 when too few witnesses sign or the log is
shorter than it was, 5 when the server was away for longer than --patience.`,
		Example: `  bonded audit monitor
  bonded audit monitor --every 1m --kind placement. --kind tag.moved -o json
  bonded audit monitor --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.every <= 0 {
				return usage("--every 10s", "--every is more than 0")
			}
			return p.runMonitor(cmd.Context(), f)
		},
	}
	f.auditFlags.add(p, cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&f.kinds, "kind", nil, "print events of this `KIND`, or of all that begin with it; may be repeated")
	flags.BoolVar(&f.all, "all", false, "print every event")
	flags.BoolVar(&f.once, "once", false, "look once, and end")
	flags.DurationVar(&f.every, "every", 10*time.Second, "how long to wait between two looks")
	flags.DurationVar(&f.patience, "patience", 5*time.Minute, "for how long the server may be away, and witnesses late")
	flags.DurationVar(&f.fresh, "fresh", defaultFresh, "how old signatures of witnesses may be; 0 for any age")
	cmd.MarkFlagsMutuallyExclusive("kind", "all")
	p.must(cmd.RegisterFlagCompletionFunc("kind", none))
	return cmd
}

// monitor is a run of bonded audit monitor.
type monitor struct {
	*program
	flags monitorFlags
	a     *auditSource
	at    tlog.Checkpoint // up to where the log was looked at
	good  time.Time       // the last look that was good
}

func (p *program) runMonitor(ctx context.Context, f monitorFlags) error {
	if len(f.kinds) == 0 {
		f.kinds = interesting
	}
	a, err := p.openAudit(ctx, f.auditFlags)
	if err != nil {
		return err
	}
	m := &monitor{program: p, flags: f, a: a, good: p.env.Clock()}
	if _, at, ok := a.seen.Last(); ok {
		m.at = at
	} else {
		m.at = tlog.Checkpoint{Origin: a.seen.Origin, Root: tlog.EmptyRoot()}
	}
	if a.firstRoot {
		p.note("nothing was seen of %s before: its root is trusted from now on: %s", a.login.Host, a.seen.Root)
	}
	for {
		err := m.look(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // being interrupted is how it ends
		}
		if err == nil {
			m.good = p.env.Clock()
		}
		if err != nil && (f.once || !m.bearable(err)) {
			return err
		}
		if f.once {
			return nil
		}
		if err != nil {
			p.note("%v; looking again", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.env.After(f.every):
		}
	}
}

// bearable reports whether trouble may pass by itself, and has not lasted yet.
func (m *monitor) bearable(err error) bool {
	var f *failure
	late := errors.As(err, &f) && (f.code == exitUnavailable || f.code == exitCannotTell && f.what != "" && errors.Is(f.cause, errLate))
	return late && m.env.Clock().Sub(m.good) < m.flags.patience
}

// errLate is the cause of trouble that witnesses may end by signing.
var errLate = errors.New("witnesses are late")

// look looks once.
func (m *monitor) look(ctx context.Context) error {
	known, err := m.a.seen.Known()
	if err != nil {
		return err
	}
	if len(known) == 0 {
		known = []tlog.Known{{From: "the beginning", Checkpoint: m.at}}
	}
	signed, err := m.a.src.Checkpoint(ctx)
	if err != nil {
		return m.a.unread(err)
	}
	if err := m.rekeyed(ctx, signed); err != nil {
		return err
	}
	check, err := audit.Verify(ctx, audit.VerifyOptions{
		Source: audit.Fixed(m.a.src, signed), Origin: m.a.seen.Origin, Verifier: m.a.verifier, Known: known, Since: &m.at,
		Witnesses: m.a.witnesses, Quorum: m.a.seen.Quorum, Fresh: m.flags.fresh, Clock: m.env.Clock,
	})
	if err != nil {
		return m.a.unread(err)
	}
	if err := troubled(check); err != nil {
		return err
	}
	head, err := tlog.OpenCheckpoint(signed, m.a.seen.Origin, m.a.verifier)
	if err != nil {
		return err
	}
	if err := audit.Follow(ctx, m.a.src, m.at, head, m.tell); err != nil {
		return m.a.unread(err)
	}
	m.at = head
	return m.a.remember(m.program, signed)
}

// rekeyed looks whether the log goes on with another key, where the one that is
// known has not signed.
func (m *monitor) rekeyed(ctx context.Context, signed []byte) error {
	if _, err := tlog.OpenCheckpoint(signed, m.a.seen.Origin, m.a.verifier); !errors.Is(err, tlog.ErrSignature) || m.a.seen.Root == "" {
		return nil // what else is wrong is for the verification to say
	}
	was := m.a.seen.Key
	err := m.followLog(ctx, m.a, "")
	if err == nil && m.a.seen.Key != was {
		m.note("the audit log goes on with another key, which follows from the root: %s", m.a.seen.Key)
		m.a.verifier, m.a.witnesses, err = m.a.seen.Keys()
	}
	return err
}

// troubled turns what is not good about a log into an error.
func troubled(c *api.AuditCheck) error {
	f := &failure{what: c.Problem, next: c.Next}
	switch c.State {
	case api.AuditOK:
		return nil
	case api.AuditWrong:
		f.code = exitDenied
	case api.AuditLogAhead:
		f.code = exitCannotTell
	default:
		f.code, f.cause = exitCannotTell, errLate
	}
	return f
}

// tell prints an event, if it is of interest.
func (m *monitor) tell(seq int64, b []byte) error {
	var e audit.Event
	if err := json.Unmarshal(b, &e); err != nil {
		return &failure{code: exitDenied, what: fmt.Sprintf("entry %d of the log is no event: %v", seq, err), next: "bonded audit verify"}
	}
	if !m.flags.all && !slices.ContainsFunc(m.flags.kinds, func(kind string) bool { return strings.HasPrefix(e.Kind, kind) }) {
		return nil
	}
	leaf := audit.Entry{Bytes: b}.Leaf()
	return m.printEvent(api.Event{
		Seq: seq, Hash: fmt.Sprintf("%x", leaf[:]), ID: e.ID, At: e.At, Kind: e.Kind, Principal: e.Principal, Method: e.Method,
		Repository: e.Repository, Digest: e.Digest, Details: e.Details,
	})
}
