package assess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// examined is what is known about one manifest, wherever it stands.
type examined struct {
	stored    *repo.Manifest
	manifest  *oci.Manifest
	image     *inventory.Image // nil unless an image
	digest    oci.Digest       // of the inventory; zero without one
	analysed  time.Time        // when image was merged
	findings  []evidence.Finding
	lifecycle []evidence.Lifecycle
	// suppressed are taken out of findings where a gate was asked whom it believes.
	suppressed []evidence.Finding
	unchecked  []policy.Unchecked
	snapshot   evidence.Snapshot
	referrers  []oci.Digest
	vex        []evidence.VEXDocument // what feeds that the gate believes say of findings
	lent       []oci.Digest           // referrers of indexes that name it
	evidence   *known
}

// examine gathers what is known about d under the advisories of index, analysing
// and verifying, by t, what was not yet. Errors match repo.ErrNotFound.
func (a *Assessor) examine(ctx context.Context, index *vuln.Index, t *Trusted, d oci.Digest) (*examined, error) {
	x := &examined{}
	err := a.DB.View(ctx, func(tx Tx) (err error) {
		if x.stored, err = tx.Stored(ctx, d); err != nil {
			return err
		}
		x.referrers, err = tx.ReferrersOf(ctx, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("examining %s: %w", d, err)
	}
	if x.manifest, err = oci.ParseManifest(x.stored.Raw, x.stored.MediaType, d.Algorithm()); err != nil {
		return nil, fmt.Errorf("examining %s: %w", d, err)
	}
	if x.evidence, err = a.evidenceAbout(ctx, t, describeManifest(x.stored), x.referrers); err != nil {
		return nil, fmt.Errorf("examining %s: %w", d, err)
	}
	if x.lent, err = a.borrow(ctx, t, d, x.evidence); err != nil {
		return nil, fmt.Errorf("examining %s: %w", d, err)
	}
	if x.stored.Kind != oci.KindImage {
		return x, nil
	}
	inv, err := a.Analyst.Inventory(ctx, x.manifest)
	if err != nil {
		return nil, fmt.Errorf("examining %s: %w", d, err)
	}
	x.image, x.digest, x.analysed = inv.Image, inv.Digest, inv.At
	if x.snapshot, err = a.asOf(ctx, index.Snapshot(), x.image); err != nil {
		return nil, err
	}
	_, span := telemetry.Start(ctx, "assess", "match", attribute.String("digest", d.String()), attribute.Int("packages", len(x.image.Packages)))
	x.findings, x.unchecked = match(index, x.image)
	x.lifecycle = index.Lifecycles(x.image)
	span.SetAttributes(attribute.Int("findings", len(x.findings)))
	telemetry.End(span, nil)
	return x, nil
}

// Verdict is a decision with what a caller needs to act on it.
type Verdict struct {
	Decision api.Decision
	Snapshot int64 // sequence number of the advisories
	// Gate is what it was judged by, as it is known where it is in force.
	Gate oci.Digest
	// Under is that number too, or independent. All of a verdict, children
	// included, is decided under one snapshot, and recorded only while that is
	// in force.
	Under int64
	// Trusted is the digest of what evidence was verified by, for all of it.
	Trusted string
	// Children holds the verdicts on the present image children of an index.
	Children map[oci.Digest]Verdict
	// Evidence lists all referrers of the digest and its children, at any depth.
	Evidence []oci.Digest
	// Approvable: the gate looks at approvals.
	Approvable bool
}

// asked is one question to a gate.
type asked struct {
	from     oci.Repository // where children of an index are looked up
	at       repo.Placement // the placement as it is or would be; Repository, Digest and BroughtBy count
	clause   policy.Clause
	promised map[string]time.Time
	// recorded: children count by the decision they have, so that an index is
	// not let in before its children; otherwise they are decided along with it.
	recorded bool
	depth    int
	index    *vuln.Index              // set by the first ask
	trusted  *Trusted                 // likewise
	known    map[oci.Digest]*relative // below the index that was asked about first
	// supposed is a VEX document as it would come, in a preview; attached, unless it
	// names a feed.
	supposed *evidence.VEXDocument
	// distrusted is what trust has ended in; set by the first ask.
	distrusted *distrusted
	// waived is what is waived in the zone; likewise.
	waived *waived
	// gate takes the place of the zone's. Optional.
	gate *policy.Gate
}

// gateOf is the gate that q asks; see gate.
func (a *Assessor) gateOf(q asked) (*policy.Gate, error) {
	if q.gate != nil {
		return q.gate, nil
	}
	return a.gate(q.at.Repository)
}

// ask runs the gate of q.at's zone.
func (a *Assessor) ask(ctx context.Context, q asked) (*Verdict, error) {
	gate, err := a.gateOf(q)
	if err != nil {
		return nil, err
	}
	if gate == nil {
		return nil, fmt.Errorf("%s is in a sandbox: nothing is judged there", q.at.Repository)
	}
	if q.index == nil {
		q.index, q.trusted = a.Advisories.Index(), a.trusted()
	}
	x, err := a.examine(ctx, q.index, q.trusted, q.at.Digest)
	if err != nil {
		return nil, err
	}
	v := &Verdict{Snapshot: x.snapshot.Seq, Gate: gate.InForce(), Under: independent, Trusted: q.trusted.digest(), Children: map[oci.Digest]Verdict{}, Evidence: slices.Clone(x.referrers)}
	if x.image != nil {
		v.Under = x.snapshot.Seq
	}
	if q.distrusted == nil {
		if q.distrusted, err = a.distrust(ctx); err != nil {
			return nil, err
		}
	}
	if q.waived == nil {
		if q.waived, err = a.waivedIn(ctx, q.at.Repository.Zone()); err != nil {
			return nil, err
		}
	}
	if err := a.drop(ctx, q.distrusted, x); err != nil {
		return nil, err
	}
	if x.vex, err = a.fromFeeds(ctx, gate, q.distrusted, x); err != nil {
		return nil, err
	}
	in := a.input(q, x)
	if err := a.arrived(ctx, q, in); err != nil {
		return nil, err
	}
	if v.Approvable = gate.ReadsApprovals(); v.Approvable {
		in.Approvals, err = view(ctx, a.DB, func(tx Tx) ([]evidence.Word, error) { return repo.Approvals(ctx, tx, q.at.Repository, q.at.Digest) })
		if err != nil {
			return nil, err
		}
	}
	bases, err := a.based(ctx, gate, in)
	if err != nil {
		return nil, err
	}
	if x.manifest.IsIndex() {
		if q.depth > oci.MaxIndexDepth {
			return nil, fmt.Errorf("%s: %w: indexes nested deeper than %d", q.at.Digest, oci.ErrManifestInvalid, oci.MaxIndexDepth)
		}
		if in.Children, err = a.children(ctx, q, x, v); err != nil {
			return nil, err
		}
	}
	v.Decision, err = gate.Evaluate(ctx, q.clause, in)
	if err != nil {
		return nil, fmt.Errorf("judging %s@%s: %w", q.at.Repository, q.at.Digest, err)
	}
	v.Decision.Inputs.Revocations, v.Decision.Inputs.WaiverAct = q.distrusted.seq, q.waived.act
	v.Decision.Inputs.BaseChange = bases
	slices.SortFunc(v.Evidence, compareDigests)
	v.Evidence = slices.Compact(v.Evidence)
	return v, nil
}

func compareDigests(x, y oci.Digest) int { return strings.Compare(x.String(), y.String()) }

func (a *Assessor) input(q asked, x *examined) *policy.Input {
	in := &policy.Input{
		Repository: q.at.Repository, Digest: q.at.Digest, Zone: q.at.Repository.Zone(), Kind: x.stored.Kind, Now: a.Clock(),
		Manifest: x.manifest, Image: x.image, InventoryDigest: x.digest, ExtractorSet: a.Analyst.Set(),
		Findings: x.findings, Unchecked: x.unchecked, Lifecycle: x.lifecycle, Snapshot: x.snapshot, Evidence: slices.Concat(x.referrers, x.lent),
		BroughtBy: q.at.BroughtBy, Waivers: q.waived.permissions(), Engine: a.Engine,
	}
	if x.evidence != nil {
		in.Verified = x.evidence.verified
	}
	in.VEX = x.vex
	if q.supposed != nil && q.supposed.Feed == "" {
		in.Supposed = q.supposed
	} else if q.supposed != nil {
		in.VEX = append(slices.Clone(x.vex), *q.supposed)
	}
	if q.clause == policy.Stay {
		in.AdmittedAt, in.Promised = q.at.AdmittedAt, q.promised
	}
	return in
}

// relative is what one question has found out about an entry of an index.
type relative struct {
	present, evidence bool
	verdict           *Verdict // nil: there is none yet, or it has none
}

// children decides the children of an index, those that are here. Each is
// decided once, however often indexes inside the index name it.
func (a *Assessor) children(ctx context.Context, q asked, x *examined, v *Verdict) ([]policy.Child, error) {
	if q.known == nil {
		q.known = map[oci.Digest]*relative{}
	}
	if q.recorded {
		if err := a.recall(ctx, q, x.manifest.Manifests); err != nil {
			return nil, err
		}
	}
	list := make([]policy.Child, 0, len(x.manifest.Manifests))
	for _, desc := range x.manifest.Manifests {
		r := q.known[desc.Digest]
		if r == nil {
			var err error
			if r, err = a.relative(ctx, q, desc.Digest); err != nil {
				return nil, err
			}
			q.known[desc.Digest] = r
		}
		list = append(list, r.child(desc, v))
	}
	return list, nil
}

// recall fills q.known with the children whose decision in force answers the same
// question: an index of thousands is not worth judging them again. A decision that
// changes has the index judged once more.
func (a *Assessor) recall(ctx context.Context, q asked, children []oci.Descriptor) error {
	gate, err := a.gateOf(q)
	if err != nil {
		return err
	}
	now := a.Clock()
	return a.DB.View(ctx, func(tx Tx) error {
		for _, c := range children {
			if q.known[c.Digest] != nil {
				continue
			}
			placed, err := tx.Lookup(ctx, q.from, repo.Selector{Digest: c.Digest}, repo.Viewer{Quarantine: true})
			if errors.Is(err, repo.ErrNotFound) || err == nil && placed.Decision == 0 {
				continue
			}
			if err != nil {
				return err
			}
			recorded, err := tx.Decision(ctx, placed.Decision)
			if err != nil {
				return err
			}
			due, d := placed.RecheckAt, &recorded.Decision
			if d.Clause != string(q.clause) || !decidedBy(d, gate) || !due.IsZero() && !now.Before(due) {
				continue
			}
			d.ValidUntil = due
			q.known[c.Digest] = &relative{present: true, verdict: &Verdict{Decision: *d, Snapshot: recorded.Snapshot, Under: independent}}
		}
		return nil
	})
}

// decidedBy reports whether a gate has made a decision: its text, with its data.
func decidedBy(d *api.Decision, g *policy.Gate) bool {
	same := func(name string, data *policy.Data) bool { return name == data.Digest().String() }
	return d.Inputs.Gate == g.Digest().String() && slices.EqualFunc(d.Inputs.Data, g.Data(), same)
}

// relative decides one child.
func (a *Assessor) relative(ctx context.Context, q asked, d oci.Digest) (*relative, error) {
	placed, err := view(ctx, a.DB, func(tx Tx) (*repo.Placed, error) {
		return tx.Lookup(ctx, q.from, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
	})
	switch {
	case errors.Is(err, repo.ErrNotFound):
		return &relative{}, nil
	case err != nil:
		return nil, err
	case placed.Manifest.Kind == oci.KindEvidence:
		return &relative{present: true, evidence: true}, nil
	case placed.State == repo.Revoked:
		return a.outOfReach(ctx, placed)
	case q.recorded && placed.State == repo.Held && placed.Decision == 0:
		return &relative{present: true}, nil // its own job is still to come, and asks for the index again
	}
	at := placed.Placement
	at.Repository = q.at.Repository
	if q.gate != nil && at.AdmittedAt.IsZero() && q.clause == policy.Stay {
		at.AdmittedAt = q.at.AdmittedAt // it would have come in with what names it
	}
	verdict, err := a.ask(ctx, asked{from: q.from, at: at, clause: q.clause, recorded: q.recorded, depth: q.depth + 1, index: q.index, trusted: q.trusted, known: q.known, distrusted: q.distrusted, waived: q.waived, gate: q.gate})
	return &relative{present: true, verdict: verdict}, err
}

// child is r as the index that v is about names it. What is evidence is told by
// the manifest alone: an index may give an image an unknown platform.
func (r *relative) child(desc oci.Descriptor, v *Verdict) policy.Child {
	child := policy.Child{Digest: desc.Digest, Platform: desc.Platform, Present: r.present}
	switch {
	case r.evidence:
		child.Platform = &oci.Platform{OS: "unknown", Architecture: "unknown"}
		v.Evidence = append(v.Evidence, desc.Digest)
	case r.present && child.Platform.IsUnknown():
		child.Platform = nil
	}
	if r.verdict == nil {
		return child
	}
	child.Decision = &r.verdict.Decision
	if _, again := v.Children[child.Digest]; !again {
		v.Children[child.Digest] = *r.verdict
		v.Evidence = append(v.Evidence, r.verdict.Evidence...)
		v.Snapshot, v.Under = max(v.Snapshot, r.verdict.Snapshot), max(v.Under, r.verdict.Under)
	}
	return child
}

// Decide runs "enter" of the gate of to's zone for d as if it stood there,
// with the children of an index as they stand in from, and records nothing.
// Errors match repo.ErrNotFound, and repo.ErrConflict where another process has
// the gate that counts.
func (a *Assessor) Decide(ctx context.Context, from, to oci.Repository, d oci.Digest) (*Verdict, error) {
	if err := a.catchUp(ctx, to); errors.Is(err, ErrOtherGate) {
		return nil, fmt.Errorf("%w: %w", repo.ErrConflict, err)
	} else if err != nil {
		return nil, err
	}
	placed, err := view(ctx, a.DB, func(tx Tx) (*repo.Placed, error) {
		return tx.Lookup(ctx, from, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
	})
	if err != nil {
		return nil, err
	}
	at := placed.Placement
	at.Repository = to
	return a.ask(ctx, asked{from: from, at: at, clause: policy.Enter})
}
