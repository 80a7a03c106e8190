package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

func TestFacts(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		big := []byte(strings.Repeat("facts", 200_000))
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(
				tx.PutLayerFacts(ctx, digest("layer"), "set 1", big),
				tx.PutLayerFacts(ctx, digest("layer"), "set 2", []byte("two")),
				tx.PutLayerFacts(ctx, digest("config"), "set 1", nil),
				tx.PutPackageSet(ctx, digest("s1"), []byte("s1"), nil),
				tx.PutPackageSet(ctx, digest("s2"), nil, nil),
				tx.PutImageRecord(ctx, digest("image"), "set 1", []byte("record"), []oci.Digest{digest("s1"), digest("s2"), digest("s1")}),
			)
		})
		update(t, d, func(ctx context.Context, tx *db.Tx) error { // the same key has the same content
			return errors.Join(
				tx.PutLayerFacts(ctx, digest("layer"), "set 1", []byte("other")),
				tx.PutPackageSet(ctx, digest("s1"), []byte("other"), nil),
				tx.PutImageRecord(ctx, digest("image"), "set 1", []byte("other"), nil),
			)
		})
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			for _, tt := range []struct {
				name string
				get  func() ([]byte, error)
				want []byte
				err  error
			}{
				{"a layer", func() ([]byte, error) { return tx.LayerFacts(ctx, digest("layer"), "set 1") }, big, nil},
				{"under another set", func() ([]byte, error) { return tx.LayerFacts(ctx, digest("layer"), "set 2") }, []byte("two"), nil},
				{"no layer", func() ([]byte, error) { return tx.LayerFacts(ctx, digest("config"), "set 1") }, []byte{}, nil},
				{"under a set it was not analysed with", func() ([]byte, error) { return tx.LayerFacts(ctx, digest("config"), "set 2") }, nil, repo.ErrNotFound},
				{"a stranger", func() ([]byte, error) { return tx.LayerFacts(ctx, digest("x"), "set 1") }, nil, repo.ErrNotFound},
				{"an image", func() ([]byte, error) { return tx.ImageRecord(ctx, digest("image"), "set 1") }, []byte("record"), nil},
				{"an image under another set", func() ([]byte, error) { return tx.ImageRecord(ctx, digest("image"), "set 2") }, nil, repo.ErrNotFound},
			} {
				got, err := tt.get()
				wantErr(t, tt.name, err, tt.err)
				if string(got) != string(tt.want) || (got == nil) != (tt.want == nil) {
					t.Errorf("%s: got %.20q, want %.20q", tt.name, got, tt.want)
				}
			}
			sets, err := tx.PackageSets(ctx, []oci.Digest{digest("s2"), digest("s1"), digest("none"), digest("s1")})
			wantErr(t, "sets", err, nil)
			if len(sets) != 2 || string(sets[digest("s1")]) != "s1" || sets[digest("s2")] == nil {
				t.Errorf("sets: %q", sets)
			}
			return nil
		})
		err := d.Update(t.Context(), func(tx *db.Tx) error {
			return tx.PutImageRecord(t.Context(), digest("other"), "set 1", nil, []oci.Digest{digest("s1"), digest("not stored")})
		})
		wantErr(t, "an image of a set that is not stored", err, repo.ErrNotFound)
	})
}

