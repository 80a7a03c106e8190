package repotest

import (
	"context"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// access says how a blob of size 4 stands for a viewer: readable, refused with
// the state of what keeps it closed, or unknown.
func (f *fixture) access(v repo.Viewer, r oci.Repository, d oci.Digest) string {
	f.Helper()
	a, err := f.store.Reader.BlobAccess(f.Context(), r, d, v)
	if err != nil {
		f.wantErr("blob access", err, repo.ErrNotFound)
		return "unknown"
	}
	if a.Size != 4 {
		f.Errorf("size of %s: got %d, want 4", d, a.Size)
	}
	if a.Readable {
		if a.Refused != nil {
			f.Errorf("%s is readable and refused", d)
		}
		return "readable"
	}
	if a.Refused == nil {
		return "closed"
	}
	return string(a.Refused.State)
}

func testBlobs(f *fixture) {
	m := image("a", "base")
	f.put(dev, m, repo.Held, "alice")
	f.put(staging, image("b"), repo.Admitted, "alice")
	d := blob("base")
	all := func() [4]string {
		return [4]string{f.access(alice, dev, d), f.access(bob, dev, d), f.access(nobody, dev, d), f.access(guard, dev, d)}
	}
	f.check("held", all(), [4]string{"readable", "held", "held", "readable"})
	f.move(dev, m.Digest, repo.Denied)
	f.check("denied", all(), [4]string{"denied", "denied", "denied", "readable"})
	f.move(dev, m.Digest, repo.Admitted)
	f.check("admitted", all(), [4]string{"readable", "readable", "readable", "readable"})
	f.move(dev, m.Digest, repo.Withdrawn)
	f.check("withdrawn", all(), [4]string{"withdrawn", "withdrawn", "withdrawn", "readable"})
	f.check("in a repository that does not hold it", f.access(guard, staging, d), "unknown")
	f.check("in no repository", f.access(guard, foreignRepo, d), "unknown")
	f.check("the manifest is no blob", f.access(guard, dev, m.Digest), "unknown")

	f.put(dev, image("c", "base"), repo.Admitted, "alice")
	f.check("through another manifest", all(), [4]string{"readable", "readable", "readable", "readable"})

	child := image("child", "deep")
	f.put(dev, child, repo.Held, "alice")
	f.put(dev, index("i", child), repo.Admitted, "alice")
	f.check("an index does not open its children", f.access(bob, dev, blob("deep")), "held")

	// A layer that is kept elsewhere is named by who need not have it.
	foreign := image("foreign", "else")
	foreign.References[1].Role = repo.RoleForeign
	f.update(func(ctx context.Context, tx Tx) error {
		f.put2(tx, foreign)
		return nil
	})
	f.check("not stored", f.access(guard, dev, blob("else")), "unknown")
	f.update(func(ctx context.Context, tx Tx) error { return tx.PutBlob(ctx, blob("else"), 4) })
	f.check("stored by somebody", f.access(alice, dev, blob("else")), "unknown")

	subject := image("subject")
	sbom := evidence("sbom", subject.Digest)
	sbom.References[0] = repo.Reference{Digest: blob("sbom"), MediaType: "text/spdx", Size: 4, Role: repo.RoleLayer}
	f.put(dev, sbom, repo.Attached, "bob")
	f.check("evidence alone", f.access(alice, dev, blob("sbom")), "unknown")
	f.check("evidence alone, for who brought it", f.access(bob, dev, blob("sbom")), "readable")
	f.put(dev, subject, repo.Denied, "alice")
	f.check("evidence of what was denied", f.access(alice, dev, blob("sbom")), "readable")
	f.move(dev, subject.Digest, repo.Admitted)
	f.check("evidence of what is admitted", f.access(nobody, dev, blob("sbom")), "readable")
}

func testLeases(f *fixture) {
	d := blob("base")
	f.update(func(ctx context.Context, tx Tx) error {
		if err := tx.PutBlob(ctx, d, 4); err != nil {
			return err
		}
		return tx.Lease(ctx, dev, d, "alice", f.now.Add(time.Hour))
	})
	f.check("leased", f.access(alice, dev, d), "readable")
	f.check("leased to another", f.access(bob, dev, d), "unknown")
	f.check("leased elsewhere", f.access(alice, staging, d), "unknown")
	f.check("for quarantine", f.access(guard, dev, d), "unknown")
	f.update(func(ctx context.Context, tx Tx) error { return tx.Lease(ctx, dev, d, "alice", f.now.Add(time.Minute)) })
	f.now = f.now.Add(59 * time.Minute)
	f.check("a shorter lease takes nothing away", f.access(alice, dev, d), "readable")
	f.now = f.now.Add(time.Minute)
	f.check("at its end", f.access(alice, dev, d), "unknown")
	f.update(func(ctx context.Context, tx Tx) error { return tx.Lease(ctx, dev, d, "alice", f.now.Add(time.Hour)) })
	f.check("leased again", f.access(alice, dev, d), "readable")
	f.update(func(ctx context.Context, tx Tx) error { return tx.Unlease(ctx, dev, d) })
	f.check("lease ended", f.access(alice, dev, d), "unknown")

	f.put(dev, image("a", "base"), repo.Denied, "alice")
	f.check("denied", f.access(alice, dev, d), "denied")
	f.update(func(ctx context.Context, tx Tx) error { return tx.Lease(ctx, dev, d, "alice", f.now.Add(time.Hour)) })
	f.check("denied and leased", f.access(alice, dev, d), "readable")
}

func testRefused(f *fixture) {
	d := blob("base")
	f.put(dev, image("withdrawn", "base"), repo.Withdrawn, "alice")
	f.check("one", f.access(nobody, dev, d), "withdrawn")
	f.now = f.now.Add(time.Second)
	f.put(dev, image("denied", "base"), repo.Denied, "alice")
	f.now = f.now.Add(time.Second)
	late := image("denied late", "base")
	f.put(dev, late, repo.Denied, "bob")
	a, err := f.store.Reader.BlobAccess(f.Context(), dev, d, nobody)
	if err != nil || a.Refused == nil || a.Refused.Digest != late.Digest || a.Refused.BroughtBy != "bob" {
		f.Errorf("of two that are denied: got %+v, %v, want the later one", a, err)
	}
	f.put(dev, image("held", "base"), repo.Held, "alice")
	f.check("the best", f.access(nobody, dev, d), "held")
}

func testUnknown(f *fixture) {
	f.put(dev, image("a", "base"), repo.Admitted, "alice")
	f.put(dev, image("b", "held"), repo.Held, "alice")
	f.put(dev, image("c", "gone"), repo.Denied, "alice")
	f.put(staging, image("d", "next"), repo.Admitted, "alice")
	var many []oci.Digest
	f.update(func(ctx context.Context, tx Tx) error {
		for _, n := range names(150, "many %d") {
			many = append(many, blob(n))
			if err := tx.PutBlob(ctx, blob(n), 4); err != nil {
				return err
			}
			if err := tx.Lease(ctx, dev, blob(n), "bob", f.now.Add(time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
	f.view(func(ctx context.Context, tx Tx) error {
		ask := []oci.Digest{blob("next"), blob("base"), blob("held"), blob("gone"), blob("none"), image("a").Digest}
		for _, tt := range []struct {
			name string
			v    repo.Viewer
			want []oci.Digest
		}{
			{"alice", alice, []oci.Digest{ask[0], ask[3], ask[4], ask[5]}},
			{"bob", bob, []oci.Digest{ask[0], ask[2], ask[3], ask[4], ask[5]}},
			{"guard", guard, []oci.Digest{ask[0], ask[4], ask[5]}},
		} {
			got, err := tx.Unknown(ctx, dev, ask, tt.v)
			f.wantErr(tt.name, err, nil)
			f.check(tt.name, got, tt.want)
		}
		got, err := tx.Unknown(ctx, dev, slices.Concat(many, ask[4:5]), bob)
		f.wantErr("many", err, nil)
		f.check("many", got, ask[4:5])
		got, err = tx.Unknown(ctx, dev, nil, bob)
		f.wantErr("none", err, nil)
		f.check("none", got, []oci.Digest(nil))
		return nil
	})
}
