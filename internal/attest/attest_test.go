package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestReal reads what others wrote (testdata/NOTICE says who) and compares the
// facts with goldens that were read by a person.
func TestReal(t *testing.T) {
	files, err := filepath.Glob("testdata/real/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if doc, err := Parse(raw); err == nil {
				st, err := doc.Statement(1)
				if err != nil {
					t.Fatal(err)
				}
				got = st
			} else if got, _, err = ReadVEX(raw); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(filepath.Base(file), ".json"), got)
		})
	}
}

func golden(t *testing.T, name string, got any) {
	t.Helper()
	raw, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	raw = append(raw, '\n')
	path := filepath.Join("testdata", "golden", name+".json")
	if *update {
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(raw)); diff != "" {
		t.Errorf("facts differ (-update rewrites them):\n%s", diff)
	}
}

var subject = oci.FromBytes([]byte("an image"))

// wrap makes a statement around a predicate.
func wrap(typ, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":%s}`, subject.Hex(), typ, predicate)
}

func TestPredicates(t *testing.T) {
	tests := []struct{ name, typ, predicate, want string }{
		{"spdx 2.3", "https://spdx.dev/Document", `{"spdxVersion":"SPDX-2.3","creationInfo":{"created":"2024-01-02T03:04:05Z","creators":["Organization: a","Tool: syft-1.0"]},"packages":[{},{}]}`,
			`"sbom":{"format":"spdx","version":"2.3","tool":"syft-1.0","created":"2024-01-02T03:04:05Z","packages":2}`},
		{"spdx 3", "https://spdx.dev/Document/v3", `{"@context":"x","@graph":[{"type":"CreationInfo","specVersion":"3.0.1","created":"2024-01-02T03:04:05Z"},{"type":"software_Package"},{"type":"Tool","name":"t"}]}`,
			`"sbom":{"format":"spdx","version":"3.0.1","tool":"t","created":"2024-01-02T03:04:05Z","packages":1}`},
		{"spdx as text", "https://spdx.dev/Document", `"SPDXVersion: SPDX-2.2\nCreator: Tool: bom-0.5\nPackageName: a\nPackageName: b\n"`,
			`"sbom":{"format":"spdx","version":"2.2","tool":"bom-0.5","packages":2}`},
		{"spdx as cosign 1 wrapped it", "https://spdx.dev/Document", `{"Data":"{\"spdxVersion\":\"SPDX-2.3\",\"packages\":[]}","Timestamp":"x"}`,
			`"sbom":{"format":"spdx","version":"2.3","packages":0}`},
		{"cyclonedx", "https://cyclonedx.org/bom/v1.4", `{"bomFormat":"CycloneDX","specVersion":"1.4","metadata":{"timestamp":"2024-01-02T03:04:05+01:00","tools":[{"name":"trivy","version":"0.50"}]},"components":[{},{},{}]}`,
			`"sbom":{"format":"cyclonedx","version":"1.4","tool":"trivy-0.50","created":"2024-01-02T02:04:05Z","packages":3}`},
		{"cyclonedx 1.6", "https://cyclonedx.org/bom", `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"tools":{"components":[{"name":"syft","version":"1"}]}}}`,
			`"sbom":{"format":"cyclonedx","version":"1.6","tool":"syft-1","packages":0}`},
		{"cyclonedx vex", "https://cyclonedx.org/bom", `{"bomFormat":"CycloneDX","specVersion":"1.6","vulnerabilities":[{"id":"CVE-1","analysis":{"state":"not_affected","justification":"code_not_reachable","detail":"d"},"affects":[{"ref":"pkg:npm/a@1"}]},{"id":"CVE-2"}]}`,
			`"vex":{"format":"cyclonedx","statements":[{"vulnerability":"CVE-1","products":["pkg:npm/a@1"],"status":"not_affected","justification":"code_not_reachable","impact":"d"}]}`},
		{"openvex", "https://openvex.dev/ns/v0.2.0", `{"@context":"https://openvex.dev/ns/v0.2.0","author":"a","timestamp":"2024-01-02T03:04:05Z","statements":[{"vulnerability":{"name":"CVE-1","aliases":["GHSA-1"]},"products":[{"@id":"pkg:oci/x","subcomponents":[{"@id":"pkg:npm/a"}]},{"@id":"pkg:npm/b"}],"status":"fixed"}]}`,
			`"vex":{"format":"openvex","author":"a","at":"2024-01-02T03:04:05Z","statements":[{"vulnerability":"CVE-1","aliases":["GHSA-1"],"products":["pkg:npm/a"],"within":"pkg:oci/x","status":"fixed"},{"vulnerability":"CVE-1","aliases":["GHSA-1"],"products":["pkg:npm/b"],"status":"fixed"}]}`},
		{"openvex for the subject", "https://openvex.dev/ns", `{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":{"name":"CVE-1"},"status":"affected"}]}`,
			`"statements":[{"vulnerability":"CVE-1","status":"affected"}]`},
		{"csaf with a relationship", "https://docs.oasis-open.org/csaf/csaf/v2.0", `{"document":{"csaf_version":"2.0","publisher":{"name":"p"},"tracking":{"current_release_date":"2024-01-02T03:04:05Z"}},"product_tree":{"branches":[{"branches":[{"product":{"product_id":"lib","product_identification_helper":{"purl":"pkg:rpm/x/lib@1"}}}]}],"full_product_names":[{"product_id":"os"}],"relationships":[{"category":"default_component_of","product_reference":"lib","relates_to_product_reference":"os","full_product_name":{"product_id":"os:lib"}}]},"vulnerabilities":[{"cve":"CVE-1","flags":[{"label":"component_not_present","product_ids":["os:lib"]}],"product_status":{"known_not_affected":["os:lib"],"fixed":["lib","other"]}}]}`,
			`"vex":{"format":"csaf","author":"p","at":"2024-01-02T03:04:05Z","statements":[{"vulnerability":"CVE-1","products":["pkg:rpm/x/lib@1"],"within":"os","status":"not_affected","justification":"component_not_present"},{"vulnerability":"CVE-1","products":["pkg:rpm/x/lib@1","other"],"status":"fixed"}]}`},
		{"cosign vuln", "https://cosign.sigstore.dev/attestation/vuln/v1", `{"invocation":{},"scanner":{"uri":"pkg:github/aquasecurity/trivy@1","version":"0.50","db":{"lastUpdate":"2024-01-02T03:04:05Z"},"result":{"Results":[{"Vulnerabilities":[{"Severity":"HIGH"},{"Severity":"LOW"},{"Severity":"HIGH"}]}]}},"metadata":{"scanFinishedOn":"2024-02-02T03:04:05Z"}}`,
			`"scan":{"scanner":"pkg:github/aquasecurity/trivy@1","version":"0.50","database":"2024-01-02T03:04:05Z","at":"2024-02-02T03:04:05Z","counts":{"high":2,"low":1}}`},
		{"in-toto vulns", "https://in-toto.io/attestation/vulns/v0.2", `{"scanner":{"uri":"u","result":[{"id":"CVE-1","severity":[{"method":"nvd","score":"medium"},{"method":"cvss_score","score":"9.8"}]},{"id":"CVE-2","severity":[]}]}}`,
			`"counts":{"critical":1,"unknown":1}`},
		{"clean scan", "https://in-toto.io/attestation/vulns/v0.1", `{"scanner":{"uri":"u","result":[]}}`, `"scan":{"scanner":"u"}`},
		{"test result", "https://in-toto.io/attestation/test-result/v0.1", `{"result":"PASSED","configuration":[{"name":"ci.yml","digest":{"gitBlob":"AB"}}],"url":"https://x","passedTests":["a"],"failedTests":[]}`,
			`"test":{"result":"passed","config":[{"uri":"ci.yml","digests":{"gitBlob":"ab"}}],"url":"https://x","passed":["a"]}`},
		{"review", "http://in-toto.io/attestation/human-review/vcs/v0.1", `{"reviewers":[{"name":"l","uri":"https://api.github.com/user/1"}],"reviewTime":"2023-03-15T11:05:00Z"}`,
			`"review":{"source":{"uri":""},"reviewers":["https://api.github.com/user/1"],"approved":true,"at":"2023-03-15T11:05:00Z"}`},
		{"release", "https://in-toto.io/attestation/release/v0.1", `{"purl":"pkg:npm/%40angular/http@7.2.16?x=y@z","packageId":"1"}`, `"release":{"purl":"pkg:npm/%40angular/http@7.2.16?x=y@z","version":"7.2.16"}`},
		{"vsa 0.2", "https://slsa.dev/verification_summary/v0.2", `{"verifier":{"id":"https://v"},"time_verified":"x","resource_uri":"r","policy":{"uri":"p"},"policy_level":"SLSA_LEVEL_3","verification_result":"PASSED"}`,
			`"summary":{"verifier":"https://v","resource":"r","policy":{"uri":"p"},"passed":true,"levels":["SLSA_LEVEL_3"]}`},
		{"source track", "https://slsa.dev/verification_summary/v1", `{"verifier":{"id":"https://v"},"resourceUri":"git+https://github.com/o/r","policy":{"uri":"p"},"verificationResult":"FAILED","verifiedLevels":["SLSA_SOURCE_LEVEL_2"]}`,
			`"passed":false,"levels":["SLSA_SOURCE_LEVEL_2"]`},
		{"unknown", "https://example.com/x/v1", `{"a":[1,2]}`, `"kind":"unknown","predicate":{"a":[1,2]},"size":11`},
		{"unknown relative", "https://slsa.dev/provenance/v9/extra", `{"a":1}`, `"kind":"unknown"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			doc, err := Parse(wrap(test.typ, test.predicate))
			if err != nil {
				t.Fatal(err)
			}
			st, err := doc.Statement(0)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(st)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(raw), test.want) {
				t.Errorf("got  %s\nwant %s", raw, test.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 80) + "1" + strings.Repeat("}", 80)
	tests := []struct {
		name, doc, want string
		limit           bool
	}{
		{"no JSON", `x`, "no value", false},
		{"duplicate key", `{"_type":"https://in-toto.io/Statement/v1","_type":"x"}`, "duplicate key", false},
		{"duplicate key in the predicate", string(wrap("https://slsa.dev/provenance/v1", `{"runDetails":{"builder":{"id":"a","id":"b"}}}`)), "duplicate key", false},
		{"case variant", `{"_type":"https://in-toto.io/Statement/v1","Subject":[]}`, "in case only", false},
		{"version", `{"_type":"https://in-toto.io/Statement/v2","predicateType":"x"}`, "_type is", false},
		{"no type", `{"_type":"https://in-toto.io/Statement/v1","subject":[]}`, "predicateType", false},
		{"no subject", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[]}`, "no subject", false},
		{"subject without digest", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[{"name":"a"}]}`, "has 0 digests", false},
		{"depth", string(wrap("x", deep)), "deeper than", true},
		{"subjects", `{"_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[` + strings.Repeat(`{"digest":{"sha256":"a"}},`, 1024) + `{"digest":{"sha256":"a"}}]}`, "more than 1024 subjects", true},
		{"size", `"` + strings.Repeat("a", 16<<20) + `"`, "at most", true},
		{"no builder", string(wrap("https://slsa.dev/provenance/v1", `{}`)), "builder.id is missing", false},
		{"no builder in 0.2", string(wrap("https://slsa.dev/provenance/v0.2", `{"builder":{"id":7}}`)), "builder.id is missing", false},
		{"summary that says nothing", string(wrap("https://slsa.dev/verification_summary/v1", `{"verifier":{"id":"a"},"verificationResult":"passed"}`)), "neither PASSED nor FAILED", false},
		{"sbom of no format", string(wrap("https://spdx.dev/Document", `{"bomFormat":"x"}`)), "neither SPDX nor CycloneDX", false},
		{"vex with another status", string(wrap("https://openvex.dev/ns", `{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":{"name":"C"},"status":"fine"}]}`)), "the status of", false},
		{"vex about a nameless product", string(wrap("https://openvex.dev/ns", `{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":{"name":"C"},"products":[{}],"status":"fixed"}]}`)), "product without a name", false},
		{"approval without an end it names", string(wrap(TypeApproval, `{"by":"a","for":"b","until":"soon"}`)), "until is no time", false},
		{"test without result", string(wrap("https://in-toto.io/attestation/test-result/v0.1", `{"result":"OK"}`)), "none of PASSED", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			doc, err := Parse([]byte(test.doc))
			if err == nil {
				_, err = doc.Statement(0)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if errors.Is(err, strictjson.ErrLimit) != test.limit || errors.Is(err, ErrStatement) == test.limit {
				t.Errorf("%v is of the wrong sort", err)
			}
		})
	}
}

// TestPartial: what is over a limit is left out and said.
func TestPartial(t *testing.T) {
	var params bytes.Buffer
	for i := range 600 {
		fmt.Fprintf(&params, `,"p%d":%d`, i, i)
	}
	doc, err := Parse(wrap("https://slsa.dev/provenance/v1", `{"buildDefinition":{"externalParameters":{"x":"`+strings.Repeat("é", 3000)+`"`+params.String()+`}},"runDetails":{"builder":{"id":"b"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	st, err := doc.Statement(1)
	if err != nil {
		t.Fatal(err)
	}
	if !st.Partial || len(st.Provenance.Parameters) != maxParameters || len(st.Provenance.Parameters["x"]) > maxText || st.Predicate != nil || st.Size == 0 {
		t.Errorf("partial %v, %d parameters, predicate of %d bytes kept of %d", st.Partial, len(st.Provenance.Parameters), len(st.Predicate), st.Size)
	}
}

func TestPlainVEXNeedsProducts(t *testing.T) {
	_, _, err := ReadVEX([]byte(`{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":{"name":"C"},"status":"not_affected"}]}`))
	if !errors.Is(err, ErrStatement) || !strings.Contains(err.Error(), "about no product") {
		t.Errorf("error %v", err)
	}
}

func TestReader(t *testing.T) {
	r := NewReader(Shipped(), 0)
	sig := &evidence.Signature{Subject: subject, Anchor: "a"}
	st, err := r.Read(wrap(typeCosignSign, `{}`), sig)
	if st != nil || err != nil {
		t.Errorf("a bare signature gave %+v, %v", st, err)
	}
	sig.Subject = oci.FromBytes([]byte("another"))
	if _, err := r.Read(wrap("x", `{}`), sig); !errors.Is(err, ErrStatement) || !strings.Contains(err.Error(), "not about") {
		t.Errorf("error %v", err)
	}
	if r.Policy() == NewReader(nil, 0).Policy() || r.Policy() != NewReader(Shipped(), 0).Policy() {
		t.Error("the policy does not tell readers apart")
	}
}

// at is a time for tests.
var at = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func TestMake(t *testing.T) {
	about := About("registry.example.com/app", subject)
	policy := evidence.Material{URI: "https://bonded.example.com/gates/production", Digests: map[string]string{"sha256": "ab"}}
	summary := evidence.Summary{Verifier: "https://bonded.example.com", At: at, Resource: "oci://app", Policy: policy, Passed: true,
		Levels: []string{"SLSA_BUILD_LEVEL_3"}, Inputs: []evidence.Material{{Digests: map[string]string{"sha256": "cd"}}}, Dependencies: map[string]int64{"SLSA_BUILD_LEVEL_1": 4}}
	tests := []struct {
		name string
		make func() ([]byte, error)
		want evidence.Statement
	}{
		{"summary", func() ([]byte, error) { return MakeSummary(summary, about) }, evidence.Statement{Kind: evidence.KindSummary, Summary: &summary}},
		{"spdx", func() ([]byte, error) {
			return MakeSBOM([]byte(`{ "spdxVersion": "SPDX-2.3", "name": "a<b" }`), about)
		}, evidence.Statement{Kind: evidence.KindSBOM, SBOM: &evidence.SBOM{Format: "spdx", Version: "2.3"}}},
		{"cyclonedx", func() ([]byte, error) {
			return MakeSBOM([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6"}`), about)
		}, evidence.Statement{Kind: evidence.KindSBOM, SBOM: &evidence.SBOM{Format: "cyclonedx", Version: "1.6"}}},
		{"scan", func() ([]byte, error) {
			return MakeScan(evidence.Scan{Scanner: "pkg:golang/bonded", Version: "1", At: at, Database: at.Add(-time.Hour)}, at,
				[]evidence.Finding{{ID: "CVE-2", Severity: evidence.High, PURL: "pkg:b"}, {ID: "DSA-1", Aliases: []string{"CVE-1"}, Severity: evidence.Unknown}}, about)
		}, evidence.Statement{Kind: evidence.KindScan, Scan: &evidence.Scan{Scanner: "pkg:golang/bonded", Version: "1", At: at, Database: at.Add(-time.Hour), Counts: map[string]int{"high": 1, "unknown": 1}}}},
		{"release", func() ([]byte, error) {
			return MakeRelease(evidence.Release{PURL: "pkg:oci/app@1.2", At: at}, about)
		}, evidence.Statement{Kind: evidence.KindRelease, Release: &evidence.Release{PURL: "pkg:oci/app@1.2", Version: "1.2", At: at}}},
		{"approval", func() ([]byte, error) {
			return MakeApproval(evidence.Approval{By: "alice", For: "production", Reason: "r", At: at, Until: at.Add(time.Hour)}, about)
		}, evidence.Statement{Kind: evidence.KindApproval, Approval: &evidence.Approval{By: "alice", For: "production", Reason: "r", At: at, Until: at.Add(time.Hour)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			raw, err := test.make()
			if err != nil {
				t.Fatal(err)
			}
			if again, _ := test.make(); !bytes.Equal(raw, again) {
				t.Error("it is not deterministic")
			}
			golden(t, "made-"+test.name, json.RawMessage(raw))
			doc, err := Parse(raw)
			if err != nil || !doc.About(subject) {
				t.Fatalf("reading back: %v", err)
			}
			st, err := doc.Statement(1)
			if err != nil {
				t.Fatal(err)
			}
			st.Type, st.Size, st.Predicate = "", 0, nil
			if diff := cmp.Diff(&test.want, st, cmp.AllowUnexported(oci.Digest{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMakeRefuses(t *testing.T) {
	about := About("", subject)
	for name, err := range map[string]error{
		"summary":      second(MakeSummary(evidence.Summary{}, about)),
		"sbom":         second(MakeSBOM([]byte(`{"spdxVersion":"SPDX-2.2"}`), about)),
		"sbom twice":   second(MakeSBOM([]byte(`{"spdxVersion":"SPDX-2.3","spdxVersion":"SPDX-2.3"}`), about)),
		"scan":         second(MakeScan(evidence.Scan{}, at, nil, about)),
		"release":      second(MakeRelease(evidence.Release{}, about)),
		"approval":     second(MakeApproval(evidence.Approval{By: "a"}, about)),
		"about nobody": second(Make("x", map[string]string{})),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second(_ []byte, err error) error { return err }
