package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/bonded-dev/bonded/internal/acquire"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/verify"
)

// Verify verifies what refers to an artifact, wherever it lies, by an anchor made
// of files.
func (s Scanner) Verify(ctx context.Context, r cli.VerifyRequest) (*cli.Verified, error) {
	log := slog.New(slog.DiscardHandler)
	anchor, err := anchorOf(r)
	if err != nil {
		return nil, cli.Misused(err, "bonded verify --help")
	}
	set, err := verify.NewAnchors(anchor)
	if err != nil {
		return nil, cli.Misused(err, "bonded verify --help")
	}
	r.Step("opening " + r.Target)
	src, err := acquire.Open(ctx, r.Target, acquire.Options{AuthFiles: s.AuthFiles, CertDirs: certDirs, UserAgent: "bonded/" + s.Version, Log: log})
	if err != nil {
		return nil, sourceError(err)
	}
	defer src.Close() //nolint:errcheck // it was only read
	r.Step("looking for evidence")
	found, err := acquire.Referrers(ctx, src, src.Root().Digest)
	if err != nil {
		return nil, sourceError(err)
	}
	v := verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(shippedFor(anchor), keptPredicate), Clock: s.Clock, Log: log, Remember: -1})
	seen := policy.Verified{Anchors: []policy.Anchor{{Name: anchor.Name}}, Digest: set.Digest()}
	var all verify.Result
	for _, m := range found {
		if !verify.IsEnvelope(m) {
			continue
		}
		layers, err := envelopes(ctx, src, m)
		if err != nil {
			return nil, sourceError(err)
		}
		one := v.Check(ctx, src.Root(), verify.Referrer{Manifest: m, Layers: layers})
		all.Signatures, all.Refusals = append(all.Signatures, one.Signatures...), append(all.Refusals, one.Refusals...)
	}
	out := &cli.Verified{Target: src.Name(), Digest: src.Root().Digest.String(), Evidence: *assess.WireEvidence(all.Signatures, all.Refusals)}
	out.Evidence.Anchors = set.Digest()
	if ref, ok := acquire.InRegistry(r.Target); ok {
		out.Repository, out.Tag = ref.Repository.String(), ref.Tag
	}
	if r.Gate == nil {
		return out, nil
	}
	seen.Signatures = all.Signatures
	for _, refusal := range all.Refusals {
		if refusal.Unsure {
			seen.Unsure = append(seen.Unsure, refusal)
		}
	}
	return out, s.demands(ctx, r.Gate, src, seen, out)
}

// demands asks the rules of a gate that are about evidence.
func (s Scanner) demands(ctx context.Context, gate *policy.Gate, src acquire.Source, seen policy.Verified, out *cli.Verified) error {
	m, err := src.Manifest(ctx, src.Root())
	if err != nil {
		return sourceError(err)
	}
	at, err := oci.ParseRepository(gate.Name() + "/" + src.Path())
	if err != nil {
		return err
	}
	in := &policy.Input{
		Repository: at, Digest: m.Digest, Zone: gate.Name(), Kind: m.Kind(), Now: s.Clock(), Manifest: m, Verified: seen, Engine: "bonded " + s.Version,
	}
	out.Reasons, out.Outcome, err = gate.Demands(ctx, in)
	if err == nil && len(out.Reasons) == 0 {
		return cli.Misused(fmt.Errorf("gate %s has no rule about evidence for artifacts of kind %s", gate.Name(), m.Kind()), "bonded gate show "+gate.Name())
	}
	return err
}

// anchorOf is the anchor that a request's files make.
func anchorOf(r cli.VerifyRequest) (verify.Anchor, error) {
	c := config.Anchor{Name: r.Anchor, TrustedRootFile: config.Path(r.TrustedRoot), KeyFile: config.Path(r.Key), CAFile: config.Path(r.CA)}
	switch {
	case r.Key != "":
		c.Type, c.Log = string(verify.KindKey), r.TrustedRoot != ""
	case r.CA != "":
		c.Type = string(verify.KindX509)
	default:
		c.Type = string(verify.KindSigstore)
	}
	return readAnchor(c)
}

// shippedFor are the builders that come with the program, for an anchor.
func shippedFor(a verify.Anchor) attest.Builders {
	if a.Kind != verify.KindSigstore {
		return nil
	}
	rows := attest.Shipped()
	for i := range rows {
		rows[i].Signer.Anchor = a.Name
	}
	return rows
}

// envelopes reads the layers of a referrer that are small enough.
func envelopes(ctx context.Context, src acquire.Source, m *oci.Manifest) ([][]byte, error) {
	layers := make([][]byte, len(m.Layers))
	left := int64(2 * verify.MaxEnvelope)
	for i, d := range m.Layers {
		if i == verify.MaxLayers || d.Size > min(left, verify.MaxEnvelope) {
			continue
		}
		left -= d.Size
		r, err := src.Blob(ctx, d)
		if errors.Is(err, acquire.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		layers[i], err = io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	return layers, nil
}
