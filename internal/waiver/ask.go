package waiver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Bounds: each judgement in a zone looks at all that are in force there.
const (
	maxAsked  = 100  // that wait for an answer, of one person
	maxInZone = 5000 // that have not ended
)

// zoneOf is the zone that a pattern is about, of a waiver that is valid.
func zoneOf(p evidence.Pattern) string {
	zone, _, _ := strings.Cut(p.String(), "/")
	return zone
}

// Ask asks for a waiver, or tells what it would change. reach is one of pull over
// its repositories. Errors match evidence.ErrWaiverInvalid, ErrTooMany,
// repo.ErrNotFound for a zone or for what it renews, and authz.ErrNotPermitted.
func (f *Flow) Ask(ctx context.Context, p authz.Principal, req api.WaiverRequest) (*api.WaiverDone, error) {
	rec, err := f.read(ctx, p, req)
	if err != nil {
		return nil, err
	}
	if _, err := authz.CheckReach(p, authz.Pull, rec.Repositories.String()); err != nil {
		return nil, err
	}
	if err := f.possible(&rec.Waiver); err != nil {
		return nil, err
	}
	if req.Preview {
		return f.preview(ctx, rec, p)
	}
	err = f.Update(ctx, func(tx Tx) error {
		zone, asked, err := tx.WaiversOpen(ctx, rec.Zone(), p.Name())
		switch {
		case err != nil:
			return err
		case asked >= maxAsked:
			return fmt.Errorf("%w: %d that %s has asked for wait for an answer; end some: bonded waiver list", ErrTooMany, asked, p.Name())
		case zone >= maxInZone:
			return fmt.Errorf("%w: %d in zone %s have not ended; end some, or ask for a pattern instead of many digests", ErrTooMany, zone, rec.Zone())
		}
		if err := tx.AddWaiver(ctx, rec); err != nil {
			return err
		}
		ev, err := f.event(p, "waiver.asked", rec)
		if err != nil {
			return err
		}
		return tx.Append(ctx, ev.With("owner", rec.Owner).With("reason", rec.Reason))
	})
	if err != nil {
		return nil, err
	}
	return f.done(rec), nil
}

// read makes a waiver of what is asked for.
func (f *Flow) read(ctx context.Context, p authz.Principal, req api.WaiverRequest) (*Record, error) {
	rec := &Record{AskedAt: f.Clock().UTC().Truncate(time.Microsecond)}
	if req.Renews != "" {
		var before *Record
		err := f.View(ctx, func(tx Tx) (err error) {
			before, err = f.record(ctx, tx, p, req.Renews)
			return err
		})
		if err != nil {
			return nil, err
		}
		req, rec.Renews = renewed(req, before), before.Number
	}
	w := &rec.Waiver
	*w = evidence.Waiver{
		Rule: req.Rule, Advisory: req.Advisory, Package: req.Package, Owner: req.Owner, Reason: req.Reason, Justification: req.Justification,
		AskedBy: p.Name(), Follow: req.Follow, From: req.From.UTC().Truncate(time.Microsecond), Until: req.Until.UTC().Truncate(time.Microsecond),
	}
	if w.Owner == "" {
		w.Owner = p.Name()
	}
	if req.From.IsZero() {
		w.From = rec.AskedAt
	}
	var err error
	if req.Digest != "" {
		if w.Digest, err = oci.ParseDigest(req.Digest); err != nil {
			return nil, err
		}
	}
	if w.Repositories, err = evidence.ParsePattern(req.Repositories); err != nil {
		return nil, fmt.Errorf("%w: %v", evidence.ErrWaiverInvalid, err)
	}
	if err := w.Validate(); err != nil {
		return nil, err
	}
	if !w.Until.After(rec.AskedAt) {
		return nil, fmt.Errorf("%w: it would end on %s, which is past", evidence.ErrWaiverInvalid, w.Until.Format(time.RFC3339))
	}
	return rec, nil
}

