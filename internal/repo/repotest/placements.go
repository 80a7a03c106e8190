package repotest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

func testCompareAndSwap(f *fixture) {
	m := image("a", "base")
	at := repo.Placement{
		Repository: dev, Digest: m.Digest, Kind: oci.KindImage, State: repo.Held, BroughtBy: "alice", BroughtAt: f.now,
		AdmittedAt: f.now.Add(time.Second), StayUntil: f.now.Add(2 * time.Second), RecheckAt: f.now.Add(3 * time.Microsecond),
		Decision: 7, Sentence: "no-malware: cannot tell",
	}
	place := func(p repo.Placement) error {
		return f.store.Update(f.Context(), func(tx Tx) error { return tx.Place(f.Context(), &p) })
	}
	f.wantErr("placing what is not stored", place(at), repo.ErrNotFound)
	f.update(func(ctx context.Context, tx Tx) error { return tx.PutManifest(ctx, m) })

	missing := at
	missing.Version = 1
	f.wantErr("updating what is absent", place(missing), repo.ErrConflict)
	f.wantErr("placing", place(at), nil)
	if at.Version != 0 {
		f.Error("Place changed what it was given; an update that runs again would not work")
	}
	f.wantErr("placing again as new", place(at), repo.ErrConflict)

	want := at
	want.Version = 1
	got, err := f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Digest: m.Digest}, guard)
	f.wantErr("looking up", err, nil)
	f.check("placement", got.Placement, want)

	next := got.Placement
	next.State, next.StayUntil = repo.Admitted, time.Time{}
	f.wantErr("updating", place(next), nil)
	f.wantErr("updating from a version that is gone", place(next), repo.ErrConflict)
	next.Version = 2
	got, err = f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Digest: m.Digest}, nobody)
	f.wantErr("looking up", err, nil)
	f.check("placement", got.Placement, next)
}

func testLookup(f *fixture) {
	m, other := image("a"), image("b")
	f.put(dev, m, repo.Admitted, "alice")
	f.put(staging, other, repo.Held, "alice")
	f.tag(dev, "v1", m.Digest)
	for _, tt := range []struct {
		name string
		r    oci.Repository
		s    repo.Selector
		want error
	}{
		{"by digest", dev, repo.Selector{Digest: m.Digest}, nil},
		{"by tag", dev, repo.Selector{Tag: "v1"}, nil},
		{"a tag of another case", dev, repo.Selector{Tag: "V1"}, repo.ErrNotFound},
		{"a digest of another repository", dev, repo.Selector{Digest: other.Digest}, repo.ErrNotFound},
		{"a blob", dev, repo.Selector{Digest: blob("a config")}, repo.ErrNotFound},
		{"no such repository", foreignRepo, repo.Selector{Tag: "v1"}, repo.ErrNotFound},
	} {
		got, err := f.store.Reader.Lookup(f.Context(), tt.r, tt.s, nobody)
		f.wantErr(tt.name, err, tt.want)
		if err == nil && (got.Manifest.Digest != m.Digest || got.Placement.Digest != m.Digest || got.Repository != dev) {
			f.Errorf("%s: got %s in %s", tt.name, got.Manifest.Digest, got.Repository)
		}
	}
	f.update(func(ctx context.Context, tx Tx) error {
		f.put2(tx, image("own"))
		_, err := tx.Lookup(ctx, dev, repo.Selector{Digest: image("own").Digest}, alice)
		f.wantErr("what the transaction itself placed", err, nil)
		return nil
	})
}

// put2 places a manifest without blobs in a transaction that is open.
func (f *fixture) put2(tx Tx, m *repo.Manifest) {
	f.Helper()
	ctx := f.Context()
	err := errors.Join(tx.PutManifest(ctx, m),
		tx.Place(ctx, &repo.Placement{Repository: dev, Digest: m.Digest, Kind: m.Kind, State: repo.Held, BroughtBy: "alice", BroughtAt: f.now}))
	if err != nil {
		f.Fatal(err)
	}
}

