package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

const (
	typeSign  = "https://sigstore.dev/cosign/sign/v1"
	typeBuilt = "https://slsa.dev/provenance/v1"
	builtHere = `{"buildDefinition":{"buildType":"https://x","externalParameters":{"source":{"uri":"git+https://git.example.com/acme/app"}},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://builder.example.com/7"}}}`
)

// index pushes an index of what is given.
func (s *proving) index(tag string, of ...oci.Descriptor) oci.Descriptor {
	s.Helper()
	return s.pushManifest(s.dev, "signed/app", tag, map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeIndex, "manifests": of})
}

// quiet waits until nothing is under way, and wants placements in a state.
func (s *proving) quiet(state repo.State, of ...oci.Descriptor) {
	s.Helper()
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	for _, d := range of {
		s.settled("signed/app", d.Digest, state)
	}
}

// TestIndexVouches: who signs an index has signed the digests in it, so a platform
// pulled by its own digest counts as signed, also through an index in the index,
// and no more once that ends.
func TestIndexVouches(t *testing.T) {
	s := newSigning(t, byAlice+"stay:\n  - rule: signed\n    says: Alice signed it\n    signedBy: {anchor: ours, issuer: \"https://idp.example.com\", subject: alice@example.com}\n    then: withdraw\n")
	one, two := s.image("1"), s.image("2")
	inner := s.index("", one)
	outer := s.index("all", inner, two)
	s.quiet(repo.Held, one, two, inner, outer)
	signature := s.bundle(outer, verifytest.Spec{Payload: says(outer, typeSign, "{}")})
	s.quiet(repo.Admitted, one, two, inner, outer)
	why := s.why("signed/app@" + one.Digest.String())
	if e := why.Evidence; e == nil || len(e.Signatures) != 1 || e.Signatures[0].Index != outer.Digest.String() || e.Signatures[0].Referrer != signature.Digest.String() {
		t.Errorf("evidence is %+v", why.Evidence)
	}
	if r := why.Decision.Reasons; len(r[len(r)-1].Evidence) != 1 || r[len(r)-1].Evidence[0] != signature.Digest.String() || len(why.Decision.Inputs.Evidence) != 1 {
		t.Errorf("decided by %+v", why.Decision)
	}
	if own := s.why("signed/app:all").Evidence; len(own.Signatures) != 1 || own.Signatures[0].Index != "" {
		t.Errorf("of the index itself: %+v", own)
	}
	// A platform goes on by itself, and what was signed counts there.
	if p := s.promote(s.admin, "signed/app@"+two.Digest.String(), "released", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Errorf("%+v", p.Decision)
	}
	// What comes later, and was named by then, needs nothing more.
	res, body := s.request(s.admin, http.MethodDelete, "/v2/signed/app/manifests/"+signature.Digest.String(), nil)
	s.want(http.StatusAccepted, res, body)
	s.quiet(repo.Withdrawn, one, two, outer)
	s.settled("released/app", two.Digest, repo.Withdrawn)
	s.clean()
}

// TestSignedIndexOfWhatIsToCome: an index may be signed before all it names is
// here.
func TestSignedIndexOfWhatIsToCome(t *testing.T) {
	s := newSigning(t, byAlice)
	one := s.image("1")
	elsewhere := newSigning(t, byAlice)
	late := elsewhere.image("late")
	index := s.index("all", one, late)
	s.bundle(index, verifytest.Spec{Payload: says(index, typeSign, "{}")})
	s.quiet(repo.Admitted, one, index)
	if again := s.pushImage(s.dev, "signed/app", "late", layerOf(s.T, map[string][]byte{"a": []byte("late")})); again.Digest != late.Digest {
		t.Fatal("it is another image")
	}
	s.quiet(repo.Admitted, late)
}

