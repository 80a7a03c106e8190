package repotest

import (
	"context"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// testChains: bases and descendants are found by all their layers in order, as far
// as those are known to be theirs, and a change of a base has a number.
func testChains(f *fixture) {
	base, sibling, upper, half, twisted := image("base"), image("sibling"), image("upper"), image("half"), image("twisted")
	layers := func(names string) (ds []oci.Digest) {
		for _, n := range names {
			ds = append(ds, blob("layer "+string(n)))
		}
		return ds
	}
	f.put(dev, base, repo.Held, "alice")
	f.put(dev, sibling, repo.Held, "alice")
	f.put(staging, upper, repo.Held, "alice")
	f.put(dev, half, repo.Admitted, "alice")
	f.put(dev, twisted, repo.Admitted, "alice")
	for range 2 { // the second time changes nothing
		f.update(func(ctx context.Context, tx Tx) error {
			for _, c := range []struct {
				d      oci.Digest
				layers string
				whole  bool
			}{{base.Digest, "ab", true}, {sibling.Digest, "ab", true}, {upper.Digest, "abcd", true}, {half.Digest, "abc", false}, {twisted.Digest, "ba", true}} {
				if err := tx.PutChain(ctx, c.d, layers(c.layers), c.whole); err != nil {
					return err
				}
			}
			return nil
		})
	}
	check := func(what string, wantBases, wantDescendants []string) {
		f.Helper()
		f.view(func(ctx context.Context, tx Tx) error {
			var bases, descendants []string
			found, err := tx.BasesOf(ctx, upper.Digest, staging, 10)
			if err != nil {
				return err
			}
			for _, b := range found {
				bases = append(bases, fmt.Sprintf("%s %s %d %s %v %s", b.Repository, b.Digest.Short(), b.Layers, b.Tag, b.Past, b.Newer.Short()))
			}
			for after := int64(0); ; {
				page, err := tx.DescendantsOf(ctx, base.Digest, after, 1)
				if err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				after = page[0].Position
				descendants = append(descendants, page[0].Repository.String()+" "+page[0].Digest.Short())
			}
			if !slices.Equal(bases, wantBases) || !slices.Equal(descendants, wantDescendants) {
				f.Errorf("%s: bases are %q, want %q; descendants are %q, want %q", what, bases, wantBases, descendants, wantDescendants)
			}
			return nil
		})
	}
	all := []string{"dev/payments/api " + base.Digest.Short(), "dev/payments/api " + sibling.Digest.Short(), "staging/payments/api " + upper.Digest.Short(), "dev/payments/api " + half.Digest.Short()}
	check("held", nil, all)
	seq := func() (n int64) {
		f.view(func(ctx context.Context, tx Tx) (err error) { n, err = tx.BaseSeq(ctx); return err })
		return n
	}
	before := seq()
	f.move(dev, base.Digest, repo.Admitted)
	if after := seq(); before < 1 || after <= before {
		f.Errorf("a base that is admitted takes the number from %d to %d", before, after)
	}
	is := func(tag string, past bool, newer oci.Digest) []string {
		return []string{fmt.Sprintf("dev/payments/api %s 2 %s %v %s", base.Digest.Short(), tag, past, newer.Short())}
	}
	check("admitted", is("", false, oci.Digest{}), all)
	tag := func(d oci.Digest) {
		f.update(func(ctx context.Context, tx Tx) error { _, err := tx.SetTag(ctx, dev, "12", d); return err })
	}
	tag(base.Digest)
	check("named", is("12", false, oci.Digest{}), all)
	before = seq()
	tag(twisted.Digest)
	if after := seq(); after <= before {
		f.Errorf("a base that is named no more takes the number from %d to %d", before, after)
	}
	check("named no more", is("12", true, twisted.Digest), all)
	tag(oci.Digest{})
	check("its tag is gone", is("12", true, oci.Digest{}), all)
	before = seq()
	f.move(dev, twisted.Digest, repo.Withdrawn)
	if after := seq(); after != before {
		f.Errorf("what nothing is built on takes the number from %d to %d", before, after)
	}
	f.move(dev, base.Digest, repo.Withdrawn)
	check("withdrawn", nil, all)
}
