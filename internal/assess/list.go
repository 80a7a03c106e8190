package assess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Bounds of one page: what it costs depends on neither how much there is, nor how
// much of it the caller may not see. A page that meets one ends early.
const (
	maxListed   = 100  // artifacts on a page, each of which is matched
	namesLooked = 2000 // names of repositories
	rowsLooked  = 1000 // placements
	newestOf    = 50   // placements in each state that are looked at for the newest to be seen
)

// listable are the states of what a list shows: evidence is about something else.
var listable = []repo.State{repo.Admitted, repo.Held, repo.Denied, repo.Withdrawn, repo.Revoked}

// lists reports whether a list shows p to v: what it may read, and of what was
// revoked what it could have read before.
func lists(v repo.Viewer, p *repo.Placement) bool {
	if p.State != repo.Revoked {
		return v.Visible(p)
	}
	if p.Kind == oci.KindEvidence {
		return false
	}
	before := *p
	if before.State = repo.Held; !p.AdmittedAt.IsZero() {
		before.State = repo.Admitted
	}
	return v.Visible(&before)
}

// Listing says what Artifacts lists.
type Listing struct {
	Repository oci.Repository // zero for all of Zone
	Zone       string         // "" for all; not looked at with a Repository
	State      repo.State     // "" for all
}

// Repositories lists those of a zone ("" for all) in which s sees something that
// is not evidence, by name.
func (a *Assessor) Repositories(ctx context.Context, s repo.Sight, zone string, page repo.Page) (*api.Page[api.Repository], error) {
	out := &api.Page[api.Repository]{Items: []api.Repository{}}
	after, looked := page.After, 0
	for {
		names, err := view(ctx, a.DB, func(tx Tx) ([]oci.Repository, error) {
			return tx.Names(ctx, zone, repo.Page{After: after, Limit: page.Limit})
		})
		if err != nil {
			return nil, err
		}
		for _, r := range names {
			if len(out.Items) == page.Limit || looked == namesLooked {
				out.Next = after
				return out, nil
			}
			after, looked = r.String(), looked+1
			v, ok := s(r)
			if !ok {
				continue
			}
			newest, err := a.newest(ctx, r, v)
			if err != nil {
				return nil, err
			}
			if newest != nil {
				out.Items = append(out.Items, api.Repository{Name: r.String(), Newest: *newest})
			}
		}
		if len(names) < page.Limit {
			return out, nil
		}
	}
}

// newest returns the newest placement in r that v sees, nil when it sees none.
func (a *Assessor) newest(ctx context.Context, r oci.Repository, v repo.Viewer) (*api.Placement, error) {
	return view(ctx, a.DB, func(tx Tx) (*api.Placement, error) {
		var best *repo.Listed
		for _, state := range listable {
			rows, err := tx.Newest(ctx, r, state, 0, newestOf)
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(rows, func(l repo.Listed) bool { return lists(v, &l.Placement) })
			if i >= 0 && (best == nil || rows[i].Position > best.Position) {
				best = &rows[i]
			}
		}
		if best == nil {
			return nil, nil
		}
		tags, err := tagsOf(ctx, tx, &best.Placement)
		p := placement(&best.Placement, tags)
		return &p, err
	})
}

// Artifacts lists placements that s sees: by repository, the newest first. A
// repository in which it sees nothing is repo.ErrNotFound.
func (a *Assessor) Artifacts(ctx context.Context, s repo.Sight, l Listing, page repo.Page) (*api.Page[api.ListedArtifact], error) {
	at, before, err := position(page.After)
	if err != nil {
		return nil, err
	}
	p := &listing{Assessor: a, Listing: l, limit: min(page.Limit, maxListed), rows: rowsLooked, index: a.Advisories.Index(), out: &api.Page[api.ListedArtifact]{Items: []api.ListedArtifact{}}}
	if l.Repository.IsZero() {
		return p.out, p.zone(ctx, s, at, before)
	}
	v, ok := s(l.Repository)
	if ok && page.After == "" {
		newest, err := a.newest(ctx, l.Repository, v)
		if err != nil {
			return nil, err
		}
		ok = newest != nil
	}
	if !ok {
		return nil, fmt.Errorf("repository %s: %w", l.Repository, repo.ErrNotFound)
	}
	_, err = p.repository(ctx, l.Repository, v, before)
	return p.out, err
}

