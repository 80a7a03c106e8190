package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestDigest: a digest is withdrawn wherever it stands, with what holds it or
// names it, and what it names, in one transaction; and given back when all that
// was said against it is lifted.
func TestDigest(t *testing.T) {
	each(t, func(w *world) {
		amd, arm, other := image("amd"), image("arm"), image("other")
		inner := index("inner", amd, arm)
		outer := index("outer", inner)
		note := statement("note", amd.Digest)
		for _, m := range []*repo.Manifest{amd, arm, inner, outer, other} {
			w.put(dev, m, repo.Admitted)
		}
		w.put(production, amd, repo.Admitted)
		w.put(sandbox, amd, repo.Admitted)
		w.put(dev, note, repo.Attached)
		w.update(func(ctx context.Context, tx *db.Tx) error {
			for _, d := range []string{"layer of amd", "base"} {
				if err := tx.Lease(ctx, dev, digest(d), "ann", w.now.Add(time.Hour)); err != nil {
					return err
				}
				if err := tx.Lease(ctx, production, digest(d), "ann", w.now.Add(time.Hour)); err != nil {
					return err
				}
			}
			return nil
		})

		first := w.revoke(api.RevokeRequest{Kind: "digest", Digest: amd.Digest.String()})
		w.want("amd", w.states(amd), "dev revoked, production revoked, sandbox revoked")
		w.want("what names it", w.states(inner), "dev revoked")
		w.want("what names that", w.states(outer), "dev revoked")
		w.want("what is beside it", w.states(arm), "dev admitted")
		w.want("the evidence", w.states(note), "dev attached")
		w.want("events", fmt.Sprint(w.events()), "map[placement.revoked:5 revocation.made:1]")
		w.update(func(ctx context.Context, tx *db.Tx) error {
			for _, tt := range []struct {
				r        oci.Repository
				blob     string
				readable bool
			}{{dev, "layer of amd", false}, {dev, "base", true}, {production, "layer of amd", false}, {production, "base", false}} {
				for _, v := range []repo.Viewer{{Principal: "ann"}, {Quarantine: true, Principal: "ops"}, {}} {
					a, err := tx.BlobAccess(ctx, tt.r, digest(tt.blob), v)
					if err != nil {
						return err
					}
					if a.Readable != tt.readable || !tt.readable && a.Refused.State != repo.Revoked {
						w.Errorf("%s in %s for %+v: %+v", tt.blob, tt.r, v, a)
					}
				}
			}
			return nil
		})

		second := w.revoke(api.RevokeRequest{Kind: "digest", Digest: outer.Digest.String()})
		w.want("what an index is made of", w.states(arm), "dev revoked")
		w.jobs("judge")
		w.lift(first.Revocation.ID)
		w.want("the sandbox, held by another", w.states(amd), "dev revoked, production revoked, sandbox revoked")
		w.lift(second.Revocation.ID)
		w.want("lifted", w.states(amd), "dev revoked, production revoked, sandbox admitted")
		w.want("who is to be asked", w.jobs("judge"), "dev dev dev dev production sandbox")

		if _, err := w.Lift(w.Context(), w.act("security"), first.Revocation.ID, "again"); !errors.Is(err, repo.ErrConflict) {
			w.Errorf("lifted twice: %v", err)
		}
		list, err := w.List(w.Context(), 0, 10)
		if err != nil || len(list) != 2 || list[0].ID != second.Revocation.ID || list[0].Lifted == nil || list[0].Lifted.Reason != "it was a mistake" {
			w.Errorf("listed %+v, %v", list, err)
		}
	})
}

// TestBlob: what holds a revoked layer is as little to be trusted as the layer.
func TestBlob(t *testing.T) {
	each(t, func(w *world) {
		one, two := image("one"), image("two")
		w.put(dev, one, repo.Admitted)
		w.put(dev, two, repo.Held)
		w.revoke(api.RevokeRequest{Kind: "digest", Digest: digest("layer of two").String()})
		w.want("one", w.states(one), "dev admitted")
		w.want("two", w.states(two), "dev revoked")
		w.revoke(api.RevokeRequest{Kind: "digest", Digest: digest("base").String()})
		w.want("one", w.states(one), "dev revoked")
		w.update(func(ctx context.Context, tx *db.Tx) error {
			by, which, err := tx.Barred(ctx, image("three").Digests())
			if err != nil || by == nil || which != digest("base") {
				w.Errorf("a new image on that base: %v, %v, %v", by, which, err)
			}
			return nil
		})
	})
}

