package cli_test

import (
	"context"
	"os"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
)

// said is the evidence about an artifact: of each sort, one.
func said() *api.Evidence {
	at := time.Date(2026, 11, 20, 8, 30, 0, 0, time.UTC)
	const builder = "https://github.com/acme/api/.github/workflows/release.yml@refs/tags/v1.8"
	return &api.Evidence{
		Anchors: "ab12",
		Signatures: []api.Signature{
			{Anchor: "public", Form: "bundle", Issuer: "https://token.actions.githubusercontent.com", Subject: builder, At: at, Log: "rekor.sigstore.dev", LogIndex: 4711, Referrer: goodDigest, Envelope: layerDigest},
			{Anchor: "public", Form: "bundle", Issuer: "https://token.actions.githubusercontent.com", Subject: builder, At: at, Referrer: goodDigest, Envelope: snapDigest, Statement: &api.Statement{
				Type: "https://slsa.dev/provenance/v1", Kind: "provenance", Says: "SLSA build level 3, of https://github.com/acme/api at 4be1c0d, by GitHub", Size: 2000,
			}},
			{Anchor: "ci-keys", Form: "legacy", Key: "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff", Referrer: gateDigest, Envelope: gateDigest},
		},
		Refused:  []api.Refusal{{Referrer: badDigest, Form: "bundle", Reasons: []string{"anchor public: its certificate leads to no CA of this anchor\x1b[31m"}}, {Referrer: gateDigest, Form: "notation", Reasons: []string{"it is 99 bytes, at most 98 are read"}, Unsure: true}},
		Unsigned: []api.Statement{{Type: "https://spdx.dev/Document", Kind: "sbom", Says: "spdx 2.3 with 12 packages", Size: 1000}},
	}
}

// fakeVerify verifies files that are there, by whatever key.
func fakeVerify(_ context.Context, r cli.VerifyRequest) (*cli.Verified, error) {
	if _, err := os.Stat(r.Target); err != nil {
		return nil, err
	}
	r.Step("looking for evidence")
	v := &cli.Verified{Target: r.Target, Digest: goodDigest, Evidence: api.Evidence{Anchors: "ab12", Signatures: []api.Signature{}}}
	switch r.Target { // as if they were in registries
	case "bad.tar":
		v.Digest = badDigest
	case "moved.tar":
		v.Repository, v.Tag = "dev/payments/api", "1.8"
	case "renamed.tar":
		v.Repository, v.Tag = "mirror/api", "1.7"
	}
	if r.Key == "right.pub" {
		sig := said().Signatures[2]
		sig.Anchor = r.Anchor
		v.Evidence.Signatures = append(v.Evidence.Signatures, sig)
	}
	if r.Gate != nil {
		v.Outcome = api.CannotTell
		v.Reasons = []api.Reason{{Rule: "signed", Outcome: api.CannotTell, Says: "there is no signature by a key of anchor " + r.Gate.Signers()[0].Anchor}}
	}
	return v, nil
}
