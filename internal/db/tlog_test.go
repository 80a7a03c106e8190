package db_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/blob/s3"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// contents opens an empty blob store of each kind.
var contents = map[string]func(t testing.TB) blob.Store{
	"mem": func(testing.TB) blob.Store { return mem.New(mem.Options{}) },
	"disk": func(t testing.TB) blob.Store {
		s, err := disk.Open(t.TempDir(), disk.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
	"s3": func(t testing.TB) blob.Store {
		c := testparts.S3(t)
		s, err := s3.Open(t.Context(), s3.Config{
			Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix, AccessKey: c.AccessKey, SecretKey: c.SecretKey,
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	},
}

// TestTileLog admits the database as a store of logs, with tiles in the content
// store of either shape. SQLite is opened once, as one process has it; on
// PostgreSQL each opening is another process.
func TestTileLog(t *testing.T) {
	run := func(engine, content string, open func(t testing.TB) func(testing.TB) *db.DB) {
		t.Run(engine+" "+content, func(t *testing.T) {
			tlogtest.Run(t, func(t testing.TB) func(testing.TB) (tlog.Store, blob.Store) {
				blobs, again := contents[content](t), open(t)
				return func(t testing.TB) (tlog.Store, blob.Store) { return again(t).TileLog("test"), blobs }
			})
		})
	}
	lite := func(t testing.TB) func(testing.TB) *db.DB {
		d := dbtest.Open(t, db.Options{Folder: t.TempDir()})
		return func(testing.TB) *db.DB { return d }
	}
	post := func(t testing.TB) func(testing.TB) *db.DB {
		url := testparts.Postgres(t)
		return func(t testing.TB) *db.DB { return dbtest.Open(t, db.Options{URL: url}) }
	}
	run("sqlite", "mem", lite)
	run("sqlite", "disk", lite)
	run("postgres", "mem", post)
	run("postgres", "s3", post)
}

func TestWitnessed(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		tlogtest.RunWitness(t, func(t testing.TB) func(testing.TB) tlog.WitnessStore {
			d := dbtest.Open(t, db.Options{Folder: t.TempDir()})
			return func(testing.TB) tlog.WitnessStore { return d.Witnessed() }
		})
	})
	t.Run("postgres", func(t *testing.T) {
		tlogtest.RunWitness(t, func(t testing.TB) func(testing.TB) tlog.WitnessStore {
			url := testparts.Postgres(t)
			return func(t testing.TB) tlog.WitnessStore { return dbtest.Open(t, db.Options{URL: url}).Witnessed() }
		})
	})
}

// TestTileLogStatements fails each statement of an append once, before and after
// it was executed.
func TestTileLogStatements(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, o db.Options) {
		var faults dbtest.Faults
		o.Wrap = faults.Wrap
		d := dbtest.Open(t, o)
		broken := 0
		for _, after := range []bool{false, true} {
			heads, err := tlog.NewHeadFolder(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			st := tlogtest.NewStory(t, d.TileLog(fmt.Sprint("log ", after)), mem.New(mem.Options{}), heads)
			for n := 1; ; n++ {
				faults.Arm(n, after)
				err := st.Tell(t, 10*n)
				_, fired := faults.Disarm()
				if err != nil && !errors.Is(err, dbtest.ErrInjected) {
					t.Errorf("%s: %v", fired, err)
				}
				if fired == "" {
					break
				}
				broken++
				st.Check(t, fired)
			}
			if err := st.Tell(t, 0); err != nil {
				t.Error(err)
			}
			st.Check(t, "at the end")
		}
		t.Logf("%d statements were broken", broken)
		if broken < 80 {
			t.Errorf("only %d statements were broken", broken)
		}
	})
}

// TestAppendTiles appends in a transaction with other rows: all of it is there,
// or nothing.
func TestAppendTiles(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		blobs := mem.New(mem.Options{})
		o := tlogtest.Options(t, d.TileLog("test"), blobs)
		if err := tlog.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		l, err := tlog.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		no := errors.New("no")
		for i, want := range []error{nil, no, nil} {
			_, err := l.Append(t.Context(), tlogtest.Entries(300*i, 300), func(ctx context.Context, s *tlog.Step) error {
				return d.Update(ctx, func(tx *db.Tx) error {
					if err := tx.PutBlob(ctx, digest(fmt.Sprint("row ", i)), 1); err != nil {
						return err
					}
					if err := tx.AppendTiles(ctx, "test", s); err != nil {
						return err
					}
					return want
				})
			})
			if !errors.Is(err, want) {
				t.Errorf("append %d: %v, want %v", i, err, want)
			}
		}
		tlogtest.Check(t, l, append(tlogtest.Entries(0, 300), tlogtest.Entries(600, 300)...))
		for i, want := range []error{nil, repo.ErrNotFound, nil} {
			_, err := d.HasBlob(t.Context(), digest(fmt.Sprint("row ", i)))
			wantErr(t, fmt.Sprint("the other row of append ", i), err, want)
		}
		named := map[oci.Digest]bool{}
		err = d.EachTileBlob(t.Context(), func(d oci.Digest) error { named[d] = true; return nil })
		if err != nil || len(named) != 4 {
			t.Errorf("%d blobs are named, %v; want 2 tiles and 2 bundles", len(named), err)
		}
		for d := range named {
			if _, err := blobs.Stat(t.Context(), d); err != nil {
				t.Errorf("%s is named: %v", d, err)
			}
		}
	})
}
