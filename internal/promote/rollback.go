package promote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// ErrNoEarlier: a tag has named nothing else that it could go back to.
var ErrNoEarlier = errors.New("nothing to go back to")

// maxNamed is how far back a tag can go, in moves.
const maxNamed = 1000

// Rollback asks for a tag to name again what it named before.
type Rollback struct {
	Tag    string
	To     oci.Digest  // zero: the one before; else one that the tag has named
	Viewer repo.Viewer // how who asks looks at the repository
	Reason string      // for the audit log; at most MaxReason bytes
	DryRun bool        // decide, change nothing
}

// MaxReason bounds what people give as a reason, in bytes.
const MaxReason = 2000

// Rollback lets a tag of act's repository name again what it named before, if
// that still stands there and its gate would let it in now. When the gate would
// not nothing changes, and the answer says why. read must permit pull there.
// Errors match ErrNoEarlier, ErrNotAdmitted, repo.ErrNotFound, repo.ErrConflict,
// authz.ErrNotPermitted.
func (f *Flow) Rollback(ctx context.Context, act, read authz.Act, in Rollback) (_ *api.RolledBack, err error) {
	r := act.Repository()
	ctx, span := telemetry.Start(ctx, "promote", "rollback", attribute.String("repository", r.String()), attribute.String("tag", in.Tag))
	defer func() { telemetry.End(span, err) }()
	if err := act.Permits(r, authz.Promote); err != nil {
		return nil, err
	}
	if err := read.Permits(r, authz.Pull, authz.PullFromQuarantine); err != nil {
		return nil, err
	}
	if err := checkReason(in.Reason); err != nil {
		return nil, err
	}
	zone, err := f.Zones.Of(r)
	if err != nil {
		return nil, err
	}
	if !zone.Gated() {
		return nil, fmt.Errorf("rolling back %s:%s: %w: nothing is judged in %s, so push what the tag should name", r, in.Tag, ErrNoWay, zone.Name)
	}
	b := &back{move: move{flow: f, act: act, source: r, to: r, viewer: in.Viewer}, in: in}
	for range attempts {
		out, err := b.once(ctx)
		if !errors.Is(err, repo.ErrConflict) {
			return out, err
		}
	}
	return nil, fmt.Errorf("rolling back %s:%s: what it was decided by kept changing: %w; try again", r, in.Tag, repo.ErrConflict)
}

// checkReason refuses what is no sentence for people.
func checkReason(s string) error {
	if len(s) > MaxReason || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: a reason is text of one line, of at most %d bytes", authz.ErrInvalid, MaxReason)
	}
	return nil
}

// back is one rollback: a promotion from a repository to itself, of which
// nothing but the tag moves.
type back struct {
	move
	in     Rollback
	from   repo.Named // what the tag names, or did last
	target repo.Named
}

// once decides, and commits what it has decided.
func (b *back) once(ctx context.Context) (*api.RolledBack, error) {
	if err := b.flow.View(ctx, func(tx Tx) error { return b.find(ctx, tx) }); err != nil {
		return nil, err
	}
	verdict, err := b.flow.Judge.Decide(ctx, b.to, b.to, b.digest)
	if err != nil {
		return nil, err
	}
	out := &api.RolledBack{Repository: b.to.String(), Tag: b.in.Tag, Digest: b.digest.String(), Decision: verdict.Decision}
	if b.from.To.IsZero() {
		out.Before = b.from.Digest.String()
	}
	if verdict.Decision.Outcome != api.Allow || b.in.DryRun {
		return out, nil
	}
	b.verdict = verdict
	if err := b.flow.Update(ctx, func(tx Tx) error { return b.commit(ctx, tx) }); err != nil {
		return nil, err
	}
	out.Done = true
	return out, nil
}

// find picks what the tag goes back to.
func (b *back) find(ctx context.Context, tx Tx) error {
	named, err := tx.NamedBy(ctx, b.to, b.in.Tag, 0, maxNamed)
	if err != nil {
		return err
	}
	if len(named) == 0 {
		return fmt.Errorf("tag %s in %s: %w", b.in.Tag, b.to, repo.ErrNotFound)
	}
	b.from = named[0]
	if b.from.To.IsZero() {
		if _, err := b.standing(ctx, tx, b.from.Digest); err != nil && !errors.Is(err, ErrNotAdmitted) {
			return err
		}
	}
	if b.target, err = b.pick(named); err != nil {
		return err
	}
	b.digest = b.target.Digest
	at, err := b.standing(ctx, tx, b.digest)
	switch {
	case err != nil:
		return err
	case !at.StayUntil.IsZero():
		return fmt.Errorf("%s@%s is %w for good: its verdict holds until %s, because %s; name another with --to", b.to, b.digest, ErrNotAdmitted, at.StayUntil.UTC().Format("2006-01-02 15:04 MST"), at.Sentence)
	}
	return b.notStopped(ctx, tx, b.digest)
}

