package repotest

import (
	"context"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

func testTags(f *fixture) {
	shown, held := image("shown"), image("held")
	f.put(dev, shown, repo.Admitted, "alice")
	f.put(dev, held, repo.Held, "alice")
	want := append(names(25, "v%02d"), "A", "_", "a", "z.1-x")
	slices.Sort(want)
	f.update(func(ctx context.Context, tx Tx) error {
		for _, n := range want {
			if _, err := tx.SetTag(ctx, dev, n, shown.Digest); err != nil {
				return err
			}
		}
		if _, err := tx.SetTag(ctx, dev, "hidden", held.Digest); err != nil {
			return err
		}
		if err := tx.SetPending(ctx, dev, "v03", held.Digest, "alice"); err != nil {
			return err
		}
		return tx.SetPending(ctx, dev, "waiting", held.Digest, "alice")
	})
	list := func(v repo.Viewer, limit int) []string {
		f.Helper()
		var all []string
		for after := ""; ; {
			page, err := f.store.Reader.Tags(f.Context(), dev, v, repo.Page{After: after, Limit: limit})
			f.wantErr("listing", err, nil)
			if len(page) > limit {
				f.Fatalf("a page of %d, at most %d", len(page), limit)
			}
			if len(page) == 0 {
				return all
			}
			all = append(all, page...)
			after = page[len(page)-1]
		}
	}
	for _, limit := range []int{1, 4, 10_000} {
		f.check("for nobody", list(nobody, limit), want)
		f.check("for bob", list(bob, limit), want)
		own := append(slices.Clone(want), "hidden", "waiting")
		slices.Sort(own)
		f.check("for alice", list(alice, limit), own)
		all := append(slices.Clone(want), "hidden")
		slices.Sort(all)
		f.check("for quarantine", list(guard, limit), all)
	}
	_, err := f.store.Reader.Tags(f.Context(), foreignRepo, nobody, repo.Page{Limit: 10})
	f.wantErr("of a repository that is not there", err, repo.ErrNotFound)
	f.put(staging, held, repo.Held, "alice")
	_, err = f.store.Reader.Tags(f.Context(), staging, nobody, repo.Page{Limit: 10})
	f.wantErr("of one with nothing to see", err, repo.ErrNotFound)
	got, err := f.store.Reader.Tags(f.Context(), staging, alice, repo.Page{Limit: 10})
	f.wantErr("of one without tags", err, nil)
	f.check("of one without tags", got, []string(nil))
}

func testReferrers(f *fixture) {
	subject := image("subject")
	var digests []string
	for _, n := range names(7, "sbom %d") {
		e := evidence(n, subject.Digest)
		f.put(dev, e, repo.Attached, "bob")
		digests = append(digests, e.Digest.String())
	}
	slices.Sort(digests)
	other := evidence("signature", subject.Digest)
	other.ArtifactType = "application/vnd.example.signature"
	f.put(dev, other, repo.Attached, "alice")
	f.put(staging, evidence("elsewhere", subject.Digest), repo.Attached, "alice")
	list := func(v repo.Viewer, artifactType, after string, limit int) []string {
		f.Helper()
		ds, err := f.store.Reader.Referrers(f.Context(), dev, subject.Digest, artifactType, v, repo.Page{After: after, Limit: limit})
		f.wantErr("listing", err, nil)
		var all []string
		for _, d := range ds {
			all = append(all, d.Digest.String())
		}
		return all
	}
	every := append(slices.Clone(digests), other.Digest.String())
	slices.Sort(every)
	f.check("of an absent subject, all", list(guard, "", "", 100), every)
	f.check("of an absent subject, one's own", list(bob, "", "", 100), digests)
	f.check("of an absent subject, others'", list(nobody, "", "", 100), []string(nil))

	f.put(dev, subject, repo.Held, "carol")
	f.check("of what bob may not see", list(bob, "", "", 100), []string(nil))
	f.check("of what carol brought", list(repo.Viewer{Principal: "carol"}, "", "", 100), every)
	f.move(dev, subject.Digest, repo.Admitted)
	f.check("for all", list(nobody, "", "", 100), every)
	f.check("by type", list(nobody, "application/vnd.example.sbom", "", 100), digests)
	f.check("a page", list(nobody, "application/vnd.example.sbom", digests[1], 3), digests[2:5])
	f.check("the last page", list(nobody, "application/vnd.example.sbom", digests[6], 3), []string(nil))

	ds, err := f.store.Reader.Referrers(f.Context(), dev, subject.Digest, "application/vnd.example.signature", nobody, repo.Page{Limit: 1})
	f.wantErr("the descriptor", err, nil)
	f.check("the descriptor", ds, []oci.Descriptor{{
		MediaType: other.MediaType, Digest: other.Digest, Size: int64(len(other.Raw)), ArtifactType: other.ArtifactType, Annotations: other.Annotations,
	}})
	ds, err = f.store.Reader.Referrers(f.Context(), foreignRepo, subject.Digest, "", guard, repo.Page{Limit: 1})
	f.wantErr("elsewhere", err, nil)
	f.check("elsewhere", len(ds), 0)

	// What is judged in its own right is listed only when it can be seen.
	odd := image("odd")
	odd.Subject = subject.Digest
	f.put(dev, odd, repo.Held, "alice")
	f.check("a referrer that is held", slices.Contains(list(bob, "", "", 100), odd.Digest.String()), false)
	f.check("for who brought it", slices.Contains(list(alice, "", "", 100), odd.Digest.String()), true)
}

func testRepositories(f *fixture) {
	var want []string
	for _, n := range []string{"dev/b", "dev/a", "dev/a-b", "dev/a/b", "catalog/x", "staging/z"} {
		f.put(oci.MustRepository(n), image(n), repo.Admitted, "alice")
		want = append(want, n)
	}
	slices.Sort(want)
	held := image("held")
	f.put(oci.MustRepository("dev/held"), held, repo.Held, "alice")
	f.put(oci.MustRepository("dev/evidence"), evidence("e", held.Digest), repo.Attached, "alice")
	f.put(oci.MustRepository("dev/withdrawn"), image("w"), repo.Withdrawn, "alice")
	for _, limit := range []int{1, 4, 100} {
		var got []string
		for after := ""; ; {
			page, err := f.store.Reader.Repositories(f.Context(), repo.Page{After: after, Limit: limit})
			f.wantErr("listing", err, nil)
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				got = append(got, r.String())
			}
			after = got[len(got)-1]
		}
		f.check("repositories", got, want)
	}
}

