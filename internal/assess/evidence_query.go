package assess

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// evidence is what was said about what was found, as far as the viewer may know:
// what refers to it and stands beside it, verified now where nobody had.
func (a *Assessor) evidence(ctx context.Context, f *found) (*api.Evidence, error) {
	var referrers []oci.Digest
	var from []lender
	var attached []*oci.Manifest
	err := a.DB.View(ctx, func(tx Tx) error {
		all, err := tx.ReferrersOf(ctx, f.placed.Manifest.Digest)
		if err != nil {
			return err
		}
		if referrers, err = visible(ctx, tx, f, all); err != nil {
			return err
		}
		if from, err = visibleLenders(ctx, tx, f); err != nil {
			return err
		}
		attached, err = attachments(ctx, tx, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	said, err := a.evidenceAbout(ctx, a.trusted(), describeManifest(&f.placed.Manifest), referrers)
	if err != nil {
		return nil, err
	}
	for _, l := range from {
		of, err := a.evidenceAbout(ctx, a.trusted(), l.index, l.referrers)
		if err != nil {
			return nil, err
		}
		said.lend(l.index.Digest, &of.verified)
	}
	distrusted, err := a.distrust(ctx)
	if err != nil {
		return nil, err
	}
	distrusted.refuse(said)
	out := WireEvidence(said.verified.Signatures, said.refused)
	out.Anchors = said.verified.Digest
	for _, at := range attached {
		st, err := a.unsigned(ctx, f.placed.Manifest.Digest, at)
		if err != nil {
			return nil, err
		}
		out.Unsigned = append(out.Unsigned, st...)
	}
	if len(out.Signatures)+len(out.Refused)+len(out.Unsigned) == 0 {
		return nil, nil
	}
	return out, nil
}

// visible returns those of ds that stand beside what was found, and that the
// viewer may see there.
func visible(ctx context.Context, tx Tx, f *found, ds []oci.Digest) ([]oci.Digest, error) {
	var seen []oci.Digest
	for _, d := range ds {
		placed, err := tx.Lookup(ctx, f.placed.Repository, repo.Selector{Digest: d}, f.viewer)
		switch {
		case errors.Is(err, repo.ErrNotFound):
		case err != nil:
			return nil, err
		case f.viewer.Visible(&placed.Placement):
			seen = append(seen, d)
		}
	}
	return seen, nil
}

// visibleLenders are the indexes that lend to what was found, as far as they, and
// what is said of them, are visible there.
func visibleLenders(ctx context.Context, tx Tx, f *found) ([]lender, error) {
	all, _, err := lenders(ctx, tx, f.placed.Manifest.Digest)
	if err != nil {
		return nil, err
	}
	var seen []lender
	for _, l := range all {
		if is, err := visible(ctx, tx, f, []oci.Digest{l.index.Digest}); err != nil || len(is) == 0 {
			if err != nil {
				return nil, err
			}
			continue
		}
		if l.referrers, err = visible(ctx, tx, f, l.referrers); err != nil {
			return nil, err
		}
		seen = append(seen, l)
	}
	return seen, nil
}

// WireEvidence is what was verified, and what was not, as it is published.
func WireEvidence(signatures []evidence.Signature, refusals []evidence.Refusal) *api.Evidence {
	out := &api.Evidence{Signatures: []api.Signature{}}
	for i := range signatures {
		s := &signatures[i]
		w := api.Signature{
			Anchor: s.Anchor, Form: string(s.Form), Issuer: s.Identity.Issuer, Subject: s.Identity.Subject, Key: s.Identity.Key, Claims: s.Identity.Claims,
			At: s.At, Referrer: s.Referrer.String(), Envelope: s.Envelope.String(),
		}
		if !s.Index.IsZero() {
			w.Index = s.Index.String()
		}
		if s.Log != nil {
			w.Log, w.LogIndex = s.Log.Log, s.Log.Index
		}
		if s.Statement != nil {
			st := wireStatement(s.Statement)
			w.Statement = &st
		}
		out.Signatures = append(out.Signatures, w)
	}
	for _, r := range refusals {
		out.Refused = append(out.Refused, api.Refusal{Referrer: r.Referrer.String(), Form: string(r.Form), Reasons: r.Reasons, Unsure: r.Unsure})
	}
	return out
}

func wireStatement(s *evidence.Statement) api.Statement {
	w := api.Statement{Type: s.Type, Kind: string(s.Kind), Says: s.Says(), Size: s.Size, Partial: s.Partial}
	short := *s
	short.Predicate = nil
	raw, err := json.Marshal(&short)
	if err != nil {
		return w // texts, numbers and times always marshal
	}
	var all map[string]any
	if err := json.Unmarshal(raw, &all); err == nil && all[w.Kind] != nil {
		w.Facts = map[string]any{w.Kind: all[w.Kind]}
	}
	return w
}

// maxAttached is how many manifests of BuildKit's attestations are shown.
const maxAttached = 16

// attachments finds BuildKit's attestations about what was found, in the indexes
// that name it here.
func attachments(ctx context.Context, tx Tx, f *found) ([]*oci.Manifest, error) {
	parents, err := tx.Parents(ctx, f.placed.Repository, f.placed.Manifest.Digest)
	if err != nil {
		return nil, err
	}
	var out []*oci.Manifest
	for _, p := range parents {
		index, err := tx.Lookup(ctx, p.Repository, repo.Selector{Digest: p.Digest}, f.viewer)
		if err != nil {
			return nil, err
		}
		m, err := oci.ParseManifest(index.Raw, index.MediaType, p.Digest.Algorithm())
		if err != nil || !f.viewer.Visible(&index.Placement) {
			continue
		}
		for _, at := range attest.AttachedIn(m) {
			d := at.Manifest
			if at.About.Digest != f.placed.Manifest.Digest || len(out) == maxAttached {
				continue
			}
			child, err := tx.Lookup(ctx, p.Repository, repo.Selector{Digest: d.Digest}, f.viewer)
			switch {
			case errors.Is(err, repo.ErrNotFound):
				continue
			case err != nil:
				return nil, err
			case !f.viewer.Visible(&child.Placement) || slices.ContainsFunc(out, func(o *oci.Manifest) bool { return o.Digest == d.Digest }):
				continue
			}
			if m, err := oci.ParseManifest(child.Raw, child.MediaType, d.Digest.Algorithm()); err == nil {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// unsigned reads the statements of an attachment about d. One that cannot be read
// is left out: nobody would count it.
func (a *Assessor) unsigned(ctx context.Context, d oci.Digest, at *oci.Manifest) ([]api.Statement, error) {
	var out []api.Statement
	for _, layer := range at.Layers {
		if !attest.IsUnsigned(layer) {
			continue
		}
		raw, err := a.content(ctx, layer)
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, io.ErrUnexpectedEOF) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st := attest.Unsigned(raw, d)
		if st == nil {
			continue
		}
		w := wireStatement(st)
		w.Referrer = at.Digest.String()
		out = append(out, w)
	}
	return out, nil
}
