package db

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

const notes = `SELECT q.name, p.digest, q.principal, q.asked, q.decision FROM repository r CROSS JOIN `

// NotesOf implements assess.Notes.
func (tx *Tx) NotesOf(ctx context.Context, r oci.Repository, d oci.Digest) ([]repo.Note, error) {
	return tx.notes(ctx, r, notes+`placement p CROSS JOIN pending q
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ? AND q.placement_id = p.id ORDER BY q.name, q.principal`, d.String())
}

// NotesAbout implements assess.Notes.
func (tx *Tx) NotesAbout(ctx context.Context, r oci.Repository, tag string) ([]repo.Note, error) {
	return tx.notes(ctx, r, notes+`pending q CROSS JOIN placement p
		WHERE r.name = ? AND q.repository_id = r.id AND q.name = ? AND p.id = q.placement_id ORDER BY q.principal`, tag)
}

func (tx *Tx) notes(ctx context.Context, r oci.Repository, query, of string) ([]repo.Note, error) {
	var found []repo.Note
	err := tx.each(ctx, query, []any{r.String(), of}, func(rows *sql.Rows) error {
		var n repo.Note
		var digest string
		var asked int64
		err := rows.Scan(&n.Tag, &digest, &n.By, &asked, &n.Decision)
		if err == nil {
			n.At = timeOf(asked)
			n.Digest, err = oci.ParseDigest(digest)
		}
		found = append(found, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listing tags that wait in %s: %w", r, err)
	}
	return found, nil
}

// PutNotesDecision implements assess.Notes.
func (tx *Tx) PutNotesDecision(ctx context.Context, r oci.Repository, d oci.Digest, decision int64) error {
	_, err := tx.exec(ctx, `UPDATE pending SET decision = ? WHERE placement_id = (SELECT p.id FROM repository r CROSS JOIN placement p
		WHERE r.name = ? AND p.repository_id = r.id AND p.digest = ?)`, decision, r.String(), d.String())
	if err != nil {
		return fmt.Errorf("noting why tags wait for %s in %s: %w", d, r, err)
	}
	return nil
}
