package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/pack"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// The columns of a placement p in repository r, as scanPlacement reads them.
const placementColumns = `r.name, p.digest, p.kind, p.state, p.brought_by, p.brought_at, p.admitted_at,
	p.stay_until, p.recheck_at, p.decision, p.sentence, p.version`

// placementRow is a placement as it is scanned.
type placementRow struct {
	repository, digest, kind, state, broughtBy, sentence        string
	broughtAt, admittedAt, stayUntil, recheckAt, decision, vers int64
}

func (r *placementRow) dest() []any {
	return []any{&r.repository, &r.digest, &r.kind, &r.state, &r.broughtBy, &r.broughtAt, &r.admittedAt,
		&r.stayUntil, &r.recheckAt, &r.decision, &r.sentence, &r.vers}
}

func (r *placementRow) placement(now int64) (p repo.Placement, err error) {
	if p.Repository, err = oci.ParseRepository(r.repository); err != nil {
		return repo.Placement{}, err
	}
	if p.Digest, err = oci.ParseDigest(r.digest); err != nil {
		return repo.Placement{}, err
	}
	p.Kind, p.State, p.BroughtBy = oci.Kind(r.kind), repo.State(r.state), r.broughtBy
	p.BroughtAt, p.AdmittedAt = timeOf(r.broughtAt), timeOf(r.admittedAt)
	p.StayUntil, p.RecheckAt = timeOf(r.stayUntil), timeOf(r.recheckAt)
	p.Decision, p.Sentence, p.Version = r.decision, r.sentence, r.vers
	p.Over = p.State == repo.Admitted && r.stayUntil != 0 && r.stayUntil <= now
	return p, nil
}

// placements returns the placements of a query for placementColumns.
func (tx *Tx) placements(ctx context.Context, query string, args ...any) ([]repo.Placement, error) {
	var all []repo.Placement
	err := tx.each(ctx, query, args, func(rows *sql.Rows) error {
		var r placementRow
		if err := rows.Scan(r.dest()...); err != nil {
			return err
		}
		p, err := r.placement(tx.now())
		all = append(all, p)
		return err
	})
	return all, err
}

// manifestRow is a manifest as it is scanned, beside its digest.
type manifestRow struct {
	mediaType, artifactType, kind, subject string
	packed, raw                            []byte
}

const manifestColumns = `m.media_type, m.artifact_type, m.kind, m.subject, m.packed, m.raw`

func (r *manifestRow) dest() []any {
	return []any{&r.mediaType, &r.artifactType, &r.kind, &r.subject, &r.packed, &r.raw}
}

func (r *manifestRow) manifest(d oci.Digest) (m repo.Manifest, err error) {
	m = repo.Manifest{Digest: d, MediaType: r.mediaType, ArtifactType: r.artifactType, Kind: oci.Kind(r.kind), Raw: r.raw}
	if r.subject != "" {
		if m.Subject, err = oci.ParseDigest(r.subject); err != nil {
			return repo.Manifest{}, err
		}
	}
	return m, pack.Unpack(r.packed, &m)
}

const lookupColumns = `SELECT ` + placementColumns + `, ` + manifestColumns

// The queries of Lookup. The joins are crossed so that each table is entered
// by its key, in this order.
const (
	lookupDigest = lookupColumns + `
		FROM repository r CROSS JOIN placement p CROSS JOIN manifest m
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND p.state <> 'removed' AND m.id = p.manifest_id`
	lookupTag = lookupColumns + `
		FROM repository r CROSS JOIN placement p CROSS JOIN manifest m
		WHERE r.name = ? AND p.state <> 'removed' AND m.id = p.manifest_id AND p.id = COALESCE(
			(SELECT q.placement_id FROM pending q JOIN placement o ON o.id = q.placement_id
				WHERE q.repository_id = r.id AND q.name = ? AND q.principal = ?
					AND o.state IN ('held', 'denied') AND (o.brought_by = q.principal OR CAST(? AS bigint) = 1)),
			(SELECT t.placement_id FROM tag t WHERE t.repository_id = r.id AND t.name = ?),
			(SELECT q.placement_id FROM pending q JOIN placement o ON o.id = q.placement_id
				WHERE q.repository_id = r.id AND q.name = ? AND q.principal = ? AND o.state = 'admitted'),
			(SELECT MAX(q.placement_id) FROM pending q JOIN placement o ON o.id = q.placement_id
				WHERE q.repository_id = r.id AND q.name = ? AND o.state IN ('held', 'denied')))`
)

