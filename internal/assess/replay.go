package assess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Replay makes a recorded decision again, from what it names and what is stored
// under that. What cannot be had any more is told, and nothing is put in its place.
func (a *Assessor) Replay(ctx context.Context, d *api.Decision) (*api.Replay, error) {
	out := &api.Replay{}
	if d.Inputs.Engine != a.Engine {
		out.Engine = a.Engine
	}
	if d.Clause == policy.RevokedClause {
		out.Missing = []string{"a gate: a revocation decided this"}
		return out, nil
	}
	p := past{Assessor: a, of: d}
	gate, err := p.gate(ctx)
	if err != nil {
		return nil, err
	}
	in, err := p.input(ctx, gate)
	if err != nil {
		return nil, err
	}
	if out.Missing = p.missing; len(p.missing) > 0 {
		return out, nil
	}
	again, err := p.decide(ctx, gate, in)
	if err != nil {
		return nil, fmt.Errorf("making the decision of %s about %s@%s again: %w", d.DecidedAt, d.Repository, d.Digest, err)
	}
	if out.Differs = differences(d, again); len(out.Differs) > 0 {
		out.Decision = again
	}
	out.Same = len(out.Differs) == 0
	return out, nil
}

// past is a decision that is made again.
type past struct {
	*Assessor
	of      *api.Decision
	missing []string // what cannot be had
}

// lack notes that something cannot be had; another error than that is returned.
func (p *past) lack(err error, format string, args ...any) error {
	if !gone(err) && !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	p.missing = append(p.missing, fmt.Sprintf(format, args...))
	return nil
}

// gate returns the gate that decided; nil where its text cannot be had, or this
// program does not take it.
func (p *past) gate(ctx context.Context) (*policy.Gate, error) {
	var data []*policy.Data
	for _, name := range p.of.Inputs.Data {
		text, err := p.text(ctx, textOfData, name)
		if text == nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		d, err := policy.ParseData(name, text)
		if err != nil {
			p.missing = append(p.missing, fmt.Sprintf("data %s: this program does not take it: %v", name, err))
			continue
		}
		data = append(data, d)
	}
	text, err := p.text(ctx, textOfGate, p.of.Inputs.Gate)
	if text == nil || len(p.missing) > 0 {
		return nil, err
	}
	g, err := policy.Parse(p.of.Zone, text, data...)
	if err != nil {
		p.missing = append(p.missing, fmt.Sprintf("gate %s: this program does not take it: %v", p.of.Inputs.Gate, err))
		return nil, nil
	}
	return g, nil
}

func (p *past) text(ctx context.Context, kind, digest string) ([]byte, error) {
	d, err := oci.ParseDigest(digest)
	if err != nil {
		return nil, fmt.Errorf("reading the digest of a %s: %w", kind, err)
	}
	text, err := view(ctx, p.DB, func(tx Tx) ([]byte, error) { return tx.PolicyText(ctx, kind, d) })
	if err != nil {
		return nil, p.lack(err, "the text of %s %s", kind, digest)
	}
	return text, nil
}

// decide asks the gate, and adds what is named beside the gate's inputs.
func (p *past) decide(ctx context.Context, g *policy.Gate, in *policy.Input) (*api.Decision, error) {
	d, err := g.Evaluate(ctx, policy.Clause(p.of.Clause), in)
	if err != nil {
		return nil, err
	}
	d.Inputs.Revocations, d.Inputs.WaiverAct, d.Inputs.BaseChange = p.of.Inputs.Revocations, p.of.Inputs.WaiverAct, p.of.Inputs.BaseChange
	if aboutTags(p.of) {
		d.Inputs.AdmittedAt = p.of.Inputs.AdmittedAt
	}
	return &d, nil
}

// input is what the gate looked at.
func (p *past) input(ctx context.Context, g *policy.Gate) (*policy.Input, error) {
	named := &p.of.Inputs
	in := &policy.Input{
		Zone: p.of.Zone, Now: p.of.DecidedAt, BroughtBy: named.BroughtBy, Engine: named.Engine, ExtractorSet: named.ExtractorSet, ChildrenUntil: named.ChildrenUntil,
	}
	var err error
	if in.Repository, err = oci.ParseRepository(p.of.Repository); err != nil {
		return nil, err
	}
	if in.Digest, err = oci.ParseDigest(p.of.Digest); err != nil {
		return nil, err
	}
	if p.of.Clause == string(policy.Stay) {
		in.AdmittedAt, in.Promised = named.AdmittedAt, named.Promised
	}
	if err := p.beside(ctx, in); err != nil {
		return nil, err
	}
	stored, err := view(ctx, p.DB, func(tx Tx) (*repo.Manifest, error) { return tx.Stored(ctx, in.Digest) })
	if err != nil {
		return in, p.lack(err, "the manifest %s", in.Digest)
	}
	in.Kind = stored.Kind
	if in.Manifest, err = oci.ParseManifest(stored.Raw, stored.MediaType, in.Digest.Algorithm()); err != nil {
		return nil, err
	}
	if err := p.children(ctx, in); err != nil {
		return nil, err
	}
	if err := p.evidence(ctx, g, in); err != nil || named.Inventory == "" {
		return in, err
	}
	if err := p.inventory(ctx, in); err != nil {
		return in, err
	}
	return in, p.vexOf(ctx, g, in)
}

