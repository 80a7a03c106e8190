package db

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/revoke"
)

// Mark implements revoke.Marks. What another revocation has withdrawn keeps what
// it was before that.
func (tx *Tx) Mark(ctx context.Context, id int64, ws []revoke.Withdrawal) error {
	of := map[oci.Repository][]revoke.Withdrawal{}
	var rs []oci.Repository // in the order of ws
	for _, w := range ws {
		if of[w.Repository] == nil {
			rs = append(rs, w.Repository)
		}
		of[w.Repository] = append(of[w.Repository], w)
	}
	for _, r := range rs {
		err := chunks(of[r], func(part []revoke.Withdrawal) error {
			var args []any
			for _, w := range part {
				args = append(args, w.Digest.String(), w.How)
			}
			_, err := tx.exec(ctx, `WITH said (digest, how) AS (VALUES `+marks(len(part), "(CAST(? AS text), CAST(? AS text))")+`)
				INSERT INTO revoked (revocation_id, placement_id, state, sentence, decision, step, how)
				SELECT CAST(? AS bigint), p.id, COALESCE(`+withdrawn("state")+`, p.state), COALESCE(`+withdrawn("sentence")+`, p.sentence),
					COALESCE(`+withdrawn("decision")+`, p.decision), 0, said.how
				FROM repository r CROSS JOIN said CROSS JOIN placement p
				WHERE r.name = ? AND p.repository_id = r.id AND p.digest = said.digest AND p.state <> 'removed'
				ON CONFLICT (placement_id, revocation_id) DO NOTHING`, append(args, id, r.String())...)
			return err
		})
		if err != nil {
			return fmt.Errorf("marking what stands in %s: %w", r, err)
		}
	}
	return nil
}

