package waiver

import (
	"context"
	"errors"
	"slices"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Bounds of follows.
const (
	maxFollowed = 100  // that are told of
	maxLooked   = 1000 // placements, of which findings are matched
)

// follows tells of the other digests that have what a waiver is about, in
// whatever version: whether it holds there, and why not.
func (f *Flow) follows(ctx context.Context, rec *Record) ([]api.WaiverFollow, error) {
	var images []repo.Placement
	var after repo.Placement
	for len(images) < maxLooked {
		var batch []repo.Placement
		err := f.View(ctx, func(tx Tx) (err error) {
			batch, err = tx.Standing(ctx, rec.Zone(), after.Repository, after.Digest, judgedAtOnce)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range batch {
			if p.Kind == oci.KindImage && p.Digest != rec.Digest && rec.About(p.Repository, p.Digest) {
				images = append(images, p)
			}
		}
		if len(batch) < judgedAtOnce {
			break
		}
		after = batch[len(batch)-1]
	}
	var out []api.WaiverFollow
	for _, p := range images {
		found, err := f.Judge.Found(ctx, p.Digest)
		if errors.Is(err, repo.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		near := rec.AnyVersion()
		i := slices.IndexFunc(found, func(x evidence.Finding) bool { return near.OfFinding(&x) })
		if i < 0 {
			continue
		}
		out = append(out, api.WaiverFollow{Repository: p.Repository.String(), Digest: p.Digest.String(), Why: rec.Follows(&found[i])})
		if len(out) == maxFollowed {
			break
		}
	}
	return out, nil
}
