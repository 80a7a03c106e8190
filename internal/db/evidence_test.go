package db_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// TestEvidenceRows: what came of verifying counts until it is verified again, and
// is found by who signed, then too.
func TestEvidenceRows(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		alice := evidence.Identity{Issuer: "https://idp.example", Subject: "alice@example.com"}
		key := evidence.Identity{Key: "ab"}
		sig := func(who evidence.Identity, at time.Time) evidence.Signature {
			return evidence.Signature{Anchor: "a", Form: evidence.FormBundle, Identity: who, Subject: digest("image"), At: at, Referrer: digest("one"), Envelope: digest("envelope")}
		}
		built := sig(alice, noon)
		built.Statement = &evidence.Statement{Type: "x", Kind: evidence.KindProvenance, Provenance: &evidence.Provenance{Builder: "https://builder.example", Level: 2}}
		first := &assess.EvidenceRow{Subject: digest("image"), Referrer: digest("one"), Verifier: "v1", At: noon, Until: noon.Add(time.Hour), Checked: assess.Checked{Signatures: []evidence.Signature{built, sig(key, time.Time{})}}}
		other := &assess.EvidenceRow{Subject: digest("image"), Referrer: digest("two"), Verifier: "v1", At: noon, Checked: assess.Checked{Refusals: []evidence.Refusal{{Referrer: digest("two"), Reasons: []string{"no"}}}}}
		again := &assess.EvidenceRow{Subject: digest("image"), Referrer: digest("one"), Verifier: "v2", At: noon.Add(time.Minute), Checked: assess.Checked{Signatures: []evidence.Signature{sig(key, time.Time{})}}}
		for _, row := range []*assess.EvidenceRow{first, other, again} {
			update(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				row.ID, err = tx.PutEvidence(ctx, row)
				return err
			})
		}
		first.Ended = again.ID
		same := cmp.Options{cmp.Comparer(func(a, b oci.Digest) bool { return a == b }), cmpopts.EquateEmpty(), cmpopts.SortSlices(func(a, b assess.EvidenceRow) bool { return a.ID < b.ID })}
		by := func(who assess.SignedBy, after int64) (found []assess.EvidenceRow) {
			view(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				found, err = tx.EvidenceBy(ctx, who, after, 10)
				return err
			})
			return found
		}
		var counting []assess.EvidenceRow
		view(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
			counting, err = tx.EvidenceAbout(ctx, digest("image"))
			return err
		})
		for name, tt := range map[string]struct{ got, want []assess.EvidenceRow }{
			"counting":    {counting, []assess.EvidenceRow{*other, *again}},
			"identity":    {by(assess.SignedBy{Issuer: alice.Issuer, Subject: alice.Subject}, 0), []assess.EvidenceRow{*first}},
			"issuer":      {by(assess.SignedBy{Issuer: alice.Issuer}, 0), []assess.EvidenceRow{*first}},
			"another":     {by(assess.SignedBy{Issuer: alice.Issuer, Subject: "bob"}, 0), nil},
			"key":         {by(assess.SignedBy{Key: "ab"}, 0), []assess.EvidenceRow{*first, *again}},
			"key, after":  {by(assess.SignedBy{Key: "ab"}, first.ID), []assess.EvidenceRow{*again}},
			"key, later":  {by(assess.SignedBy{Key: "ab", From: noon.Add(time.Second)}, 0), []assess.EvidenceRow{*again}},
			"key, before": {by(assess.SignedBy{Key: "ab", Until: noon.Add(time.Second)}, 0), []assess.EvidenceRow{*first}},
			"builder":     {by(assess.SignedBy{Builder: "https://builder.example"}, 0), []assess.EvidenceRow{*first}},
		} {
			if diff := cmp.Diff(tt.want, tt.got, same); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			if _, err := tx.EvidenceBy(ctx, assess.SignedBy{}, 0, 10); err == nil {
				t.Error("nobody has signed something")
			}
			return nil
		})
	})
}

// TestTrustedInForce: what was in force before is told, also where it returns.
func TestTrustedInForce(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		for i, step := range [][2]string{{"a", ""}, {"a", "a"}, {"b", "a"}, {"a", "b"}} {
			update(t, d, func(ctx context.Context, tx *db.Tx) error {
				before, err := tx.PutTrusted(ctx, step[0])
				check(t, fmt.Sprint("step ", i), before, step[1])
				return err
			})
		}
	})
}

// TestEvidenceOfAFlood: of more than can be read at once the longest is in doubt,
// and what is short counts.
func TestEvidenceOfAFlood(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		put := func(name string, size int) {
			sig := evidence.Signature{Anchor: "a", Form: evidence.FormBundle, Identity: evidence.Identity{Key: "ab"}, Subject: digest("image"), Referrer: digest(name), Envelope: digest(name)}
			sig.Statement = &evidence.Statement{Type: "x", Kind: evidence.KindRelease, Release: &evidence.Release{PURL: strings.Repeat("x", size)}}
			row := &assess.EvidenceRow{Subject: digest("image"), Referrer: digest(name), Verifier: "v1", At: noon, Checked: assess.Checked{Signatures: []evidence.Signature{sig}}}
			update(t, d, func(ctx context.Context, tx *db.Tx) error {
				_, err := tx.PutEvidence(ctx, row)
				return err
			})
		}
		const large = assess.MaxEvidence/4 + 1
		for i := range 5 {
			put(fmt.Sprint("large", i), large)
		}
		put("ours", 10)
		var found []assess.EvidenceRow
		view(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
			found, err = tx.EvidenceAbout(ctx, digest("image"))
			return err
		})
		read := 0
		for _, row := range found {
			switch c := row.Checked; {
			case len(c.Signatures) == 1:
				read += len(c.Signatures[0].Statement.Release.PURL)
			case row.Referrer == digest("ours"), len(c.Refusals) != 1, !c.Refusals[0].Unsure:
				t.Errorf("of %s is said: %+v", row.Referrer.Short(), c)
			}
		}
		if len(found) != 6 || read != 3*large+10 {
			t.Errorf("%d rows with %d bytes", len(found), read)
		}
	})
}
