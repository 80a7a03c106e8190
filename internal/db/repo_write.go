package db

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/db/pack"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// intern returns the number of a row that is found by one text, making it when
// it is not there.
func (tx *Tx) intern(ctx context.Context, table, column, value string) (int64, error) {
	var id int64
	find := `SELECT id FROM ` + table + ` WHERE ` + column + ` = ?`
	err := tx.row(ctx, find, []any{value}, &id)
	if !errors.Is(err, conn.ErrNoRow) {
		return id, err
	}
	err = tx.row(ctx, `INSERT INTO `+table+` (`+column+`) VALUES (?) RETURNING id`, []any{value}, &id)
	return id, err
}

// repository returns the number of r, making it known when it is not.
func (tx *Tx) repository(ctx context.Context, r oci.Repository) (int64, error) {
	if r.IsZero() {
		return 0, errors.New("no repository is named")
	}
	return tx.intern(ctx, "repository", "name", r.String())
}

// content returns the number of d.
func (tx *Tx) content(ctx context.Context, d oci.Digest) (int64, error) {
	if d.IsZero() {
		return 0, errors.New("no digest is named")
	}
	return tx.intern(ctx, "content", "digest", d.String())
}

// PutBlob implements repo.Writer.
func (tx *Tx) PutBlob(ctx context.Context, d oci.Digest, size int64) error {
	if d.IsZero() || size < 0 {
		return fmt.Errorf("recording blob %s of %d bytes: no such thing", d, size)
	}
	_, err := tx.exec(ctx, `INSERT INTO content (digest, size) VALUES (?, ?)
		ON CONFLICT (digest) DO UPDATE SET size = excluded.size WHERE content.size <> excluded.size`, d.String(), size)
	if err != nil {
		return fmt.Errorf("recording blob %s: %w", d, err)
	}
	return nil
}

// Lease implements repo.Writer. A lease that runs longer stays as it is.
func (tx *Tx) Lease(ctx context.Context, r oci.Repository, d oci.Digest, principal string, until time.Time) error {
	if principal == "" {
		return fmt.Errorf("leasing %s in %s: to nobody", d, r)
	}
	rid, err := tx.repository(ctx, r)
	if err == nil {
		var id int64
		if id, err = tx.content(ctx, d); err == nil {
			_, err = tx.exec(ctx, `INSERT INTO lease (repository_id, content_id, principal, until) VALUES (?, ?, ?, ?)
				ON CONFLICT (repository_id, content_id, principal) DO UPDATE SET until = excluded.until
				WHERE lease.until < excluded.until`, rid, id, principal, micros(until))
		}
	}
	if err != nil {
		return fmt.Errorf("leasing %s in %s: %w", d, r, err)
	}
	return nil
}

// Unlease implements repo.Writer.
func (tx *Tx) Unlease(ctx context.Context, r oci.Repository, d oci.Digest) error {
	_, err := tx.exec(ctx, `DELETE FROM lease
		WHERE repository_id = (SELECT id FROM repository WHERE name = ?) AND content_id = (SELECT id FROM content WHERE digest = ?)`,
		r.String(), d.String())
	if err != nil {
		return fmt.Errorf("ending the leases of %s in %s: %w", d, r, err)
	}
	return nil
}

// PutManifest implements repo.Writer.
func (tx *Tx) PutManifest(ctx context.Context, m *repo.Manifest) error {
	id, err := tx.content(ctx, m.Digest)
	if err == nil {
		err = tx.putManifest(ctx, id, m)
	}
	if err != nil {
		return fmt.Errorf("storing manifest %s: %w", m.Digest, err)
	}
	return nil
}