func testNewest(f *fixture) {
	var admitted []string
	for i, n := range names(7, "%02d") {
		at, state := dev, repo.Admitted
		if i == 2 {
			at = staging
		}
		if i == 3 {
			state = repo.Denied
		}
		m := image(n)
		f.put(at, m, state, "alice")
		if at == dev && state == repo.Admitted {
			admitted = append([]string{m.Digest.String()}, admitted...)
		}
	}
	f.view(func(ctx context.Context, tx Tx) error {
		for _, limit := range []int{1, 3, 100} {
			var got []string
			for before := int64(0); ; {
				page, err := tx.Newest(ctx, dev, repo.Admitted, before, limit)
				f.wantErr("listing", err, nil)
				if len(page) > limit {
					f.Errorf("a page of %d, at most %d", len(page), limit)
				}
				if len(page) == 0 {
					break
				}
				for _, l := range page {
					got, before = append(got, l.Digest.String()), l.Position
				}
			}
			f.check("newest first", got, admitted)
		}
		denied, err := tx.Newest(ctx, dev, repo.Denied, 0, 10)
		f.wantErr("listing", err, nil)
		if len(denied) != 1 || denied[0].Digest != image("03").Digest || denied[0].BroughtBy != "alice" {
			f.Errorf("denied: %+v", denied)
		}
		for _, tt := range []struct {
			zone, after string
			want        []string
		}{
			{"", "", []string{dev.String(), staging.String()}},
			{"", dev.String(), []string{staging.String()}},
			{"dev", "", []string{dev.String()}},
			{"dev", dev.String(), []string{}},
			{"staging", dev.String(), []string{staging.String()}},
			{"de", "", []string{}},
		} {
			rs, err := tx.Names(ctx, tt.zone, repo.Page{After: tt.after, Limit: 10})
			f.wantErr("names", err, nil)
			got := []string{}
			for _, r := range rs {
				got = append(got, r.String())
			}
			f.check("names of "+tt.zone+" after "+tt.after, got, tt.want)
		}
		return nil
	})
}

