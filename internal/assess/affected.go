package assess

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// suspects bounds how many manifests one query of the inverse index returns.
const suspects = 100

// question is what Affected looks for, and where.
type question struct {
	keys []Component
	// rows returns what is affected in an image; Placement is not set.
	rows func(x *examined) []api.AffectedRow
}

// Affected lists placements that hold what id names: an advisory, one of its
// aliases, or a package URL. See httpapi.Explainer.
func (a *Assessor) Affected(ctx context.Context, s repo.Sight, id string, page repo.Page) (*api.Affected, error) {
	out := &api.Affected{Query: id, IDs: []string{}, Images: []api.AffectedRow{}, Snapshot: snapshot(a.Advisories.Index().Snapshot())}
	var q *question
	var err error
	if strings.HasPrefix(id, "pkg:") {
		q, err = aboutPackage(id)
	} else {
		q, err = a.aboutAdvisory(id, out)
	}
	if err != nil {
		return nil, err
	}
	after, err := afterDigest(page.After)
	if err != nil {
		return nil, err
	}
	for len(out.Images) < page.Limit {
		digests, err := view(ctx, a.DB, func(tx Tx) ([]oci.Digest, error) { return tx.ManifestsWith(ctx, q.keys, after, suspects) })
		if err != nil {
			return nil, err
		}
		for _, d := range digests {
			if err := a.addAffected(ctx, s, d, q, out); err != nil {
				return nil, err
			}
			after = d
			if len(out.Images) >= page.Limit {
				break
			}
		}
		if len(digests) < suspects && (len(digests) == 0 || after == digests[len(digests)-1]) {
			return out, nil
		}
	}
	out.Next = after.String()
	return out, nil
}

func afterDigest(s string) (d oci.Digest, err error) {
	if s != "" {
		d, err = oci.ParseDigest(s)
	}
	return d, err
}

// aboutPackage asks for a package, of one version or of any.
func aboutPackage(purl string) (*question, error) {
	want, err := vuln.FromPURL(purl)
	if err != nil {
		return nil, err
	}
	q := &question{rows: func(x *examined) []api.AffectedRow {
		var rows []api.AffectedRow
		for i := range x.image.Packages {
			p := &x.image.Packages[i]
			if samePackage(&want, &p.Package) {
				rows = append(rows, api.AffectedRow{Package: p.Name, Version: p.Version, Path: p.Path})
			}
		}
		return rows
	}}
	for _, k := range vuln.KeysOf(&want) {
		q.keys = append(q.keys, Component{Family: k.Type, Name: k.Name, Version: want.Version})
	}
	return q, nil
}

// samePackage: either name of a package with a source matches, and only what
// is asked for is compared.
func samePackage(want, have *inventory.Package) bool {
	if want.Type != have.Type || want.Version != "" && want.Version != have.Version {
		return false
	}
	if base := vuln.BaseEcosystem(want.Ecosystem); base != "" && vuln.BaseEcosystem(have.Ecosystem) != base {
		return false
	}
	haveKeys := vuln.KeysOf(have)
	for _, k := range vuln.KeysOf(want) {
		if slices.Contains(haveKeys, k) {
			return true
		}
	}
	return want.Name == have.Name && want.Namespace == have.Namespace
}

// aboutAdvisory asks for an advisory by id or alias, and says in out what it
// is. Errors match repo.ErrNotFound.
func (a *Assessor) aboutAdvisory(id string, out *api.Affected) (*question, error) {
	advisories := a.Advisories.Index().Lookup(id)
	if len(advisories) == 0 {
		return nil, fmt.Errorf("no advisory in force has the id or alias %s: %w; see which feeds are loaded: bonded feed list", oci.Quote(id), repo.ErrNotFound)
	}
	q := &question{}
	names, best := map[string]bool{id: true}, 0
	for _, adv := range advisories {
		names[adv.ID] = true
		out.IDs = append(out.IDs, adv.ID)
		if r := telling(adv.ID, id); adv.Summary != "" && (out.Summary == "" || r < best) {
			out.Summary, best = adv.Summary, r
		}
		if out.Known.IsZero() || adv.Known.Before(out.Known) {
			out.Known = adv.Known
		}
		for _, k := range adv.Keys() {
			q.keys = append(q.keys, Component{Family: k.Type, Name: k.Name})
		}
	}
	out.IDs = slices.Compact(out.IDs)
	q.rows = func(x *examined) []api.AffectedRow {
		var rows []api.AffectedRow
		for i := range x.findings {
			f := &x.findings[i]
			if names[f.ID] || slices.ContainsFunc(f.Aliases, func(s string) bool { return names[s] }) {
				rows = append(rows, api.AffectedRow{Package: f.Package, Version: f.Version, Fixed: f.Fixed, Path: f.Path})
				if f.Severity.Rank() > evidence.Severity(out.Severity).Rank() {
					out.Severity = string(f.Severity)
				}
			}
		}
		return rows
	}
	return q, nil
}

// told are the beginnings of ids whose records tell about one vulnerability, those
// that tell most first. Those of distributions tell about an update.
var told = []string{"CVE-", "GHSA-", "GO-", "PYSEC-", "RUSTSEC-"}

// telling orders advisories by how much their summary tells who asked for an id:
// its own first.
func telling(advisory, asked string) int {
	if advisory == asked {
		return -1
	}
	if i := slices.IndexFunc(told, func(prefix string) bool { return strings.HasPrefix(advisory, prefix) }); i >= 0 {
		return i
	}
	return len(told)
}

// addAffected adds the rows of one image, for each placement the caller can see.
func (a *Assessor) addAffected(ctx context.Context, s repo.Sight, d oci.Digest, q *question, out *api.Affected) error {
	seen, err := view(ctx, a.DB, func(tx Tx) ([]api.Placement, error) {
		placements, err := tx.Placements(ctx, d)
		if err != nil {
			return nil, err
		}
		var list []api.Placement
		for i := range placements {
			p := &placements[i]
			if v, ok := s(p.Repository); !ok || !v.Visible(p) {
				continue
			}
			tags, err := tagsOf(ctx, tx, p)
			if err != nil {
				return nil, err
			}
			list = append(list, placement(p, tags))
		}
		return list, nil
	})
	if err != nil || len(seen) == 0 {
		return err
	}
	x, err := a.examine(ctx, a.Advisories.Index(), nil, d)
	if err != nil || x.image == nil {
		return err
	}
	for _, row := range q.rows(x) {
		for _, p := range seen {
			row.Placement = p
			out.Images = append(out.Images, row)
		}
	}
	return nil
}
