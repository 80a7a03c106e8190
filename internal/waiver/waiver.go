// Package waiver holds the flow of permissions: somebody asks that what a gate
// finds does not count in some repositories until a moment, and those whom the
// gate names say yes or no.
//
// A waiver counts from the commit of the yes that was missing, and to the moment
// at which it ends: what it lets stand has that moment in its placement, so that
// no job has to run for it to be over. Its end is recorded as an act once it is
// seen past, so that a clock that is set back brings nothing back to life. What
// it concerns is judged again by jobs, in a turn of their own.
package waiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// ErrTooMany: more waivers wait for an answer, or are in force, than may.
var ErrTooMany = errors.New("too many waivers")

// Record is a waiver as it is kept.
type Record struct {
	evidence.Waiver // its ID is a number
	Number          int64
	AskedAt         time.Time
	Renews          int64 // 0 for none
	Ended           *api.WaiverEnd
}

// Zone is where it is about.
func (r *Record) Zone() string { return zoneOf(r.Repositories) }

// Store keeps waivers. Rows are never changed but for their end.
type Store interface {
	// AddWaiver stores one that is asked for, and sets its number and ID.
	AddWaiver(ctx context.Context, r *Record) error
	// GrantWaiver adds a yes. Errors match repo.ErrConflict where the same person
	// said so before.
	GrantWaiver(ctx context.Context, r *Record, by evidence.Grantor) error
	// EndWaiver ends one. Errors match repo.ErrConflict where it has ended.
	EndWaiver(ctx context.Context, number int64, end api.WaiverEnd) error
	// Waiver returns one, or repo.ErrNotFound.
	Waiver(ctx context.Context, number int64) (*Record, error)
	// Waivers returns those with smaller numbers than before, the newest first, of
	// a zone, "" for all; open leaves out those that have ended.
	Waivers(ctx context.Context, zone string, open bool, before int64, limit int) ([]Record, error)
	// WaiversPast returns some that have not ended although their time is over.
	WaiversPast(ctx context.Context, now time.Time, limit int) ([]Record, error)
	// WaiversOpen counts those that have not ended: of a zone, and of those without
	// a yes those that somebody asked for.
	WaiversOpen(ctx context.Context, zone, askedBy string) (inZone, asked int, err error)
}

// Tx is what the flow reads and changes.
type Tx interface {
	repo.Reader
	audit.Outbox
	job.Enqueuer
	Store
	// Standing returns placements that gates judge, in order of repository and
	// digest after those given.
	Standing(ctx context.Context, zone string, afterRepo oci.Repository, afterDigest oci.Digest, limit int) ([]repo.Placement, error)
	// DecisionInForce returns the decision of a placement, nil when there is none.
	DecisionInForce(ctx context.Context, p *repo.Placement) (*api.Decision, error)
}

// Judge decides without recording.
type Judge interface {
	// Suppose judges a placement by the clause that it is to be judged by next, as
	// things are, and as they would be if change were made to the waivers in force.
	Suppose(ctx context.Context, r oci.Repository, d oci.Digest, change func([]evidence.Waiver) []evidence.Waiver) (before, after *api.Decision, err error)
	// Found returns what is wrong with what stands at a placement.
	Found(ctx context.Context, d oci.Digest) ([]evidence.Finding, error)
}

// Options are what a Flow works with; all are required.
type Options struct {
	Zones repo.Zones
	// Gate returns the gate in force in a zone, nil where none judges.
	Gate     func(zone string) *policy.Gate
	Judge    Judge
	WorkJob  string // kind of the job whose handler is Handle
	JudgeJob string // kind of the job that decides "repository@digest"
	Update   func(ctx context.Context, fn func(Tx) error) error
	View     func(ctx context.Context, fn func(Tx) error) error
	Clock    func() time.Time
	Rand     io.Reader
}

// Flow is the flow of waivers. It is safe for concurrent use.
type Flow struct{ Options }

// New returns a Flow.
func New(o Options) *Flow { return &Flow{o} }

// number reads the id of a waiver. Errors match repo.ErrNotFound.
func number(id string) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != id {
		return 0, fmt.Errorf("waiver %s: %w; see: bonded waiver list", oci.Quote(id), repo.ErrNotFound)
	}
	return n, nil
}

// lane is on whose behalf what a waiver concerns is judged again. No principal
// has such a name.
func lane(n int64) string { return fmt.Sprintf("waiver %d", n) }