func testPending(f *fixture) {
	old, fresh := image("old"), image("fresh")
	f.put(dev, old, repo.Admitted, "alice")
	f.put(dev, fresh, repo.Held, "bob")
	f.tag(dev, "latest", old.Digest)
	pend := func(d oci.Digest, who string) {
		f.update(func(ctx context.Context, tx Tx) error { return tx.SetPending(ctx, dev, "latest", d, who) })
	}
	points := func(v repo.Viewer, want oci.Digest) {
		f.Helper()
		got, err := f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Tag: "latest"}, v)
		if err != nil || got.Manifest.Digest != want {
			f.Errorf("latest for %+v: got %v, %v, want %s", v, got, err, want)
		}
	}
	pend(fresh.Digest, "bob")
	points(bob, fresh.Digest)
	points(alice, old.Digest)
	points(nobody, old.Digest)
	points(guard, old.Digest)
	pend(oci.Digest{}, "alice") // not hers to take back
	points(bob, fresh.Digest)
	f.move(dev, fresh.Digest, repo.Removed)
	points(bob, old.Digest)
	f.put(dev, fresh, repo.Held, "bob")
	points(bob, old.Digest) // the note is gone with what it named
	pend(fresh.Digest, "bob")
	pend(fresh.Digest, "alice")
	points(bob, fresh.Digest)
	points(alice, old.Digest) // bob brought it, she does not see it yet
	pend(fresh.Digest, "guard")
	points(guard, fresh.Digest)
	pend(oci.Digest{}, "bob")
	points(bob, old.Digest)
	f.move(dev, fresh.Digest, repo.Admitted)
	points(guard, old.Digest) // nothing waits any more
	f.tag(dev, "latest", fresh.Digest)
	f.tag(dev, "latest", old.Digest)
	f.move(dev, fresh.Digest, repo.Held)
	points(guard, old.Digest) // and the notes were fulfilled
	f.update(func(ctx context.Context, tx Tx) error { return tx.SetPending(ctx, dev, "new", fresh.Digest, "bob") })
	for _, v := range []repo.Viewer{nobody, alice, guard} {
		got, err := f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Tag: "new"}, v)
		if err != nil || got.Manifest.Digest != fresh.Digest || got.State != repo.Held {
			f.Errorf("a tag that only waits, for %+v: got %v, %v", v, got, err)
		}
	}
	f.update(func(ctx context.Context, tx Tx) error { return tx.SetPending(ctx, dev, "soon", old.Digest, "bob") })
	got, err := f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Tag: "soon"}, bob)
	if err != nil || got.Manifest.Digest != old.Digest {
		f.Errorf("a new tag of what is admitted, for who asked: got %v, %v", got, err)
	}
	_, err = f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Tag: "soon"}, alice)
	f.wantErr("a new tag of what is admitted, for another", err, repo.ErrNotFound)
	pend(old.Digest, "alice")
	f.tag(dev, "latest", old.Digest) // where it is already
	f.update(func(ctx context.Context, tx Tx) error {
		waiting, err := tx.Pending(ctx, dev, old.Digest)
		f.check("what waits after a tag was set to where it was", waiting, []string{"soon"})
		return err
	})
	tags, err := f.store.Reader.Tags(f.Context(), dev, bob, repo.Page{Limit: 10})
	f.wantErr("tags", err, nil)
	if !slices.Contains(tags, "soon") {
		f.Errorf("tags for who asked for another: %v", tags)
	}
	err = f.store.Update(f.Context(), func(tx Tx) error {
		return tx.SetPending(f.Context(), dev, "x", blob("not placed"), "bob")
	})
	f.wantErr("a pending tag for what is not there", err, repo.ErrNotFound)
}

