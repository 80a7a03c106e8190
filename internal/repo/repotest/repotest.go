// Package repotest holds the suite that a store of repositories passes.
//
// What Visible, Lookup, BlobAccess and the listings answer is the wall between
// the intake and everyone else, so each rule is asked for by each kind of
// viewer.
package repotest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Tx is what a transaction offers.
type Tx interface {
	repo.Reader
	repo.Writer
	repo.Graph
	repo.Lister
	repo.Past
	repo.Arrivals
	repo.Chains
}

// Store is what is tested. Reader answers outside of transactions.
type Store struct {
	Update func(ctx context.Context, fn func(Tx) error) error
	View   func(ctx context.Context, fn func(Tx) error) error
	Reader repo.Reader
}

// Run runs the suite. open makes an empty store that takes the time from clock.
func Run(t *testing.T, open func(t *testing.T, clock func() time.Time) Store) {
	for _, tt := range []struct {
		name string
		fn   func(*fixture)
	}{
		{"placements are compared and swapped", testCompareAndSwap},
		{"lookup", testLookup},
		{"a pending tag wins for who asked", testPending},
		{"a later wish about a tag voids those before", testLaterWish},
		{"visibility of states", testVisible},
		{"who sees its own alone", testOwn},
		{"evidence is where its subject is", testEvidence},
		{"evidence about evidence", testEvidenceChain},
		{"blobs through placements", testBlobs},
		{"blobs through leases", testLeases},
		{"why a blob is refused", testRefused},
		{"tags are listed in pages", testTags},
		{"what a tag has named", testNamed},
		{"referrers", testReferrers},
		{"repositories", testRepositories},
		{"what stands in a repository, newest first", testNewest},
		{"blobs that are unknown", testUnknown},
		{"the graph", testGraph},
		{"tombstones", testTombstones},
		{"who came first", testArrivals},
		{"what is built on what", testChains},
		{"a failed update leaves nothing", testRollback},
		{"manifests come back as they were stored", testRoundTrip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fixture{T: t, now: time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)}
			f.store = open(t, func() time.Time { return f.now })
			tt.fn(f)
		})
	}
}

// The viewers of the tests.
var (
	alice       = repo.Viewer{Principal: "alice"}
	bob         = repo.Viewer{Principal: "bob"}
	nobody      = repo.Viewer{}
	guard       = repo.Viewer{Principal: "guard", Quarantine: true}
	own         = repo.Viewer{Principal: "alice", Own: true}
	stranger    = repo.Viewer{Principal: "bob", Own: true}
	dev         = oci.MustRepository("dev/payments/api")
	staging     = oci.MustRepository("staging/payments/api")
	foreignRepo = oci.MustRepository("dev/other")
)

// fixture is one empty store, and short words for filling it.
type fixture struct {
	*testing.T
	store Store
	now   time.Time
}

func (f *fixture) update(fn func(ctx context.Context, tx Tx) error) {
	f.Helper()
	if err := f.store.Update(f.Context(), func(tx Tx) error { return fn(f.Context(), tx) }); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) view(fn func(ctx context.Context, tx Tx) error) {
	f.Helper()
	if err := f.store.View(f.Context(), func(tx Tx) error { return fn(f.Context(), tx) }); err != nil {
		f.Fatal(err)
	}
}

// blob is the digest of a made-up blob.
func blob(name string) oci.Digest { return oci.FromBytes([]byte("blob " + name)) }

// image is a manifest with a config and the layers named.
func image(name string, layers ...string) *repo.Manifest {
	raw := []byte("image " + name)
	m := &repo.Manifest{
		Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeManifest, ArtifactType: oci.MediaTypeConfig, Kind: oci.KindImage, Raw: raw,
		References: []repo.Reference{{Digest: blob(name + " config"), MediaType: oci.MediaTypeConfig, Size: 10, Role: repo.RoleConfig}},
	}
	for _, l := range layers {
		m.References = append(m.References, repo.Reference{Digest: blob(l), MediaType: "application/vnd.oci.image.layer.v1.tar+gzip", Size: int64(len(l)), Role: repo.RoleLayer})
	}
	return m
}

// evidence is a referrer of a subject.
func evidence(name string, subject oci.Digest) *repo.Manifest {
	m := image(name)
	m.Kind, m.Subject, m.ArtifactType = oci.KindEvidence, subject, "application/vnd.example.sbom"
	m.Annotations = map[string]string{"name": name}
	return m
}

// index is a manifest of children.
func index(name string, children ...*repo.Manifest) *repo.Manifest {
	raw := []byte("index " + name)
	m := &repo.Manifest{Digest: oci.FromBytes(raw), MediaType: oci.MediaTypeIndex, Kind: oci.KindIndex, Raw: raw}
	for _, c := range children {
		m.References = append(m.References, repo.Reference{Digest: c.Digest, MediaType: c.MediaType, Size: int64(len(c.Raw)), Role: repo.RoleChild, Platform: "linux/amd64"})
	}
	return m
}

// put stores a manifest with its blobs and places it.
func (f *fixture) put(r oci.Repository, m *repo.Manifest, s repo.State, by string) {
	f.Helper()
	f.update(func(ctx context.Context, tx Tx) error {
		for _, ref := range m.References {
			if ref.Role != repo.RoleChild {
				if err := tx.PutBlob(ctx, ref.Digest, ref.Size); err != nil {
					return err
				}
			}
		}
		if err := tx.PutManifest(ctx, m); err != nil {
			return err
		}
		return tx.Place(ctx, &repo.Placement{Repository: r, Digest: m.Digest, Kind: m.Kind, State: s, BroughtBy: by, BroughtAt: f.now})
	})
}

// move changes the state of a placement.
func (f *fixture) move(r oci.Repository, d oci.Digest, s repo.State) {
	f.Helper()
	f.update(func(ctx context.Context, tx Tx) error {
		p, err := tx.Lookup(ctx, r, repo.Selector{Digest: d}, guard)
		if err != nil {
			return err
		}
		p.State = s
		return tx.Place(ctx, &p.Placement)
	})
}

// sees asks the reader for a manifest and whether it is visible.
func (f *fixture) sees(v repo.Viewer, r oci.Repository, s repo.Selector) bool {
	f.Helper()
	p, err := f.store.Reader.Lookup(f.Context(), r, s, v)
	if errors.Is(err, repo.ErrNotFound) {
		return false
	}
	if err != nil {
		f.Fatal(err)
	}
	return v.Visible(&p.Placement)
}

func (f *fixture) tag(r oci.Repository, tag string, d oci.Digest) {
	f.Helper()
	f.update(func(ctx context.Context, tx Tx) error {
		_, err := tx.SetTag(ctx, r, tag, d)
		return err
	})
}

// check reports a difference.
func (f *fixture) check(what string, got, want any) {
	f.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b oci.Digest) bool { return a == b }),
		cmp.Comparer(func(a, b oci.Repository) bool { return a == b })); diff != "" {
		f.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// wantErr checks what an error matches; nil wants none.
func (f *fixture) wantErr(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func names(n int, format string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}
