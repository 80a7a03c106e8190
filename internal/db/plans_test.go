package db_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// walks are the statements that may read a whole table, and why.
var walks = []struct{ text, why string }{
	{"FROM feed ORDER BY", "a row for each feed"},
	{"DELETE FROM advisory_load", "one row at most"},
	{"FROM advisory WHERE +from_seq", "every advisory is asked for, in the order of the key"},
	{"FROM outbox ORDER BY", "in the order of the key, as many as wait"},
	{"FROM entry WHERE 1 = 1 ORDER BY seq", "in the order of the key, with a limit"},
	{"INSERT INTO entry (seq", "the rows that it is given"},
	{"SELECT id, 1, 0, 0, x''", "once, by a migration"},
	{"SELECT t.repository_id, t.name, p.digest, 0, 0, 0", "once, by a migration"},
	{"principal, kind, at) SELECT p.manifest_id", "once, by a migration"},
	{"INSERT INTO unchained", "once, by a migration"},
	{"FROM unchained u", "none after an upgrade is made up for; with a limit"},
	{"FROM base_change ORDER BY id DESC", "in the order of the key, one row"},
	{"FROM snapshot ORDER BY seq", "in the order of the key, one row"},
	{"FROM job WHERE state = 2 ORDER BY", "the index holds only those"},
	{"FROM job WHERE state < 2 AND kind", "in the order of the index, until the first of those kinds"},
	{"FROM package_set WHERE indexed = 0 ORDER BY", "the index holds only those"},
	{"FROM enrol_code WHERE expires", "codes are few and gone within minutes"},
}

// TestPlans asks SQLite how it would run every statement of a busy day: none
// may read a table from end to end, and pages of tags may not be sorted.
func TestPlans(t *testing.T) {
	var faults dbtest.Faults
	c := &clock{}
	c.set(noon)
	d := dbtest.Open(t, db.Options{Folder: t.TempDir(), Clock: c.now, Wrap: faults.Wrap})
	everything(t, d, c)
	allEvidence(t, d, digest("image"))
	plain := dbtest.Open(t, db.Options{Folder: t.TempDir()})
	scan := regexp.MustCompile(`SCAN (\w+)( USING (COVERING )?INDEX \w+)?`)
	n := 0
	for _, query := range faults.Seen() {
		verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
		if verb != "SELECT" && verb != "UPDATE" && verb != "DELETE" && verb != "INSERT" || strings.Contains(query, "schema_version") || strings.Contains(query, "job_in_lanes") || strings.Contains(query, "INSERT INTO outbox (id") || strings.Contains(query, "INSERT INTO proof (decision, batch, pos) SELECT") || strings.Contains(query, "sqlite_") {
			continue
		}
		n++
		var plan []string
		err := plain.Explain(t.Context(), query, func(line string) { plan = append(plan, line) })
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		for _, line := range plan {
			m := scan.FindStringSubmatch(line)
			if m != nil && m[1] != "up" && m[1] != "v" && m[1] != "CONSTANT" && m[1] != "a" && m[1] != "b" && !walk(query) {
				t.Errorf("%s\nin\n%s\nof\n%s", line, strings.Join(plan, "\n"), query)
			}
			if strings.Contains(query, "CROSS JOIN tag t") && strings.Contains(query, "LIMIT") && !strings.Contains(query, "UNION") && strings.Contains(line, "TEMP B-TREE") {
				t.Errorf("a page of tags is sorted: %s", query)
			}
			if strings.Contains(query, "ORDER BY -p.id LIMIT") && strings.Contains(line, "TEMP B-TREE") {
				t.Errorf("a page of placements is sorted: %s", query)
			}
			if strings.Contains(query, "FROM job WHERE") && strings.Contains(line, "TEMP B-TREE") {
				t.Errorf("the queue is sorted: %s", query)
			}
		}
	}
	if n < 80 {
		t.Errorf("only %d statements were looked at", n)
	}
}

func walk(query string) bool {
	flat := strings.Join(strings.Fields(query), " ")
	for _, w := range walks {
		if strings.Contains(flat, w.text) {
			return true
		}
	}
	return false
}

