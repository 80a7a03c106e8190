package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// Types of the predicates that are made here.
const (
	TypeSummary   = "https://slsa.dev/verification_summary/v1"
	TypeSPDX      = "https://spdx.dev/Document/v2.3"
	TypeCycloneDX = "https://cyclonedx.org/bom/v1.6"
	TypeScan      = "https://in-toto.io/attestation/vulns/v0.2"
	TypeRelease   = "https://in-toto.io/attestation/release/v0.1"
)

// About is the subject of a statement that is made: name is what people call
// it, and may be empty.
func About(name string, digest oci.Digest) Subject {
	return Subject{Name: name, Digests: map[string]string{string(digest.Algorithm()): digest.Hex()}}
}

// Make writes a statement v1. The same arguments give the same bytes. predicate
// is marshalled, or taken as it is when it is a json.RawMessage.
func Make(typ string, predicate any, subjects ...Subject) ([]byte, error) {
	type subject struct {
		Name   string            `json:"name,omitempty"`
		Digest map[string]string `json:"digest"`
	}
	doc := struct {
		Type          string    `json:"_type"`
		Subject       []subject `json:"subject"`
		PredicateType string    `json:"predicateType"`
		Predicate     any       `json:"predicate"`
	}{Type: statementV1, PredicateType: typ, Predicate: predicate}
	for _, s := range subjects {
		doc.Subject = append(doc.Subject, subject{s.Name, s.Digests})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, fmt.Errorf("writing a statement of type %s: %w", typ, err)
	}
	raw := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	// What others could not read is not signed.
	if _, err := Parse(raw); err != nil {
		return nil, fmt.Errorf("writing a statement of type %s: %w", typ, err)
	}
	return raw, nil
}

// descriptor is a ResourceDescriptor on the wire.
type descriptor struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

func describe(m evidence.Material) descriptor { return descriptor{m.URI, m.Digests} }

// MakeSummary writes a SLSA verification summary v1.
func MakeSummary(s evidence.Summary, subjects ...Subject) ([]byte, error) {
	if s.Verifier == "" || s.Resource == "" || s.At.IsZero() || s.Policy.URI == "" {
		return nil, errors.New("writing a verification summary: verifier, resource, policy and time are needed")
	}
	p := struct {
		Verifier struct {
			ID string `json:"id"`
		} `json:"verifier"`
		At           string           `json:"timeVerified"`
		Resource     string           `json:"resourceUri"`
		Policy       descriptor       `json:"policy"`
		Inputs       []descriptor     `json:"inputAttestations,omitempty"`
		Result       string           `json:"verificationResult"`
		Levels       []string         `json:"verifiedLevels"`
		Dependencies map[string]int64 `json:"dependencyLevels,omitempty"`
		SLSA         string           `json:"slsaVersion"`
	}{
		At: when(s.At), Resource: s.Resource, Policy: describe(s.Policy), Result: "FAILED",
		Levels: append([]string{}, s.Levels...), Dependencies: s.Dependencies, SLSA: "1.2",
	}
	p.Verifier.ID = s.Verifier
	if s.Passed {
		p.Result = "PASSED"
	}
	for _, in := range s.Inputs {
		p.Inputs = append(p.Inputs, describe(in))
	}
	return Make(TypeSummary, p, subjects...)
}

// when is a time on the wire: UTC, whole seconds.
func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// MakeSBOM writes a statement whose predicate is an SBOM document, SPDX 2.3 or
// CycloneDX 1.6 in JSON, without its insignificant white space.
func MakeSBOM(document []byte, subjects ...Subject) ([]byte, error) {
	doc, err := strictjson.Parse(document, strictjson.Limits{Bytes: maxStatement})
	if err != nil {
		return nil, fmt.Errorf("writing an SBOM statement: %w", err)
	}
	var typ string
	switch {
	case doc.Get("spdxVersion").String() == "SPDX-2.3":
		typ = TypeSPDX
	case doc.Get("bomFormat").String() == "CycloneDX" && doc.Get("specVersion").String() == "1.6":
		typ = TypeCycloneDX
	default:
		return nil, errors.New("writing an SBOM statement: the document is neither SPDX 2.3 nor CycloneDX 1.6")
	}
	return Make(typ, doc.Raw(), subjects...)
}

// MakeScan writes an in-toto vulnerability scan. scan.Scanner is a URI; Counts
// are those of findings, and not written beside them.
func MakeScan(scan evidence.Scan, started time.Time, findings []evidence.Finding, subjects ...Subject) ([]byte, error) {
	if scan.Scanner == "" || scan.At.IsZero() || started.IsZero() {
		return nil, errors.New("writing a scan: scanner and times are needed")
	}
	type severity struct {
		Method string `json:"method"`
		Score  string `json:"score"`
	}
	type finding struct {
		ID          string            `json:"id"`
		Severity    []severity        `json:"severity"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	type database struct {
		LastUpdate string `json:"lastUpdate"`
	}
	type scanner struct {
		URI     string    `json:"uri"`
		Version string    `json:"version,omitempty"`
		DB      *database `json:"db,omitempty"`
		Result  []finding `json:"result"`
	}
	p := struct {
		Scanner  scanner `json:"scanner"`
		Metadata struct {
			Started  string `json:"scanStartedOn"`
			Finished string `json:"scanFinishedOn"`
		} `json:"metadata"`
	}{Scanner: scanner{URI: scan.Scanner, Version: scan.Version, Result: []finding{}}}
	p.Metadata.Started, p.Metadata.Finished = when(started), when(scan.At)
	if !scan.Database.IsZero() {
		p.Scanner.DB = &database{when(scan.Database)}
	}
	for _, f := range findings {
		p.Scanner.Result = append(p.Scanner.Result, finding{
			ID: f.CVE(), Severity: []severity{{Method: "bonded", Score: string(f.Severity)}},
			Annotations: map[string]string{"purl": f.PURL, "record": f.ID},
		})
	}
	slices.SortFunc(p.Scanner.Result, func(a, b finding) int {
		return strings.Compare(a.ID+"\x00"+a.Annotations["purl"], b.ID+"\x00"+b.Annotations["purl"])
	})
	return Make(TypeScan, p, subjects...)
}

// MakeRelease writes an in-toto release.
func MakeRelease(r evidence.Release, subjects ...Subject) ([]byte, error) {
	if r.PURL == "" {
		return nil, errors.New("writing a release: a purl is needed")
	}
	p := struct {
		PURL string `json:"purl"`
		At   string `json:"releasedAt,omitempty"`
	}{PURL: r.PURL}
	if !r.At.IsZero() {
		p.At = when(r.At)
	}
	return Make(TypeRelease, p, subjects...)
}

// MakeApproval writes a person's yes.
func MakeApproval(a evidence.Approval, subjects ...Subject) ([]byte, error) {
	if a.By == "" || a.For == "" || a.At.IsZero() {
		return nil, errors.New("writing an approval: by, for and a time are needed")
	}
	p := map[string]string{"by": a.By, "for": a.For, "at": when(a.At)}
	if a.Reason != "" {
		p["reason"] = a.Reason
	}
	if !a.Until.IsZero() {
		p["until"] = when(a.Until)
	}
	return Make(TypeApproval, p, subjects...)
}