// renewed is a request with what it leaves out as it was before.
func renewed(req api.WaiverRequest, before *Record) api.WaiverRequest {
	fill := func(at *string, was string) {
		if *at == "" {
			*at = was
		}
	}
	fill(&req.Repositories, before.Repositories.String())
	fill(&req.Rule, before.Rule)
	fill(&req.Advisory, before.Advisory)
	fill(&req.Package, before.Package)
	fill(&req.Owner, before.Owner)
	fill(&req.Reason, before.Reason)
	fill(&req.Justification, before.Justification)
	if !before.Digest.IsZero() {
		fill(&req.Digest, before.Digest.String())
	}
	req.Follow = req.Follow || before.Follow
	return req
}

// gate returns the gate that a waiver is about. Errors match repo.ErrNotFound.
func (f *Flow) gate(w *evidence.Waiver) (*policy.Gate, error) {
	zone := zoneOf(w.Repositories)
	if _, ok := f.Zones[zone]; !ok {
		return nil, fmt.Errorf("zone %s: %w; see: bonded zone list", oci.Quote(zone), repo.ErrNotFound)
	}
	g := f.Gate(zone)
	if g == nil {
		return nil, fmt.Errorf("%w: nothing is judged in zone %s", evidence.ErrWaiverInvalid, zone)
	}
	return g, nil
}

// possible refuses a waiver that no yes could bring in force.
func (f *Flow) possible(w *evidence.Waiver) error {
	g, err := f.gate(w)
	if err != nil {
		return err
	}
	if w.Rule != "" && !slices.Contains(ruleNames(g), w.Rule) {
		return fmt.Errorf("%w: gate %s has no rule %s; it has %s", evidence.ErrWaiverInvalid, g.Name(), oci.Quote(w.Rule), strings.Join(ruleNames(g), ", "))
	}
	var why []error
	for _, r := range about(g, w) {
		err := fits(g.Waivable(r), r, w)
		if err == nil {
			return nil
		}
		why = append(why, err)
	}
	if len(why) == 1 {
		return fmt.Errorf("%w: %v", evidence.ErrWaiverInvalid, why[0])
	}
	return fmt.Errorf("%w: no rule of gate %s would honour it: %v", evidence.ErrWaiverInvalid, g.Name(), strings.ReplaceAll(errors.Join(why...).Error(), "\n", "; "))
}

// fits reports why a rule would not honour a waiver, whoever says yes.
func fits(by policy.Waivable, rule string, w *evidence.Waiver) error {
	switch {
	case by.People == 0:
		return fmt.Errorf("nobody can waive rule %s", rule)
	case by.Justify && w.Justification == "":
		return fmt.Errorf("rule %s asks for a justification: --justification, one of %s", rule, strings.Join(evidence.Justifications(), ", "))
	case by.AtMost > 0 && w.Until.Sub(w.From) > by.AtMost:
		return fmt.Errorf("rule %s can be waived for at most %s, which ends on %s", rule, by.AtMost, w.From.Add(by.AtMost).Format(time.RFC3339))
	}
	return nil
}

// ruleNames lists the rules of a gate, each once.
func ruleNames(g *policy.Gate) []string {
	var names []string
	for _, c := range []policy.Clause{policy.Enter, policy.Stay} {
		for _, r := range g.Rules(c) {
			if !slices.Contains(names, r.Name) {
				names = append(names, r.Name)
			}
		}
	}
	return names
}

// about lists the rules of a gate that a waiver may be about.
func about(g *policy.Gate, w *evidence.Waiver) []string {
	if w.Rule != "" {
		return []string{w.Rule}
	}
	return ruleNames(g)
}

// rules says what the rules of the zone's gate make of a waiver.
func (f *Flow) rules(w *evidence.Waiver) []api.WaiverRule {
	g, err := f.gate(w)
	if err != nil {
		return nil
	}
	var rules []api.WaiverRule
	for _, name := range about(g, w) {
		by := g.Waivable(name)
		r := api.WaiverRule{Rule: name, Needs: by.String()}
		r.Until, r.Why = by.Honours(w)
		rules = append(rules, r)
	}
	return rules
}

func (f *Flow) done(rec *Record) *api.WaiverDone {
	out := &api.WaiverDone{Waiver: f.wire(rec), Flips: []api.WaiverFlip{}}
	out.Waiver.Rules = f.rules(&rec.Waiver)
	return out
}