func TestInverse(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		comp := func(name, version string) assess.Component {
			return assess.Component{Family: "deb", Name: name, Version: version}
		}
		long := strings.Repeat("long", 2000)
		var images []oci.Digest
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			var many []assess.Component
			for i := range 300 {
				many = append(many, comp(fmt.Sprint("lib", i), "1"), comp(fmt.Sprint("lib", i), "1")) // named twice
			}
			if err := errors.Join(
				tx.PutPackageSet(ctx, digest("old"), nil, append(many, comp("openssl", "3.0.11"))),
				tx.PutPackageSet(ctx, digest("new"), nil, []assess.Component{comp("openssl", "3.0.15"), {Family: "apk", Name: "zlib", Version: "1"}}),
				tx.PutPackageSet(ctx, digest("odd"), nil, []assess.Component{comp(long, long), comp("zlib", "nul\x00")}),
			); err != nil {
				return err
			}
			for i := range 20 {
				set := digest("old")
				if i%2 == 1 {
					set = digest("new")
				}
				images = append(images, digest(fmt.Sprint("image", i)))
				if err := tx.PutImageRecord(ctx, images[i], "set", nil, []oci.Digest{set}); err != nil {
					return err
				}
			}
			return tx.PutImageRecord(ctx, digest("odd image"), "set", nil, []oci.Digest{digest("odd")})
		})
		odd := []oci.Digest{digest("odd image")}
		sorted := func(ds ...oci.Digest) []oci.Digest {
			slices.SortFunc(ds, func(a, b oci.Digest) int { return strings.Compare(a.String(), b.String()) })
			return ds
		}
		var old, fresh []oci.Digest
		for i, im := range images {
			if i%2 == 0 {
				old = append(old, im)
			} else {
				fresh = append(fresh, im)
			}
		}
		var everything []assess.Component
		for i := range 300 {
			everything = append(everything, comp(fmt.Sprint("lib", i), ""))
		}
		for _, tt := range []struct {
			name string
			keys []assess.Component
			want []oci.Digest
		}{
			{"any version", []assess.Component{comp("openssl", "")}, sorted(images...)},
			{"one version", []assess.Component{comp("openssl", "3.0.11")}, sorted(old...)},
			{"two of them", []assess.Component{comp("openssl", "3.0.15"), comp("openssl", "9")}, sorted(fresh...)},
			{"of another family", []assess.Component{comp("zlib", "1")}, nil},
			{"of both", []assess.Component{{Family: "apk", Name: "zlib"}, comp("lib7", "1")}, sorted(images...)},
			{"many keys", everything, sorted(old...)},
			{"a long name", []assess.Component{comp(long, "")}, odd},
			{"a long version", []assess.Component{comp(long, long)}, odd},
			{"an odd version", []assess.Component{comp("zlib", "nul\x00")}, odd},
			{"no keys", nil, nil},
		} {
			for _, limit := range []int{1, 7, 1000} {
				var got []oci.Digest
				for after := (oci.Digest{}); ; after = got[len(got)-1] {
					var page []oci.Digest
					view(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
						page, err = tx.ManifestsWith(ctx, tt.keys, after, limit)
						return err
					})
					if got = append(got, page...); len(page) < limit {
						break
					}
				}
				check(t, fmt.Sprint(tt.name, ", pages of ", limit), got, tt.want)
			}
		}
		for name, want := range map[string][]string{
			"openssl": {"3.0.11", "3.0.15"}, "zlib": {"nul\uFFFD"}, "none": nil, long: {long[:assess.MaxIndexed]},
		} {
			view(t, d, func(ctx context.Context, tx *db.Tx) error {
				got, err := tx.Versions(ctx, "deb", name)
				slices.Sort(got)
				check(t, "versions of "+name[:4], got, want)
				for _, v := range got { // what is told is found
					ds, err := tx.ManifestsWith(ctx, []assess.Component{comp(name, v)}, oci.Digest{}, 100)
					if len(ds) == 0 || err != nil {
						t.Errorf("no image has version %.10q of %.10s, %v", v, name, err)
					}
				}
				return err
			})
		}
	})
}

// TestCutInARune: what is kept of a long version is found by what is kept of it.
func TestCutInARune(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		for i := range 4 {
			version := strings.Repeat("x", i) + strings.Repeat("\U0001F4A5", 200)
			name := fmt.Sprint("p", i)
			update(t, d, func(ctx context.Context, tx *db.Tx) error {
				return errors.Join(
					tx.PutPackageSet(ctx, digest(name), nil, []assess.Component{{Family: "npm", Name: name, Version: version}}),
					tx.PutImageRecord(ctx, digest("image "+name), "set", nil, []oci.Digest{digest(name)}))
			})
			view(t, d, func(ctx context.Context, tx *db.Tx) error {
				versions, err := tx.Versions(ctx, "npm", name)
				if len(versions) != 1 || err != nil {
					t.Fatalf("versions %q, %v", versions, err)
				}
				ds, err := tx.ManifestsWith(ctx, []assess.Component{{Family: "npm", Name: name, Version: versions[0]}}, oci.Digest{}, 10)
				check(t, "images", ds, []oci.Digest{digest("image " + name)})
				return err
			})
		}
	})
}

