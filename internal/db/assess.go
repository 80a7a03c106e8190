package db

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// facts reads the one column of a table of facts.
func (tx *Tx) facts(ctx context.Context, table, column string, d oci.Digest, extractorSet string) ([]byte, error) {
	var b []byte
	err := tx.row(ctx, `SELECT f.`+column+` FROM content c CROSS JOIN extractor_set e CROSS JOIN `+table+` f
		WHERE c.digest = ? AND e.name = ? AND f.content_id = c.id AND f.extractor_set_id = e.id`, []any{d.String(), extractorSet}, &b)
	if errors.Is(err, conn.ErrNoRow) {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading what is known of %s: %w", d, err)
	}
	return bytesOf(b), nil
}

// putFacts is its twin. It returns the number of the content, or 0 when the
// facts were there already.
func (tx *Tx) putFacts(ctx context.Context, table, column string, d oci.Digest, extractorSet string, b []byte) (int64, error) {
	id, err := tx.content(ctx, d)
	if err != nil {
		return 0, err
	}
	set, err := tx.intern(ctx, "extractor_set", "name", extractorSet)
	if err != nil {
		return 0, err
	}
	n, err := tx.exec(ctx, `INSERT INTO `+table+` (content_id, extractor_set_id, `+column+`) VALUES (?, ?, ?)
		ON CONFLICT (content_id, extractor_set_id) DO NOTHING`, id, set, bytesOf(b))
	if n == 0 {
		id = 0
	}
	return id, err
}

// LayerFacts implements assess.Facts.
func (tx *Tx) LayerFacts(ctx context.Context, d oci.Digest, extractorSet string) ([]byte, error) {
	return tx.facts(ctx, "layer_facts", "facts", d, extractorSet)
}

// ImageRecord implements assess.Facts.
func (tx *Tx) ImageRecord(ctx context.Context, manifest oci.Digest, extractorSet string) ([]byte, error) {
	return tx.facts(ctx, "image_record", "record", manifest, extractorSet)
}

