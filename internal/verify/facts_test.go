package verify_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// TestBodyIsNoFact: sigstore-go takes a bundle whose canonicalizedBody and
// kindVersion were edited, because it rebuilds the entry. So it does here, and
// nothing that is said comes from them.
func TestBodyIsNoFact(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	good := i.Bundle(verifytest.Spec{Payload: says})
	want := verified(t, w.Check(t.Context(), image, bundleReferrer(i.JSON(good))))
	other := i.Bundle(verifytest.Spec{Payload: says, Identity: "mallory@example.com"})
	e := entryOf(good)
	e.CanonicalizedBody = entryOf(other).CanonicalizedBody
	e.KindVersion.Kind, e.IntegratedTime = "dsse", verifytest.Noon.Unix()
	e.InclusionProof.LogIndex, e.InclusionProof.TreeSize, e.InclusionProof.RootHash = 99, 7, []byte("x")
	got := verified(t, w.Check(t.Context(), image, bundleReferrer(i.JSON(good))))
	if got.Identity.Subject != want.Identity.Subject || *got.Log != *want.Log || !got.At.Equal(want.At) {
		t.Errorf("facts moved with an unverified body: %+v, log %+v", got, got.Log)
	}
}

// TestSeveralEntries: the log entry that is told is one that verifies.
func TestSeveralEntries(t *testing.T) {
	i, stranger := verifytest.New(t, "log.example.com"), verifytest.New(t, "other.example.com")
	b := i.Bundle(verifytest.Spec{Payload: says})
	index := entryOf(b).LogIndex
	m := b.VerificationMaterial
	m.TlogEntries = append(stranger.Bundle(verifytest.Spec{Payload: says}).VerificationMaterial.TlogEntries, m.TlogEntries...)
	sig := verified(t, newWorld(t, sigstore(i)).Check(t.Context(), image, bundleReferrer(i.JSON(b))))
	if sig.Log.Log != "log.example.com" || sig.Log.Index != index {
		t.Errorf("log is %+v, want entry %d", sig.Log, index)
	}
}

// TestReplayed: one bundle on two images is good for the one it names.
func TestReplayed(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	ref := bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says})))
	verified(t, w.Check(t.Context(), image, ref))
	other := image
	other.Digest = oci.FromBytes([]byte("another"))
	for range 2 {
		if r := w.Check(t.Context(), other, ref); len(r.Signatures) > 0 || r.Refusals[0].Unsure {
			t.Fatalf("for another image: %+v", r)
		}
	}
}

// TestIdentities matches who signed, wrong issuers and look-alikes included.
func TestIdentities(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	gate := evidence.Signer{Anchor: "ours", Issuer: evidence.MustPattern("https://idp.example.com"), Subject: evidence.MustPattern("*@example.com")}
	tests := []struct{ identity, issuer, want string }{
		{"alice@example.com", "https://idp.example.com", ""},
		{"alice@example.com", "https://idp.example.com.evil.net", "its issuer is"},
		{"alice@example.com", "https://idp.example.com/", "its issuer is"},
		{"alice@example.com.evil.net", "https://idp.example.com", "it is by"},
		{"alice@notexample.com", "https://idp.example.com", "it is by"},
		{"https://example.com/alice@example.com", "https://idp.example.com", "it is by"},
	}
	for _, test := range tests {
		sig := verified(t, w.Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says, Identity: test.identity, Issuer: test.issuer})))))
		if why := gate.Mismatch(&sig); (why == "") != (test.want == "") || !strings.Contains(why, test.want) {
			t.Errorf("%s by %s: %q, want %q", test.identity, test.issuer, why, test.want)
		}
	}
}

