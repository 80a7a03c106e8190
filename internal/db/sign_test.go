package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/seal"
)

func intentOf(about string) *seal.Intent {
	return &seal.Intent{Kind: seal.Batch, About: about, Subject: digest("subject"), Digest: digest("statement"), Statement: []byte("s"), Why: "why", By: "sign", At: noon}
}

// decisions puts n decisions about one image.
func decisions(ctx context.Context, tx *db.Tx, n int) (ids []int64, err error) {
	for range n {
		id, err := tx.PutDecision(ctx, &api.Decision{Repository: "dev/app", Digest: digest("app").String(), Outcome: api.Allow, DecidedAt: noon}, 1)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// TestIntents: of a kind, one thing is intended once unless it was abandoned; an
// intent moves from one state to another once, and is one process's at a time.
func TestIntents(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, c *clock) {
		ctx := t.Context()
		var id int64
		update(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
			id, err = tx.PutIntent(ctx, intentOf("1"))
			return err
		})
		refused := func(what string, want error, fn func(tx *db.Tx) error) {
			t.Helper()
			if err := d.Update(ctx, fn); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		refused("twice", repo.ErrConflict, func(tx *db.Tx) error { _, err := tx.PutIntent(ctx, intentOf("1")); return err })
		claim := func(holder string) func(*db.Tx) error {
			return func(tx *db.Tx) error { return tx.ClaimIntent(ctx, id, holder, c.now().Add(time.Second)) }
		}
		refused("claim", nil, claim("one"))
		refused("claim again", nil, claim("one"))
		refused("claim of another", sign.ErrTaken, claim("two"))
		c.add(time.Second)
		refused("claim of another, later", nil, claim("two"))
		in := intentOf("1")
		in.ID, in.State, in.Bundle, in.Bundled = id, seal.Signed, []byte("b"), digest("b")
		refused("move", nil, func(tx *db.Tx) error { return tx.MoveIntent(ctx, in, seal.Open) })
		refused("move again", repo.ErrConflict, func(tx *db.Tx) error { return tx.MoveIntent(ctx, in, seal.Open) })
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			got, err := tx.IntentAbout(ctx, seal.Batch, "1")
			if err != nil {
				return err
			}
			check(t, "intent", got, in)
			ids, err := tx.Unfinished(ctx, 10)
			check(t, "unfinished", ids, []int64{id})
			return err
		})
		in.State = seal.Abandoned
		refused("abandon", nil, func(tx *db.Tx) error { return tx.MoveIntent(ctx, in, seal.Signed) })
		refused("claim what is over", sign.ErrTaken, claim("two"))
		refused("intend anew", nil, func(tx *db.Tx) error { _, err := tx.PutIntent(ctx, intentOf("1")); return err })
		refused("no such", repo.ErrNotFound, func(tx *db.Tx) error { _, err := tx.Intent(ctx, 4711); return err })
	})
}