// allEvidence asks for all there is about evidence.
func allEvidence(t *testing.T, d *db.DB, subject oci.Digest) {
	t.Helper()
	row := &assess.EvidenceRow{Subject: subject, Referrer: digest("r"), Verifier: "v", At: noon, Checked: assess.Checked{Signatures: []evidence.Signature{{Anchor: "a"}}}}
	update(t, d, func(ctx context.Context, tx *db.Tx) error {
		return firstOf(
			func() error { return second(tx.PutTrusted(ctx, "v")) },
			func() error { return second(tx.PutEvidence(ctx, row)) },
			func() error { return second(tx.PutEvidence(ctx, row)) },
			func() error { return second(tx.EvidenceAbout(ctx, subject)) },
			func() error { return second(tx.IndexesOf(ctx, subject, 10)) },
			func() error {
				return second(tx.EvidenceBy(ctx, assess.SignedBy{Issuer: "i", Subject: "s", From: noon}, 0, 10))
			},
			func() error { return second(tx.EvidenceBy(ctx, assess.SignedBy{Issuer: "i", Until: noon}, 0, 10)) },
			func() error { return second(tx.EvidenceBy(ctx, assess.SignedBy{Key: "k"}, 0, 10)) },
			func() error { return second(tx.EvidenceBy(ctx, assess.SignedBy{Builder: "b"}, 0, 10)) },
		)
	})
}

// allWords says something about a placement and reads what was said.
func allWords(t *testing.T, d *db.DB, r oci.Repository, of oci.Digest) {
	t.Helper()
	said := &evidence.Word{Kind: evidence.Approved, Repository: r, Digest: of, By: evidence.Grantor{Name: "ann", At: noon}}
	update(t, d, func(ctx context.Context, tx *db.Tx) error {
		return firstOf(
			func() error { return tx.PutWord(ctx, said) },
			func() error { _, err := repo.Approvals(ctx, tx, r, of); return err },
			func() error { return tx.EndWord(ctx, said.ID, said.By) },
			func() error { _, err := tx.WordsByID(ctx, []int64{said.ID}); return err },
			func() error { _, err := tx.NamedBy(ctx, r, "v1", 0, 10); return err },
		)
	})
}

