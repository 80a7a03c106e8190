package sign

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign/seal"
)

// Describer tells what an image holds; assess.Assessor does.
type Describer interface {
	// SBOM renders the inventory as "spdx".
	SBOM(ctx context.Context, s repo.Sight, ref oci.Reference, format string) ([]byte, error)
	Findings(ctx context.Context, s repo.Sight, ref oci.Reference) (*api.Findings, error)
}

// everything is the sight of the server itself.
func everything(oci.Repository) (repo.Viewer, bool) { return repo.Viewer{Quarantine: true}, true }

// needed begins the reason of an intent; what follows is the placement.
const needed = "needed of "

// repositoryOf reads back where the evidence of an intent was needed.
func repositoryOf(in *seal.Intent) (oci.Repository, bool) {
	name, _, ok := strings.Cut(strings.TrimPrefix(in.Why, needed), "@")
	r, err := oci.ParseRepository(name)
	return r, ok && err == nil
}

// Resource names a placement as the summaries do: HOST/REPOSITORY@DIGEST.
func Resource(serverURL string, r oci.Repository, d oci.Digest) string {
	host := serverURL
	if u, err := url.Parse(serverURL); err == nil && u.Host != "" {
		host = u.Host
	}
	return fmt.Sprintf("oci://%s/%s@%s", host, r, d)
}

// render writes a statement.
func (f *Flow) render(ctx context.Context, w *wanted, k seal.Kind) ([]byte, error) {
	at := &w.placed.Placement
	ref := oci.Reference{Repository: at.Repository, Digest: at.Digest}
	subject := attest.About(at.Repository.String(), at.Digest)
	switch k {
	case seal.Summary:
		return f.summary(ctx, w, subject)
	case seal.SBOM:
		doc, err := f.Describe.SBOM(ctx, everything, ref, "spdx")
		if err != nil {
			return nil, err
		}
		return attest.Make(seal.TypeSBOM, json.RawMessage(doc), subject)
	case seal.Scan:
		found, err := f.Describe.Findings(ctx, everything, ref)
		if err != nil {
			return nil, err
		}
		return attest.Make(seal.TypeScan, f.scan(found), subject)
	}
	return nil, fmt.Errorf("there is no evidence of the kind %s", oci.Quote(string(k)))
}

// levels are what a decision that allows has verified (SLSA v1.2, "Verification
// Summary Attestation", verifiedLevels): the highest build level that provenance has
// by which a rule of the gate was satisfied, by the server's table of builders. What
// no rule demanded was not evaluated, whatever lies beside the image.
func levels(d *api.Decision) []string {
	build := "SLSA_BUILD_LEVEL_UNEVALUATED"
	highest := -1
	for i := range d.Reasons {
		if r := &d.Reasons[i]; r.Outcome == api.Allow && r.Level != nil && *r.Level > highest {
			highest = *r.Level
			build = fmt.Sprintf("SLSA_BUILD_LEVEL_%d", highest)
		}
	}
	return []string{build, "BONDED_ADMITTED_" + strings.ToUpper(d.Zone)}
}

// summary writes the SLSA verification summary of the decision in force, once its
// batch is signed.
func (f *Flow) summary(ctx context.Context, w *wanted, subject attest.Subject) ([]byte, error) {
	d, at := w.decision, &w.placed.Placement
	p, err := f.Prove(ctx, at.Decision)
	if err != nil {
		return nil, err
	}
	if !p.Proven {
		return nil, fmt.Errorf("its decision is %s", p.Text)
	}
	gate, err := oci.ParseDigest(d.Inputs.Gate)
	if err != nil {
		return nil, fmt.Errorf("reading the digest of a gate: %w", err)
	}
	s := evidence.Summary{
		Verifier: f.Signer.Identity(), At: d.DecidedAt, Resource: Resource(f.URL, at.Repository, at.Digest), Passed: d.Outcome == api.Allow,
		Policy: evidence.Material{URI: f.URL + "/zones/" + d.Zone, Digests: digestSet(gate)},
		Inputs: []evidence.Material{
			{URI: fmt.Sprintf("%s/batches/%d", f.URL, p.Batch.Number), Digests: digestSet(oci.FromBytes(p.Batch.Bundle))},
			{URI: fmt.Sprintf("%s/decisions/%d", f.URL, at.Decision), Digests: digestSet(oci.FromBytes(p.Payload))},
		},
		Levels: []string{"FAILED"},
	}
	if s.Passed {
		s.Levels = levels(d)
	}
	for _, text := range d.Inputs.Evidence {
		looked, err := oci.ParseDigest(text)
		if err != nil {
			return nil, fmt.Errorf("reading the digest of evidence: %w", err)
		}
		s.Inputs = append(s.Inputs, evidence.Material{URI: Resource(f.URL, at.Repository, looked), Digests: digestSet(looked)})
	}
	return attest.MakeSummary(s, subject)
}

