package assess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// ErrVEXInvalid: a VEX document that cannot be read.
var ErrVEXInvalid = errors.New("not a VEX document")

// believe parts what was found at a placement as the gate of its zone does: what
// somebody whom it believes says by VEX is told, and what does no harm by that is
// put aside. Where no gate takes anybody's word all stays as it is.
func (a *Assessor) believe(ctx context.Context, q asked, x *examined) error {
	gate, err := a.gateOf(q)
	if err != nil || gate == nil || !gate.ReadsVEX() {
		return ignoreGone(err)
	}
	if x.evidence, err = a.evidenceAbout(ctx, a.trusted(), describeManifest(x.stored), x.referrers); err != nil {
		return err
	}
	d, err := a.distrust(ctx)
	if err != nil {
		return err
	}
	d.refuse(x.evidence)
	if x.vex, err = a.fromFeeds(ctx, gate, d, x); err != nil {
		return err
	}
	x.findings, x.suppressed = gate.Assess(a.input(q, x))
	return nil
}

// assessment is what counts about a finding, as people are told it.
func assessment(a *evidence.Assessment) *api.Assessment {
	if a == nil {
		return nil
	}
	return &api.Assessment{Status: a.Status, Justification: a.Justification, Impact: a.Impact, By: a.By, At: a.At, Document: a.Document.String()}
}

// CheckVEX tells what a VEX document would change about an image if somebody whom
// the gate of its zone believes said it, and changes nothing. Of an index it tells
// about one image. Errors match ErrVEXInvalid, repo.ErrNotFound, or
// ErrNotAnalysed.
func (a *Assessor) CheckVEX(ctx context.Context, s repo.Sight, ref oci.Reference, raw []byte) (*api.VEXCheck, error) {
	vex, partial, err := attest.ReadAttachedVEX(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrVEXInvalid, err)
	}
	f, x, err := a.look(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	if err := a.catchUp(ctx, f.placed.Repository); errors.Is(err, ErrOtherGate) {
		return nil, fmt.Errorf("%w: %w", repo.ErrConflict, err)
	} else if err != nil {
		return nil, err
	}
	gate, err := a.gate(f.placed.Repository)
	if err != nil {
		return nil, err
	}
	if gate == nil {
		return nil, fmt.Errorf("%w: %s is in a sandbox, where nothing is judged", ErrVEXInvalid, f.placed.Repository)
	}
	doc := &evidence.VEXDocument{Digest: oci.FromBytes(raw), VEX: vex}
	out := &api.VEXCheck{
		Artifact: f.artifact(), Document: doc.Digest.String(), Format: vex.Format, Author: vex.Author, At: vex.At,
		Statements: len(vex.Statements), Partial: partial, Findings: []api.VEXChange{},
	}
	out.Platform = x.image.Platform.String()
	switch feeds := gate.VEXFeeds(); {
	case gate.BelievesSigners():
		out.As = "attached"
	case len(feeds) > 0:
		doc.Feed, out.As = feeds[0], "feed "+feeds[0]
	}
	q := asked{from: f.placed.Repository, at: f.placed.Placement, clause: policy.Enter}
	if q.at.State == repo.Admitted {
		q.clause = policy.Stay
		before, err := a.said(ctx, &q.at)
		if err != nil {
			return nil, err
		}
		q.promised = (&standing{before: before}).promises()
	}
	return out, a.imagine(ctx, q, x, doc, out)
}

// imagine asks with and without the document.
func (a *Assessor) imagine(ctx context.Context, q asked, x *examined, doc *evidence.VEXDocument, out *api.VEXCheck) error {
	before, err := a.ask(ctx, q)
	if err != nil {
		return err
	}
	now, then := *x, *x
	if err := a.believe(ctx, q, &now); err != nil {
		return err
	}
	q.supposed = doc
	after, err := a.ask(ctx, q)
	if err != nil {
		return err
	}
	if err := a.believe(ctx, q, &then); err != nil {
		return err
	}
	out.Before, out.After = before.Decision, after.Decision
	tellChanges(out, doc, &now, &then)
	return nil
}

// maxIdle bounds how many statements are told that change nothing.
const maxIdle = 100

// place tells findings of one artifact apart.
type place struct{ id, purl, path string }

func placeOf(f *evidence.Finding) place { return place{f.ID, f.PURL, f.Path} }

// tellChanges tells which findings the document speaks last of, and which of its
// statements would change nothing.
func tellChanges(out *api.VEXCheck, doc *evidence.VEXDocument, now, then *examined) {
	before := map[place]*evidence.Assessment{}
	for _, list := range [][]evidence.Finding{now.findings, now.suppressed} {
		for i := range list {
			before[placeOf(&list[i])] = list[i].VEX
		}
	}
	counts := make([]bool, len(doc.Statements))
	all := slices.Concat(then.suppressed, then.findings)
	for i := range all {
		f := &all[i]
		if f.VEX == nil || f.VEX.Document != doc.Digest {
			continue
		}
		for s := range doc.Statements {
			st := &doc.Statements[s]
			counts[s] = counts[s] || st.Status == f.VEX.Status && st.Justification == f.VEX.Justification && st.About(f, now.stored.Digest, doc.Feed == "")
		}
		out.Findings = append(out.Findings, api.VEXChange{Finding: finding(f), Before: assessment(before[placeOf(f)]), Suppressed: f.VEX.Clears()})
	}
	slices.SortStableFunc(out.Findings, func(p, q api.VEXChange) int {
		return evidence.Severity(q.Finding.Severity).Rank() - evidence.Severity(p.Finding.Severity).Rank()
	})
	for s := range doc.Statements {
		st := &doc.Statements[s]
		switch {
		case counts[s]:
		case len(out.Idle) == maxIdle:
			out.More++
		default:
			out.Idle = append(out.Idle, api.VEXIdle{Vulnerability: st.Vulnerability, Status: st.Status, Products: st.Products[:min(len(st.Products), 10)], Why: idle(out.As, st, all, now.stored.Digest, doc.Feed == "")})
		}
	}
}

// idle says why a statement changes nothing.
func idle(as string, st *evidence.VEXStatement, found []evidence.Finding, d oci.Digest, attached bool) string {
	if as == "" {
		return "the gate takes nobody's word about findings"
	}
	var here []string
	for i := range found {
		f := &found[i]
		switch {
		case !st.Names(f):
		case st.About(f, d, attached) && f.VEX != nil:
			return fmt.Sprintf("what %s said%s counts before it: %s", f.VEX.By, on(f.VEX.At), f.VEX.Status)
		default:
			here = append(here, f.PURL)
		}
	}
	switch {
	case len(here) == 0:
		return "nothing here has that fault"
	case st.Within != "":
		return fmt.Sprintf("its products are meant as parts of %s, which is not this artifact, or are not %s", oci.Quote(st.Within), strings.Join(here[:min(len(here), 3)], ", "))
	case st.Status == evidence.Fixed:
		return fmt.Sprintf("none of its products is %s in that version, and what is fixed is so in a version", strings.Join(here[:min(len(here), 3)], ", "))
	}
	return "none of its products is " + strings.Join(here[:min(len(here), 3)], ", ")
}

// on is when something was said.
func on(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " on " + t.UTC().Format("2006-01-02")
}
