package db_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"log/slog"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// TestIndexedAgain: what a program has stored that did not know by which
// versions advisories compare is found by them when the next advisories come.
func TestIndexedAgain(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, _ goose.Dialect, _ fs.FS) {
		c := &clock{}
		c.set(noon)
		o.Clock = c.now
		d := dbtest.Open(t, o)
		set := inventory.Set{Packages: []inventory.Package{{Type: "deb", Name: "libz", Version: "9", Source: "z", SourceVer: "1-1"}}}
		r := oci.MustRepository("dev/app")
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(
				tx.PutPackageSet(ctx, digest("old"), analyze.MarshalSet(&set), []assess.Component{{Family: "deb", Name: "z", Version: "9"}}),
				tx.PutPackageSet(ctx, digest("damaged"), []byte("damaged"), nil),
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("image"), State: repo.Admitted}),
				tx.PutImageRecord(ctx, digest("image"), "set", nil, []oci.Digest{digest("old")}))
		})
		if _, err := p.Exec(`UPDATE package_set SET indexed = 0`); err != nil {
			t.Fatal(err)
		}
		told := func(id string) {
			load := begin(t, d, id)
			rec := vuln.Record{ID: id, Affected: []vuln.Affected{{
				Ecosystem: "Debian:12", Name: "z", Ranges: []vuln.Range{{Events: []vuln.Event{{Kind: vuln.Introduced, Version: "0"}, {Kind: vuln.Fixed, Version: "1-2"}}}},
			}}}
			row := advisory(load, "f", id, "")
			row.Packed = rec.Pack()
			stage(t, d, load, vuln.Batch{Feed: "f", Insert: []vuln.Row{row}})
			publish(t, d, load)
		}
		told("A-1")
		told("A-2")
		a, err := assess.New(assess.Options{
			Zones: repo.Zones{}, Advisories: vuln.NewLive(d), AdvisoryRows: d, Clock: c.now, Log: slog.New(slog.DiscardHandler),
			DB: assess.DB{
				Update: func(ctx context.Context, fn func(assess.Tx) error) error {
					return d.Update(ctx, func(tx *db.Tx) error { return fn(tx) })
				},
				View: func(ctx context.Context, fn func(assess.Tx) error) error {
					return d.View(ctx, func(tx *db.Tx) error { return fn(tx) })
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := a.HandleAdvisories(t.Context(), job.Job{Key: "1"}); err != nil {
				t.Fatal(err)
			}
		}
		jobs, err := d.Claim(t.Context(), []string{assess.JobJudge}, 10, time.Minute)
		if err != nil || len(jobs) != 1 || jobs[0].Key != r.String()+"@"+digest("image").String() {
			t.Errorf("to be judged: %+v, %v", jobs, err)
		}
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			left, err := tx.Unindexed(ctx, 10)
			check(t, "what is left", left, map[oci.Digest][]byte{})
			return err
		})
	})
}