// TestUnindexed: sets of before are handed out until their components are put.
func TestUnindexed(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, p *sql.DB, _ goose.Dialect, _ fs.FS) {
		d := dbtest.Open(t, o)
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(
				tx.PutPackageSet(ctx, digest("old"), []byte("old"), nil), tx.PutPackageSet(ctx, digest("older"), []byte("older"), nil),
				tx.PutPackageSet(ctx, digest("new"), []byte("new"), nil))
		})
		if _, err := p.Exec(`UPDATE package_set SET indexed = 0 WHERE digest <> '` + digest("new").String() + `'`); err != nil {
			t.Fatal(err)
		}
		unindexed := func(limit int) (sets map[oci.Digest][]byte) {
			view(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
				sets, err = tx.Unindexed(ctx, limit)
				return err
			})
			return sets
		}
		check(t, "sets of before", unindexed(10), map[oci.Digest][]byte{digest("old"): []byte("old"), digest("older"): []byte("older")})
		if n := len(unindexed(1)); n != 1 {
			t.Errorf("%d sets, where one was asked for", n)
		}
		for range 2 { // once more changes nothing
			update(t, d, func(ctx context.Context, tx *db.Tx) error {
				return tx.PutComponents(ctx, digest("old"), []assess.Component{{Family: "deb", Name: "x", Version: "1"}})
			})
		}
		check(t, "what is left", unindexed(10), map[oci.Digest][]byte{digest("older"): []byte("older")})
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			got, err := tx.Versions(ctx, "deb", "x")
			check(t, "versions", got, []string{"1"})
			return err
		})
		err := d.Update(t.Context(), func(tx *db.Tx) error { return tx.PutComponents(t.Context(), digest("none"), nil) })
		wantErr(t, "a set that is not stored", err, repo.ErrNotFound)
	})
}

func place(ctx context.Context, tx *db.Tx, p repo.Placement) error {
	m := &repo.Manifest{Digest: p.Digest, MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: []byte("m")}
	p.BroughtBy, p.BroughtAt = "alice", noon
	return errors.Join(tx.PutManifest(ctx, m), tx.Place(ctx, &p))
}

func TestDue(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		r := oci.MustRepository("dev/a")
		at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			return errors.Join(
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("never"), State: repo.Admitted}),
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("recheck"), State: repo.Admitted, RecheckAt: at(3)}),
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("stay"), State: repo.Admitted, StayUntil: at(1), RecheckAt: at(9)}),
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("both"), State: repo.Held, StayUntil: at(9), RecheckAt: at(2)}),
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("gone"), State: repo.Removed, RecheckAt: at(0)}),
				place(ctx, tx, repo.Placement{Repository: r, Digest: digest("later"), State: repo.Held, RecheckAt: at(4)}),
			)
		})
		for _, tt := range []struct {
			limit int
			want  []oci.Digest
		}{{10, []oci.Digest{digest("stay"), digest("both"), digest("recheck")}}, {2, []oci.Digest{digest("stay"), digest("both")}}} {
			view(t, d, func(ctx context.Context, tx *db.Tx) error {
				ps, err := tx.Due(ctx, at(4), tt.limit)
				var got []oci.Digest
				for _, p := range ps {
					got = append(got, p.Digest)
				}
				check(t, "due", got, tt.want)
				return err
			})
		}
	})
}