func testLaterWish(f *fixture) {
	old, fresh := image("old"), image("fresh")
	f.put(dev, old, repo.Held, "alice")
	f.put(dev, fresh, repo.Held, "bob")
	waiting := func(d oci.Digest) (tags []string) {
		f.view(func(ctx context.Context, tx Tx) (err error) {
			tags, err = tx.Pending(ctx, dev, d)
			return err
		})
		return tags
	}
	ask := func() {
		for _, n := range []struct {
			d  oci.Digest
			by string
		}{{old.Digest, "alice"}, {fresh.Digest, "bob"}} {
			f.update(func(ctx context.Context, tx Tx) error { return tx.SetPending(ctx, dev, "latest", n.d, n.by) })
			f.update(func(ctx context.Context, tx Tx) error { return tx.SetPending(ctx, dev, "other "+n.by, n.d, n.by) })
			f.now = f.now.Add(time.Second)
		}
	}
	ask()
	f.tag(dev, "latest", fresh.Digest)
	f.check("the older wish", waiting(old.Digest), []string{"other alice"})
	f.check("the one fulfilled", waiting(fresh.Digest), []string{"other bob"})
	ask()
	f.tag(dev, "latest", old.Digest)
	f.check("the one fulfilled", waiting(old.Digest), []string{"other alice"})
	f.check("the later wish", waiting(fresh.Digest), []string{"latest", "other bob"})
	f.put(dev, image("third"), repo.Admitted, "carol")
	f.tag(dev, "latest", image("third").Digest)
	f.check("what nobody had asked for", waiting(fresh.Digest), []string{"other bob"})
}

func testVisible(f *fixture) {
	for _, tt := range []struct {
		state                     repo.State
		alice, bob, nobody, guard bool // alice brought it
	}{
		{repo.Held, true, false, false, true},
		{repo.Denied, true, false, false, true},
		{repo.Admitted, true, true, true, true},
		{repo.Withdrawn, false, false, false, true},
		{repo.Removed, false, false, false, false},
	} {
		f.Run(string(tt.state), func(t *testing.T) {
			g := &fixture{T: t, store: f.store, now: f.now}
			m := image("state " + string(tt.state))
			g.put(dev, m, repo.Held, "alice")
			g.tag(dev, string(tt.state), m.Digest)
			if tt.state != repo.Held {
				g.move(dev, m.Digest, tt.state)
			}
			for _, s := range []repo.Selector{{Digest: m.Digest}, {Tag: string(tt.state)}} {
				g.check("visible", [4]bool{g.sees(alice, dev, s), g.sees(bob, dev, s), g.sees(nobody, dev, s), g.sees(guard, dev, s)},
					[4]bool{tt.alice, tt.bob, tt.nobody, tt.guard})
			}
		})
	}
}