// position reads where a page begins: "REPOSITORY@POSITION", or "" for the
// beginning.
func position(after string) (oci.Repository, int64, error) {
	if after == "" {
		return oci.Repository{}, 0, nil
	}
	name, number, _ := strings.Cut(after, "@")
	r, err := oci.ParseRepository(name)
	if err != nil {
		return r, 0, err
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 {
		return r, 0, fmt.Errorf("%w: %s is no place in a list: want next of the page before", oci.ErrNameInvalid, oci.Quote(after))
	}
	return r, n, nil
}

// listing is one page in the making.
type listing struct {
	*Assessor
	Listing
	limit int // of Items
	rows  int // that may still be looked at
	index *vuln.Index
	out   *api.Page[api.ListedArtifact]
}

// zone goes through the repositories of a zone, from at on.
func (p *listing) zone(ctx context.Context, s repo.Sight, at oci.Repository, before int64) error {
	if !at.IsZero() && (p.Zone == "" || at.Zone() == p.Zone) {
		if v, ok := s(at); ok {
			if full, err := p.repository(ctx, at, v, before); full || err != nil {
				return err
			}
		}
	}
	for looked := 0; ; {
		names, err := view(ctx, p.DB, func(tx Tx) ([]oci.Repository, error) {
			return tx.Names(ctx, p.Zone, repo.Page{After: at.String(), Limit: p.limit})
		})
		if err != nil {
			return err
		}
		for _, r := range names {
			if looked++; looked > namesLooked {
				p.out.Next = fmt.Sprintf("%s@1", at) // nothing stands before the first
				return nil
			}
			at = r
			if v, ok := s(r); ok {
				if full, err := p.repository(ctx, r, v, 0); full || err != nil {
					return err
				}
			}
		}
		if len(names) < p.limit {
			return nil
		}
	}
}

// repository adds what stands in r, from before on; full tells that the page
// ended there.
func (p *listing) repository(ctx context.Context, r oci.Repository, v repo.Viewer, before int64) (full bool, err error) {
	for {
		rows, err := p.newest(ctx, r, before)
		if err != nil {
			return false, err
		}
		for i := range rows {
			if len(p.out.Items) == p.limit || p.rows == 0 {
				p.out.Next = fmt.Sprintf("%s@%d", r, rows[i].Position+1) // with this row
				return true, nil
			}
			p.rows, before = p.rows-1, rows[i].Position
			if !lists(v, &rows[i].Placement) {
				continue
			}
			row, err := p.row(ctx, &rows[i].Placement, v)
			if err != nil {
				return false, err
			}
			if row != nil {
				p.out.Items = append(p.out.Items, *row)
			}
		}
		if len(rows) < p.limit {
			return false, nil
		}
	}
}

// newest returns the newest rows of the states asked for, at most as many as the
// page holds: fewer tell that there are no more.
func (p *listing) newest(ctx context.Context, r oci.Repository, before int64) ([]repo.Listed, error) {
	states := listable
	if p.State != "" {
		states = []repo.State{p.State}
	}
	return view(ctx, p.DB, func(tx Tx) ([]repo.Listed, error) {
		var all []repo.Listed
		for _, state := range states {
			rows, err := tx.Newest(ctx, r, state, before, p.limit)
			if err != nil {
				return nil, err
			}
			all = append(all, rows...)
		}
		slices.SortFunc(all, func(x, y repo.Listed) int { return cmp.Compare(y.Position, x.Position) })
		return all[:min(len(all), p.limit)], nil
	})
}

// row says what a placement is; nil for the platform of an index without a tag of
// its own: the index stands for it.
func (p *listing) row(ctx context.Context, at *repo.Placement, v repo.Viewer) (*api.ListedArtifact, error) {
	var row *api.ListedArtifact
	var images []*repo.Manifest
	err := p.DB.View(ctx, func(tx Tx) error {
		row, images = nil, nil
		tags, err := tagsOf(ctx, tx, at)
		if err != nil {
			return err
		}
		if len(tags) == 0 && at.Kind == oci.KindImage {
			parents, err := tx.Parents(ctx, at.Repository, at.Digest)
			if err != nil || len(parents) > 0 {
				return err
			}
		}
		row = &api.ListedArtifact{Placement: placement(at, tags)}
		if at.State == repo.Revoked { // and its content is not told of
			row.State, err = standsAs(ctx, tx, at)
			return err
		}
		images, err = imagesOf(ctx, tx, at, v)
		return err
	})
	if err != nil || row == nil {
		return nil, err
	}
	row.Checked = len(images) > 0
	var worst *evidence.Finding
	for _, m := range images {
		for _, ref := range m.References {
			row.Size += ref.Size
		}
		findings, ok, err := p.findings(ctx, m)
		if err != nil {
			return nil, err
		}
		row.Checked = row.Checked && ok
		row.Findings += len(findings)
		for i := range findings {
			if worst == nil || worse(&findings[i], worst) {
				worst = &findings[i]
			}
		}
	}
	if worst != nil {
		row.Worst = &api.WorstFinding{ID: worst.ID, Aliases: worst.Aliases, Severity: string(worst.Severity), Malicious: worst.Malicious}
	}
	return row, nil
}

func worse(a, b *evidence.Finding) bool {
	if a.Malicious != b.Malicious {
		return a.Malicious
	}
	return a.Severity.Rank() > b.Severity.Rank()
}

// imagesOf returns what stands at a placement: itself, or the images of an index
// that v sees in its repository.
func imagesOf(ctx context.Context, tx Tx, at *repo.Placement, v repo.Viewer) ([]*repo.Manifest, error) {
	m, err := tx.Stored(ctx, at.Digest)
	if err != nil || m.Kind != oci.KindIndex {
		return []*repo.Manifest{m}, err
	}
	var images []*repo.Manifest
	for _, ref := range m.References {
		placed, err := tx.Lookup(ctx, at.Repository, repo.Selector{Digest: ref.Digest}, v)
		if errors.Is(err, repo.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if placed.Manifest.Kind == oci.KindImage && v.Visible(&placed.Placement) {
			images = append(images, &placed.Manifest)
		}
	}
	return images, nil
}

// findings matches what was analysed, and analyses nothing. ok is false where
// there may be more: not all was read, or could be matched.
func (p *listing) findings(ctx context.Context, stored *repo.Manifest) (found []evidence.Finding, ok bool, err error) {
	if stored.Kind != oci.KindImage || p.index.Snapshot().Advisories == 0 {
		return nil, false, nil
	}
	_, err = view(ctx, p.DB, func(tx Tx) ([]byte, error) { return tx.ImageRecord(ctx, stored.Digest, p.Analyst.Set()) })
	if errors.Is(err, repo.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	m, err := oci.ParseManifest(stored.Raw, stored.MediaType, stored.Digest.Algorithm())
	if err != nil {
		return nil, false, fmt.Errorf("listing %s: %w", stored.Digest, err)
	}
	inv, err := p.Analyst.Inventory(ctx, m)
	if err != nil {
		return nil, false, err
	}
	found, unchecked := match(p.index, inv.Image)
	return found, inv.Image.Coverage() == inventory.CoverageFull && len(unchecked) == 0, nil
}