// TestIndexLendsNoMore: what somebody measured of an index, or summed up, is not
// said of its platforms; an index lends nothing that is not said of exactly it;
// and what is said of a platform is not said of the index.
func TestIndexLendsNoMore(t *testing.T) {
	s := newSigning(t, byAlice)
	good, bad := s.image("good"), s.image("bad")
	index := s.index("all", good, bad)
	sign := func(about oci.Descriptor) []byte { return says(about, typeSign, "{}") }
	for kind, predicate := range map[string]string{
		"https://in-toto.io/attestation/test-result/v0.1": `{"result":"PASSED","configuration":[]}`,
		"https://spdx.dev/Document/v2.3":                  `{"spdxVersion":"SPDX-2.3","packages":[]}`,
		"https://cosign.sigstore.dev/attestation/vuln/v1": `{"scanner":{"uri":"https://scanner.example"}}`,
		"https://openvex.dev/ns/v0.2.0":                   `{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://x","author":"a","timestamp":"2026-01-01T00:00:00Z","version":1,"statements":[{"vulnerability":{"name":"CVE-2026-1"},"status":"fixed"}]}`,
		"https://slsa.dev/verification_summary/v1":        `{"verifier":{"id":"https://v"},"timeVerified":"2026-01-01T00:00:00Z","resourceUri":"r","policy":{"uri":"p"},"verificationResult":"PASSED","verifiedLevels":[]}`,
		"https://example.com/opinion/v1":                  `{}`,
	} {
		s.bundle(index, verifytest.Spec{Payload: says(index, kind, predicate)})
	}
	s.quiet(repo.Held, good, bad, index)
	if e := s.why("signed/app:bad").Evidence; e != nil {
		t.Errorf("of a platform is said %+v", e)
	}
	if e := s.why("signed/app:all").Evidence; len(e.Signatures) != 6 {
		t.Errorf("of the index is said %+v", e)
	}

	// Somebody else's index, with somebody else's signature of it, or with Alice's
	// of another.
	theirs := s.index("theirs", bad, good)
	s.bundle(theirs, verifytest.Spec{Payload: sign(theirs), Identity: "mallory@example.com"})
	s.bundle(theirs, verifytest.Spec{Payload: sign(index)})
	s.bundle(theirs, verifytest.Spec{Payload: sign(good)})
	s.quiet(repo.Held, good, bad, index, theirs)
	e := s.why("signed/app:bad").Evidence
	if e == nil || len(e.Signatures) != 1 || e.Signatures[0].Subject != "mallory@example.com" || e.Signatures[0].Index != theirs.Digest.String() || len(e.Refused) != 0 {
		t.Errorf("of a platform is said %+v", e)
	}

	// What is said of one platform is said of neither an index nor another one.
	s.bundle(good, verifytest.Spec{Payload: sign(good)})
	s.quiet(repo.Admitted, good)
	s.quiet(repo.Held, bad, index, theirs)

	// An index that names one's own, beside what Alice has signed, makes it no
	// better.
	mixed := s.index("mixed", index, bad)
	s.bundle(index, verifytest.Spec{Payload: sign(good)})
	s.quiet(repo.Held, bad, index, mixed)
	s.clean()
}

// TestProvenanceOfIndex: a builder that speaks of an index speaks of its platforms
// too; what it says must be what is wanted there as well.
func TestProvenanceOfIndex(t *testing.T) {
	const rules = `
enter:
  - rule: built
    says: a builder of level 2 built it from our source
    provenance:
      signedBy: {anchor: ours, issuer: "https://idp.example.com", subject: "https://ci.example.com/**"}
      source: https://git.example.com/acme/*
      minLevel: 2
  - rule: itself
    kinds: [index]
    says: the index was signed itself
    require: statements.by("ours", "https://idp.example.com", "https://ci.example.com/**").exists(s, s.signature.index == "")
`
	s := newSigning(t, rules)
	one, evil := s.image("1"), s.image("2")
	index, other := s.index("ours", one), s.index("evil", evil)
	ci := "https://ci.example.com/acme/build"
	s.bundle(index, verifytest.Spec{Payload: says(index, typeBuilt, builtHere), Identity: ci})
	s.bundle(other, verifytest.Spec{Payload: says(other, typeBuilt, strings.Replace(builtHere, "acme", "evil", 1)), Identity: ci})
	s.quiet(repo.Admitted, one, index)
	s.quiet(repo.Denied, evil, other)
	if st := s.why("signed/app:1").Evidence.Signatures[0]; st.Index == "" || st.Statement.Kind != string(evidence.KindProvenance) {
		t.Errorf("%+v", st)
	}
}

// TestRevokedSignerOfIndex: who is trusted no more has vouched for nothing, and for
// the same again once that was a mistake.
func TestRevokedSignerOfIndex(t *testing.T) {
	s := newSigning(t, byAlice)
	one := s.image("1")
	index := s.index("all", one)
	s.bundle(index, verifytest.Spec{Payload: says(index, typeSign, "{}")})
	s.quiet(repo.Admitted, one, index)
	if p := s.promote(s.admin, "signed/app:1", "released", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Fatalf("%+v", p.Decision)
	}
	alice := api.RevokeRequest{Kind: "identity", Issuer: "https://idp.example.com", Subject: "alice@example.com", Reason: "she left", Preview: true}
	out := s.revoke(s.admin, alice)
	var hits []string
	for _, h := range out.Hits {
		hits = append(hits, fmt.Sprintf("%s@%s: %s", h.Repository, h.Digest, h.Why))
	}
	if len(hits) != 3 || !strings.Contains(strings.Join(hits, "\n"), "released/app@"+one.Digest.String()+": its index "+index.Digest.String()+" is signed by alice@example.com") {
		t.Errorf("hits are %s", strings.Join(hits, "\n"))
	}
	alice.Preview = false
	revoked := s.revoke(s.admin, alice)
	s.quiet(repo.Revoked, one, index)
	s.settled("released/app", one.Digest, repo.Revoked)
	s.lift(s.admin, revoked.Revocation.ID)
	s.quiet(repo.Admitted, one, index)
	s.settled("released/app", one.Digest, repo.Admitted)
	s.clean()
}