// record reads one for somebody. Whom it is not for is told what those are told
// who name one that there never was.
func (f *Flow) record(ctx context.Context, tx Tx, p authz.Principal, id string) (*Record, error) {
	n, err := number(id)
	if err != nil {
		return nil, err
	}
	rec, err := tx.Waiver(ctx, n)
	if err != nil {
		return nil, err
	}
	if !shows(p, rec) {
		return nil, fmt.Errorf("waiver %s: %w; see: bonded waiver list", oci.Quote(id), repo.ErrNotFound)
	}
	return rec, nil
}

// shows reports whether somebody is told of a waiver: who asked for it, and who
// may pull wherever it is about.
func shows(p authz.Principal, rec *Record) bool {
	if rec.AskedBy == p.Name() {
		return true
	}
	for _, v := range []authz.Verb{authz.Pull, authz.Waive} {
		if _, err := authz.CheckReach(p, v, rec.Repositories.String()); err == nil {
			return true
		}
	}
	return false
}

func (f *Flow) event(p authz.Principal, kind string, rec *Record) (audit.Event, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return audit.Event{}, fmt.Errorf("reading randomness: %v", err)
	}
	ev := audit.New(fmt.Sprintf("%x", b), f.Clock(), p, kind).With("waiver", rec.ID).With("repositories", rec.Repositories.String()).
		With("until", rec.Until.UTC().Format(time.RFC3339))
	for _, d := range [][2]string{{"rule", rec.Rule}, {"advisory", rec.Advisory}, {"package", rec.Package}} {
		if d[1] != "" {
			ev = ev.With(d[0], d[1])
		}
	}
	if rec.Renews != 0 {
		ev = ev.With("renews", strconv.FormatInt(rec.Renews, 10))
	}
	if !rec.Digest.IsZero() {
		ev = ev.On(oci.Repository{}, rec.Digest)
	}
	return ev, nil
}

// List returns waivers that p may know of, the newest first: those with a smaller
// number than before, 0 for the newest. next is where the page after goes on, 0
// when there is none.
func (f *Flow) List(ctx context.Context, p authz.Principal, zone string, open bool, before int64, limit int) (list []api.Waiver, next int64, err error) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	list = []api.Waiver{}
	err = f.View(ctx, func(tx Tx) error {
		list, next = list[:0], 0
		found, err := tx.Waivers(ctx, zone, open, before, limit)
		for i := range found {
			if shows(p, &found[i]) {
				list = append(list, f.wire(&found[i]))
			}
		}
		if len(found) == limit {
			next = found[limit-1].Number
		}
		return err
	})
	return list, next, err
}

// Show returns one waiver. Errors match repo.ErrNotFound.
func (f *Flow) Show(ctx context.Context, p authz.Principal, id string) (*api.Waiver, error) {
	var rec *Record
	err := f.View(ctx, func(tx Tx) (err error) {
		rec, err = f.record(ctx, tx, p, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	w := f.wire(rec)
	w.Rules = f.rules(&rec.Waiver)
	if rec.Follow && rec.Ended == nil {
		w.Follows, err = f.follows(ctx, rec)
	}
	return &w, err
}

// wire is a waiver as it is published.
func (f *Flow) wire(rec *Record) api.Waiver {
	w := api.Waiver{
		ID: rec.ID, State: f.state(rec), Repositories: rec.Repositories.String(), Rule: rec.Rule, Advisory: rec.Advisory, Package: rec.Package,
		Owner: rec.Owner, Reason: rec.Reason, Justification: rec.Justification, Follow: rec.Follow, From: rec.From, Until: rec.Until,
		AskedBy: rec.AskedBy, AskedAt: rec.AskedAt, Ended: rec.Ended, Granted: []api.Grantor{},
	}
	if !rec.Digest.IsZero() {
		w.Digest = rec.Digest.String()
	}
	if rec.Renews != 0 {
		w.Renews = strconv.FormatInt(rec.Renews, 10)
	}
	for _, g := range rec.Granted {
		w.Granted = append(w.Granted, api.Grantor{Name: g.Name, Groups: g.Groups, At: g.At})
	}
	return w
}

// state says how a waiver stands: "granted" once some rule honours it.
func (f *Flow) state(rec *Record) string {
	switch {
	case rec.Ended != nil:
		return rec.Ended.How
	case !rec.Until.After(f.Clock()):
		return expired
	}
	for _, r := range f.rules(&rec.Waiver) {
		if r.Why == "" {
			return "granted"
		}
	}
	return "asked"
}