// PackageSets implements assess.Facts.
func (tx *Tx) PackageSets(ctx context.Context, ids []oci.Digest) (map[oci.Digest][]byte, error) {
	sets := make(map[oci.Digest][]byte, len(ids))
	err := chunks(texts(ids), func(part []any) error {
		return tx.each(ctx, list(`SELECT digest, encoded FROM package_set WHERE digest IN (#)`, len(part)), part, func(rows *sql.Rows) error {
			var s string
			var b []byte
			if err := rows.Scan(&s, &b); err != nil {
				return err
			}
			d, err := oci.ParseDigest(s)
			sets[d] = bytesOf(b)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading package sets: %w", err)
	}
	return sets, nil
}

// texts returns digests as arguments of a statement, each once and sorted.
func texts(ds []oci.Digest) []any {
	all := make([]string, len(ds))
	for i, d := range ds {
		all[i] = d.String()
	}
	slices.Sort(all)
	return anys(slices.Compact(all))
}

// PutLayerFacts implements assess.FactsWriter.
func (tx *Tx) PutLayerFacts(ctx context.Context, d oci.Digest, extractorSet string, facts []byte) error {
	if _, err := tx.putFacts(ctx, "layer_facts", "facts", d, extractorSet, facts); err != nil {
		return fmt.Errorf("storing the facts of %s: %w", d, err)
	}
	return nil
}

// PutImageRecord implements assess.FactsWriter. The sets must be stored
// (repo.ErrNotFound).
func (tx *Tx) PutImageRecord(ctx context.Context, manifest oci.Digest, extractorSet string, record []byte, sets []oci.Digest) error {
	id, err := tx.putFacts(ctx, "image_record", "record", manifest, extractorSet, record)
	if err == nil && id != 0 {
		err = chunks(texts(sets), func(part []any) error {
			var known int
			if err := tx.row(ctx, list(`SELECT COUNT(*) FROM package_set WHERE digest IN (#)`, len(part)), part, &known); err != nil {
				return err
			}
			if known < len(part) {
				return fmt.Errorf("%d of its package sets: %w", len(part)-known, repo.ErrNotFound)
			}
			_, err := tx.exec(ctx, list(`INSERT INTO image_set (package_set_id, content_id)
				SELECT s.id, CAST(? AS bigint) FROM package_set s WHERE s.digest IN (#)
				ON CONFLICT (package_set_id, content_id) DO NOTHING`, len(part)), append([]any{id}, part...)...)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("storing the inventory of %s: %w", manifest, err)
	}
	return nil
}

// PutPackageSet implements assess.FactsWriter.
func (tx *Tx) PutPackageSet(ctx context.Context, id oci.Digest, encoded []byte, components []assess.Component) error {
	var set int64
	err := tx.row(ctx, `INSERT INTO package_set (digest, encoded) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING RETURNING id`,
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

// maxIndexed is the longest name or version that is found by, in bytes: no
// advisory has a longer one, and PostgreSQL indexes less than 2.7 kB of a row.
const maxIndexed = 512

func cut(s string) string { return s[:min(len(s), maxIndexed)] }

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
	var found []oci.Digest
	err := chunks(indexed(keys), func(part []assess.Component) error {
		where, args := "", []any{}
		for i, k := range part {
			if i > 0 {
				where += " OR "
			}
			where += "(k.name = ? AND k.family = ? AND (k.version = ? OR CAST(? AS text) = ''))"
			args = append(args, k.Name, k.Family, k.Version, k.Version)
		}
		ds, err := tx.digests(ctx, `SELECT c.digest FROM content c WHERE c.digest > ? AND c.id IN (
				SELECT i.content_id FROM component k CROSS JOIN set_component s CROSS JOIN image_set i
				WHERE (`+where+`) AND s.component_id = k.id AND i.package_set_id = s.package_set_id)
			ORDER BY c.digest LIMIT ?`, append(append([]any{after.String()}, args...), limit)...)
		found = append(found, ds...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for images by package: %w", err)
	}
	slices.SortFunc(found, func(a, b oci.Digest) int { return strings.Compare(a.String(), b.String()) })
	found = slices.Compact(found)
	return found[:min(len(found), limit)], nil
}

// Due implements assess.Inverse.
func (tx *Tx) Due(ctx context.Context, before time.Time, limit int) ([]repo.Placement, error) {
	ps, err := tx.placements(ctx, `SELECT `+placementColumns+` FROM placement p JOIN repository r ON r.id = p.repository_id
		WHERE p.due_at > 0 AND p.due_at < ? ORDER BY p.due_at, p.id LIMIT ?`, micros(before), limit)
	if err != nil {
		return nil, fmt.Errorf("listing placements that are due: %w", err)
	}
	return ps, nil
}

const standing = `SELECT ` + placementColumns + ` FROM repository r CROSS JOIN placement p
	WHERE p.repository_id = r.id AND p.state IN ('held', 'denied', 'admitted')`

// Standing implements assess.Inverse: first what is left of the repository
// given, then those after it.
func (tx *Tx) Standing(ctx context.Context, zone string, afterRepo oci.Repository, afterDigest oci.Digest, limit int) ([]repo.Placement, error) {
	var found []repo.Placement
	var err error
	if !afterRepo.IsZero() {
		found, err = tx.placements(ctx, standing+` AND r.name = ? AND p.digest > ? ORDER BY p.digest LIMIT ?`,
			afterRepo.String(), afterDigest.String(), limit)
	}
	if err == nil && len(found) < limit {
		query, args := standing+` AND r.name > ?`, []any{afterRepo.String()}
		if zone != "" { // "/" and "0" are neighbours
			query, args = query+` AND r.name > ? AND r.name < ?`, append(args, zone+"/", zone+"0")
		}
		var rest []repo.Placement
		rest, err = tx.placements(ctx, query+` ORDER BY r.name, p.digest LIMIT ?`, append(args, limit-len(found))...)
		found = append(found, rest...)
	}
	if err != nil {
		return nil, fmt.Errorf("listing placements: %w", err)
	}
	return found, nil
}

// PutDecision implements assess.Decisions.
func (tx *Tx) PutDecision(ctx context.Context, d *api.Decision, snapshot int64) (int64, error) {
	var id int64
	r, err := oci.ParseRepository(d.Repository)
	if err == nil {
		var rid int64
		if rid, err = tx.repository(ctx, r); err == nil {
			at := micros(d.DecidedAt)
			err = tx.row(ctx, `INSERT INTO decision (repository_id, digest, outcome, decided_at, confirmed_at, snapshot, document)
				VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
				[]any{rid, d.Digest, string(d.Outcome), at, at, snapshot, document(d)}, &id)
		}
		if err == nil {
			_, err = tx.exec(ctx, `INSERT INTO proof (decision, batch, pos) VALUES (?, 0, 0)`, id)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("storing the decision about %s in %s: %w", d.Digest, d.Repository, err)
	}
	return id, nil
}

// ConfirmDecision implements assess.Decisions.
func (tx *Tx) ConfirmDecision(ctx context.Context, id int64, at time.Time, snapshot int64) error {
	n, err := tx.exec(ctx, `UPDATE decision SET confirmed_at = ?, snapshot = ? WHERE id = ?`, micros(at), snapshot, id)
	if err == nil && n == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("confirming decision %d: %w", id, err)
	}
	return nil
}

// Decision implements assess.Decisions.
func (tx *Tx) Decision(ctx context.Context, id int64) (*assess.Recorded, error) {
	found, err := tx.decisions(ctx, `FROM decision d WHERE d.id = ?`, id)
	if err == nil && len(found) == 0 {
		err = repo.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("reading decision %d: %w", id, err)
	}
	return &found[0], nil
}

// DecisionHistory implements assess.Decisions.
func (tx *Tx) DecisionHistory(ctx context.Context, r oci.Repository, d oci.Digest, limit int) ([]assess.Recorded, error) {
	found, err := tx.decisions(ctx, `FROM repository r CROSS JOIN decision d
		WHERE r.name = ? AND d.repository_id = r.id AND d.digest = ? ORDER BY d.id DESC LIMIT ?`, r.String(), d.String(), limit)
	if err != nil {
		return nil, fmt.Errorf("reading the decisions about %s in %s: %w", d, r, err)
	}
	return found, nil
}

func (tx *Tx) decisions(ctx context.Context, rest string, args ...any) ([]assess.Recorded, error) {
	var found []assess.Recorded
	err := tx.each(ctx, `SELECT d.id, d.confirmed_at, d.snapshot, d.document `+rest, args, func(rows *sql.Rows) error {
		var rec assess.Recorded
		var at int64
		var doc []byte
		if err := rows.Scan(&rec.ID, &at, &rec.Snapshot, &doc); err != nil {
			return err
		}
		rec.ConfirmedAt = timeOf(at)
		err := json.Unmarshal(doc, &rec.Decision)
		found = append(found, rec)
		return err
	})
	return found, err
}
