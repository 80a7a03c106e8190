// Package promote moves placements: from zone to zone, out of a zone, and
// away. No bytes move; a promotion keeps the digest and takes the closure (an
// index with its children, and everything that refers to them) or nothing.
package promote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// Errors that callers may test for, beside those of repo and authz.
var (
	// ErrNoWay: the zones know no way from the one to the other.
	ErrNoWay = errors.New("no way between these zones")
	// ErrNotAdmitted: only what stands in a zone can leave it for the next.
	ErrNotAdmitted = errors.New("not admitted to its zone")
	// ErrInUse: content that a manifest of the repository still names.
	ErrInUse = errors.New("still in use")
)

// Tx is what a promotion reads and changes.
type Tx interface {
	repo.Reader
	repo.Writer
	repo.Graph
	repo.Trust
	repo.Past
	repo.Arrivals
	repo.Words
	repo.Family
	repo.Chains
	audit.Outbox
	job.Enqueuer
	// InForce returns the number of the advisories in force, and the gate of a
	// zone, zero where none was put in force.
	InForce(ctx context.Context, zone string) (snapshot int64, gate oci.Digest, err error)
	// WaiverAct returns the number of the latest act on waivers of a zone.
	WaiverAct(ctx context.Context, zone string) (int64, error)
	// PutDecision inserts a decision and returns its id.
	PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error)
}

// Verdict is what a gate says about a digest as if it stood in a repository.
type Verdict struct {
	Decision api.Decision
	Snapshot int64 // sequence number of the advisories
	// Gate is what decided, as it is known where it is in force.
	Gate oci.Digest
	// Under is that number too, negative when no advisory has a part in it. If
	// others are in force when the promotion commits, or another gate, it is
	// decided again: the job that follows either has judged what stood before.
	Under    int64
	Sentence string
	// Approvable: its gate looks at approvals. If others hold when the promotion
	// commits, it is decided again.
	Approvable bool
	// Children holds the verdicts on the present image children of an index, at
	// any depth.
	Children map[oci.Digest]Verdict
	// Evidence lists all referrers that were there, of the digest and its
	// children, sorted: if others are there when the promotion commits, it is
	// decided again.
	Evidence []oci.Digest
}

// Judge decides without recording.
type Judge interface {
	// Decide runs "enter" of the gate of to's zone for d, whose children are
	// looked up in from.
	Decide(ctx context.Context, from, to oci.Repository, d oci.Digest) (*Verdict, error)
}

// Options are what a Flow works with; all but Anchors are required.
type Options struct {
	Zones repo.Zones
	Judge Judge
	// Anchors names what evidence is verified by now, as decisions name it.
	// Optional: without, evidence has no part in decisions.
	Anchors  func() string
	JudgeJob string // kind of the job that decides "repository@digest"
	Update   func(ctx context.Context, fn func(Tx) error) error
	View     func(ctx context.Context, fn func(Tx) error) error
	Clock    func() time.Time
	Rand     io.Reader
}

// Flow is the promotion flow. It is safe for concurrent use.
type Flow struct{ Options }

// New returns a Flow.
func New(o Options) *Flow { return &Flow{o} }

// Request asks for a promotion.
type Request struct {
	From   oci.Reference
	Viewer repo.Viewer // how who asks looks at From's repository
	Tags   []string    // in the target; nil: the tag of From, if it has one
	DryRun bool        // decide, change nothing
}

// attempts bounds how often a promotion is decided again because evidence
// arrived, or advisories came into force, between deciding and committing.
const attempts = 5

