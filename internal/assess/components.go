package assess

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// Component is a package version as the inverse index knows it: Family and Name
// are Type and Name of its vuln.PackageKey. A set does not know the distribution
// of its OS packages, so an answer can name images of others; judging them
// tells.
type Component struct {
	Family  string
	Name    string
	Version string
}

// MaxIndexed is how many bytes of a name or version an index keeps, less at the
// end of a rune: no advisory has a longer one, and PostgreSQL indexes less than
// 2.7 kB of a row.
const MaxIndexed = 512

// Components returns the components of a set for the inverse index: each package
// by its own version, and by the one that advisories compare where that is
// another, such as the source's of a Debian package.
func Components(s *inventory.Set) []Component {
	seen := map[Component]bool{}
	var cs []Component
	for i := range s.Packages {
		p := &s.Packages[i]
		for _, k := range vuln.KeysOf(p) {
			for _, version := range []string{p.Version, vuln.VersionOf(p, k)} {
				c := Component{Family: k.Type, Name: k.Name, Version: version}
				if !seen[c] {
					seen[c] = true
					cs = append(cs, c)
				}
			}
		}
	}
	return cs
}

// setsAtOnce is how many sets one transaction indexes.
const setsAtOnce = 50

// index makes the sets found by all their components that were stored by a
// program which did not know them all.
func (a *Assessor) index(ctx context.Context) error {
	for {
		sets, err := view(ctx, a.DB, func(tx Tx) (map[oci.Digest][]byte, error) { return tx.Unindexed(ctx, setsAtOnce) })
		if err != nil || len(sets) == 0 {
			return err
		}
		found := make(map[oci.Digest][]Component, len(sets))
		for id, encoded := range sets {
			set, err := analyze.UnmarshalSet(encoded)
			if err != nil { // its images were never merged, or are found by what is there
				a.Log.ErrorContext(ctx, "a package set cannot be read, and is found by no more than before", "set", id, "error", err)
				set = &inventory.Set{}
			}
			found[id] = Components(set)
		}
		err = a.DB.Update(ctx, func(tx Tx) error {
			for id, components := range found {
				if err := tx.PutComponents(ctx, id, components); err != nil {
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

// differing returns the package versions that are in any image, or were, of
// which other things are said than before.
func (a *Assessor) differing(ctx context.Context, c *vuln.Comparison) ([]Component, error) {
	if err := a.index(ctx); err != nil {
		return nil, err
	}
	var out []Component
	for keys := range slices.Chunk(c.Keys(), keysAtOnce) {
		versions, err := view(ctx, a.DB, func(tx Tx) ([][]string, error) {
			all := make([][]string, len(keys))
			for i, k := range keys {
				var err error
				if all[i], err = tx.Versions(ctx, k.Type, k.Name); err != nil {
					return nil, err
				}
			}
			return all, nil
		})
		if err != nil {
			return nil, err
		}
		for i, k := range keys {
			out = append(out, differingOf(c, k, versions[i])...)
		}
	}
	return out, nil
}

// differingOf is differing of one package, of which these versions are there.
func differingOf(c *vuln.Comparison, k vuln.PackageKey, versions []string) []Component {
	var out []Component
	for _, v := range versions {
		if !Whole(v) || c.Differs(k, v) {
			out = append(out, Component{Family: k.Type, Name: k.Name, Version: v})
		}
	}
	if len(out) > 1 && len(out) == len(versions) {
		return []Component{{Family: k.Type, Name: k.Name}}
	}
	return out
}

// Whole reports whether a text that is indexed is surely all that was stored.
func Whole(indexed string) bool {
	return len(indexed) <= MaxIndexed-utf8.UTFMax && !strings.ContainsRune(indexed, utf8.RuneError)
}
