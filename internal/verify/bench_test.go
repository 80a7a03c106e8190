package verify_test

import (
	"encoding/hex"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	sigstoreverify "github.com/sigstore/sigstore-go/pkg/verify"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// benchBundle is a bundle of about the size that cosign makes.
func benchBundle(b testing.TB) (*verifytest.Instance, []byte) {
	i := verifytest.New(b, "log.example.com")
	payload, err := attest.MakeSBOM([]byte(`{"spdxVersion":"SPDX-2.3","packages":[{"name":"a"},{"name":"b"}]}`), attest.About("app", image.Digest))
	if err != nil {
		b.Fatal(err)
	}
	return i, i.JSON(i.Bundle(verifytest.Spec{Payload: payload}))
}

// alone is what sigstore-go needs for the same bundle.
func alone(b testing.TB, i *verifytest.Instance, raw []byte) func() {
	material, err := root.NewTrustedRootFromJSON(i.TrustedRoot(nil))
	if err != nil {
		b.Fatal(err)
	}
	v, err := sigstoreverify.NewVerifier(material, sigstoreverify.WithTransparencyLog(1), sigstoreverify.WithObserverTimestamps(1), sigstoreverify.WithSignedCertificateTimestamps(1), sigstoreverify.WithoutStatementPredicate())
	if err != nil {
		b.Fatal(err)
	}
	sum, err := hex.DecodeString(image.Digest.Hex())
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		var entity bundle.Bundle
		if err := entity.UnmarshalJSON(raw); err != nil {
			b.Fatal(err)
		}
		if _, err := v.Verify(&entity, sigstoreverify.NewPolicy(sigstoreverify.WithArtifactDigest("sha256", sum), sigstoreverify.WithoutIdentitiesUnsafe())); err != nil {
			b.Fatal(err)
		}
	}
}

func cold(b testing.TB, i *verifytest.Instance, raw []byte) func() {
	set, err := verify.NewAnchors(sigstore(i))
	if err != nil {
		b.Fatal(err)
	}
	v := verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(nil, 0), Remember: -1, Clock: time.Now, Log: discard()})
	ref := bundleReferrer(raw)
	return func() { verified(b, v.Check(b.Context(), image, ref)) }
}

// BenchmarkCold verifies one bundle that was never seen, and in turn with it by
// sigstore-go alone, so that both meet the same machine. The bars: cpu-ns/op at
// most 1.3 ms, ratio at most 1.1.
func BenchmarkCold(b *testing.B) {
	i, raw := benchBundle(b)
	ours, theirs := cold(b, i, raw), alone(b, i, raw)
	var spent [2]time.Duration
	for b.Loop() {
		for n, check := range []func(){ours, theirs} {
			start := cputest.Used(b)
			for range 10 {
				check()
			}
			spent[n] += cputest.Used(b) - start
		}
	}
	b.ReportMetric(float64(spent[0])/float64(10*b.N), "cpu-ns/bundle")
	b.ReportMetric(float64(spent[1])/float64(10*b.N), "sigstore-go-cpu-ns/bundle")
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "ratio")
}

// BenchmarkWarm asks about an image with five attestations again.
func BenchmarkWarm(b *testing.B) {
	i, _ := benchBundle(b)
	v := realVerifier(b, sigstore(i))
	var refs []verify.Referrer
	for range 5 {
		refs = append(refs, bundleReferrer(i.JSON(i.Bundle(verifytest.Spec{Payload: says}))))
	}
	start := cputest.Used(b)
	for b.Loop() {
		for _, ref := range refs {
			if r := v.Check(b.Context(), image, ref); len(r.Signatures) != 1 {
				b.Fatal(r)
			}
		}
	}
	b.ReportMetric(float64(cputest.Used(b)-start)/float64(b.N), "cpu-ns/image")
}

// BenchmarkRefused is what a forged bundle costs, its reasons included.
func BenchmarkRefused(b *testing.B) {
	_, raw := benchBundle(b)
	v := verify.New(verify.Options{Anchors: newWorld(b, sigstore(verifytest.New(b, "log.example.com"))).Anchors(), Statements: attest.NewReader(nil, 0), Remember: -1, Clock: time.Now, Log: discard()})
	ref := bundleReferrer(raw)
	for b.Loop() {
		if r := v.Check(b.Context(), image, ref); len(r.Refusals) != 1 {
			b.Fatal(r)
		}
	}
}
