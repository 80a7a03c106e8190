package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// PutPackageSet implements assess.FactsWriter.
func (tx *Tx) PutPackageSet(ctx context.Context, id oci.Digest, encoded []byte, components []assess.Component) error {
	var set int64
	err := tx.row(ctx, `INSERT INTO package_set (digest, encoded, indexed) VALUES (?, ?, 1) ON CONFLICT (digest) DO NOTHING RETURNING id`,
		[]any{id.String(), bytesOf(encoded)}, &set)
	if errors.Is(err, conn.ErrNoRow) {
		return nil
	}
	if err == nil {
		err = chunks(indexed(components), func(part []assess.Component) error { return tx.putComponents(ctx, set, part) })
	}
	if err != nil {
		return fmt.Errorf("storing package set %s: %w", id, err)
	}
	return nil
}

// PutComponents implements assess.FactsWriter.
func (tx *Tx) PutComponents(ctx context.Context, id oci.Digest, components []assess.Component) error {
	var set int64
	err := tx.row(ctx, `SELECT id FROM package_set WHERE digest = ?`, []any{id.String()}, &set)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err == nil {
		err = chunks(indexed(components), func(part []assess.Component) error { return tx.putComponents(ctx, set, part) })
	}
	if err == nil {
		_, err = tx.exec(ctx, `UPDATE package_set SET indexed = 1 WHERE id = ?`, set)
	}
	if err != nil {
		return fmt.Errorf("indexing package set %s: %w", id, err)
	}
	return nil
}

// Unindexed implements assess.Inverse.
func (tx *Tx) Unindexed(ctx context.Context, limit int) (map[oci.Digest][]byte, error) {
	sets := map[oci.Digest][]byte{}
	err := tx.each(ctx, `SELECT digest, encoded FROM package_set WHERE indexed = 0 ORDER BY id LIMIT ?`, []any{limit}, addSet(sets))
	if err != nil {
		return nil, fmt.Errorf("reading package sets to be indexed: %w", err)
	}
	return sets, nil
}

// Versions implements assess.Inverse.
func (tx *Tx) Versions(ctx context.Context, family, name string) ([]string, error) {
	versions, err := tx.texts(ctx, `SELECT version FROM component WHERE name = ? AND family = ?`, cut(name), cut(family))
	if err != nil {
		return nil, fmt.Errorf("listing versions of a package: %w", err)
	}
	return versions, nil
}

// cut returns what is kept of a name or version; of what it returns, all.
func cut(s string) string {
	if len(s) <= assess.MaxIndexed {
		return s
	}
	n := assess.MaxIndexed
	for n > assess.MaxIndexed-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// indexed cuts what is too long to be indexed, and sorts.
func indexed(components []assess.Component) []assess.Component {
	cs := make([]assess.Component, len(components))
	for i, c := range components {
		cs[i] = assess.Component{Family: cut(c.Family), Name: cut(c.Name), Version: cut(c.Version)}
	}
	slices.SortFunc(cs, func(a, b assess.Component) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Family, b.Family), strings.Compare(a.Version, b.Version))
	})
	return slices.Compact(cs)
}

func (tx *Tx) putComponents(ctx context.Context, set int64, cs []assess.Component) error {
	args := make([]any, 0, 3*len(cs))
	for _, c := range cs {
		args = append(args, c.Name, c.Family, c.Version)
	}
	_, err := tx.exec(ctx, `INSERT INTO component (name, family, version) VALUES `+marks(len(cs), "(?, ?, ?)")+`
		ON CONFLICT (name, family, version) DO NOTHING`, args...)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO set_component (component_id, package_set_id)
		SELECT c.id, CAST(? AS bigint)
		FROM (VALUES `+marks(len(cs), "(CAST(? AS text), CAST(? AS text), CAST(? AS text))")+`) AS v
		CROSS JOIN component c WHERE c.name = v.column1 AND c.family = v.column2 AND c.version = v.column3
		ON CONFLICT (component_id, package_set_id) DO NOTHING`, append([]any{set}, args...)...)
	return err
}

// ManifestsWith implements assess.Inverse.
func (tx *Tx) ManifestsWith(ctx context.Context, keys []assess.Component, after oci.Digest, limit int) ([]oci.Digest, error) {
	var names, versions []assess.Component // asked for in any version, and in one
	for _, k := range indexed(keys) {
		if k.Version == "" {
			names = append(names, k)
		} else {
			versions = append(versions, k)
		}
	}
	var found []oci.Digest
	ask := func(one string, n int, args []any) error {
		ds, err := tx.digests(ctx, `SELECT c.digest FROM content c WHERE c.digest > ? AND c.id IN (
				SELECT i.content_id FROM component k CROSS JOIN set_component s CROSS JOIN image_set i
				WHERE (`+strings.TrimSuffix(strings.Repeat(one+" OR ", n), " OR ")+`) AND s.component_id = k.id AND i.package_set_id = s.package_set_id)
			ORDER BY c.digest LIMIT ?`, append(append([]any{after.String()}, args...), limit)...)
		found = append(found, ds...)
		return err
	}
	err := chunks(names, func(part []assess.Component) error {
		var args []any
		for _, k := range part {
			args = append(args, k.Name, k.Family)
		}
		return ask("(k.name = ? AND k.family = ?)", len(part), args)
	})
	if err == nil {
		err = chunks(versions, func(part []assess.Component) error {
			var args []any
			for _, k := range part {
				args = append(args, k.Name, k.Family, k.Version)
			}
			return ask("(k.name = ? AND k.family = ? AND k.version = ?)", len(part), args)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("looking for images by package: %w", err)
	}
	slices.SortFunc(found, func(a, b oci.Digest) int { return strings.Compare(a.String(), b.String()) })
	found = slices.Compact(found)
	return found[:min(len(found), limit)], nil
}