func (tx *Tx) putManifest(ctx context.Context, id int64, m *repo.Manifest) error {
	n, err := tx.exec(ctx, `INSERT INTO manifest (id, media_type, artifact_type, kind, subject, packed, raw)
		VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		id, m.MediaType, m.ArtifactType, string(m.Kind), m.Subject.String(), pack.Pack(m), bytesOf(m.Raw))
	if err != nil || n == 0 {
		return err
	}
	if err := tx.mention(ctx, m.References); err != nil {
		return err
	}
	return tx.inContent(ctx, roleDigests(m.References, isChild), `INSERT INTO child (content_id, manifest_id)
		SELECT c.id, CAST(? AS bigint) FROM content c WHERE c.digest IN (#)`, id)
}

// mention makes rows of what references name, so that they have numbers.
func (tx *Tx) mention(ctx context.Context, refs []repo.Reference) error {
	all := roleDigests(refs, func(repo.Role) bool { return true })
	return chunks(all, func(part []any) error {
		_, err := tx.exec(ctx, `INSERT INTO content (digest) VALUES `+marks(len(part), "(?)")+` ON CONFLICT (digest) DO NOTHING`, part...)
		return err
	})
}

// inContent runs query with "(#)" as a list of the digests given, after args.
func (tx *Tx) inContent(ctx context.Context, digests []any, query string, args ...any) error {
	return chunks(digests, func(part []any) error {
		_, err := tx.exec(ctx, list(query, len(part)), append(slices.Clone(args), part...)...)
		return err
	})
}

func isChild(r repo.Role) bool { return r == repo.RoleChild }
func isBlob(r repo.Role) bool  { return r != repo.RoleChild && r != repo.RoleForeign }

// roleDigests returns the digests of references in some roles, each once, as
// arguments of a statement. They are sorted so that transactions which insert
// the same ones do so in the same order.
func roleDigests(refs []repo.Reference, in func(repo.Role) bool) []any {
	var ds []string
	for _, ref := range refs {
		if in(ref.Role) {
			ds = append(ds, ref.Digest.String())
		}
	}
	slices.Sort(ds)
	return anys(slices.Compact(ds))
}

// Place implements repo.Writer. The manifest must be stored (repo.ErrNotFound).
func (tx *Tx) Place(ctx context.Context, p *repo.Placement) error {
	if err := tx.place(ctx, p); err != nil {
		return fmt.Errorf("placing %s in %s: %w", p.Digest, p.Repository, err)
	}
	return nil
}

func (tx *Tx) place(ctx context.Context, p *repo.Placement) error {
	if p.BroughtBy == "" || p.State == "" {
		return errors.New("a placement has a state and somebody who brought it")
	}
	rid, err := tx.repository(ctx, p.Repository)
	if err != nil {
		return err
	}
	var manifest int64
	var packed []byte
	err = tx.row(ctx, `SELECT m.id, m.packed FROM content c JOIN manifest m ON m.id = c.id WHERE c.digest = ?`,
		[]any{p.Digest.String()}, &manifest, &packed)
	if errors.Is(err, conn.ErrNoRow) {
		return fmt.Errorf("its manifest: %w", repo.ErrNotFound)
	}
	if err != nil {
		return err
	}
	id, before, err := tx.storePlacement(ctx, rid, manifest, p)
	if err != nil {
		return err
	}
	if before != p.State && (stated(before) || stated(p.State)) {
		if err := tx.advance(ctx, rid); err != nil {
			return err
		}
	}
	if (before == repo.Admitted) != (p.State == repo.Admitted) {
		if err := tx.baseChanged(ctx, p.Digest); err != nil {
			return err
		}
	}
	if (before == repo.Removed) == (p.State == repo.Removed) {
		return nil
	}
	var m repo.Manifest
	if err := pack.Unpack(packed, &m); err != nil {
		return err
	}
	blobs := roleDigests(m.References, isBlob)
	if p.State == repo.Removed {
		if _, err := tx.exec(ctx, `DELETE FROM pending WHERE placement_id = ?`, id); err != nil {
			return err
		}
		return tx.inContent(ctx, blobs, `DELETE FROM holding WHERE repository_id = ? AND placement_id = ?
			AND content_id IN (SELECT id FROM content WHERE digest IN (#))`, rid, id)
	}
	return tx.inContent(ctx, blobs, `INSERT INTO holding (repository_id, placement_id, content_id)
		SELECT CAST(? AS bigint), CAST(? AS bigint), c.id FROM content c WHERE c.digest IN (#)`, rid, id)
}

// storePlacement compares and swaps the row. It returns its number and the
// state before, Removed when there was none.
func (tx *Tx) storePlacement(ctx context.Context, repository, manifest int64, p *repo.Placement) (int64, repo.State, error) {
	var id, version int64
	var before string
	err := tx.row(ctx, `SELECT id, version, state FROM placement WHERE repository_id = ? AND digest = ?`,
		[]any{repository, p.Digest.String()}, &id, &version, &before)
	absent := errors.Is(err, conn.ErrNoRow)
	switch {
	case err != nil && !absent:
		return 0, "", err
	case absent && p.Version != 0:
		return 0, "", fmt.Errorf("%w: there is none, version %d was expected", repo.ErrConflict, p.Version)
	case !absent && p.Version == 0 && before != string(repo.Removed), p.Version != 0 && p.Version != version:
		return 0, "", fmt.Errorf("%w: it has version %d, %d was expected", repo.ErrConflict, version, p.Version)
	}
	values := []any{string(p.Kind), string(p.State), p.BroughtBy, micros(p.BroughtAt), micros(p.AdmittedAt),
		micros(p.StayUntil), micros(p.RecheckAt), due(p), p.Decision, p.Sentence, version + 1}
	if absent {
		err = tx.row(ctx, `INSERT INTO placement (kind, state, brought_by, brought_at, admitted_at, stay_until, recheck_at,
			due_at, decision, sentence, version, repository_id, manifest_id, digest)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id`,
			append(values, repository, manifest, p.Digest.String()), &id)
		return id, repo.Removed, err
	}
	_, err = tx.exec(ctx, `UPDATE placement SET kind = ?, state = ?, brought_by = ?, brought_at = ?, admitted_at = ?, stay_until = ?,
		recheck_at = ?, due_at = ?, decision = ?, sentence = ?, version = ? WHERE id = ?`, append(values, id)...)
	return id, repo.State(before), err
}

// due is when time alone may change p, 0 for never.
func due(p *repo.Placement) int64 {
	stay, recheck := micros(p.StayUntil), micros(p.RecheckAt)
	switch {
	case p.State == repo.Removed:
		return 0
	case stay == 0 || recheck != 0 && recheck < stay:
		return recheck
	}
	return stay
}

// SetTag implements repo.Writer. d must stand in r (repo.ErrNotFound).
func (tx *Tx) SetTag(ctx context.Context, r oci.Repository, tag string, d oci.Digest) (oci.Digest, error) {
	before, err := tx.setTag(ctx, r, tag, d, 0)
	if err != nil {
		return oci.Digest{}, fmt.Errorf("setting tag %s of %s: %w", tag, r, err)
	}
	return before, nil
}

// setTag moves a tag. back is the ID of the repo.Named that it goes back to, 0 for
// none.
func (tx *Tx) setTag(ctx context.Context, r oci.Repository, tag string, d oci.Digest, back int64) (oci.Digest, error) {
	var before oci.Digest
	old, err := tx.digests(ctx, `SELECT p.digest FROM repository r CROSS JOIN tag t CROSS JOIN placement p
		WHERE r.name = ? AND t.repository_id = r.id AND t.name = ? AND p.id = t.placement_id`, r.String(), tag)
	if err != nil {
		return before, err
	}
	if len(old) > 0 {
		before = old[0]
	}
	switch {
	case d.IsZero() && before.IsZero():
	case d.IsZero():
		var rid int64
		if rid, err = tx.repository(ctx, r); err == nil {
			err = tx.advance(ctx, rid)
		}
		if err == nil {
			err = tx.unname(ctx, rid, tag)
		}
		if err == nil {
			err = tx.baseChanged(ctx, before)
		}
		if err != nil {
			return before, err
		}
		_, err = tx.exec(ctx, `DELETE FROM tag WHERE name = ? AND repository_id = (SELECT id FROM repository WHERE name = ?)`, tag, r.String())
	default:
		var rid, pid int64
		if rid, pid, err = tx.standing(ctx, r, d); err == nil {
			err = tx.moveTag(ctx, rid, tag, pid)
		}
		if err == nil && before != d {
			err = tx.renamed(ctx, rid, tag, before, named{d, back})
		}
		if subject, ok := repo.EvidenceTag(tag); ok && err == nil {
			_, err = tx.exec(ctx, `INSERT INTO about (subject, manifest_id)
				SELECT CAST(? AS text), p.manifest_id FROM placement p WHERE p.id = ? AND p.kind = 'evidence'
				ON CONFLICT (subject, manifest_id) DO NOTHING`, subject.String(), pid)
		}
	}
	return before, err
}

// moveTag lets a tag point at a placement, and ends the notes that this
// fulfils or voids.
func (tx *Tx) moveTag(ctx context.Context, repository int64, tag string, placement int64) error {
	_, err := tx.exec(ctx, `INSERT INTO tag (repository_id, name, placement_id) VALUES (?, ?, ?)
		ON CONFLICT (repository_id, name) DO UPDATE SET placement_id = excluded.placement_id`, repository, tag, placement)
	if err == nil {
		_, err = tx.exec(ctx, `DELETE FROM pending WHERE repository_id = ? AND name = ? AND (placement_id = ? OR asked < COALESCE(
			(SELECT MAX(q.asked) FROM pending q WHERE q.repository_id = ? AND q.name = ? AND q.placement_id = ?), ?))`,
			repository, tag, placement, repository, tag, placement, int64(math.MaxInt64))
	}
	return err
}

// standing returns the numbers of r and of the placement of d there.
func (tx *Tx) standing(ctx context.Context, r oci.Repository, d oci.Digest) (repository, placement int64, err error) {
	err = tx.row(ctx, `SELECT r.id, p.id FROM repository r CROSS JOIN placement p
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND p.state <> 'removed'`,
		[]any{r.String(), d.String()}, &repository, &placement)
	if errors.Is(err, conn.ErrNoRow) {
		err = fmt.Errorf("%s in it: %w", d, repo.ErrNotFound)
	}
	return repository, placement, err
}

// SetPending implements repo.Writer. d must stand in r (repo.ErrNotFound).
func (tx *Tx) SetPending(ctx context.Context, r oci.Repository, tag string, d oci.Digest, principal string) error {
	if err := tx.setPending(ctx, r, tag, d, principal); err != nil {
		return fmt.Errorf("noting tag %s of %s for %s: %w", tag, r, principal, err)
	}
	return nil
}

func (tx *Tx) setPending(ctx context.Context, r oci.Repository, tag string, d oci.Digest, principal string) error {
	if principal == "" {
		return errors.New("nobody asks")
	}
	if d.IsZero() {
		_, err := tx.exec(ctx, `DELETE FROM pending WHERE name = ? AND principal = ? AND repository_id = (SELECT id FROM repository WHERE name = ?)`,
			tag, principal, r.String())
		return err
	}
	rid, pid, err := tx.standing(ctx, r, d)
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO pending (repository_id, name, principal, placement_id, asked, decision) VALUES (?, ?, ?, ?, ?, 0)
		ON CONFLICT (repository_id, name, principal) DO UPDATE SET asked = excluded.asked, placement_id = excluded.placement_id,
			decision = CASE WHEN pending.placement_id = excluded.placement_id THEN pending.decision ELSE 0 END`, rid, tag, principal, pid, tx.now())
	return err
}

// Sweep removes leases and one-time codes that have ended, at most limit of
// each, and returns how many it removed.
func (db *DB) Sweep(ctx context.Context, limit int) (int, error) {
	var removed int64
	err := db.Update(ctx, func(tx *Tx) error {
		removed = 0
		for _, q := range []string{
			`DELETE FROM lease WHERE (repository_id, content_id, principal) IN
				(SELECT repository_id, content_id, principal FROM lease WHERE until <= ? ORDER BY until LIMIT ?)`,
			`DELETE FROM enrol_code WHERE hash IN (SELECT hash FROM enrol_code WHERE expires <= ? LIMIT ?)`,
		} {
			n, err := tx.exec(ctx, q, tx.now(), limit)
			if err != nil {
				return fmt.Errorf("removing what has ended: %w", err)
			}
			removed += n
		}
		return nil
	})
	return int(removed), err
}