// beside is what is known of how it came here, and what was waived and approved.
func (p *past) beside(ctx context.Context, in *policy.Input) (err error) {
	in.FirstSeen = p.of.Inputs.FirstSeen
	for _, a := range p.of.Inputs.Arrivals {
		r, err := oci.ParseRepository(a.Repository)
		if err != nil {
			return err
		}
		in.Arrivals = append(in.Arrivals, evidence.Arrival{Repository: r, By: a.By, Kind: evidence.Bringer(a.Kind), At: a.At})
	}
	if in.BasesKnown = p.of.Inputs.BaseChange != 0; in.BasesKnown {
		if in.Bases, err = policy.BasesOf(p.of.Inputs.Bases); err != nil {
			return err
		}
	}
	if ids := p.of.Inputs.Approvals; len(ids) > 0 {
		in.Approvals, err = view(ctx, p.DB, func(tx Tx) ([]evidence.Word, error) { return tx.WordsByID(ctx, ids) })
		if err != nil {
			return err
		}
	}
	if act := p.of.Inputs.WaiverAct; act != 0 {
		in.Waivers, err = view(ctx, p.DB, func(tx Tx) ([]evidence.Waiver, error) { return tx.WaiversAt(ctx, in.Zone, act) })
	}
	return err
}

// children are those of an index, with what the decision names of them.
func (p *past) children(ctx context.Context, in *policy.Input) error {
	if !in.Manifest.IsIndex() {
		return nil
	}
	said := map[string]*api.ChildSaid{}
	for i := range p.of.Inputs.Said {
		said[p.of.Inputs.Said[i].Digest] = &p.of.Inputs.Said[i]
	}
	for _, desc := range in.Manifest.Manifests {
		name := desc.Digest.String()
		child := policy.Child{Digest: desc.Digest, Platform: desc.Platform, Present: slices.Contains(p.of.Inputs.Children, name)}
		if child.Present {
			if child.Platform.IsUnknown() {
				child.Platform = nil
			}
			if child.Said = said[name]; child.Said == nil {
				child.Said = &api.ChildSaid{Digest: name, Outcome: api.Allow}
			}
			in.Children = append(in.Children, child)
			continue
		}
		m, err := view(ctx, p.DB, func(tx Tx) (*repo.Manifest, error) { return tx.Stored(ctx, desc.Digest) })
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return err
		}
		if err == nil && m.Kind == oci.KindEvidence {
			child.Platform = &oci.Platform{OS: "unknown", Architecture: "unknown"}
		}
		in.Children = append(in.Children, child)
	}
	return nil
}

// evidence is what had come of verifying the referrers that the decision names.
func (p *past) evidence(ctx context.Context, g *policy.Gate, in *policy.Input) error {
	named := map[oci.Digest]bool{}
	for _, name := range p.of.Inputs.Evidence {
		d, err := oci.ParseDigest(name)
		if err != nil {
			return err
		}
		named[d] = true
		in.Evidence = append(in.Evidence, d)
	}
	t := &Trusted{Digest: p.of.Inputs.Anchors, Anchors: anchorsThen(g, p.of.Inputs.Away)}
	if t.Digest == "" {
		return nil
	}
	left := maps.Clone(named)
	var indexes []oci.Digest
	var more bool
	err := p.DB.View(ctx, func(tx Tx) (err error) {
		indexes, more, err = repo.Ancestors(ctx, tx, in.Digest, maxLenders)
		return err
	})
	if err != nil {
		return err
	}
	if more {
		p.missing = append(p.missing, fmt.Sprintf("which of the more than %d indexes that name it were looked at", maxLenders))
	}
	known, err := p.verified(ctx, t, in.Digest, left)
	if err != nil {
		return err
	}
	for _, index := range indexes {
		of, err := p.verified(ctx, t, index, left)
		if err != nil {
			return err
		}
		if !known.lend(index, &of.verified) {
			p.missing = append(p.missing, "what was lent by indexes: it is more than is read at once")
			break
		}
	}
	for d := range left {
		p.missing = append(p.missing, fmt.Sprintf("what came of verifying %s by the anchors %s", d, t.Digest))
	}
	slices.Sort(p.missing)
	err = p.refuse(ctx, known)
	in.Verified = known.verified
	return err
}