// TestSigners: what stands because of a signature is withdrawn with the trust in
// who signed, in the window that is meant; what stands for other reasons is
// judged again.
func TestSigners(t *testing.T) {
	each(t, func(w *world) {
		for i, tt := range signerCases() {
			m := image("m of " + tt.name)
			ref := statement("ref of "+tt.name, m.Digest)
			w.put(dev, m, repo.Admitted)
			w.put(production, m, repo.Admitted, ref)
			w.put(production, ref, repo.Attached)
			w.signed(m.Digest, ref.Digest, signerOf(i, tt.sig))
			done := w.revoke(tt.req(signer(i)))
			w.want(tt.name, w.states(m), tt.want)
			if done.Barred != tt.barred || done.Rejudged != tt.rejudged {
				w.Errorf("%s: barred %d, judged again %d, want %d and %d", tt.name, done.Barred, done.Rejudged, tt.barred, tt.rejudged)
			}
			w.jobs("judge")
			w.lift(done.Revocation.ID)
			if tt.want != neither && !strings.Contains(w.jobs("judge"), "production") {
				w.Errorf("%s: nobody judges again what was given back", tt.name)
			}
		}
	})
}

// signed is who has signed in one case: they do not meet.
type signed struct{ key, subject, builder string }

func signer(i int) signed {
	return signed{strings.Repeat(fmt.Sprintf("%02x", 0xa0+i), 32), fmt.Sprintf("https://ci.example.com/%d/app", i), fmt.Sprintf("https://ci.example.com/builders/%d", i)}
}

const issuer = "https://ci.example.com"

// Ways to sign.
const (
	byKey = iota
	byIdentity
	byBuilder
)

// made is a signature of a case.
type made struct {
	way int
	at  time.Time // proven; zero for none
}

func signerOf(i int, s made) evidence.Signature {
	who := signer(i)
	sig := evidence.Signature{Identity: evidence.Identity{Issuer: issuer, Subject: who.subject}, At: s.at}
	switch s.way {
	case byKey:
		sig.Identity = evidence.Identity{Key: who.key}
	case byBuilder:
		sig.Statement = &evidence.Statement{Kind: evidence.KindProvenance, Provenance: &evidence.Provenance{Builder: who.builder}}
	}
	return sig
}

const (
	both    = "dev revoked, production revoked"
	relying = "dev admitted, production revoked"
	neither = "dev admitted, production admitted"
)

// signerCase is a signature about an image that stands twice, once because of it.
type signerCase struct {
	name             string
	sig              made
	req              func(signed) api.RevokeRequest
	want             string
	barred, rejudged int
}

func signerCases() []signerCase {
	identity := func(from, until time.Time) func(signed) api.RevokeRequest {
		return func(s signed) api.RevokeRequest {
			return api.RevokeRequest{Kind: "identity", Subject: s.subject, From: from, Until: until}
		}
	}
	hour := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	never := time.Time{}
	return []signerCase{
		{"key", made{byKey, never}, func(s signed) api.RevokeRequest {
			return api.RevokeRequest{Kind: "key", Key: strings.ToUpper(s.key)}
		}, relying, 0, 1},
		{"another key", made{byKey, never}, func(signed) api.RevokeRequest { return api.RevokeRequest{Kind: "key", Key: strings.Repeat("cd", 32)} }, neither, 0, 0},
		{"identity", made{byIdentity, never}, identity(never, never), relying, 0, 1},
		{"pattern", made{byIdentity, never}, func(s signed) api.RevokeRequest {
			return api.RevokeRequest{Kind: "identity", Subject: strings.TrimSuffix(s.subject, "app") + "*", Issuer: issuer}
		}, relying, 0, 1},
		{"another issuer", made{byIdentity, never}, func(s signed) api.RevokeRequest {
			return api.RevokeRequest{Kind: "identity", Subject: s.subject, Issuer: "https://other.example.com"}
		}, neither, 0, 0},
		{"before the window", made{byIdentity, hour(-1)}, identity(noon, never), neither, 0, 0},
		{"in the window", made{byIdentity, noon}, identity(noon, hour(1)), relying, 0, 1},
		{"at its end", made{byIdentity, noon}, identity(never, noon), neither, 0, 0},
		{"nothing proves when", made{byIdentity, never}, identity(hour(-2), hour(-1)), relying, 0, 1},
		{"builder", made{byBuilder, never}, func(s signed) api.RevokeRequest { return api.RevokeRequest{Kind: "builder", Builder: s.builder} }, both, 1, 0},
		{"window of a signer", made{byIdentity, noon}, func(s signed) api.RevokeRequest {
			return api.RevokeRequest{Kind: "window", Subject: s.subject, From: hour(-1)}
		}, both, 1, 0},
	}
}

