package assess

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/repo"
)

// JobBases is the kind of job that has what descends from an image judged again;
// its key is the digest of the image.
const JobBases = "bases"

// Bounds of questions about bases: how many are looked at of one image, how
// many are shown to a gate and to a person, and how many descendants are read at once.
const (
	basesLooked      = 10_000
	basesJudged      = 1000
	basesShown       = 100
	descendantsAtOne = 500
)

// chainOf are the lowest layers of an image whose content is what its
// configuration says, and whether those are all.
func chainOf(im *inventory.Image, cfg *oci.ImageConfig) (diffIDs []oci.Digest, whole bool) {
	if cfg == nil || len(cfg.RootFS.DiffIDs) != len(im.Layers) {
		return nil, false
	}
	for i := range im.Layers {
		if !im.Layers[i].DiffIDOK {
			return cfg.RootFS.DiffIDs[:i], false
		}
	}
	return cfg.RootFS.DiffIDs, true
}

// chainOld keeps the chains of images that were analysed before chains were kept.
func (a *Assessor) chainOld(ctx context.Context) error {
	for {
		old, err := view(ctx, a.DB, func(tx Tx) ([]oci.Digest, error) { return tx.Unchained(ctx, descendantsAtOne) })
		if err != nil || len(old) == 0 {
			return err
		}
		for _, d := range old {
			diffIDs, whole, err := a.readChain(ctx, d)
			if err != nil && ctx.Err() != nil {
				return err
			}
			if err != nil { // it descends from nothing that is known, which lets nothing in
				a.Log.WarnContext(ctx, "reading the layers of an image", "digest", d, "error", err)
			}
			if err := a.DB.Update(ctx, func(tx Tx) error { return tx.PutChain(ctx, d, diffIDs, whole) }); err != nil {
				return err
			}
		}
	}
}

func (a *Assessor) readChain(ctx context.Context, d oci.Digest) ([]oci.Digest, bool, error) {
	stored, err := view(ctx, a.DB, func(tx Tx) (*repo.Manifest, error) { return tx.Stored(ctx, d) })
	if err != nil {
		return nil, false, err
	}
	m, err := oci.ParseManifest(stored.Raw, stored.MediaType, d.Algorithm())
	if err != nil || stored.Kind != oci.KindImage {
		return nil, false, err
	}
	inv, err := a.Analyst.Inventory(ctx, m)
	if err != nil {
		return nil, false, err
	}
	diffIDs, whole := chainOf(inv.Image, inv.Config)
	return diffIDs, whole, nil
}

// based tells in what the image descends from, as far as the gate asks, and
// returns the number of the change of bases as of which it does.
func (a *Assessor) based(ctx context.Context, g *policy.Gate, in *policy.Input) (seq int64, err error) {
	if !g.ReadsBases() || in.Image == nil {
		return 0, nil
	}
	if err := a.chainOld(ctx); err != nil {
		return 0, err
	}
	err = a.DB.View(ctx, func(tx Tx) error {
		if seq, err = tx.BaseSeq(ctx); err != nil {
			return err
		}
		all, err := tx.BasesOf(ctx, in.Digest, in.Repository, basesLooked)
		in.Bases, in.BasesKnown = nil, err == nil
		for i := range all {
			if g.AsksForBase(all[i].Repository) && len(in.Bases) < basesJudged {
				in.Bases = append(in.Bases, all[i])
			}
		}
		return err
	})
	return seq, err
}

// stillBased returns an error matching repo.ErrConflict if what stands as a base
// has changed since v was decided.
func stillBased(ctx context.Context, tx Tx, r oci.Repository, v *Verdict) error {
	of := v.Decision.Inputs.BaseChange
	if of == 0 {
		return nil
	}
	seq, err := tx.BaseSeq(ctx)
	if err == nil && of != seq {
		err = fmt.Errorf("%s was judged by the bases before change %d, and the next is %d: %w", r, of, seq, repo.ErrConflict)
	}
	return err
}