func digestSet(d oci.Digest) map[string]string {
	return map[string]string{string(d.Algorithm()): d.Hex()}
}

// scanned is cosign's predicate of a vulnerability scan:
// https://github.com/sigstore/cosign/blob/main/specs/COSIGN_VULN_ATTESTATION_SPEC.md.
type scanned struct {
	Invocation struct {
		Parameters any    `json:"parameters"`
		URI        string `json:"uri"`
		Event      string `json:"event_id"`
		Builder    string `json:"builder.id"`
	} `json:"invocation"`
	Scanner struct {
		URI     string `json:"uri"`
		Version string `json:"version"`
		DB      struct {
			URI        string `json:"uri"`
			Version    string `json:"version"`
			LastUpdate string `json:"lastUpdate,omitempty"`
		} `json:"db"`
		Result result `json:"result"`
	} `json:"scanner"`
	Metadata struct {
		Started  string `json:"scanStartedOn"`
		Finished string `json:"scanFinishedOn"`
	} `json:"metadata"`
}

// result is what was found, in the words that most scanners have for it, and what
// could not be looked up: an empty list alone never means "checked and clean".
type result struct {
	Results   []target   `json:"Results"`
	Unchecked []api.Fact `json:"Unchecked"`
}

type target struct {
	Target          string  `json:"Target"`
	Vulnerabilities []fault `json:"Vulnerabilities"`
}

type fault struct {
	ID        string   `json:"VulnerabilityID"`
	Aliases   []string `json:"Aliases,omitempty"`
	Package   string   `json:"PkgName"`
	PURL      string   `json:"PURL,omitempty"`
	Path      string   `json:"PkgPath,omitempty"`
	Installed string   `json:"InstalledVersion"`
	Fixed     string   `json:"FixedVersion,omitempty"`
	Severity  string   `json:"Severity"`
	Title     string   `json:"Title,omitempty"`
}

// scan is the predicate of what is found in an image now.
func (f *Flow) scan(found *api.Findings) *scanned {
	s, now := new(scanned), f.Clock().UTC().Format(time.RFC3339)
	s.Scanner.URI, s.Scanner.Version = f.URL, f.Version
	s.Scanner.DB.URI, s.Scanner.DB.Version = fmt.Sprintf("%s/snapshots/%d", f.URL, found.Snapshot.Seq), found.Snapshot.Digest
	if !found.Snapshot.At.IsZero() {
		s.Scanner.DB.LastUpdate = found.Snapshot.At.UTC().Format(time.RFC3339)
	}
	t := target{Target: found.Repository + "@" + found.Digest, Vulnerabilities: []fault{}}
	for i := range found.Findings {
		x := &found.Findings[i]
		t.Vulnerabilities = append(t.Vulnerabilities, fault{
			ID: x.ID, Aliases: x.Aliases, Package: x.Package, PURL: x.PURL, Path: x.Path, Installed: x.Version, Fixed: x.Fixed,
			Severity: strings.ToUpper(x.Severity), Title: x.Summary,
		})
	}
	s.Scanner.Result = result{[]target{t}, append([]api.Fact{}, found.Unchecked...)}
	s.Metadata.Started, s.Metadata.Finished = now, now
	return s
}