// Lookup implements repo.Reader.
func (tx *Tx) Lookup(ctx context.Context, r oci.Repository, s repo.Selector, v repo.Viewer) (*repo.Placed, error) {
	placed, err := tx.lookup(ctx, r, s, v)
	if err != nil || placed.State != repo.Attached {
		return placed, err
	}
	if placed.Hidden, err = tx.hidden(ctx, &placed.Placement, v); err != nil {
		return nil, fmt.Errorf("looking for the subject of %s in %s: %w", placed.Placement.Digest, r, err)
	}
	return placed, nil
}

// lookup is Lookup without Hidden.
func (tx *Tx) lookup(ctx context.Context, r oci.Repository, s repo.Selector, v repo.Viewer) (*repo.Placed, error) {
	query, args := lookupDigest, []any{r.String(), s.Digest.String()}
	if s.Tag != "" {
		query, args = lookupTag, []any{r.String(), s.Tag, v.Principal, number(v.Quarantine), s.Tag, s.Tag, v.Principal, s.Tag}
	}
	var p placementRow
	var m manifestRow
	err := tx.row(ctx, query, args, append(p.dest(), m.dest()...)...)
	if errors.Is(err, conn.ErrNoRow) {
		return nil, fmt.Errorf("manifest %s: %w", oci.Reference{Repository: r, Tag: s.Tag, Digest: s.Digest}, repo.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up a manifest in %s: %w", r, err)
	}
	var placed repo.Placed
	if placed.Placement, err = p.placement(tx.now()); err == nil {
		placed.Manifest, err = m.manifest(placed.Placement.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s of %s: %w", p.digest, r, err)
	}
	return &placed, nil
}

// hidden reports whether v may not see the evidence p.
func (tx *Tx) hidden(ctx context.Context, p *repo.Placement, v repo.Viewer) (bool, error) {
	cond, args := tx.visible(v)
	var n int
	err := tx.row(ctx, `SELECT COUNT(*) FROM repository r CROSS JOIN placement p
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND `+cond,
		append([]any{p.Repository.String(), p.Digest.String()}, args...), &n)
	return n == 0, err
}

// Tags implements repo.Reader.
func (tx *Tx) Tags(ctx context.Context, r oci.Repository, v repo.Viewer, page repo.Page) ([]string, error) {
	cond, args := tx.visible(v)
	from := func(table string) string {
		return `SELECT t.name FROM repository r CROSS JOIN ` + table + ` t CROSS JOIN placement p
			WHERE r.name = ? AND t.repository_id = r.id AND t.name > ? AND p.id = t.placement_id AND ` + cond
	}
	inForce := append([]any{r.String(), page.After}, args...)
	query, args := from("tag")+` ORDER BY t.name LIMIT ?`, append(inForce, limit(page.Limit))
	if v.Principal != "" {
		query = `SELECT name FROM (` + query + `) AS a UNION SELECT name FROM (` +
			from("pending") + ` AND p.state IN ('held', 'denied', 'admitted') AND t.principal = ? ORDER BY t.name LIMIT ?) AS b ORDER BY name LIMIT ?`
		args = append(append(args, inForce...), v.Principal, limit(page.Limit), limit(page.Limit))
	}
	tags, err := tx.texts(ctx, query, args...)
	if err == nil && len(tags) == 0 {
		err = tx.known(ctx, r, v)
	}
	if err != nil {
		return nil, fmt.Errorf("listing tags of %s: %w", r, err)
	}
	return tags, nil
}

// known returns repo.ErrNotFound for a repository in which v can see nothing.
func (tx *Tx) known(ctx context.Context, r oci.Repository, v repo.Viewer) error {
	cond, args := tx.visible(v)
	var n int
	err := tx.row(ctx, `SELECT 1 FROM repository r CROSS JOIN placement p
		WHERE r.name = ? AND p.repository_id = r.id AND `+cond+` LIMIT 1`, append([]any{r.String()}, args...), &n)
	if errors.Is(err, conn.ErrNoRow) {
		return fmt.Errorf("repository %s: %w", r, repo.ErrNotFound)
	}
	return err
}

// Referrers implements repo.Reader.
func (tx *Tx) Referrers(ctx context.Context, r oci.Repository, subject oci.Digest, artifactType string, v repo.Viewer, page repo.Page) ([]oci.Descriptor, error) {
	cond, args := tx.visible(v)
	args = append([]any{subject.String(), page.After, artifactType, artifactType, r.String()}, args...)
	var found []oci.Descriptor
	left := oci.MaxManifest
	err := tx.each(ctx, `SELECT p.digest, m.media_type, m.artifact_type, m.packed, LENGTH(m.raw)
		FROM manifest m CROSS JOIN repository r CROSS JOIN placement p
		WHERE m.subject = ? AND m.subject <> '' AND p.digest > ? AND (m.artifact_type = ? OR CAST(? AS text) = '')
			AND r.name = ? AND p.repository_id = r.id AND p.manifest_id = m.id AND `+cond+`
		ORDER BY p.digest LIMIT ?`, append(args, limit(page.Limit)), func(rows *sql.Rows) error {
		d, err := scanReferrer(rows)
		found = append(found, d)
		for k, v := range d.Annotations {
			left -= len(k) + len(v)
		}
		if err == nil && left < 0 && len(found) > 1 {
			return errEnough
		}
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	if err == nil && len(found) > 0 {
		var hidden bool
		if hidden, err = tx.concealed(ctx, r, subject, v); hidden {
			found = nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listing referrers of %s in %s: %w", subject, r, err)
	}
	return found, nil
}

// errEnough ends a listing.
var errEnough = errors.New("enough")

func scanReferrer(rows *sql.Rows) (oci.Descriptor, error) {
	var digest string
	var packed []byte
	var d oci.Descriptor
	if err := rows.Scan(&digest, &d.MediaType, &d.ArtifactType, &packed, &d.Size); err != nil {
		return d, err
	}
	var m repo.Manifest
	if err := pack.Unpack(packed, &m); err != nil {
		return d, err
	}
	var err error
	d.Digest, err = oci.ParseDigest(digest)
	d.Annotations = m.Annotations
	return d, err
}

// concealed reports whether d stands in r and v may not see it.
func (tx *Tx) concealed(ctx context.Context, r oci.Repository, d oci.Digest, v repo.Viewer) (bool, error) {
	cond, args := tx.visible(v)
	var n int
	err := tx.row(ctx, `SELECT COUNT(*) FROM repository r CROSS JOIN placement p
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND p.state <> 'removed' AND NOT `+cond,
		append([]any{r.String(), d.String()}, args...), &n)
	return n > 0, err
}

// BlobAccess implements repo.Reader.
func (tx *Tx) BlobAccess(ctx context.Context, r oci.Repository, d oci.Digest, v repo.Viewer) (*repo.BlobAccess, error) {
	a, err := tx.blobAccess(ctx, r, d, v)
	if err != nil || a.Readable {
		return a, err
	}
	if v.Own {
		return nil, fmt.Errorf("blob %s in %s: %w", d, r, repo.ErrNotFound)
	}
	if a.Refused, err = tx.refused(ctx, r, d); err != nil {
		return nil, fmt.Errorf("looking up blob %s in %s: %w", d, r, err)
	}
	return a, nil
}

// blobAccess is BlobAccess without Refused. The lease comes first: who pushes the
// hundredth image on a base that was denied looks at none of the others.
func (tx *Tx) blobAccess(ctx context.Context, r oci.Repository, d oci.Digest, v repo.Viewer) (*repo.BlobAccess, error) {
	cond, args := tx.readable(v)
	var a repo.BlobAccess
	var ok int
	err := tx.row(ctx, `SELECT c.size, CASE
			WHEN EXISTS (SELECT 1 FROM lease l
				WHERE l.repository_id = r.id AND l.content_id = c.id AND l.principal = ? AND l.until > ?) THEN 1
			WHEN EXISTS (SELECT 1 FROM holding h CROSS JOIN placement p
				WHERE h.repository_id = r.id AND h.content_id = c.id AND p.id = h.placement_id AND `+cond+`) THEN 1
			ELSE 0 END
		FROM repository r CROSS JOIN content c WHERE r.name = ? AND c.digest = ? AND c.size >= 0`,
		slices.Concat([]any{v.Principal, tx.now()}, args, []any{r.String(), d.String()}), &a.Size, &ok)
	if errors.Is(err, conn.ErrNoRow) {
		return nil, fmt.Errorf("blob %s in %s: %w", d, r, repo.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("looking up blob %s in %s: %w", d, r, err)
	}
	a.Readable = ok == 1
	return &a, nil
}

// refusedOf is how many of the placements that hold a blob are looked at for the
// reason why it is closed.
const refusedOf = 200

// refused returns the placement that keeps a blob closed: of the newest, the one
// that comes closest to being admitted and, among equals, the latest. When the
// blob is in no such placement it is not found. Evidence is left out: it waits for
// nothing of its own.
func (tx *Tx) refused(ctx context.Context, r oci.Repository, d oci.Digest) (*repo.Placement, error) {
	found, err := tx.placements(ctx, `SELECT `+placementColumns+`
		FROM (SELECT h.placement_id FROM holding h
				WHERE h.repository_id = (SELECT n.id FROM repository n WHERE n.name = ?) AND h.content_id = (SELECT c.id FROM content c WHERE c.digest = ?)
				ORDER BY h.placement_id DESC LIMIT ?) AS newest
			CROSS JOIN placement p CROSS JOIN repository r
		WHERE p.id = newest.placement_id AND r.id = p.repository_id AND (p.state IN ('held', 'denied', 'withdrawn', 'revoked') OR p.state = 'admitted' AND p.stay_until <> 0 AND p.stay_until <= ?)
		ORDER BY CASE p.state WHEN 'held' THEN 0 WHEN 'denied' THEN 1 ELSE 2 END, p.brought_at DESC, p.digest LIMIT 1`,
		r.String(), d.String(), refusedOf, tx.now())
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, repo.ErrNotFound
	}
	return &found[0], nil
}

// Repositories implements repo.Reader. Evidence alone makes no repository
// visible that its subject does not make visible.
func (tx *Tx) Repositories(ctx context.Context, page repo.Page) ([]oci.Repository, error) {
	names, err := tx.texts(ctx, `SELECT r.name FROM repository r
		WHERE r.name > ? AND EXISTS (SELECT 1 FROM placement p WHERE p.repository_id = r.id AND p.state = 'admitted' AND (p.stay_until = 0 OR p.stay_until > ?))
		ORDER BY r.name LIMIT ?`, page.After, tx.now(), limit(page.Limit))
	if err != nil {
		return nil, fmt.Errorf("listing repositories: %w", err)
	}
	rs := make([]oci.Repository, len(names))
	for i, n := range names {
		if rs[i], err = oci.ParseRepository(n); err != nil {
			return nil, fmt.Errorf("listing repositories: %w", err)
		}
	}
	return rs, nil
}
