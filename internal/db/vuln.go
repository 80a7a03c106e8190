package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/internal/db/conn"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// snapshots returns the snapshots of a query.
func (tx *Tx) snapshots(ctx context.Context, rest string, args ...any) ([]evidence.Snapshot, error) {
	var found []evidence.Snapshot
	err := tx.each(ctx, `SELECT seq, digest, at, advisories, ecosystems, exploited, scores, lifecycles, vex FROM snapshot `+rest, args, func(rows *sql.Rows) error {
		var s evidence.Snapshot
		var digest, exploited, scores, lifecycles, vex string
		var at int64
		var ecosystems []byte
		if err := rows.Scan(&s.Seq, &digest, &at, &s.Advisories, &ecosystems, &exploited, &scores, &lifecycles, &vex); err != nil {
			return err
		}
		s.At = timeOf(at)
		err := errors.Join(s.Digest.UnmarshalText([]byte(digest)), json.Unmarshal(ecosystems, &s.Ecosystems),
			s.Exploited.UnmarshalText([]byte(exploited)), s.Scores.UnmarshalText([]byte(scores)), s.Lifecycles.UnmarshalText([]byte(lifecycles)), s.VEX.UnmarshalText([]byte(vex)))
		found = append(found, s)
		return err
	})
	return found, err
}

// published returns the number of the newest snapshot, 0 when there is none.
func (tx *Tx) published(ctx context.Context) (seq int64, err error) {
	err = tx.row(ctx, `SELECT seq FROM snapshot ORDER BY seq DESC LIMIT 1`, nil, &seq)
	if errors.Is(err, conn.ErrNoRow) {
		err = nil
	}
	return seq, err
}

// Current implements vuln.Reader.
func (db *DB) Current(ctx context.Context) (evidence.Snapshot, error) {
	var found []evidence.Snapshot
	err := db.read(ctx, func(tx *Tx) (err error) {
		found, err = tx.snapshots(ctx, `ORDER BY seq DESC LIMIT 1`)
		return err
	})
	if err != nil {
		return evidence.Snapshot{}, fmt.Errorf("reading the current advisories: %w", err)
	}
	if len(found) == 0 {
		return evidence.Snapshot{}, nil
	}
	return found[0], nil
}

// Snapshot implements vuln.Reader.
func (db *DB) Snapshot(ctx context.Context, seq int64) (s evidence.Snapshot, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		s, err = tx.snapshot(ctx, seq)
		return err
	})
	return s, err
}

func (tx *Tx) snapshot(ctx context.Context, seq int64) (evidence.Snapshot, error) {
	found, err := tx.snapshots(ctx, `WHERE seq = ?`, seq)
	if err == nil && len(found) == 0 {
		err = vuln.ErrNoSnapshot
	}
	if err != nil {
		return evidence.Snapshot{}, fmt.Errorf("reading snapshot %d: %w", seq, err)
	}
	return found[0], nil
}