// Take implements revoke.Marks. It reads no more of what it changes than it must:
// on SQLite all who write wait for it.
func (tx *Tx) Take(ctx context.Context, id int64, sentence string) error {
	const marked = `FROM revoked k CROSS JOIN placement p WHERE k.revocation_id = ? AND k.step = 0 AND p.id = k.placement_id`
	var repositories []int64
	err := tx.each(ctx, `SELECT DISTINCT p.repository_id `+marked+` AND p.state NOT IN ('removed', 'revoked') ORDER BY p.repository_id`, []any{id}, func(rows *sql.Rows) error {
		var repository int64
		err := rows.Scan(&repository)
		repositories = append(repositories, repository)
		return err
	})
	for i := 0; i < len(repositories) && err == nil; i++ {
		err = tx.advance(ctx, repositories[i])
	}
	var taken []oci.Digest
	if err == nil {
		taken, err = tx.digests(ctx, `SELECT DISTINCT p.digest `+marked+` AND p.state = 'admitted' ORDER BY p.digest`, id)
	}
	for i := 0; i < len(taken) && err == nil; i++ {
		err = tx.baseChanged(ctx, taken[i])
	}
	if err == nil { // what has changed since it was marked
		_, err = tx.exec(ctx, `UPDATE revoked SET state = p.state, sentence = p.sentence, decision = p.decision FROM placement p
			WHERE revoked.revocation_id = ? AND revoked.step = 0 AND p.id = revoked.placement_id AND p.state NOT IN ('revoked', revoked.state)`, id)
	}
	if err == nil {
		_, err = tx.exec(ctx, `UPDATE placement SET state = 'revoked', decision = 0, sentence = CAST(? AS text) || digest, stay_until = 0, recheck_at = 0, due_at = 0, version = version + 1
			WHERE id IN (SELECT k.placement_id FROM revoked k WHERE k.revocation_id = ? AND k.step = 0) AND state <> 'removed'`, sentence, id)
	}
	if err == nil {
		err = tx.endLeases(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("withdrawing what revocation %d is about: %w", id, err)
	}
	return nil
}

// withdrawn is what a placement p was before a revocation withdrew it, NULL if
// none has.
func withdrawn(column string) string {
	return `CASE WHEN p.state = 'revoked' THEN (SELECT k.` + column + ` FROM revoked k WHERE k.placement_id = p.id ORDER BY k.revocation_id DESC LIMIT 1) END`
}

// endLeases takes from everybody the blobs of what is withdrawn, where nothing
// else holds them: a lease is a way to read, too.
func (tx *Tx) endLeases(ctx context.Context, id int64) error {
	_, err := tx.exec(ctx, `DELETE FROM lease WHERE EXISTS (SELECT 1 FROM holding h CROSS JOIN revoked k
			WHERE h.repository_id = lease.repository_id AND h.content_id = lease.content_id AND k.placement_id = h.placement_id AND k.revocation_id = ?)
		AND NOT EXISTS (SELECT 1 FROM holding o CROSS JOIN placement q
			WHERE o.repository_id = lease.repository_id AND o.content_id = lease.content_id AND q.id = o.placement_id AND q.state <> 'revoked')`, id)
	return err
}

// Marked implements revoke.Marks.
func (tx *Tx) Marked(ctx context.Context, id int64, step revoke.Step, max int) ([]revoke.Mark, error) {
	var found []revoke.Mark
	err := tx.each(ctx, `SELECT `+placementColumns+`, k.state, k.sentence, k.decision, k.how,
			(SELECT COUNT(*) FROM revoked o CROSS JOIN revocation v WHERE o.placement_id = k.placement_id AND v.id = o.revocation_id AND v.to_seq = 0)
		FROM revoked k CROSS JOIN placement p CROSS JOIN repository r
		WHERE k.revocation_id = ? AND k.step = ? AND p.id = k.placement_id AND r.id = p.repository_id ORDER BY k.placement_id LIMIT ?`,
		[]any{id, int(step), limit(max)}, func(rows *sql.Rows) error {
			var row placementRow
			var m revoke.Mark
			var state string
			err := rows.Scan(append(row.dest(), &state, &m.Sentence, &m.Decision, &m.How, &m.Standing)...)
			if err == nil {
				m.State = repo.State(state)
				m.At, err = row.placement(tx.now())
			}
			found = append(found, m)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("listing what revocation %d has withdrawn: %w", id, err)
	}
	return found, nil
}

// Step implements revoke.Marks.
func (tx *Tx) Step(ctx context.Context, id int64, at *repo.Placement, to revoke.Step) error {
	n, err := tx.exec(ctx, `UPDATE revoked SET step = ? WHERE revocation_id = ? AND placement_id = (SELECT p.id
		FROM repository r CROSS JOIN placement p WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ?)`,
		int(to), id, at.Repository.String(), at.Digest.String())
	if err == nil && n == 0 {
		err = conn.ErrNoRow
	}
	if err != nil {
		return fmt.Errorf("noting how far the withdrawal of %s@%s is: %w", at.Repository, at.Digest, err)
	}
	return nil
}

// Withdrawn implements revoke.Marks.
func (tx *Tx) Withdrawn(ctx context.Context, id int64, fn func(oci.Repository, oci.Digest)) error {
	err := tx.each(ctx, `SELECT r.name, p.digest FROM revoked k CROSS JOIN placement p CROSS JOIN repository r
		WHERE k.revocation_id = ? AND p.id = k.placement_id AND r.id = p.repository_id`, []any{id}, func(rows *sql.Rows) error {
		var name, digest string
		if err := rows.Scan(&name, &digest); err != nil {
			return err
		}
		r, err := oci.ParseRepository(name)
		if err != nil {
			return err
		}
		d, err := oci.ParseDigest(digest)
		if err == nil {
			fn(r, d)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("listing what revocation %d has withdrawn: %w", id, err)
	}
	return nil
}

// Progress implements revoke.Store.
func (tx *Tx) Progress(ctx context.Context, id int64, lane string) (p revoke.Progress, err error) {
	err = tx.each(ctx, `SELECT k.step, COUNT(*) FROM revoked k WHERE k.revocation_id = ? GROUP BY k.step`, []any{id}, func(rows *sql.Rows) error {
		var step revoke.Step
		var n int
		err := rows.Scan(&step, &n)
		p.Withdrawn += n
		if step >= revoke.Told {
			p.Told += n
		}
		if step == revoke.Back {
			p.Back += n
		}
		return err
	})
	if err == nil {
		err = tx.row(ctx, `SELECT COUNT(*) FROM job WHERE lane = ? AND state < 2`, []any{lane}, &p.Waiting)
	}
	if err != nil {
		return p, fmt.Errorf("looking how far revocation %d is: %w", id, err)
	}
	return p, nil
}

// Rejudging implements revoke.Store.
func (tx *Tx) Rejudging(ctx context.Context, id int64, n int) error {
	if _, err := tx.exec(ctx, `UPDATE revocation SET rejudged = ? WHERE id = ?`, n, id); err != nil {
		return fmt.Errorf("noting what revocation %d has judged again: %w", id, err)
	}
	return nil
}
