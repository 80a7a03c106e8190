package db

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var _ repo.Words = (*Tx)(nil)

// words returns those that a query finds: rest follows the columns.
func (tx *Tx) words(ctx context.Context, rest string, args []any) ([]evidence.Word, error) {
	var found []evidence.Word
	err := tx.each(ctx, `SELECT w.id, w.kind, r.name, w.digest, w.by_name, w.by_groups, w.reason, w.made_at `+rest, args, func(rows *sql.Rows) error {
		var w evidence.Word
		var kind, repository, digest string
		var groups []byte
		var at int64
		err := rows.Scan(&w.ID, &kind, &repository, &digest, &w.By.Name, &groups, &w.Reason, &at)
		if err == nil {
			w.Digest, err = oci.ParseDigest(digest)
		}
		if err == nil {
			w.Repository, err = oci.ParseRepository(repository)
		}
		if err == nil {
			err = json.Unmarshal(groups, &w.By.Groups)
		}
		w.Kind, w.By.At = evidence.WordKind(kind), timeOf(at)
		found = append(found, w)
		return err
	})
	return found, err
}

// WordsOn implements repo.Words.
func (tx *Tx) WordsOn(ctx context.Context, kind evidence.WordKind, r oci.Repository, ds []oci.Digest) ([]evidence.Word, error) {
	var found []evidence.Word
	err := chunks(texts(ds), func(part []any) error {
		some, err := tx.words(ctx, list(`FROM repository r CROSS JOIN word w
			WHERE r.name = ? AND w.repository_id = r.id AND w.digest IN (#) AND w.kind = ? AND w.to_seq = 0 ORDER BY w.id`, len(part)),
			slices.Concat([]any{r.String()}, part, []any{string(kind)}))
		found = append(found, some...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was said in %s: %w", r, err)
	}
	slices.SortFunc(found, byID)
	return found, nil
}

// WordsByID implements repo.Words.
func (tx *Tx) WordsByID(ctx context.Context, ids []int64) ([]evidence.Word, error) {
	var found []evidence.Word
	err := chunks(anys(ids), func(part []any) error {
		some, err := tx.words(ctx, list(`FROM word w CROSS JOIN repository r WHERE w.id IN (#) AND r.id = w.repository_id ORDER BY w.id`, len(part)), part)
		found = append(found, some...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading what was said: %w", err)
	}
	slices.SortFunc(found, byID)
	return found, nil
}

func byID(a, b evidence.Word) int { return cmp.Compare(a.ID, b.ID) }

// PutWord implements repo.Words.
func (tx *Tx) PutWord(ctx context.Context, w *evidence.Word) error {
	rid, err := tx.repository(ctx, w.Repository)
	var seq int64
	if err == nil {
		seq, err = tx.wordSeq(ctx)
	}
	if err == nil {
		err = tx.row(ctx, `INSERT INTO word (kind, repository_id, digest, by_name, by_groups, reason, made_at, from_seq, to_seq, ended_by, ended_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0) RETURNING id`,
			[]any{string(w.Kind), rid, w.Digest.String(), w.By.Name, document(w.By.Groups), w.Reason, micros(w.By.At), seq + 1}, &w.ID)
	}
	if err != nil {
		return fmt.Errorf("storing that %s@%s is %s: %w", w.Repository, w.Digest, w.Kind, err)
	}
	return nil
}

// EndWord implements repo.Words.
func (tx *Tx) EndWord(ctx context.Context, id int64, by evidence.Grantor) error {
	seq, err := tx.wordSeq(ctx)
	var n int64
	if err == nil {
		n, err = tx.exec(ctx, `UPDATE word SET to_seq = ?, ended_by = ?, ended_at = ? WHERE id = ? AND to_seq = 0`, seq+1, by.Name, micros(by.At), id)
	}
	if err == nil && n == 0 {
		err = repo.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("ending word %d: %w", id, err)
	}
	return nil
}

// wordSeq is the number of the latest act on words.
func (tx *Tx) wordSeq(ctx context.Context) (int64, error) {
	var from, to int64
	err := tx.row(ctx, `SELECT COALESCE((SELECT MAX(w.from_seq) FROM word w), 0), COALESCE((SELECT MAX(w.to_seq) FROM word w), 0)`, nil, &from, &to)
	return max(from, to), err
}