// anchorsThen are those that a gate names: it was taken with no others.
func anchorsThen(g *policy.Gate, away map[string]string) []policy.Anchor {
	var all []policy.Anchor
	if g == nil {
		return nil
	}
	for _, s := range g.Signers() {
		if !slices.ContainsFunc(all, func(a policy.Anchor) bool { return a.Name == s.Anchor }) {
			all = append(all, policy.Anchor{Name: s.Anchor, Away: away[s.Anchor]})
		}
	}
	return all
}

// verified is what those that are left to be found say of a subject; they are left
// no more. Which referrers there are now does not matter.
func (p *past) verified(ctx context.Context, t *Trusted, subject oci.Digest, left map[oci.Digest]bool) (*known, error) {
	rows, err := view(ctx, p.DB, func(tx Tx) ([]EvidenceRow, error) {
		return tx.EvidenceThen(ctx, subject, t.Digest, p.of.DecidedAt)
	})
	if err != nil {
		return together(t, nil), p.lack(err, "the evidence about %s", subject)
	}
	var all []*EvidenceRow
	for i := range rows {
		if d := rows[i].Referrer; left[d] {
			delete(left, d)
			all = append(all, &rows[i])
		}
	}
	return together(t, all), nil
}

// refuse takes out the signatures that did not count under the revocations then.
func (p *past) refuse(ctx context.Context, k *known) error {
	list, err := view(ctx, p.DB, func(tx Tx) (evidence.Revocations, error) { return tx.DistrustThen(ctx, p.of.Inputs.Revocations) })
	if err != nil {
		return err
	}
	for i := range list {
		if list[i].Kind == evidence.RevokedFeed && p.of.Inputs.Inventory != "" && !slices.Contains(p.VEXFeeds, list[i].Feed) {
			p.missing = append(p.missing, fmt.Sprintf("of which ecosystems the revoked feed %s spoke", list[i].Feed))
		}
	}
	d := distrusted{list: list}
	d.refuse(k)
	return nil
}

// inventory is what was known to be inside, and what was wrong with it.
func (p *past) inventory(ctx context.Context, in *policy.Input) error {
	cfg, err := p.Analyst.config(ctx, in.Manifest)
	if err != nil {
		return p.lack(err, "the image configuration %s", in.Manifest.Config.Digest)
	}
	packed, err := view(ctx, p.DB, func(tx Tx) ([]byte, error) { return tx.ImageRecord(ctx, in.Digest, in.ExtractorSet) })
	if err != nil {
		return p.lack(err, "the inventory by %s", in.ExtractorSet)
	}
	inv, err := decodeInventory(packed, cfg)
	if err != nil {
		return err
	}
	if inv.Digest.String() != p.of.Inputs.Inventory {
		p.missing = append(p.missing, "the inventory "+p.of.Inputs.Inventory)
		return nil
	}
	in.Image, in.InventoryDigest = inv.Image, inv.Digest
	index, err := p.index(ctx)
	if err != nil || index == nil {
		return err
	}
	in.Snapshot = index.Snapshot()
	in.Snapshot.At = p.of.Inputs.SnapshotAt
	in.Findings, in.Unchecked = match(index, inv.Image)
	in.Lifecycle = index.Lifecycles(inv.Image)
	return nil
}

// index holds the advisories as of then; nil where they cannot be had.
func (p *past) index(ctx context.Context) (*vuln.Index, error) {
	var s evidence.Snapshot
	if name := p.of.Inputs.Snapshot; name != "" {
		var err error
		s, err = view(ctx, p.DB, func(tx Tx) (evidence.Snapshot, error) { return tx.SnapshotThen(ctx, &p.of.Inputs, p.of.DecidedAt) })
		if err != nil {
			return nil, p.lack(err, "the snapshot %s of the advisories", name)
		}
	}
	return p.asIn.load(ctx, p.Advisories, p.AdvisoryRows, s)
}

// differences names what two decisions do not have in common; nil when they are
// the same bytes.
func differences(x, y *api.Decision) []string {
	var list []string
	told := func(what string, a, b any) {
		p, errA := json.Marshal(a)
		q, errB := json.Marshal(b)
		if errA != nil || errB != nil || string(p) != string(q) {
			list = append(list, what)
		}
	}
	told("outcome", x.Outcome, y.Outcome)
	for i := range max(len(x.Reasons), len(y.Reasons)) {
		switch {
		case i >= len(x.Reasons):
			list = append(list, "rule "+y.Reasons[i].Rule)
		case i >= len(y.Reasons):
			list = append(list, "rule "+x.Reasons[i].Rule)
		default:
			told("rule "+x.Reasons[i].Rule, x.Reasons[i], y.Reasons[i])
		}
	}
	told("decided_at", x.DecidedAt, y.DecidedAt)
	told("valid_until", x.ValidUntil, y.ValidUntil)
	told("stay_until", x.StayUntil, y.StayUntil)
	told("inputs", x.Inputs, y.Inputs)
	if len(list) == 0 {
		told("the rest", x, y)
	}
	return list
}