// TestBatches: a decision waits from its commit on, and is in one batch.
func TestBatches(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		ctx := t.Context()
		var ids []int64
		var leaves []sign.Leaf
		update(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
			if ids, err = decisions(ctx, tx, 100); err != nil {
				return err
			}
			leaves, err = tx.Unproven(ctx, 1000)
			return err
		})
		check(t, "decisions that wait", len(leaves), 100)
		put := func(number int64, some []sign.Leaf) error {
			return d.Update(ctx, func(tx *db.Tx) error {
				in, err := tx.PutIntent(ctx, intentOf("batch "+string(rune('a'+number))))
				if err != nil {
					return err
				}
				b := &sign.Batch{Number: number, Intent: in, Origin: "o", Audit: 7, Previous: digest("p"), Epochs: []sign.Hash{{1}}}
				for _, l := range some {
					b.Leaves = append(b.Leaves, l.Payload)
				}
				return tx.PutBatch(ctx, b, some)
			})
		}
		if err := errors.Join(put(1, leaves[:70])); err != nil {
			t.Fatal(err)
		}
		if err := put(2, leaves[69:]); !errors.Is(err, repo.ErrConflict) {
			t.Errorf("a decision in two batches: %v", err)
		}
		if err := put(1, leaves[70:]); !errors.Is(err, repo.ErrConflict) {
			t.Errorf("two batches of one number: %v", err)
		}
		if err := put(2, leaves[70:]); err != nil {
			t.Fatal(err)
		}
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			for n, id := range ids {
				number, index, err := tx.BatchOf(ctx, id)
				if err != nil {
					return err
				}
				check(t, "batch and index", []int64{number, index}, []int64{int64(1 + n/70), int64(n % 70)})
			}
			b, err := tx.Batch(ctx, 0)
			if err != nil {
				return err
			}
			check(t, "the last batch", []any{b.Number, len(b.Leaves), b.Origin, b.Audit, b.Previous, b.Epochs}, []any{int64(2), 30, "o", int64(7), digest("p"), []sign.Hash{{1}}})
			_, err = tx.Batch(ctx, 3)
			if !errors.Is(err, repo.ErrNotFound) {
				t.Errorf("no such batch: %v", err)
			}
			return nil
		})
	})
}

// TestSignPlans: nothing that signing asks reads a table from end to end.
func TestSignPlans(t *testing.T) {
	var faults dbtest.Faults
	c := &clock{}
	c.set(noon)
	d := dbtest.Open(t, db.Options{Folder: t.TempDir(), Clock: c.now})
	traced := dbtest.Open(t, db.Options{Folder: t.TempDir(), Clock: c.now, Wrap: faults.Wrap})
	migrated := map[string]bool{}
	for _, q := range faults.Seen() {
		migrated[q] = true
	}
	update(t, traced, func(ctx context.Context, tx *db.Tx) error {
		ids, err := decisions(ctx, tx, 3)
		if err != nil {
			return err
		}
		leaves, err := tx.Unproven(ctx, 10)
		if err != nil {
			return err
		}
		in, err := tx.PutIntent(ctx, intentOf("1"))
		if err != nil {
			return err
		}
		_, _, payloadErr := tx.Payload(ctx, ids[0])
		_, unfinishedErr := tx.Unfinished(ctx, 10)
		_, aboutErr := tx.IntentAbout(ctx, seal.Batch, "1")
		_, _, ofErr := tx.BatchOf(ctx, ids[0])
		_, madeErr := tx.MadeIn(ctx, oci.MustRepository("dev/app"), digest("app"))
		_, madeOfErr := tx.MadeOf(ctx, in)
		moved := intentOf("1")
		moved.ID = in
		return errors.Join(payloadErr, unfinishedErr, aboutErr, ofErr, madeErr, madeOfErr,
			tx.PutBatch(ctx, &sign.Batch{Number: 1, Intent: in}, leaves), tx.ClaimIntent(ctx, in, "one", noon), tx.MoveIntent(ctx, moved, seal.Open),
			tx.PutMade(ctx, in, digest("m"), digest("app")))
	})
	view(t, traced, func(ctx context.Context, tx *db.Tx) error { _, err := tx.Batch(ctx, 0); return err })
	for _, q := range faults.Seen() {
		verb, _, _ := strings.Cut(strings.TrimSpace(q), " ")
		if migrated[q] || verb != "SELECT" && verb != "UPDATE" && verb != "INSERT" {
			continue
		}
		err := d.Explain(t.Context(), q, func(line string) {
			// Those indexes hold only what waits; of batches the last one is read.
			if strings.Contains(line, "SCAN ") && !strings.Contains(line, "SCAN v") && !strings.Contains(line, "CONSTANT") &&
				!strings.Contains(line, "proof_wanted") && !strings.Contains(line, "SCAN p USING") && !strings.Contains(line, "intent_unfinished") && !strings.Contains(q, "ORDER BY number DESC LIMIT 1") {
				t.Errorf("%s\n\tof %s", line, q)
			}
		})
		if err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
}
