package verify_test

import (
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// sane holds what is true of every answer: something is said, nothing is said
// of both, and a bundle that nobody trusted signed never verifies.
func sane(t *testing.T, r verify.Result) {
	t.Helper()
	if len(r.Signatures) > 0 {
		t.Fatalf("verified by an instance that signed nothing: %+v", r)
	}
	for _, refusal := range r.Refusals {
		for _, why := range refusal.Reasons {
			if strings.Contains(why, "stopped in an error of ours") {
				t.Fatalf("panicked: %q", why)
			}
		}
		if len(refusal.Reasons) == 0 {
			t.Fatal("refused without a reason")
		}
	}
}

func FuzzBundle(f *testing.F) {
	trusted, other := verifytest.New(f, "log.example.com"), verifytest.New(f, "log.example.com")
	for _, spec := range []verifytest.Spec{{Payload: says}, {Payload: says, Rekor1: true}, {Message: []byte("an image")}, {Payload: says, Key: other.CT}} {
		f.Add(other.JSON(other.Bundle(spec)))
	}
	for _, name := range []string{"generic-v0.3.sigstore.json", "npm-v0.2.sigstore.json", "dsse-v0.1.sigstore.json"} {
		f.Add(sample(f, name))
	}
	key := verify.Anchor{Name: "key", Kind: verify.KindKey, Keys: pemKey(f, trusted.CT), Roots: [][]byte{trusted.TrustedRoot(nil)}}
	v := realVerifier(f, sigstore(trusted), key)
	f.Fuzz(func(t *testing.T, raw []byte) {
		sane(t, v.Check(t.Context(), image, bundleReferrer(raw)))
	})
}

func FuzzLegacy(f *testing.F) {
	i := verifytest.New(f, "log.example.com")
	payload := simple(image.Digest.String(), "cosign container image signature")
	layer, raw := legacy(f, i.Bundle(verifytest.Spec{Message: payload, Rekor1: true}), payload)
	add := func(layer oci.Descriptor, raw []byte) {
		a := layer.Annotations
		f.Add(layer.MediaType == simpleSigningType, raw, a["dev.cosignproject.cosign/signature"], a["dev.sigstore.cosign/certificate"], a["dev.sigstore.cosign/bundle"], a["dev.sigstore.cosign/rfc3161timestamp"])
	}
	add(layer, raw)
	add(legacy(f, i.Bundle(verifytest.Spec{Payload: says, Rekor1: true}), nil))
	v := realVerifier(f, sigstore(verifytest.New(f, "log.example.com")))
	f.Fuzz(func(t *testing.T, simple bool, raw []byte, sig, cert, rekor, stamp string) {
		mt := "application/vnd.dsse.envelope.v1+json"
		if simple {
			mt = simpleSigningType
		}
		layer := oci.Descriptor{MediaType: mt, Digest: oci.FromBytes(raw), Size: int64(len(raw)), Annotations: map[string]string{
			"dev.cosignproject.cosign/signature": sig, "dev.sigstore.cosign/certificate": cert,
			"dev.sigstore.cosign/bundle": rekor, "dev.sigstore.cosign/rfc3161timestamp": stamp,
		}}
		sane(t, v.Check(t.Context(), image, referrer("", layer, raw)))
	})
}

func FuzzNotation(f *testing.F) {
	n := newNotary(f, nil)
	for _, mediaType := range []string{jws, cose} {
		f.Add(mediaType == jws, n.sign(image, mediaType, signOptions).Layers[0])
	}
	v := realVerifier(f, verify.Anchor{Name: "acme", Kind: verify.KindX509, CAs: certPEM(verifytest.New(f, "x.example.com").Root)})
	f.Fuzz(func(t *testing.T, isJWS bool, raw []byte) {
		mediaType := cose
		if isJWS {
			mediaType = jws
		}
		sane(t, v.Check(t.Context(), image, notationReferrer(mediaType, raw)))
	})
}

func FuzzAnchor(f *testing.F) {
	i := verifytest.New(f, "log.example.com")
	f.Add(string(verify.KindSigstore), i.TrustedRoot(nil))
	f.Add(string(verify.KindSigstore), sample(f, "public-good.json"))
	f.Add(string(verify.KindKey), pemKey(f, i.CT))
	f.Add(string(verify.KindX509), certPEM(i.Root))
	f.Fuzz(func(t *testing.T, kind string, raw []byte) {
		a := verify.Anchor{Name: "a", Kind: verify.Kind(kind)}
		switch a.Kind {
		case verify.KindKey:
			a.Keys = raw
		case verify.KindX509:
			a.CAs, a.CRLs = raw, [][]byte{raw}
		default:
			a.Roots = [][]byte{raw}
		}
		set, err := verify.NewAnchors(a)
		if (set == nil) != (err != nil) {
			t.Errorf("set %v, error %v", set, err)
		}
	})
}