// Promote takes what From names into act's repository, of another zone. When
// the gate does not allow it nothing changes, and the answer says why. from
// must permit pull on the source. Errors match ErrNoWay, ErrNotAdmitted,
// repo.ErrNotFound, repo.ErrConflict, authz.ErrNotPermitted.
func (f *Flow) Promote(ctx context.Context, act, from authz.Act, in Request) (_ *api.Promoted, err error) {
	ctx, span := telemetry.Start(ctx, "promote", "promote", attribute.String("from", in.From.String()), attribute.String("to", act.Repository().String()))
	defer func() { telemetry.End(span, err) }()
	to, source := act.Repository(), in.From.Repository
	if err := act.Permits(to, authz.Promote); err != nil {
		return nil, err
	}
	if err := from.Permits(source, authz.Pull, authz.PullFromQuarantine); err != nil {
		return nil, err
	}
	if err := f.checkWay(source, to); err != nil {
		return nil, err
	}
	m := &move{flow: f, act: act, source: source, viewer: in.Viewer, to: to}
	d, err := m.resolve(ctx, in.From)
	if err != nil {
		return nil, err
	}
	m.digest = d
	tags := in.Tags
	if tags == nil && in.From.Tag != "" {
		tags = []string{in.From.Tag}
	}
	for _, t := range tags {
		if err := oci.CheckTag(t); err != nil {
			return nil, err
		}
	}
	m.tags = tags
	for range attempts {
		verdict, err := f.Judge.Decide(ctx, source, to, d)
		if err != nil {
			return nil, err
		}
		out := &api.Promoted{From: source.String(), To: to.String(), Digest: d.String(), Tags: tags, Decision: verdict.Decision}
		if verdict.Decision.Outcome != api.Allow || in.DryRun {
			return out, nil
		}
		m.verdict = verdict
		err = f.Update(ctx, func(tx Tx) error { return m.commit(ctx, tx) })
		if errors.Is(err, repo.ErrConflict) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, c := range m.closure {
			out.Closure = append(out.Closure, c.String())
		}
		return out, nil
	}
	return nil, fmt.Errorf("promoting %s to %s: what it was decided by kept changing: %w; try again", d, to, repo.ErrConflict)
}

func (f *Flow) checkWay(source, to oci.Repository) error {
	src, err := f.Zones.Of(source)
	if err != nil {
		return err
	}
	dst, err := f.Zones.Of(to)
	if err != nil {
		return err
	}
	if source.Path() != to.Path() || !slices.Contains(dst.From, src.Name) {
		ways := "is reached from " + strings.Join(dst.From, ", ") + ", with the same path"
		if len(dst.From) == 0 {
			ways = "is reached by push alone"
		}
		return fmt.Errorf("promoting %s to %s: %w: %s %s", source, to, ErrNoWay, dst.Name, ways)
	}
	return nil
}

// resolve finds what is to be promoted: something admitted at the source that
// the viewer can see, down to the last child. The gate is not even asked about
// anything else, since its reasons tell what is inside.
func (m *move) resolve(ctx context.Context, ref oci.Reference) (oci.Digest, error) {
	sel := repo.Selector{Tag: ref.Tag, Digest: ref.Digest}
	if !ref.Digest.IsZero() {
		sel.Tag = ""
	}
	var placed *repo.Placed
	err := m.flow.View(ctx, func(tx Tx) (err error) {
		if placed, err = tx.Lookup(ctx, ref.Repository, sel, repo.Viewer{}); err != nil {
			return err
		}
		if m.viewer.Own {
			if err := m.collect(ctx, tx, placed.Manifest.Digest, map[oci.Digest]bool{}, new([]oci.Digest)); err != nil {
				return err
			}
		}
		return m.notStopped(ctx, tx, placed.Manifest.Digest)
	})
	if errors.Is(err, repo.ErrNotFound) || errors.Is(err, ErrStopped) { // which names it
		return oci.Digest{}, err
	}
	if err != nil {
		return oci.Digest{}, fmt.Errorf("looking up %s: %w", ref, err)
	}
	if !placed.Stands() {
		return oci.Digest{}, notAdmitted(placed.Placement)
	}
	return placed.Manifest.Digest, nil
}

func notAdmitted(p repo.Placement) error {
	why := p.Sentence
	switch {
	case p.Over:
		why = "it could stay until " + p.StayUntil.UTC().Format(time.RFC3339)
	case why == "":
		why = "it is " + string(p.State)
	}
	return fmt.Errorf("%s@%s is %w: %s", p.Repository, p.Digest, ErrNotAdmitted, why)
}

// move is one promotion being committed. commit may run more than once.
type move struct {
	flow       *Flow
	act        authz.Act
	source, to oci.Repository
	viewer     repo.Viewer // of source
	digest     oci.Digest
	tags       []string
	verdict    *Verdict
	seen       map[oci.Digest]bool // what collect has found
	placed     map[oci.Digest]bool // what place has been through
	evidence   []oci.Digest        // what goes along, sorted
	closure    []oci.Digest        // result
}

