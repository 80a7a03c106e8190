package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sbom"
)

// found is what a reference leads a caller to.
type found struct {
	placed *repo.Placed
	viewer repo.Viewer
	tags   []string
	waits  []api.Waiting
	others []api.Placement // further placements of the digest that the caller may know of
}

// othersNamed is how many further placements are told with their tags.
const othersNamed = 20

// find leads from a reference to the placement that matters most to the
// caller. Errors match repo.ErrNotFound.
func (a *Assessor) find(ctx context.Context, s repo.Sight, ref oci.Reference, zone string) (*found, error) {
	return view(ctx, a.DB, func(tx Tx) (*found, error) {
		at, others, err := candidates(ctx, tx, s, ref, zone)
		if err != nil {
			return nil, err
		}
		f := &found{}
		for i := range others {
			var tags []string
			if i < othersNamed {
				if tags, err = tagsOf(ctx, tx, &others[i]); err != nil {
					return nil, err
				}
			}
			other := placement(&others[i], tags)
			if other.State, err = standsAs(ctx, tx, &others[i]); err != nil {
				return nil, err
			}
			f.others = append(f.others, other)
		}
		f.viewer, _ = s(at.Repository)
		if f.placed, err = tx.Lookup(ctx, at.Repository, repo.Selector{Digest: at.Digest}, f.viewer); err != nil {
			return nil, fmt.Errorf("looking up %s: %w", ref, err)
		}
		if f.tags, err = tagsOf(ctx, tx, &f.placed.Placement); err != nil {
			return nil, err
		}
		f.waits, err = waiting(ctx, tx, f, ref.Tag)
		return f, err
	})
}

// tagsOf returns the tags of a placement, for one in the intake those that wait
// with it.
func tagsOf(ctx context.Context, tx Tx, at *repo.Placement) ([]string, error) {
	tags, err := tx.TagsOf(ctx, at.Repository, at.Digest)
	if err != nil || at.State == repo.Admitted {
		return tags, err
	}
	pending, err := tx.Pending(ctx, at.Repository, at.Digest)
	if err != nil {
		return nil, err
	}
	tags = append(tags, pending...)
	slices.Sort(tags)
	return slices.Compact(tags), nil
}

// candidates returns the placement meant and the others of the same digest.
func candidates(ctx context.Context, tx Tx, s repo.Sight, ref oci.Reference, zone string) (*repo.Placement, []repo.Placement, error) {
	d := ref.Digest
	if !ref.Repository.IsZero() {
		v, ok := s(ref.Repository)
		if !ok {
			return nil, nil, fmt.Errorf("%s: %w", ref, repo.ErrNotFound)
		}
		sel := repo.Selector{Tag: ref.Tag, Digest: d}
		if !d.IsZero() {
			sel.Tag = ""
		}
		placed, err := tx.Lookup(ctx, ref.Repository, sel, v)
		if err == nil && v.Own && !v.Visible(&placed.Placement) {
			err = fmt.Errorf("manifest %s: %w", oci.Reference{Repository: ref.Repository, Tag: sel.Tag, Digest: sel.Digest}, repo.ErrNotFound)
		}
		if err != nil {
			return nil, nil, err
		}
		d = placed.Manifest.Digest
	}
	all, err := knownTo(ctx, tx, s, d)
	if err != nil {
		return nil, nil, err
	}
	if zone != "" && ref.Repository.IsZero() {
		all = slices.DeleteFunc(all, func(p repo.Placement) bool { return p.Repository.Zone() != zone })
	}
	slices.SortFunc(all, func(x, y repo.Placement) int {
		return cmp.Or(cmp.Compare(weight(x, ref), weight(y, ref)), strings.Compare(x.Repository.String(), y.Repository.String()))
	})
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%s stands in no repository that you may pull from: %w", ref, repo.ErrNotFound)
	}
	return &all[0], all[1:], nil
}

// knownTo returns the placements of d that s may know of, if not see.
func knownTo(ctx context.Context, tx Tx, s repo.Sight, d oci.Digest) ([]repo.Placement, error) {
	all, err := tx.Placements(ctx, d)
	if err != nil {
		return nil, err
	}
	var known []repo.Placement
	for _, p := range all {
		v, ok := s(p.Repository)
		if !ok {
			continue
		}
		if v.Own && p.State == repo.Attached {
			placed, err := tx.Lookup(ctx, p.Repository, repo.Selector{Digest: d}, v)
			if err != nil {
				return nil, err
			}
			p = placed.Placement
		}
		if !v.Own || v.Visible(&p) {
			known = append(known, p)
		}
	}
	return known, nil
}

// weight orders placements by how much they matter to who asked for ref.
func weight(p repo.Placement, ref oci.Reference) int {
	if p.Repository == ref.Repository {
		return -1
	}
	return slices.Index([]repo.State{repo.Admitted, repo.Attached, repo.Held, repo.Denied, repo.Withdrawn}, p.State)
}

