package repotest

import (
	"context"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// testNamed: what a tag has named is kept, whatever the clock says.
func testNamed(f *fixture) {
	one, two := image("one"), image("two")
	f.put(dev, one, repo.Admitted, "alice")
	f.put(dev, two, repo.Admitted, "alice")
	start := f.now
	set := func(d oci.Digest) {
		f.update(func(ctx context.Context, tx Tx) error {
			_, err := tx.SetTag(ctx, dev, "v1", d)
			return err
		})
	}
	named := func(before int64, n int) (all []repo.Named) {
		f.view(func(ctx context.Context, tx Tx) (err error) {
			all, err = tx.NamedBy(ctx, dev, "v1", before, n)
			return err
		})
		return all
	}
	f.check("what an unknown tag has named", len(named(0, 10)), 0)
	set(one.Digest)
	set(one.Digest) // again
	f.now = start.Add(time.Hour)
	set(two.Digest)
	f.now = start.Add(-time.Hour) // the clock is set back
	set(oci.Digest{})
	f.now = start.Add(2 * time.Hour)
	all := named(0, 10)
	f.check("what it has named", len(all), 2)
	f.check("the newest", all[0], repo.Named{ID: all[0].ID, Digest: two.Digest, From: start.Add(time.Hour), To: start.Add(time.Hour)})
	f.check("the first", all[1], repo.Named{ID: all[1].ID, Digest: one.Digest, From: start, To: start.Add(time.Hour)})
	f.update(func(ctx context.Context, tx Tx) error {
		_, err := tx.ReturnTag(ctx, dev, "v1", all[1])
		return err
	})
	f.check("what it names", f.sees(nobody, dev, repo.Selector{Tag: "v1"}), true)
	f.check("what it went back to", named(0, 1)[0], repo.Named{ID: named(0, 1)[0].ID, Digest: one.Digest, From: f.now, Back: all[1].ID})
	f.check("a page further on", named(named(0, 1)[0].ID, 1)[0], all[0])
}