func (m *move) commit(ctx context.Context, tx Tx) error {
	if err := m.stillCounts(ctx, tx); err != nil {
		return err
	}
	if err := m.place(ctx, tx, m.digest, *m.verdict); err != nil {
		return err
	}
	for _, d := range m.evidence {
		if err := m.attach(ctx, tx, d); err != nil {
			return err
		}
	}
	before, err := m.moveTags(ctx, tx)
	if err != nil {
		return err
	}
	ev, err := m.flow.event(m.act.Principal(), "placement.promoted")
	if err != nil {
		return err
	}
	ev = ev.On(m.to, m.digest).With("from", m.source.String()).With("gate", m.verdict.Decision.Inputs.Gate).With("closure", fmt.Sprint(len(m.closure)))
	if len(m.tags) > 0 {
		ev = ev.With("tags", strings.Join(m.tags, ",")).With("tags_before", strings.Join(before, ","))
	}
	return tx.Append(ctx, ev)
}

// inForce returns repo.ErrConflict unless the verdict was made by what is in
// force in this transaction.
func (m *move) inForce(ctx context.Context, tx Tx) error {
	snapshot, gate, err := tx.InForce(ctx, m.to.Zone())
	switch {
	case err != nil:
		return err
	case m.verdict.Under >= 0 && m.verdict.Under != snapshot:
		return fmt.Errorf("%s was judged under snapshot %d of the advisories, and %d is in force: %w", m.digest, m.verdict.Under, snapshot, repo.ErrConflict)
	case m.flow.Anchors != nil && m.flow.Anchors() != m.verdict.Decision.Inputs.Anchors:
		return fmt.Errorf("%s was judged by other anchors than are in force: %w", m.digest, repo.ErrConflict)
	case !gate.IsZero() && gate != m.verdict.Gate:
		return fmt.Errorf("%s was judged by gate %s, and %s is in force: %w", m.digest, m.verdict.Gate, gate, repo.ErrConflict)
	}
	act, err := tx.WaiverAct(ctx, m.to.Zone())
	if err == nil && act != m.verdict.Decision.Inputs.WaiverAct {
		err = fmt.Errorf("%s was judged by what was waived at act %d, and %d is the latest: %w", m.digest, m.verdict.Decision.Inputs.WaiverAct, act, repo.ErrConflict)
	}
	return err
}

// collect walks the closure as of this transaction: d and its present children
// must be admitted at the source, and the children those the verdict knows.
func (m *move) collect(ctx context.Context, tx Tx, d oci.Digest, seen map[oci.Digest]bool, evidence *[]oci.Digest) error {
	if seen[d] {
		return nil
	}
	seen[d] = true
	placed, err := tx.Lookup(ctx, m.source, repo.Selector{Digest: d}, repo.Viewer{})
	if err != nil {
		return err
	}
	if m.viewer.Own && !m.viewer.Visible(&placed.Placement) {
		return fmt.Errorf("%s in %s: %w; only who brought it and who may pull from quarantine can promote it", d, m.source, repo.ErrNotFound)
	}
	if !placed.Stands() {
		return notAdmitted(placed.Placement)
	}
	referrers, err := m.referrers(ctx, tx, d, seen)
	if err != nil {
		return err
	}
	*evidence = append(*evidence, referrers...)
	for _, ref := range placed.References {
		if ref.Role != repo.RoleChild {
			continue
		}
		child, err := tx.Lookup(ctx, m.source, repo.Selector{Digest: ref.Digest}, repo.Viewer{})
		switch {
		case errors.Is(err, repo.ErrNotFound):
			continue // absent from a sparse index
		case err != nil:
			return err
		case child.State == repo.Attached:
			if !seen[ref.Digest] {
				seen[ref.Digest] = true
				*evidence = append(*evidence, ref.Digest)
			}
			continue
		}
		if err := m.collect(ctx, tx, ref.Digest, seen, evidence); err != nil {
			return err
		}
	}
	return nil
}

// referrers returns what refers to d, and what refers to that.
func (m *move) referrers(ctx context.Context, tx Tx, d oci.Digest, seen map[oci.Digest]bool) ([]oci.Digest, error) {
	direct, err := tx.ReferrersOf(ctx, d)
	if err != nil {
		return nil, err
	}
	var all []oci.Digest
	for _, r := range direct {
		if seen[r] {
			continue
		}
		seen[r] = true
		more, err := m.referrers(ctx, tx, r, seen)
		if err != nil {
			return nil, err
		}
		all = append(append(all, r), more...)
	}
	return all, nil
}