// HandleBases is the handler of JobBases.
func (a *Assessor) HandleBases(ctx context.Context, j job.Job) error {
	d, err := oci.ParseDigest(j.Key)
	if err != nil {
		return fmt.Errorf("reading job key %q: %v", j.Key, err)
	}
	if !a.asksForBases() {
		return nil // images that share their layers descend from each other: all of that for nobody
	}
	if err := a.chainOld(ctx); err != nil {
		return err
	}
	for after := int64(0); ; {
		page, err := view(ctx, a.DB, func(tx Tx) ([]repo.Listed, error) { return tx.DescendantsOf(ctx, d, after, descendantsAtOne) })
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].Position
		err = a.DB.Update(ctx, func(tx Tx) error {
			for i := range page {
				p := &page[i].Placement
				if g, err := a.gate(p.Repository); err != nil || g == nil || !g.ReadsBases() {
					continue // of a zone that is configured no more, or that does not ask
				}
				if err := tx.Enqueue(ctx, JobJudge, judgeKey(p.Repository, p.Digest), a.Clock()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// asksForBases reports whether the gate of any zone asks what images descend from.
func (a *Assessor) asksForBases() bool {
	for _, zone := range a.Zones {
		if g := a.Gates[zone.Gate]; g != nil && g.ReadsBases() {
			return true
		}
	}
	return false
}

// Bases tells what an image descends from, of what s may see. See httpapi.Lineage.
func (a *Assessor) Bases(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Bases, error) {
	f, x, err := a.look(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	if err := a.chainOld(ctx); err != nil {
		return nil, err
	}
	out := &api.Bases{Artifact: f.artifact(), Layers: len(x.image.Layers), Bases: []api.Base{}}
	diffIDs, _ := chainOf(x.image, x.image.Config)
	out.Compared = len(diffIDs)
	p := &f.placed.Placement
	all, err := view(ctx, a.DB, func(tx Tx) ([]evidence.Base, error) { return tx.BasesOf(ctx, p.Digest, p.Repository, basesLooked) })
	if err != nil {
		return nil, err
	}
	for i := range all {
		b := &all[i]
		if v, ok := s(b.Repository); !ok || v.Own || len(out.Bases) == basesShown {
			continue
		}
		out.Bases = append(out.Bases, policy.Based(all[i : i+1])[0])
	}
	return out, nil
}

// Descendants lists the placements of images that descend from one, of what s may
// see. See httpapi.Lineage.
func (a *Assessor) Descendants(ctx context.Context, s repo.Sight, ref oci.Reference, page repo.Page) (*api.Descendants, error) {
	f, _, err := a.look(ctx, s, ref)
	if err != nil {
		return nil, err
	}
	if err := a.chainOld(ctx); err != nil {
		return nil, err
	}
	after := int64(0)
	if page.After != "" {
		if after, err = strconv.ParseInt(page.After, 10, 64); err != nil || after < 0 {
			return nil, fmt.Errorf("%w: after is %s, want next of the page before", authz.ErrInvalid, oci.Quote(page.After))
		}
	}
	out := &api.Descendants{Artifact: f.artifact(), Images: []api.Placement{}}
	of := &f.placed.Placement
	return out, a.DB.View(ctx, func(tx Tx) error {
		for len(out.Images) < page.Limit {
			found, err := tx.DescendantsOf(ctx, of.Digest, after, page.Limit)
			if err != nil {
				return err
			}
			for i := range found {
				after = found[i].Position
				if err := addDescendant(ctx, tx, s, of, &found[i].Placement, out); err != nil {
					return err
				}
				if len(out.Images) == page.Limit {
					break
				}
			}
			if len(found) < page.Limit && (len(found) == 0 || after == found[len(found)-1].Position) {
				return nil
			}
		}
		out.Next = strconv.FormatInt(after, 10)
		return nil
	})
}

// addDescendant adds a placement that s may see, but the one that was asked about.
func addDescendant(ctx context.Context, tx Tx, s repo.Sight, of, p *repo.Placement, out *api.Descendants) error {
	if v, ok := s(p.Repository); !ok || !lists(v, p) || p.Repository == of.Repository && p.Digest == of.Digest {
		return nil
	}
	tags, err := tagsOf(ctx, tx, p)
	if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	out.Images = append(out.Images, placement(p, tags))
	return nil
}