func testGraph(f *fixture) {
	one, two := image("one", "base"), image("two", "base")
	both := index("both", one, two)
	f.put(dev, one, repo.Held, "alice")
	f.put(dev, both, repo.Held, "alice")
	f.put(dev, index("just one", one), repo.Removed, "alice")
	f.put(staging, one, repo.Admitted, "bob")
	f.put(staging, both, repo.Denied, "bob")
	f.put(foreignRepo, one, repo.Removed, "bob")
	sbom, signature := evidence("sbom", one.Digest), evidence("signature", one.Digest)
	f.put(dev, sbom, repo.Attached, "bob")
	f.put(staging, sbom, repo.Attached, "bob")
	f.put(dev, signature, repo.Removed, "bob")
	f.put(foreignRepo, evidence("strange", one.Digest), repo.Attached, "bob") // where the subject is not
	old, overwritten, elsewhere := evidence("old form", oci.Digest{}), evidence("written over", oci.Digest{}), evidence("tagged where the subject is not", oci.Digest{})
	f.put(dev, old, repo.Attached, "bob")
	f.put(dev, overwritten, repo.Attached, "bob")
	f.put(foreignRepo, elsewhere, repo.Attached, "bob")
	f.update(func(ctx context.Context, tx Tx) error {
		tag := "sha256-" + one.Digest.Hex() + ".sig"
		for _, at := range []struct {
			r oci.Repository
			d oci.Digest
		}{{dev, overwritten.Digest}, {dev, old.Digest}, {foreignRepo, elsewhere.Digest}} {
			if _, err := tx.SetTag(ctx, at.r, tag, at.d); err != nil {
				return err
			}
		}
		_, err := tx.SetTag(ctx, dev, "sha256-"+two.Digest.Hex()+".sig", both.Digest) // no evidence
		return err
	})
	f.view(func(ctx context.Context, tx Tx) error {
		// It is seen by who sees what it is about, and elsewhere by who brought it.
		for _, tt := range []struct {
			r    oci.Repository
			d    oci.Digest
			v    repo.Viewer
			want bool
		}{
			{dev, old.Digest, repo.Viewer{Principal: "alice"}, true}, {dev, old.Digest, repo.Viewer{Principal: "carol"}, false},
			{foreignRepo, elsewhere.Digest, repo.Viewer{Principal: "bob"}, true}, {foreignRepo, elsewhere.Digest, repo.Viewer{Principal: "alice"}, false},
		} {
			placed, err := tx.Lookup(ctx, tt.r, repo.Selector{Digest: tt.d}, tt.v)
			f.wantErr("looking up evidence of the older form", err, nil)
			if err == nil {
				f.check("whether it is seen by "+tt.v.Principal, tt.v.Visible(&placed.Placement), tt.want)
			}
		}
		return nil
	})
	f.update(func(ctx context.Context, tx Tx) error {
		for _, tag := range []string{"b", "a"} {
			if _, err := tx.SetTag(ctx, staging, tag, one.Digest); err != nil {
				return err
			}
			if err := tx.SetPending(ctx, dev, tag, one.Digest, "alice"); err != nil {
				return err
			}
		}
		return tx.SetPending(ctx, dev, "a", one.Digest, "bob")
	})
	f.view(func(ctx context.Context, tx Tx) error {
		where := func(ps []repo.Placement, err error) string {
			f.Helper()
			f.wantErr("listing", err, nil)
			var all []string
			for _, p := range ps {
				all = append(all, p.Repository.String()+" "+string(p.State)+" "+p.Digest.Hex()[:4])
			}
			return strings.Join(all, ", ")
		}
		short, ishort := one.Digest.Hex()[:4], both.Digest.Hex()[:4]
		f.check("placements", where(tx.Placements(ctx, one.Digest)), "dev/payments/api held "+short+", staging/payments/api admitted "+short)
		f.check("placements of a stranger", where(tx.Placements(ctx, blob("x"))), "")
		f.check("parents", where(tx.Parents(ctx, dev, one.Digest)), "dev/payments/api held "+ishort)
		f.check("parents of an absent child", where(tx.Parents(ctx, staging, two.Digest)), "staging/payments/api denied "+ishort)
		f.check("parents of a parent", where(tx.Parents(ctx, dev, both.Digest)), "")
		refs, err := tx.ReferrersOf(ctx, one.Digest)
		f.wantErr("referrers", err, nil)
		want := []oci.Digest{sbom.Digest, old.Digest, overwritten.Digest}
		slices.SortFunc(want, func(a, b oci.Digest) int { return strings.Compare(a.String(), b.String()) })
		f.check("referrers", refs, want)
		tags, err := tx.TagsOf(ctx, staging, one.Digest)
		f.wantErr("tags", err, nil)
		f.check("tags", tags, []string{"a", "b"})
		tags, err = tx.TagsOf(ctx, dev, one.Digest)
		f.wantErr("tags", err, nil)
		f.check("tags that only wait", tags, []string(nil))
		tags, err = tx.Pending(ctx, dev, one.Digest)
		f.wantErr("pending", err, nil)
		f.check("pending", tags, []string{"a", "b"})
		return nil
	})
	f.update(func(ctx context.Context, tx Tx) error {
		for _, tt := range []struct {
			d, before oci.Digest
		}{
			{both.Digest, one.Digest}, {both.Digest, both.Digest}, {oci.Digest{}, both.Digest}, {oci.Digest{}, oci.Digest{}}, {one.Digest, oci.Digest{}},
		} {
			got, err := tx.SetTag(ctx, staging, "a", tt.d)
			f.wantErr("moving a tag", err, nil)
			f.check("where the tag pointed before", got, tt.before)
		}
		return nil
	})
}