// place admits d and, below it, every child the verdict speaks about. A child
// that was taken away while it was decided is in the verdict and not in the
// closure: then it is decided again.
func (m *move) place(ctx context.Context, tx Tx, d oci.Digest, v Verdict) error {
	switch {
	case m.placed[d]:
		return nil
	case !m.seen[d]:
		return fmt.Errorf("%s in %s: %w", d, m.source, repo.ErrConflict)
	case v.Decision.Outcome != api.Allow:
		return fmt.Errorf("admitting %s to %s: its decision is %s, and that of what names it allows", d, m.to, v.Decision.Outcome)
	}
	m.placed[d] = true
	if err := m.carry(ctx, tx, d, &v); err != nil {
		return err
	}
	now := m.flow.Clock()
	id, err := tx.PutDecision(ctx, &v.Decision, v.Snapshot)
	if err != nil {
		return err
	}
	at := repo.Placement{Repository: m.to, Digest: d, BroughtBy: m.act.Principal().Name(), BroughtAt: now}
	placed, err := tx.Lookup(ctx, m.to, repo.Selector{Digest: d}, repo.Viewer{})
	switch {
	case err == nil:
		at = placed.Placement
	case !errors.Is(err, repo.ErrNotFound):
		return err
	default:
		stored, err := tx.Stored(ctx, d)
		if err != nil {
			return err
		}
		at.Kind = stored.Kind
	}
	if at.State != repo.Admitted {
		at.State, at.AdmittedAt = repo.Admitted, now
	}
	at.Decision, at.Sentence, at.RecheckAt, at.StayUntil = id, "", v.Decision.ValidUntil, policy.WaivedUntil(&v.Decision)
	if err := tx.Place(ctx, &at); err != nil {
		return err
	}
	if !at.StayUntil.IsZero() { // how long it may stay by permission is for "stay" to say
		if err := tx.EnqueueFor(ctx, at.BroughtBy, m.flow.JudgeJob, m.to.String()+"@"+d.String(), now); err != nil {
			return err
		}
	}
	m.closure = append(m.closure, d)
	for _, child := range sortedKeys(v.Children) {
		if err := m.place(ctx, tx, child, v.Children[child]); err != nil {
			return err
		}
	}
	return nil
}

func (m *move) attach(ctx context.Context, tx Tx, d oci.Digest) error {
	m.closure = append(m.closure, d)
	placed, err := tx.Lookup(ctx, m.to, repo.Selector{Digest: d}, repo.Viewer{})
	if err == nil && placed.State == repo.Attached {
		return repo.CarryTags(ctx, tx, m.to, d)
	}
	if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	at := repo.Placement{Repository: m.to, Digest: d, Kind: oci.KindEvidence, State: repo.Attached, BroughtBy: m.act.Principal().Name(), BroughtAt: m.flow.Clock()}
	if err == nil {
		at.Version = placed.Version
	}
	if err := tx.Place(ctx, &at); err != nil {
		return err
	}
	return repo.CarryTags(ctx, tx, m.to, d)
}

// moveTags moves the tags and returns what they pointed at before, "-" for nothing.
func (m *move) moveTags(ctx context.Context, tx Tx) ([]string, error) {
	var before []string
	for _, t := range m.tags {
		old, err := tx.SetTag(ctx, m.to, t, m.digest)
		if err != nil {
			return nil, err
		}
		if old.IsZero() {
			before = append(before, "-")
		} else {
			before = append(before, old.String())
		}
	}
	return before, nil
}

func (f *Flow) event(p authz.Principal, kind string) (audit.Event, error) {
	var b [16]byte
	if _, err := io.ReadFull(f.Rand, b[:]); err != nil {
		return audit.Event{}, fmt.Errorf("reading randomness: %v", err)
	}
	return audit.New(fmt.Sprintf("%x", b), f.Clock(), p, kind), nil
}

func compareDigests(a, b oci.Digest) int { return strings.Compare(a.String(), b.String()) }

func sortedKeys[V any](m map[oci.Digest]V) []oci.Digest {
	keys := make([]oci.Digest, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, compareDigests)
	return keys
}