// see refuses what the viewer may know of but not look into.
func (f *found) see() error {
	p := &f.placed.Placement
	if f.viewer.Visible(p) {
		return nil
	}
	why := "it is held in the intake: its decision is still to come"
	if p.Sentence != "" && p.State != repo.Held {
		why = p.Sentence
	}
	return fmt.Errorf("%s@%s: %w to you: %s", p.Repository, p.Digest, repo.ErrNotFound, why)
}

func (f *found) artifact() api.Artifact {
	p := f.placed
	return api.Artifact{
		Repository: p.Repository.String(), Digest: p.Manifest.Digest.String(), Tags: f.tags,
		Kind: string(p.Manifest.Kind), State: string(stateOf(&p.Placement)), MediaType: p.MediaType,
	}
}

// Why explains the decision in force about a placement; see
// httpapi.Explainer for who is told what.
func (a *Assessor) Why(ctx context.Context, s repo.Sight, ref oci.Reference, zone, hypothetical string) (*api.Why, error) {
	f, err := a.find(ctx, s, ref, zone)
	if errors.Is(err, repo.ErrNotFound) && hypothetical == "" {
		return a.whyNotHere(ctx, s, ref, err)
	}
	if err != nil {
		return nil, err
	}
	p := &f.placed.Placement
	w := &api.Why{Artifact: f.artifact(), Held: p.State == repo.Held, Elsewhere: f.others, Waiting: f.waits}
	if p.State == repo.Held && !f.viewer.Visible(p) {
		return w, nil
	}
	if w.Evidence, err = a.evidence(ctx, f); err != nil {
		return nil, err
	}
	if hypothetical != "" {
		return w, a.suppose(ctx, f, hypothetical, w)
	}
	w.State, err = view(ctx, a.DB, func(tx Tx) (string, error) { return standsAs(ctx, tx, p) })
	if err != nil {
		return nil, err
	}
	w.Held = w.State == string(repo.Held)
	w.Again = w.Held && p.State == repo.Revoked
	recorded, err := a.said(ctx, p)
	if err != nil || recorded == nil {
		return w, err
	}
	w.Decision = &recorded.Decision
	if p.Over { // what is in force is what it will say
		if w.Decision, err = a.over(ctx, p); err != nil {
			return nil, err
		}
	}
	w.Waivable = a.waivable(p.Repository, w.Decision)
	if recorded.Decision.Outcome == api.Allow {
		w.Next = a.onward(p, f.others)
	}
	if recorded.Decision.Outcome != api.Allow {
		w.Passes, w.PassTags, err = a.passing(ctx, f)
	}
	return w, err
}

// onward returns the zones that lead on from where p stands, but those in which
// the caller sees it.
func (a *Assessor) onward(p *repo.Placement, others []api.Placement) (zones []string) {
	if !p.Stands() {
		return nil
	}
	from := p.Repository.Zone()
	for _, name := range a.Zones.Names() {
		to := name + strings.TrimPrefix(p.Repository.String(), from)
		there := slices.ContainsFunc(others, func(o api.Placement) bool { return o.Repository == to })
		if slices.Contains(a.Zones[name].From, from) && !there {
			zones = append(zones, name)
		}
	}
	return zones
}

// whyNotHere answers about something that was never let into a zone, though it
// stands in one that leads there: what the gate says of it now. missing is the
// answer when it does not.
func (a *Assessor) whyNotHere(ctx context.Context, s repo.Sight, ref oci.Reference, missing error) (*api.Why, error) {
	if _, ok := s(ref.Repository); ref.Repository.IsZero() || !ok {
		return nil, missing
	}
	zone, err := a.Zones.Of(ref.Repository)
	if err != nil {
		return nil, err
	}
	for _, from := range zone.From {
		source := ref
		if source.Repository, err = ref.Repository.InZone(from); err != nil {
			return nil, err
		}
		f, err := a.find(ctx, s, source, "")
		if errors.Is(err, repo.ErrNotFound) || err == nil && !f.placed.Stands() {
			continue
		}
		if err != nil {
			return nil, err
		}
		w := &api.Why{Artifact: f.artifact()}
		return w, a.suppose(ctx, f, zone.Name, w)
	}
	return nil, missing
}

// suppose asks what the gate of another zone would say.
func (a *Assessor) suppose(ctx context.Context, f *found, zone string, w *api.Why) error {
	if err := f.see(); err != nil {
		return err
	}
	to, err := f.placed.Repository.InZone(zone)
	if err != nil {
		return err
	}
	v, err := a.Decide(ctx, f.placed.Repository, to, f.placed.Manifest.Digest)
	if err != nil {
		return err
	}
	w.Decision, w.Waivable = &v.Decision, a.waivable(to, &v.Decision)
	return nil
}