// TestSeveralAnchors: each that verifies says so; reasons are those of anchors
// that could have.
func TestSeveralAnchors(t *testing.T) {
	i, stranger := verifytest.New(t, "log.example.com"), verifytest.New(t, "other.example.com")
	second := sigstore(i)
	second.Name = "ours too"
	theirs := sigstore(stranger)
	theirs.Name = "theirs"
	key := verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: pemKey(t, i.CT)}
	raw := i.JSON(i.Bundle(verifytest.Spec{Payload: says}))
	r := newWorld(t, theirs, key, sigstore(i), second).Check(t.Context(), image, bundleReferrer(raw))
	if len(r.Signatures) != 2 || r.Signatures[1].Anchor != "ours too" || len(r.Refusals) != 0 {
		t.Errorf("got %+v", r)
	}
	r = newWorld(t, theirs, key).Check(t.Context(), image, bundleReferrer(raw))
	if len(r.Signatures) != 0 || len(r.Refusals) != 1 || r.Refusals[0].Unsure || len(r.Refusals[0].Reasons) != 1 || !strings.HasPrefix(r.Refusals[0].Reasons[0], "anchor theirs: ") {
		t.Errorf("got %+v", r)
	}
	away := verify.Anchor{Name: "away", Kind: verify.KindSigstore, Unavailable: "its file cannot be read"}
	if r = newWorld(t, theirs, away).Check(t.Context(), image, bundleReferrer(raw)); !r.Refusals[0].Unsure || len(r.Refusals[0].Reasons) != 2 {
		t.Errorf("with an anchor away: %+v", r)
	}
}

// TestRotation: several roots in one anchor, and GitHub's kind.
func TestRotation(t *testing.T) {
	i, old := verifytest.New(t, "log.example.com"), verifytest.New(t, "log.example.com")
	lines := bytes.Join([][]byte{old.TrustedRoot(nil), i.TrustedRoot(nil)}, []byte("\n"))
	w := newWorld(t, verify.Anchor{Name: "ours", Kind: verify.KindSigstore, Roots: [][]byte{lines}})
	for _, instance := range []*verifytest.Instance{i, old} {
		verified(t, w.Check(t.Context(), image, bundleReferrer(instance.JSON(instance.Bundle(verifytest.Spec{Payload: says})))))
	}
	bare := verifytest.Spec{Payload: says, NoLog: true, NoSCT: true}
	github := verify.Anchor{Name: "github", Kind: verify.KindGitHub, Roots: [][]byte{i.TrustedRoot(nil)}}
	sig := verified(t, newWorld(t, github).Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(bare)))))
	if sig.Log != nil || sig.At.IsZero() {
		t.Errorf("signature is %+v", sig)
	}
	if r := w.Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(bare)))); len(r.Signatures) > 0 {
		t.Error("a sigstore anchor took a signature without log and SCT")
	}
}

// TestMemory: answers are remembered under all that they depend on.
func TestMemory(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	ref := bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says})))
	for range 3 {
		r := w.Check(t.Context(), image, ref)
		verified(t, r)
		r.Signatures[0].Anchor = "changed by a caller"
	}
	if sig := verified(t, w.Check(t.Context(), image, ref)); w.reader.calls != 1 || sig.Anchor != "ours" {
		t.Errorf("read %d times, anchor %s", w.reader.calls, sig.Anchor)
	}
	same := ref
	same.Manifest = &oci.Manifest{Digest: oci.FromBytes([]byte("other")), Layers: ref.Manifest.Layers}
	if sig := verified(t, w.Check(t.Context(), image, same)); sig.Referrer != same.Manifest.Digest || w.reader.calls != 1 {
		t.Errorf("the referrer is %s, read %d times", sig.Referrer, w.reader.calls)
	}
	// The key is taken out of the root: what was remembered is nothing.
	none, err := verify.NewAnchors(sigstore(verifytest.New(t, "log.example.com")))
	if err != nil {
		t.Fatal(err)
	}
	w.Trust(none)
	if r := w.Check(t.Context(), image, ref); len(r.Signatures) > 0 {
		t.Error("verified under anchors that are gone")
	}
	if w.Anchors().Digest() != none.Digest() || w.Anchors().Names()[0] != "ours" {
		t.Error("the anchors in force are others")
	}
}

// TestStatementsFail: what a reader refuses is refused, what it could not read
// is not remembered.
func TestStatementsFail(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	ref := bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says})))
	w.reader.err = fmt.Errorf("no: %w", attest.ErrStatement)
	if r := w.Check(t.Context(), image, ref); len(r.Signatures) > 0 || r.Refusals[0].Unsure || !strings.Contains(r.Refusals[0].Reasons[0], "its signature is good and its statement is not taken") {
		t.Errorf("got %+v", r)
	}
}

// panicky is a Statements with a fault.
type panicky struct{}

func (panicky) Read([]byte, *evidence.Signature) (*evidence.Statement, error) { panic("fault") }