// TestPushed: all that somebody pushed between two times, wherever it stands now.
func TestPushed(t *testing.T) {
	each(t, func(w *world) {
		early, mine, late, others := image("early"), image("mine"), image("late"), image("others")
		for _, m := range []*repo.Manifest{early, mine, late, others} {
			w.put(dev, m, repo.Admitted)
		}
		w.put(production, mine, repo.Admitted)
		w.pushed("mallory", early.Digest, noon.Add(-2*time.Hour))
		w.pushed("mallory", mine.Digest, noon)
		w.pushed("mallory", late.Digest, noon.Add(2*time.Hour))
		w.pushed("bob", others.Digest, noon)
		w.pushed("mallory", digest("gone"), noon)
		done := w.revoke(api.RevokeRequest{Kind: "window", Principal: "mallory", From: noon.Add(-time.Hour), Until: noon.Add(time.Hour)})
		w.want("mine", w.states(mine), "dev revoked, production revoked")
		for _, m := range []*repo.Manifest{early, late, others} {
			w.want("another", w.states(m), "dev admitted")
		}
		if done.Barred != 2 {
			w.Errorf("%d are barred, want also the one that is gone", done.Barred)
		}
	})
}

// TestFeed: what a feed said is judged again everywhere.
func TestFeed(t *testing.T) {
	each(t, func(w *world) {
		w.put(dev, image("m"), repo.Admitted)
		w.revoke(api.RevokeRequest{Kind: "feed", Feed: "osv"})
		w.want("zones to be judged", w.jobs("gate"), "catalog dev production quarantine staging")
		w.update(func(ctx context.Context, tx *db.Tx) error {
			list, err := tx.Distrust(ctx)
			if err != nil || list.OfFeed("osv/Debian") == nil || list.OfFeed("osvx") != nil {
				w.Errorf("in force: %+v, %v", list, err)
			}
			return nil
		})
	})
}

// TestServerStays: the server's own name is not revoked by that name, and a pattern
// that takes it in is, for all others.
func TestServerStays(t *testing.T) {
	each(t, func(w *world) {
		w.Server = evidence.Identity{Issuer: "https://b.example/oidc", Subject: "https://b.example/server"}
		for _, test := range []struct {
			req     api.RevokeRequest
			refused bool
		}{
			{api.RevokeRequest{Subject: "https://b.example/server"}, true},
			{api.RevokeRequest{Subject: "https://B.example/SERVER", Issuer: "https://b.example/oidc"}, true},
			{api.RevokeRequest{Subject: "https://b.example/server", Issuer: "**", From: noon, Preview: true}, true},
			{api.RevokeRequest{Subject: "https://b.example/server", Issuer: "https://other.example"}, false},
			{api.RevokeRequest{Subject: "https://b.example/**"}, false},
			{api.RevokeRequest{Subject: "**"}, false},
		} {
			test.req.Kind, test.req.Reason = "identity", "stolen"
			_, err := w.Revoke(w.Context(), w.act("security"), test.req)
			if refused := errors.Is(err, evidence.ErrRevocationInvalid) && strings.Contains(err.Error(), "is this server"); refused != test.refused || err != nil && !refused {
				w.Errorf("%+v: %v", test.req, err)
			}
		}
	})
}

// TestRefused: what is asked wrongly changes nothing.
func TestRefused(t *testing.T) {
	each(t, func(w *world) {
		some := digest("some").String()
		for name, req := range map[string]api.RevokeRequest{
			"no kind":            {Digest: some, Reason: "x"},
			"no reason":          {Kind: "digest", Digest: some, Reason: " "},
			"nothing":            {Kind: "key", Reason: "x"},
			"a key that is none": {Kind: "key", Key: "abc", Reason: "x"},
			"too much":           {Kind: "digest", Digest: some, Key: strings.Repeat("ab", 32), Reason: "x"},
			"times of a digest":  {Kind: "digest", Digest: some, From: noon, Reason: "x"},
			"a window of nobody": {Kind: "window", From: noon, Reason: "x"},
			"a window of two":    {Kind: "window", From: noon, Principal: "ann", Builder: "b", Reason: "x"},
			"no time at all":     {Kind: "window", From: noon, Until: noon, Principal: "ann", Reason: "x"},
			"any host":           {Kind: "identity", Subject: "https://*.com/**", Reason: "x"},
			"an issuer alone":    {Kind: "window", Issuer: "https://x.example.com", Key: strings.Repeat("ab", 32), From: noon, Reason: "x"},
		} {
			if _, err := w.Revoke(w.Context(), w.act("security"), req); !errors.Is(err, evidence.ErrRevocationInvalid) {
				w.Errorf("%s: %v", name, err)
			}
		}
		if _, err := w.Revoke(w.Context(), authz.Act{}, api.RevokeRequest{Kind: "digest", Digest: some, Reason: "x"}); !errors.Is(err, authz.ErrNotPermitted) {
			w.Errorf("without an act: %v", err)
		}
		if _, err := w.Lift(w.Context(), authz.Act{}, 1, "x"); !errors.Is(err, authz.ErrNotPermitted) {
			w.Errorf("lifted without an act: %v", err)
		}
		if _, err := w.Lift(w.Context(), w.act("security"), 7, "x"); !errors.Is(err, repo.ErrNotFound) {
			w.Errorf("lifted one that is not there: %v", err)
		}
		w.want("events", fmt.Sprint(w.events()), "map[]")
	})
}