// testOwn: who sees its own alone learns nothing else from any listing.
func testOwn(f *fixture) {
	mine, theirs := image("mine", "base"), image("theirs", "base", "theirs")
	f.put(dev, mine, repo.Admitted, "alice")
	f.put(dev, theirs, repo.Admitted, "carol")
	signature := evidence("signature", mine.Digest)
	f.put(dev, signature, repo.Attached, "carol")
	f.tag(dev, "mine", mine.Digest)
	f.tag(dev, "theirs", theirs.Digest)
	for _, tt := range []struct {
		v                       repo.Viewer
		mine, theirs, signature bool
		base                    string
	}{
		{own, true, false, true, "readable"},
		{stranger, false, false, false, "unknown"},
		{repo.Viewer{Own: true}, false, false, false, "unknown"},
		{guard, true, true, true, "readable"},
	} {
		f.check(fmt.Sprintf("visible to %+v", tt.v),
			[]bool{
				f.sees(tt.v, dev, repo.Selector{Tag: "mine"}), f.sees(tt.v, dev, repo.Selector{Digest: mine.Digest}),
				f.sees(tt.v, dev, repo.Selector{Tag: "theirs"}), f.sees(tt.v, dev, repo.Selector{Digest: signature.Digest}),
			},
			[]bool{tt.mine, tt.mine, tt.theirs, tt.signature})
		f.check(fmt.Sprintf("a blob to %+v", tt.v), f.access(tt.v, dev, blob("base")), tt.base)
		var want []string
		for tag, listed := range map[string]bool{"mine": tt.mine, "theirs": tt.theirs} {
			if listed {
				want = append(want, tag)
			}
		}
		slices.Sort(want)
		tags, err := f.store.Reader.Tags(f.Context(), dev, tt.v, repo.Page{Limit: 10})
		if len(want) == 0 {
			f.wantErr("tags of a repository that is not to be known", err, repo.ErrNotFound)
		}
		f.check(fmt.Sprintf("tags to %+v", tt.v), tags, want)
		about, err := f.store.Reader.Referrers(f.Context(), dev, mine.Digest, "", tt.v, repo.Page{Limit: 10})
		f.wantErr("referrers", err, nil)
		f.check(fmt.Sprintf("referrers to %+v", tt.v), len(about) == 1, tt.signature)
	}
	f.check("a blob of others", f.access(own, dev, blob("theirs")), "unknown")
	f.move(dev, mine.Digest, repo.Denied)
	f.check("a blob of what was denied", f.access(own, dev, blob("base")), "unknown")
	f.check("what was denied", f.sees(own, dev, repo.Selector{Digest: mine.Digest}), true)
	f.move(dev, mine.Digest, repo.Withdrawn)
	f.check("what was withdrawn", f.sees(own, dev, repo.Selector{Digest: mine.Digest}), false)
}

func testEvidence(f *fixture) {
	subject := image("subject")
	sbom := evidence("sbom", subject.Digest)
	f.put(dev, sbom, repo.Attached, "bob")
	by := repo.Selector{Digest: sbom.Digest}
	seen := func() [4]bool {
		return [4]bool{f.sees(alice, dev, by), f.sees(bob, dev, by), f.sees(nobody, dev, by), f.sees(guard, dev, by)}
	}
	f.check("while the subject is absent", seen(), [4]bool{false, true, false, true})
	if _, err := f.store.Reader.Lookup(f.Context(), dev, by, nobody); err != nil {
		f.Errorf("evidence that is hidden is still found: %v", err)
	}
	f.put(dev, subject, repo.Held, "alice")
	f.check("while it is held", seen(), [4]bool{true, false, false, true})
	f.move(dev, subject.Digest, repo.Admitted)
	f.check("once it is admitted", seen(), [4]bool{true, true, true, true})
	f.move(dev, subject.Digest, repo.Withdrawn)
	f.check("once it is withdrawn", seen(), [4]bool{false, false, false, true})
	f.move(dev, subject.Digest, repo.Removed)
	f.check("once it is removed", seen(), [4]bool{false, true, false, true})
}

func testEvidenceChain(f *fixture) {
	subject := image("subject")
	sbom := evidence("sbom", subject.Digest)
	signature := evidence("signature", sbom.Digest)
	f.put(dev, signature, repo.Attached, "bob")
	by := repo.Selector{Digest: signature.Digest}
	seen := func() [4]bool {
		return [4]bool{f.sees(alice, dev, by), f.sees(bob, dev, by), f.sees(nobody, dev, by), f.sees(guard, dev, by)}
	}
	f.check("alone", seen(), [4]bool{false, true, false, true})
	f.put(dev, sbom, repo.Attached, "alice")
	f.check("under evidence of alice", seen(), [4]bool{true, false, false, true})
	f.put(dev, subject, repo.Admitted, "carol")
	f.check("under what is admitted", seen(), [4]bool{true, true, true, true})
	f.put(staging, signature, repo.Attached, "bob")
	f.check("where nothing else is", f.sees(alice, staging, by), false)

	// Something admitted in its own right does not need its subject.
	odd := image("admitted, with a subject")
	odd.Subject = blob("unknown subject")
	f.put(dev, odd, repo.Admitted, "alice")
	f.check("an image with a subject", f.sees(nobody, dev, repo.Selector{Digest: odd.Digest}), true)
}