func TestPanicIsNoAnswer(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	w := newWorld(t, sigstore(i))
	v := verify.New(verify.Options{Anchors: w.Anchors(), Statements: panicky{}, Clock: time.Now, Log: discard()})
	r := v.Check(t.Context(), image, bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says}))))
	if len(r.Signatures) > 0 || !r.Refusals[0].Unsure {
		t.Errorf("got %+v", r)
	}
}

func TestOffline(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	raw, anchor := i.JSON(i.Bundle(verifytest.Spec{Payload: says})), sigstore(i)
	sig, err := verify.Offline(anchor, raw, image.Digest, attest.NewReader(nil, 0))
	if err != nil || sig.Anchor != "ours" || sig.Statement == nil || sig.Envelope != oci.FromBytes(raw) {
		t.Errorf("got %+v, %v", sig, err)
	}
	bare := i.JSON(i.Bundle(verifytest.Spec{Payload: says, Key: i.CT, NoLog: true, NoTime: true}))
	if _, err := verify.Offline(verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: pemKey(t, i.CT)}, bare, image.Digest, nil); err != nil {
		t.Error(err)
	}
	away := anchor
	away.Unavailable = "gone"
	for name, no := range map[string]func() error{
		"another digest": func() error { _, err := verify.Offline(anchor, raw, oci.FromBytes(nil), nil); return err },
		"no root": func() error {
			_, err := verify.Offline(verify.Anchor{Name: "a", Kind: verify.KindSigstore}, raw, image.Digest, nil)
			return err
		},
		"anchor away":   func() error { _, err := verify.Offline(away, raw, image.Digest, nil); return err },
		"half a bundle": func() error { _, err := verify.Offline(anchor, raw[1:], image.Digest, nil); return err },
		"another's key": func() error { _, err := verify.Offline(anchor, bare, image.Digest, nil); return err },
	} {
		if no() == nil {
			t.Errorf("%s: verified", name)
		}
	}
}

// TestAnchorsRefused: what a gate would take for more than it is, is an error.
func TestAnchorsRefused(t *testing.T) {
	i := verifytest.New(t, "log.example.com")
	root, key := [][]byte{i.TrustedRoot(nil)}, pemKey(t, i.CT)
	ca := certPEM(i.Root)
	twice := bytes.Replace(root[0], []byte(`{"mediaType"`), []byte(`{"mediaType":"x","mediaType"`), 1)
	tests := []struct {
		want   string
		anchor verify.Anchor
	}{
		{"its name", verify.Anchor{Kind: verify.KindSigstore, Roots: root}},
		{"want sigstore, github", verify.Anchor{Name: "a", Kind: "pgp"}},
		{"no trusted root", verify.Anchor{Name: "a", Kind: verify.KindSigstore}},
		{"trusted root 1", verify.Anchor{Name: "a", Kind: verify.KindSigstore, Roots: [][]byte{[]byte("{}")}}},
		{"duplicate key", verify.Anchor{Name: "a", Kind: verify.KindSigstore, Roots: [][]byte{twice}}},
		{"does not read keys", verify.Anchor{Name: "a", Kind: verify.KindSigstore, Roots: root, Keys: key}},
		{"does not read log", verify.Anchor{Name: "a", Kind: verify.KindGitHub, Roots: root, Log: true}},
		{"no public key", verify.Anchor{Name: "a", Kind: verify.KindKey}},
		{"it is not PEM", verify.Anchor{Name: "a", Kind: verify.KindKey, Keys: []byte("x")}},
		{"want PUBLIC KEY", verify.Anchor{Name: "a", Kind: verify.KindKey, Keys: ca}},
		{"no trusted root says which", verify.Anchor{Name: "a", Kind: verify.KindKey, Keys: key, Log: true}},
		{"no CA", verify.Anchor{Name: "a", Kind: verify.KindX509}},
		{"CAs: certificate 1 is not PEM", verify.Anchor{Name: "a", Kind: verify.KindX509, CAs: key}},
		{"not a CA certificate", verify.Anchor{Name: "a", Kind: verify.KindX509, CAs: certPEM(i.TSA)}},
		{"CRLs", verify.Anchor{Name: "a", Kind: verify.KindX509, CAs: ca, CRLs: [][]byte{[]byte("x")}}},
	}
	for _, test := range tests {
		if _, err := verify.NewAnchors(test.anchor); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.anchor.Kind, err, test.want)
		}
	}
	if _, err := verify.NewAnchors(sigstore(i), sigstore(i)); err == nil {
		t.Error("two anchors of one name were taken")
	}
}