// Feeds implements vuln.Reader.
func (db *DB) Feeds(ctx context.Context) ([]vuln.FeedState, error) {
	var found []vuln.FeedState
	err := db.read(ctx, func(tx *Tx) error {
		return tx.each(ctx, `SELECT name, source, ecosystems, records, skipped, reasons, digest, seq, etag, last_modified,
			loaded_at, checked_at, problem, held, format, dated FROM feed ORDER BY name`, nil, func(rows *sql.Rows) error {
			f, err := scanFeed(rows)
			found = append(found, f)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the state of the feeds: %w", err)
	}
	return found, nil
}

func scanFeed(rows *sql.Rows) (f vuln.FeedState, err error) {
	var ecosystems, reasons []byte
	var digest string
	var loaded, checked, held, dated int64
	err = rows.Scan(&f.Name, &f.Source, &ecosystems, &f.Records, &f.Skipped, &reasons, &digest, &f.Seq, &f.ETag, &f.LastModified,
		&loaded, &checked, &f.Problem, &held, &f.Format, &dated)
	if err != nil {
		return f, err
	}
	f.LoadedAt, f.CheckedAt, f.Dated, f.Held = timeOf(loaded), timeOf(checked), timeOf(dated), held != 0
	return f, errors.Join(f.Digest.UnmarshalText([]byte(digest)), json.Unmarshal(ecosystems, &f.Ecosystems), json.Unmarshal(reasons, &f.Reasons))
}

// advisories calls fn for the rows of a query, as they stand under what is
// published: to a row that a load under way has closed, that has not happened.
func (tx *Tx) advisories(ctx context.Context, published int64, rest string, args []any, fn func(vuln.Row) error) error {
	return tx.each(ctx, `SELECT feed, id, from_seq, to_seq, modified, withdrawn, known, digest, format, packed FROM advisory `+rest, args,
		func(rows *sql.Rows) error {
			var r vuln.Row
			var modified, withdrawn, known int64
			var digest string
			var packed sql.RawBytes
			err := rows.Scan(&r.Feed, &r.ID, &r.From, &r.To, &modified, &withdrawn, &known, &digest, &r.Format, &packed)
			if err != nil {
				return err
			}
			r.Modified, r.Withdrawn, r.Known, r.Packed = timeOf(modified), timeOf(withdrawn), timeOf(known), packed
			if r.To > published {
				r.To = 0
			}
			if r.Digest, err = oci.ParseDigest(digest); err != nil {
				return err
			}
			return fn(r)
		})
}

// Rows implements vuln.Reader.
func (db *DB) Rows(ctx context.Context, seq int64, fn func(vuln.Row) error) error {
	return db.View(ctx, func(tx *Tx) error {
		if _, err := tx.snapshot(ctx, seq); err != nil {
			return err
		}
		published, err := tx.published(ctx)
		if err != nil {
			return err
		}
		// The plus keeps SQLite from the index of from_seq and a sort.
		return tx.advisories(ctx, published, `WHERE +from_seq <= ? AND (to_seq = 0 OR to_seq > ?) ORDER BY feed, id`, []any{seq, seq}, fn)
	})
}

// Changes implements vuln.Reader.
func (db *DB) Changes(ctx context.Context, after, upto int64, fn func(vuln.Row) error) error {
	return db.View(ctx, func(tx *Tx) error {
		if _, err := tx.snapshot(ctx, upto); err != nil {
			return err
		}
		published, err := tx.published(ctx)
		if err != nil {
			return err
		}
		return tx.advisories(ctx, published, `WHERE (from_seq > ? AND from_seq <= ?) OR (to_seq > 0 AND to_seq > ? AND to_seq <= ?)`,
			[]any{after, upto, after, upto}, fn)
	})
}

// History implements vuln.Reader.
func (db *DB) History(ctx context.Context, id string) ([]vuln.Row, error) {
	var found []vuln.Row
	err := db.View(ctx, func(tx *Tx) error {
		published, err := tx.published(ctx)
		if err != nil {
			return err
		}
		return tx.advisories(ctx, published, `WHERE id = ? AND +from_seq <= ? ORDER BY from_seq, feed`, []any{id, published}, func(r vuln.Row) error {
			r.Packed = append([]byte{}, r.Packed...)
			found = append(found, r)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history of %q: %w", id, err)
	}
	return found, nil
}

// Publish implements vuln.Publisher.
func (tx *Tx) Publish(ctx context.Context, load vuln.LoadID, s evidence.Snapshot, feeds []vuln.FeedState) error {
	if s.Seq != load.Seq {
		return fmt.Errorf("publishing snapshot %d: its load has number %d", s.Seq, load.Seq)
	}
	err := tx.holds(ctx, load)
	if err == nil {
		_, err = tx.exec(ctx, `DELETE FROM advisory_load`)
	}
	if err == nil {
		_, err = tx.exec(ctx, `INSERT INTO snapshot (seq, digest, at, advisories, ecosystems, exploited, scores, lifecycles, vex) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			s.Seq, s.Digest.String(), micros(s.At), s.Advisories, document(s.Ecosystems), s.Exploited.String(), s.Scores.String(), s.Lifecycles.String(), s.VEX.String())
	}
	if err != nil {
		return fmt.Errorf("publishing snapshot %d: %w", s.Seq, err)
	}
	return tx.Record(ctx, feeds)
}

// Record implements vuln.Publisher.
func (tx *Tx) Record(ctx context.Context, feeds []vuln.FeedState) error {
	for _, f := range feeds {
		_, err := tx.exec(ctx, `INSERT INTO feed (name, source, ecosystems, records, skipped, reasons, digest, seq, etag, last_modified,
				loaded_at, checked_at, problem, held, format, dated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET source = excluded.source, ecosystems = excluded.ecosystems, records = excluded.records,
				skipped = excluded.skipped, reasons = excluded.reasons, digest = excluded.digest, seq = excluded.seq,
				etag = excluded.etag, last_modified = excluded.last_modified, loaded_at = excluded.loaded_at,
				checked_at = excluded.checked_at, problem = excluded.problem, held = excluded.held,
				format = excluded.format, dated = excluded.dated`,
			f.Name, f.Source, document(f.Ecosystems), f.Records, f.Skipped, document(f.Reasons), f.Digest.String(), f.Seq, f.ETag, f.LastModified,
			micros(f.LoadedAt), micros(f.CheckedAt), f.Problem, number(f.Held), f.Format, micros(f.Dated))
		if err != nil {
			return fmt.Errorf("storing the state of feed %q: %w", f.Name, err)
		}
	}
	return nil
}

// Keep implements vuln.Publisher.
func (tx *Tx) Keep(ctx context.Context, d oci.Digest, content []byte) error {
	if got := oci.FromBytes(content); got != d {
		return fmt.Errorf("storing document %s of a feed: its content has digest %s", d, got)
	}
	if _, err := tx.exec(ctx, `INSERT INTO feed_document (digest, content) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING`, d.String(), content); err != nil {
		return fmt.Errorf("storing document %s of a feed: %w", d, err)
	}
	return nil
}

// Document implements vuln.Reader.
func (db *DB) Document(ctx context.Context, d oci.Digest) (content []byte, err error) {
	err = db.read(ctx, func(tx *Tx) error {
		return tx.row(ctx, `SELECT content FROM feed_document WHERE digest = ?`, []any{d.String()}, &content)
	})
	if errors.Is(err, conn.ErrNoRow) {
		err = vuln.ErrNoDocument
	}
	if err != nil {
		return nil, fmt.Errorf("reading document %s of a feed: %w", d, err)
	}
	if got := oci.FromBytes(content); got != d {
		return nil, fmt.Errorf("reading document %s of a feed: what is stored has digest %s", d, got)
	}
	return content, nil
}