func TestStanding(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		var want []string
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			for _, r := range []string{"dev/b", "dev/a", "dev/a/c", "dev-2/a", "production/x"} {
				for i, s := range []repo.State{repo.Held, repo.Denied, repo.Admitted, repo.Attached, repo.Withdrawn, repo.Removed, repo.Admitted} {
					dg := digest(fmt.Sprint(r, i))
					if err := place(ctx, tx, repo.Placement{Repository: oci.MustRepository(r), Digest: dg, State: s}); err != nil {
						return err
					}
					if s == repo.Held || s == repo.Denied || s == repo.Admitted {
						want = append(want, r+"@"+dg.String())
					}
				}
			}
			return nil
		})
		slices.Sort(want)
		// Repository names sort before what follows them: compare by name first.
		slices.SortFunc(want, func(a, b string) int {
			ra, da, _ := strings.Cut(a, "@")
			rb, db, _ := strings.Cut(b, "@")
			if c := strings.Compare(ra, rb); c != 0 {
				return c
			}
			return strings.Compare(da, db)
		})
		for _, zone := range []string{"", "dev", "production", "none"} {
			var inZone []string
			for _, w := range want {
				if zone == "" || strings.HasPrefix(w, zone+"/") {
					inZone = append(inZone, w)
				}
			}
			for _, limit := range []int{1, 3, 100} {
				var got []string
				var r oci.Repository
				var dg oci.Digest
				for {
					var page []repo.Placement
					view(t, d, func(ctx context.Context, tx *db.Tx) (err error) {
						page, err = tx.Standing(ctx, zone, r, dg, limit)
						return err
					})
					for _, p := range page {
						got = append(got, p.Repository.String()+"@"+p.Digest.String())
						r, dg = p.Repository, p.Digest
					}
					if len(page) < limit {
						break
					}
				}
				check(t, fmt.Sprintf("zone %q, pages of %d", zone, limit), got, inZone)
			}
		}
	})
}

func TestDecisions(t *testing.T) {
	each(t, func(t *testing.T, d *db.DB, _ *clock) {
		r := oci.MustRepository("production/api")
		decision := api.Decision{
			Repository: r.String(), Digest: digest("m").String(), Zone: "production", Clause: "enter", Outcome: api.Deny, DecidedAt: noon,
			Reasons: []api.Reason{{Rule: "max-severity", Outcome: api.Deny, Says: "a & b < c", Facts: []api.Fact{{ID: "CVE-1"}}}},
			Inputs:  api.Inputs{Gate: "g", Engine: "e"},
		}
		var ids []int64
		for i := range 3 {
			update(t, d, func(ctx context.Context, tx *db.Tx) error {
				next := decision
				next.DecidedAt = noon.Add(time.Duration(i) * time.Hour)
				id, err := tx.PutDecision(ctx, &next, int64(10+i))
				ids = append(ids[:i], id)
				return err
			})
		}
		update(t, d, func(ctx context.Context, tx *db.Tx) error {
			_, err := tx.PutDecision(ctx, &api.Decision{Repository: "production/other", Digest: digest("m").String(), DecidedAt: noon}, 1)
			return errors.Join(err, tx.ConfirmDecision(ctx, ids[1], noon.Add(24*time.Hour), 99))
		})
		view(t, d, func(ctx context.Context, tx *db.Tx) error {
			got, err := tx.Decision(ctx, ids[0])
			check(t, "a decision", got, &assess.Recorded{ID: ids[0], Decision: decision, ConfirmedAt: noon, Snapshot: 10})
			history, herr := tx.DecisionHistory(ctx, r, digest("m"), 2)
			if len(history) != 2 || history[0].ID != ids[2] || history[1].ID != ids[1] {
				t.Errorf("history: %+v", history)
			} else if history[1].Snapshot != 99 || !history[1].ConfirmedAt.Equal(noon.Add(24*time.Hour)) {
				t.Errorf("what was confirmed: %+v", history[1])
			}
			_, none := tx.Decision(ctx, 12345)
			wantErr(t, "no decision", none, repo.ErrNotFound)
			return errors.Join(err, herr)
		})
		err := d.Update(t.Context(), func(tx *db.Tx) error { return tx.ConfirmDecision(t.Context(), 12345, noon, 1) })
		wantErr(t, "confirming none", err, repo.ErrNotFound)
	})
}