// pick returns the time in which the tag named what it is to name again.
func (b *back) pick(named []repo.Named) (repo.Named, error) {
	if b.in.To.IsZero() {
		earlier := repo.Earlier(named)
		if len(earlier) == 0 {
			return repo.Named{}, fmt.Errorf("tag %s of %s: %w: it has named nothing before that it did not go back to", b.in.Tag, b.to, ErrNoEarlier)
		}
		return earlier[0], nil
	}
	i := slices.IndexFunc(named, func(n repo.Named) bool { return n.Digest == b.in.To })
	switch {
	case i < 0:
		return repo.Named{}, fmt.Errorf("tag %s of %s: %w: it has never named %s", b.in.Tag, b.to, ErrNoEarlier, b.in.To)
	case b.from.To.IsZero() && b.from.Digest == b.in.To:
		return repo.Named{}, fmt.Errorf("tag %s of %s: %w: it names %s now", b.in.Tag, b.to, ErrNoEarlier, b.in.To)
	}
	return named[i], nil
}

// standing returns the placement of d, which must be admitted and visible.
func (b *back) standing(ctx context.Context, tx Tx, d oci.Digest) (*repo.Placement, error) {
	placed, err := tx.Lookup(ctx, b.to, repo.Selector{Digest: d}, repo.Viewer{})
	if err != nil {
		return nil, err
	}
	if b.viewer.Own && !b.viewer.Visible(&placed.Placement) {
		return nil, fmt.Errorf("tag %s in %s: %w", b.in.Tag, b.to, repo.ErrNotFound)
	}
	if placed.State != repo.Admitted {
		return nil, notAdmitted(placed.Placement)
	}
	return &placed.Placement, nil
}

func (b *back) commit(ctx context.Context, tx Tx) error {
	target, from := b.target, b.from
	if err := b.find(ctx, tx); err != nil {
		return err
	}
	if b.target != target || b.from != from {
		return fmt.Errorf("what tag %s of %s names: %w", b.in.Tag, b.to, repo.ErrConflict)
	}
	if err := b.stillCounts(ctx, tx); err != nil {
		return err
	}
	if err := b.asArrived(ctx, tx, b.digest, b.verdict); err != nil {
		return err
	}
	id, err := tx.PutDecision(ctx, &b.verdict.Decision, b.verdict.Snapshot)
	if err != nil {
		return err
	}
	before, err := tx.ReturnTag(ctx, b.to, b.in.Tag, b.target)
	if err != nil {
		return err
	}
	ev, err := b.flow.event(b.act.Principal(), "tag.returned")
	if err != nil {
		return err
	}
	ev = ev.On(b.to, b.digest).With("tag", b.in.Tag).With("decision", fmt.Sprint(id)).With("gate", b.verdict.Decision.Inputs.Gate)
	if !before.IsZero() {
		ev = ev.With("before", before.String())
	}
	if b.in.Reason != "" {
		ev = ev.With("reason", b.in.Reason)
	}
	return tx.Append(ctx, ev)
}

// stillCounts returns repo.ErrConflict unless what the verdict was made by is as
// it was.
func (m *move) stillCounts(ctx context.Context, tx Tx) error {
	if err := m.asBased(ctx, tx, m.verdict); err != nil {
		return err
	}
	if err := m.inForce(ctx, tx); err != nil {
		return err
	}
	if err := m.stillTrusted(ctx, tx); err != nil {
		return err
	}
	m.closure, m.seen, m.placed, m.evidence = nil, map[oci.Digest]bool{}, map[oci.Digest]bool{}, nil
	if err := m.collect(ctx, tx, m.digest, m.seen, &m.evidence); err != nil {
		return err
	}
	if err := m.notStopped(ctx, tx, m.digest, slices.SortedFunc(maps.Keys(m.seen), compareDigests)...); err != nil {
		return err
	}
	if err := m.sameApprovals(ctx, tx, m.digest, *m.verdict); err != nil {
		return err
	}
	slices.SortFunc(m.evidence, compareDigests)
	if !slices.Equal(m.evidence, m.verdict.Evidence) {
		return fmt.Errorf("evidence about %s: %w", m.digest, repo.ErrConflict)
	}
	return nil
}

// History lists what a tag of a repository has named, newest first: what read
// permits pull of, and its viewer may know. Errors match repo.ErrNotFound.
func (f *Flow) History(ctx context.Context, read authz.Act, v repo.Viewer, tag string, before int64, n int) ([]api.Named, error) {
	r := read.Repository()
	if err := read.Permits(r, authz.Pull, authz.PullFromQuarantine); err != nil {
		return nil, err
	}
	list := []api.Named{}
	err := f.View(ctx, func(tx Tx) error {
		list = list[:0]
		named, err := tx.NamedBy(ctx, r, tag, before, n)
		if err != nil {
			return err
		}
		for _, one := range named {
			wire := api.Named{ID: one.ID, Digest: one.Digest.String(), From: one.From, To: one.To, Back: one.Back}
			placed, err := tx.Lookup(ctx, r, repo.Selector{Digest: one.Digest}, v)
			switch {
			case errors.Is(err, repo.ErrNotFound):
				wire.State = string(repo.Removed)
			case err != nil:
				return err
			default:
				wire.State = string(placed.State)
			}
			if v.Own && (err != nil || !v.Visible(&placed.Placement)) {
				continue
			}
			list = append(list, wire)
		}
		return nil
	})
	if err == nil && len(list) == 0 && before == 0 {
		return nil, fmt.Errorf("tag %s in %s: %w", tag, r, repo.ErrNotFound)
	}
	return list, err
}