// pushLayout pushes an OCI layout: its blobs, manifests from the leaves up, and
// the index that it holds.
func (s *proving) pushLayout(folder, tag string) oci.Descriptor {
	s.Helper()
	read := func(d oci.Digest) []byte {
		raw, err := os.ReadFile(filepath.Join(folder, "blobs", "sha256", d.Hex()))
		if err != nil {
			s.Fatal(err)
		}
		return raw
	}
	raw, err := os.ReadFile(filepath.Join(folder, "index.json"))
	if err != nil {
		s.Fatal(err)
	}
	top, err := oci.ParseManifest(raw, oci.MediaTypeIndex, oci.SHA256)
	if err != nil {
		s.Fatal(err)
	}
	var push func(desc oci.Descriptor, name string)
	push = func(desc oci.Descriptor, name string) {
		m, err := oci.ParseManifest(read(desc.Digest), desc.MediaType, oci.SHA256)
		if err != nil {
			s.Fatal(err)
		}
		for _, child := range m.Manifests {
			push(child, child.Digest.String())
		}
		for _, b := range m.Layers {
			s.pushBlob(s.dev, "signed/app", read(b.Digest))
		}
		if !m.Config.Digest.IsZero() {
			s.pushBlob(s.dev, "signed/app", read(m.Config.Digest))
		}
		res, body := s.request(s.dev, http.MethodPut, "/v2/signed/app/manifests/"+name, read(desc.Digest), "Content-Type", desc.MediaType)
		s.want(http.StatusCreated, res, body)
	}
	push(top.Manifests[0], tag)
	return top.Manifests[0]
}

// TestBuildKit: what BuildKit attests beside an image, unsigned, is shown with its
// type, in custody as well, and counts for nothing.
func TestBuildKit(t *testing.T) {
	s := newSigning(t, strings.Replace(fromSource, "minLevel: 2", "minLevel: 0", 1))
	index := s.pushLayout("../attest/testdata/buildkit", "1")
	raw, err := os.ReadFile("../attest/testdata/buildkit/blobs/sha256/" + index.Digest.Hex())
	if err != nil {
		t.Fatal(err)
	}
	m, err := oci.ParseManifest(raw, oci.MediaTypeIndex, oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	image, beside := m.Manifests[0], m.Manifests[2]
	s.quiet(repo.Held, index, image, m.Manifests[1])
	e := s.why("signed/app@" + image.Digest.String()).Evidence
	if e == nil || len(e.Signatures) != 0 || len(e.Unsigned) != 1 || e.Unsigned[0].Type != typeBuilt || e.Unsigned[0].Kind != "provenance" || e.Unsigned[0].Referrer != beside.Digest.String() {
		t.Errorf("of the image is told %+v", e)
	}
	root, err := s.trust.instance.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	for of, want := range map[oci.Digest]int{image.Digest: 1, index.Digest: 2} {
		_, rest := unproven(t, s.exported(s.enrol("eve-"+of.Hex()[:4], "auditor"), of.String(), http.StatusOK), root, of)
		n := 0
		for _, text := range rest {
			if strings.HasPrefix(text, "not-provable evidence: ") && strings.Contains(text, "It is BuildKit's about ") && strings.Contains(text, "provenance ("+typeBuilt+")") {
				n++
			}
		}
		if n != want || n != len(rest) {
			t.Errorf("of %s is not proven:\n%s", of, strings.Join(rest, "\n"))
		}
	}
	s.clean()
}

// TestCustodyOfPlatform: the file of a platform tells what was signed of its index,
// and by whom that was made.
func TestCustodyOfPlatform(t *testing.T) {
	s := newSigning(t, byAlice)
	one := s.image("1")
	inner := s.index("", one)
	outer := s.index("all", inner)
	s.bundle(outer, verifytest.Spec{Payload: says(outer, typeSign, "{}")})
	s.bundle(outer, verifytest.Spec{Payload: says(outer, typeBuilt, builtHere)})
	s.quiet(repo.Admitted, one, inner, outer)
	root, err := s.trust.instance.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	auditor := s.enrol("eve", "auditor")
	anchor := verify.Anchor{Name: "ours", Kind: verify.KindSigstore, Roots: [][]byte{s.sigstore.TrustedRoot(nil)}}
	raw := s.exported(auditor, one.Digest.String(), http.StatusOK)
	c, rest := unproven(t, raw, root, one.Digest, anchor)
	if c.State != api.CustodyVerified {
		t.Errorf("%s:\n%s", c.State, strings.Join(rest, "\n"))
	}
	f, err := custody.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Subject.Indexes) != 2 || len(f.Evidence) < 2 || len(f.Source.Statements) != 1 || f.Source.Statements[0].Says != "https://git.example.com/acme/app" {
		t.Errorf("%d indexes, %d referrers, source %+v", len(f.Subject.Indexes), len(f.Evidence), f.Source)
	}
	// The file of the index is about all that it names.
	if c, rest := unproven(t, s.exported(auditor, "signed/app:all", http.StatusOK), root, outer.Digest, anchor); c.State != api.CustodyVerified {
		t.Errorf("%s:\n%s", c.State, strings.Join(rest, "\n"))
	}
}