// passingTags bounds how many tags are looked at for one that passes.
const passingTags = 500

// passing finds the tag of the repository whose digest was admitted last.
func (a *Assessor) passing(ctx context.Context, f *found) (string, []string, error) {
	var best *repo.Placement
	var names []string
	err := a.DB.View(ctx, func(tx Tx) error {
		best, names = nil, nil
		v := repo.Viewer{}
		if f.viewer.Own {
			v = f.viewer
		}
		tags, err := tx.Tags(ctx, f.placed.Repository, v, repo.Page{Limit: passingTags})
		if errors.Is(err, repo.ErrNotFound) {
			return nil // nothing was ever admitted there
		}
		if err != nil {
			return err
		}
		for _, t := range tags {
			placed, err := tx.Lookup(ctx, f.placed.Repository, repo.Selector{Tag: t}, v)
			if errors.Is(err, repo.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			p := placed.Placement
			if !p.Stands() || !v.Visible(&p) || p.Kind != f.placed.Manifest.Kind || p.Digest == f.placed.Manifest.Digest || !p.StayUntil.IsZero() {
				continue
			}
			switch {
			case best == nil || p.AdmittedAt.After(best.AdmittedAt):
				best, names = &p, []string{t}
			case p.Digest == best.Digest:
				names = append(names, t)
			}
		}
		return nil
	})
	if err != nil || best == nil {
		return "", nil, err
	}
	return best.Digest.String(), names, nil
}

func placement(p *repo.Placement, tags []string) api.Placement {
	return api.Placement{
		Repository: p.Repository.String(), Digest: p.Digest.String(), Tags: tags, Kind: string(p.Kind), State: string(stateOf(p)),
		BroughtBy: p.BroughtBy, BroughtAt: p.BroughtAt, AdmittedAt: p.AdmittedAt, StayUntil: p.StayUntil, Sentence: p.Sentence,
	}
}

// look finds a placement that the caller may look into, and what is known
// about its content.
func (a *Assessor) look(ctx context.Context, s repo.Sight, ref oci.Reference) (*found, *examined, error) {
	f, err := a.find(ctx, s, ref, "")
	if err != nil {
		return nil, nil, err
	}
	if err := f.see(); err != nil {
		return nil, nil, err
	}
	x, err := a.examine(ctx, a.Advisories.Index(), nil, f.placed.Manifest.Digest)
	if err != nil {
		return nil, nil, err
	}
	if x.manifest.IsIndex() {
		return a.lookBelow(ctx, f, x)
	}
	if x.image == nil {
		return nil, nil, fmt.Errorf("%s is of kind %s, which %w", f.placed.Manifest.Digest, f.placed.Manifest.Kind, ErrNotAnalysed)
	}
	return f, x, nil
}

// lookBelow takes the image of an index that most people mean: linux/amd64
// where there is one, else the first that is here.
func (a *Assessor) lookBelow(ctx context.Context, f *found, x *examined) (*found, *examined, error) {
	children := slices.Clone(x.manifest.Manifests)
	slices.SortStableFunc(children, func(p, q oci.Descriptor) int { return cmp.Compare(foreignness(p), foreignness(q)) })
	for _, c := range children {
		if c.Platform.IsUnknown() {
			continue
		}
		below, err := view(ctx, a.DB, func(tx Tx) (*repo.Placed, error) {
			return tx.Lookup(ctx, f.placed.Repository, repo.Selector{Digest: c.Digest}, f.viewer)
		})
		if errors.Is(err, repo.ErrNotFound) || err == nil && below.Manifest.Kind != oci.KindImage {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		at := &found{placed: below, viewer: f.viewer, tags: f.tags}
		if err := at.see(); err != nil {
			return nil, nil, err
		}
		y, err := a.examine(ctx, a.Advisories.Index(), nil, c.Digest)
		return at, y, err
	}
	return nil, nil, fmt.Errorf("%s is an index, which %w, and none of its images is here", f.placed.Manifest.Digest, ErrNotAnalysed)
}

func foreignness(d oci.Descriptor) int {
	if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
		return 0
	}
	return 1
}

// Inventory tells what an image holds.
func (a *Assessor) Inventory(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Inventory, error) {
	f, x, err := a.look(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	return describe(f.artifact(), x), nil
}

func describe(of api.Artifact, x *examined) *api.Inventory {
	of.Platform = x.image.Platform.String()
	inv := &api.Inventory{Artifact: of, Distro: x.image.Distro.Name, Coverage: string(x.image.Coverage()), Searched: string(x.image.Searched()), Layers: []api.Layer{}, Packages: []api.Package{}}
	for _, l := range x.image.Layers {
		layer := api.Layer{Digest: l.Digest.String(), Coverage: string(l.Coverage.State), Packages: l.PackageSum, Searched: string(inventory.CoverageFull.Worse(l.Searched.State))}
		for _, g := range l.Searched.Gaps {
			layer.Unsearched = append(layer.Unsearched, gapText(g))
		}
		for _, g := range l.Coverage.Gaps {
			layer.Gaps = append(layer.Gaps, gapText(g))
		}
		inv.Layers = append(inv.Layers, layer)
	}
	for i := range x.image.Secrets {
		s := &x.image.Secrets[i]
		inv.Secrets = append(inv.Secrets, api.Secret{Rule: s.Rule, Path: s.Path, Line: s.Line, Layer: s.Layer, Fingerprint: s.Fingerprint, Removed: s.Removed, PURL: s.PURL()})
	}
	for i := range x.image.Packages {
		p := &x.image.Packages[i]
		name := p.Name
		if p.Namespace != "" {
			name = p.Namespace + "/" + name
		}
		inv.Packages = append(inv.Packages, api.Package{Name: name, Version: p.Version, PURL: p.PURL, Type: p.Type, Path: p.Path, Layer: p.Layer, Licenses: p.Licenses})
	}
	return inv
}

func gapText(g inventory.Gap) string {
	s := g.Reason
	if g.Path != "" {
		s = g.Path + ": " + s
	}
	if g.Extractor != "" {
		s += " (" + g.Extractor + ")"
	}
	return s
}

// Findings tells what is wrong with an image.
func (a *Assessor) Findings(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Findings, error) {
	f, x, err := a.look(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	if err := a.believe(ctx, asked{at: f.placed.Placement, clause: policy.Enter}, x); err != nil {
		return nil, err
	}
	return list(f.artifact(), x), nil
}

func list(of api.Artifact, x *examined) *api.Findings {
	of.Platform = x.image.Platform.String()
	out := &api.Findings{Artifact: of, Snapshot: snapshot(x.snapshot), Findings: listed(x.findings)}
	if len(x.suppressed) > 0 {
		out.Suppressed = listed(x.suppressed)
	}
	for _, u := range x.unchecked {
		out.Unchecked = append(out.Unchecked, api.Fact{ID: u.Package.PURL, Package: u.Package.Name, Version: u.Package.Version, Where: u.Package.Path, Text: u.Reason})
	}
	return out
}

// listed returns findings as people are told them, worst first; never nil.
func listed(findings []evidence.Finding) []api.Finding {
	out := make([]api.Finding, len(findings))
	findings = slices.Clone(findings)
	slices.SortStableFunc(findings, func(p, q evidence.Finding) int {
		return cmp.Or(cmp.Compare(q.Severity.Rank(), p.Severity.Rank()), cmp.Compare(p.Package, q.Package), cmp.Compare(p.ID, q.ID), cmp.Compare(p.PURL, q.PURL))
	})
	for i := range findings {
		out[i] = finding(&findings[i])
	}
	return out
}

func finding(f *evidence.Finding) api.Finding {
	return api.Finding{
		ID: f.ID, Aliases: f.Aliases, Severity: string(f.Severity), Score: f.Score, Vector: f.Vector, Summary: f.Summary, Package: f.Package, PURL: f.PURL,
		Version: f.Version, Fixed: f.Fixed, Path: f.Path, Places: f.Places, Layer: f.Layer, Malicious: f.Malicious, Published: f.Published, Known: f.Known,
		Exploited: f.Exploited, ExploitDue: f.ExploitDue, Ransomware: f.Ransomware, EPSS: f.EPSS, Percentile: f.Percentile,
		VEX: assessment(f.VEX),
	}
}

func snapshot(s evidence.Snapshot) api.Snapshot {
	return api.Snapshot{
		Seq: s.Seq, Digest: s.Digest.String(), At: s.At, Advisories: s.Advisories,
		Exploited: s.Exploited.String(), Scores: s.Scores.String(), Lifecycles: s.Lifecycles.String(),
	}
}

// SBOM renders the inventory of an image as "spdx" or "cyclonedx".
func (a *Assessor) SBOM(ctx context.Context, s repo.Sight, ref oci.Reference, format string) ([]byte, error) {
	f, x, err := a.look(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	meta := sbom.Meta{
		Name: f.placed.Repository.String(), Digest: f.placed.Manifest.Digest, Inventory: x.digest, AnalysedAt: x.analysed, Engine: strings.TrimPrefix(a.Engine, "bonded "), ExtractorSet: a.Analyst.Set(),
	}
	switch format {
	case "spdx":
		return sbom.SPDX(x.image, meta)
	case "cyclonedx":
		return sbom.CycloneDX(x.image, meta)
	}
	return nil, fmt.Errorf("no SBOM format %s: there are spdx and cyclonedx", oci.Quote(format))
}