// everything asks for all there is, once.
func everything(t *testing.T, d *db.DB, c *clock) {
	t.Helper()
	ctx := context.Background()
	w := newWay(d, c, 1, audit.NewIntegrator(audit.IntegratorOptions{Store: d, Log: logged(t, d, mem.New(mem.Options{}))}))
	for _, step := range w.steps() {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	appendEvents(t, d, event("1"))
	sequence(t, d, 10)
	page := repo.Page{Limit: 10}
	for _, v := range []repo.Viewer{{}, {Principal: "alice"}, {Principal: "alice", Own: true}, {Principal: "g", Quarantine: true}} {
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			var errs []error
			note := func(_ any, err error) {
				if !errors.Is(err, repo.ErrNotFound) {
					errs = append(errs, err)
				}
			}
			for _, s := range []repo.Selector{{Tag: "v1"}, {Digest: w.m.Digest}} {
				note(tx.Lookup(ctx, w.r, s, v))
			}
			note(tx.Tags(ctx, w.r, v, page))
			note(tx.Tags(ctx, oci.MustRepository("no/thing"), v, page))
			note(tx.Referrers(ctx, w.r, w.m.Digest, "", v, page))
			note(tx.BlobAccess(ctx, w.r, w.layer, v))
			note(tx.BlobAccess(ctx, w.r, digest("none"), v))
			note(tx.Unknown(ctx, w.r, []oci.Digest{w.layer, digest("x")}, v))
			note(tx.Repositories(ctx, page))
			note(tx.Names(ctx, "dev", page))
			note(tx.Names(ctx, "", page))
			note(tx.Newest(ctx, w.r, repo.Admitted, 0, 10))
			note(tx.Stored(ctx, w.m.Digest))
			note(tx.Placements(ctx, w.m.Digest))
			note(tx.Parents(ctx, w.r, w.m.Digest))
			note(tx.ReferrersOf(ctx, w.m.Digest))
			note(tx.Pending(ctx, w.r, w.m.Digest))
			note(tx.TagsOf(ctx, w.r, w.m.Digest))
			note(tx.LayerFacts(ctx, w.layer, "set"))
			note(tx.PackageSets(ctx, []oci.Digest{digest("s")}))
			note(tx.ManifestsWith(ctx, []assess.Component{{Family: "deb", Name: "a"}, {Family: "deb", Name: "b", Version: "1"}}, oci.Digest{}, 10))
			note(tx.Versions(ctx, "deb", "a"))
			note(tx.Unindexed(ctx, 10))
			note(tx.Due(ctx, noon, 10))
			note(tx.Standing(ctx, "dev", w.r, w.m.Digest, 10))
			note(tx.Standing(ctx, "", oci.Repository{}, oci.Digest{}, 10))
			note(tx.DecisionHistory(ctx, w.r, w.m.Digest, 10))
			note(tx.NotesOf(ctx, w.r, w.m.Digest))
			note(tx.NotesAbout(ctx, w.r, "v1"))
			_, _, err := tx.InForce(ctx, "dev")
			note(nil, err)
			return errors.Join(errs...)
		})
	}
	e := evidenceOf(w.m.Digest)
	allWords(t, d, w.r, w.m.Digest)
	update(t, d, func(ctx context.Context, tx *db.Tx) error {
		return firstOf(
			func() error { return tx.PutManifest(ctx, e) },
			func() error {
				return tx.Place(ctx, &repo.Placement{Repository: w.r, Digest: e.Digest, State: repo.Attached, BroughtBy: "bob", BroughtAt: noon})
			},
			func() error {
				_, err := tx.Lookup(ctx, w.r, repo.Selector{Digest: e.Digest}, repo.Viewer{})
				return err
			},
			func() error { _, err := tx.Referrers(ctx, w.r, w.m.Digest, "", repo.Viewer{}, page); return err },
			func() error {
				return tx.PutPackageSet(ctx, digest("s"), nil, []assess.Component{{Family: "deb", Name: "a"}})
			},
			func() error {
				return tx.PutComponents(ctx, digest("s"), []assess.Component{{Family: "deb", Name: "b"}})
			},
			func() error { return tx.PutLayerFacts(ctx, w.layer, "set", nil) },
			func() error { return tx.PutImageRecord(ctx, w.m.Digest, "set", nil, []oci.Digest{digest("s")}) },
			func() error { return tx.ConfirmDecision(ctx, 1, noon, 2) },
			func() error { return tx.PutNotesDecision(ctx, w.r, w.m.Digest, 1) },
			func() error { _, err := tx.PutGate(ctx, "dev", digest("gate")); return err },
			func() error { return tx.Unlease(ctx, w.r, w.layer) },
			func() error { _, err := tx.SetTag(ctx, w.r, "v1", oci.Digest{}); return err },
			func() error { return tx.SetPending(ctx, w.r, "v1", oci.Digest{}, "alice") },
			func() error {
				return tx.Place(ctx, &repo.Placement{Repository: w.r, Digest: e.Digest, State: repo.Removed, BroughtBy: "bob", BroughtAt: noon, Version: 1})
			},
		)
	})
	for _, f := range []audit.Filter{{}, {Kind: "k"}, {Principal: "p"}, {Repository: "r"}, {Digest: "d"}} {
		_, err := d.Latest(ctx, f, 10)
		wantErr(t, "latest", err, nil)
	}
	_, err := d.Entries(ctx, 1, 10)
	wantErr(t, "entries", err, nil)
	_, err = d.StaleSessions(ctx, noon, 10)
	wantErr(t, "stale sessions", err, nil)
	_, err = d.Accounts(ctx, "", 10)
	wantErr(t, "accounts", err, nil)
	_, err = d.Tokens(ctx, "alice")
	wantErr(t, "tokens", err, nil)
	_, err = d.Buried(ctx, 10)
	wantErr(t, "buried", err, nil)
	_, err = d.Next(ctx, []string{"judge", "sweep"})
	wantErr(t, "next", err, nil)
	wantErr(t, "rows", d.Rows(ctx, 1, func(vuln.Row) error { return nil }), nil)
	wantErr(t, "changes", d.Changes(ctx, 0, 1, func(vuln.Row) error { return nil }), nil)
	wantErr(t, "heads", d.Heads(ctx, "f", func(vuln.Head) error { return nil }), nil)
	_, err = d.History(ctx, "a")
	wantErr(t, "history", err, nil)
	_, err = d.Feeds(ctx)
	wantErr(t, "feeds", err, nil)
	_, err = d.Sweep(ctx, 10)
	wantErr(t, "sweeping", err, nil)
	update(t, d, func(ctx context.Context, tx *db.Tx) error { return tx.Enqueue(ctx, "judge", "x", noon) })
	jobs, err := d.Claim(ctx, []string{"judge"}, 1, time.Minute)
	wantErr(t, "claiming", err, nil)
	for _, j := range jobs {
		wantErr(t, "renewing", d.Renew(ctx, j, time.Minute), nil)
		wantErr(t, "retrying", d.Retry(ctx, j, noon, "x"), nil)
	}
}

func evidenceOf(subject oci.Digest) *repo.Manifest {
	raw := []byte(fmt.Sprint("evidence of ", subject))
	return &repo.Manifest{Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, Kind: oci.KindEvidence, Subject: subject, Raw: raw}
}

func second[T any](_ T, err error) error { return err }