func testTombstones(f *fixture) {
	m := image("a", "base")
	f.put(dev, m, repo.Held, "alice")
	f.move(dev, m.Digest, repo.Removed)
	f.check("removed", f.sees(guard, dev, repo.Selector{Digest: m.Digest}), false)
	_, err := f.store.Reader.BlobAccess(f.Context(), dev, blob("base"), guard)
	f.wantErr("a blob of a tombstone", err, repo.ErrNotFound)
	err = f.store.Update(f.Context(), func(tx Tx) error {
		_, err := tx.SetTag(f.Context(), dev, "v1", m.Digest)
		return err
	})
	f.wantErr("tagging a tombstone", err, repo.ErrNotFound)

	f.put(dev, m, repo.Admitted, "bob")
	got, err := f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Digest: m.Digest}, nobody)
	f.wantErr("brought again", err, nil)
	if got.BroughtBy != "bob" || got.Version <= 2 {
		f.Errorf("brought again: got %+v, want it to be bob's, with a version above those before", got.Placement)
	}
	a, err := f.store.Reader.BlobAccess(f.Context(), dev, blob("base"), nobody)
	if err != nil || !a.Readable {
		f.Errorf("a blob of what was brought again: got %+v, %v", a, err)
	}
}

func testRollback(f *fixture) {
	m := image("a", "base")
	fail := errors.New("no")
	err := f.store.Update(f.Context(), func(tx Tx) error {
		ctx := f.Context()
		f.put2(tx, m)
		if _, err := tx.SetTag(ctx, dev, "v1", m.Digest); err != nil {
			return err
		}
		if err := tx.PutBlob(ctx, blob("base"), 4); err != nil {
			return err
		}
		if err := tx.Lease(ctx, dev, blob("base"), "alice", f.now.Add(time.Hour)); err != nil {
			return err
		}
		return fail
	})
	f.wantErr("the update", err, fail)
	f.check("the manifest", f.sees(guard, dev, repo.Selector{Digest: m.Digest}), false)
	_, err = f.store.Reader.BlobAccess(f.Context(), dev, blob("base"), alice)
	f.wantErr("the blob", err, repo.ErrNotFound)
	f.view(func(ctx context.Context, tx Tx) error {
		_, err := tx.Stored(ctx, m.Digest)
		f.wantErr("the content", err, repo.ErrNotFound)
		return nil
	})
}

func testRoundTrip(f *fixture) {
	all := index("all", image("one"), image("two"))
	all.Annotations = map[string]string{"": "", "org.opencontainers.image.title": "ünïcode\x00\n", "b": "2"}
	all.References = append(all.References, all.References[0]) // named twice
	sha512 := image("long", "base", "base", "top")
	sha512.Digest = oci.SHA512.DigestOf(sha512.Raw)
	sha512.Subject = oci.SHA512.DigestOf([]byte("subject"))
	for _, m := range []*repo.Manifest{all, sha512, {Digest: blob("bare"), MediaType: oci.MediaTypeManifest, Kind: oci.KindOther, Raw: []byte{0xff, 0}}} {
		f.put(dev, m, repo.Admitted, "alice")
		f.update(func(ctx context.Context, tx Tx) error { return tx.PutManifest(ctx, m) }) // again
		got, err := f.store.Reader.Lookup(f.Context(), dev, repo.Selector{Digest: m.Digest}, nobody)
		f.wantErr("looking up", err, nil)
		f.check("looked up", got.Manifest, *m)
		f.view(func(ctx context.Context, tx Tx) error {
			stored, err := tx.Stored(ctx, m.Digest)
			f.check("stored", stored, m)
			return err
		})
	}
}
