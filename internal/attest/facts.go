package attest

import (
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// Limits of facts. What is over them is left out and the statement marked
// partial.
const (
	maxText       = 4096
	maxList       = 1000
	maxParameters = 500
	maxDepth      = 16
)

// facts is a statement while it is read.
type facts struct{ *evidence.Statement }

// predicate reads one type of predicate.
type predicate func(*facts, strictjson.Value) error

// predicates are the readers by type URI. Where the versions of a type say the
// same, the URI is that without the version, and every version under it is read.
var predicates = map[string]predicate{
	"https://slsa.dev/provenance/v0.1":                      (*facts).provenanceV02,
	"https://slsa.dev/provenance/v0.2":                      (*facts).provenanceV02,
	"https://slsa.dev/provenance/v1":                        (*facts).provenanceV1,
	"https://slsa.dev/verification_summary":                 (*facts).summary,
	"https://spdx.dev/Document":                             (*facts).sbom,
	"https://cyclonedx.org/bom":                             (*facts).sbom,
	"https://cyclonedx.org/vex":                             (*facts).vex,
	"https://openvex.dev/ns":                                (*facts).vex,
	"https://docs.oasis-open.org/csaf/csaf":                 (*facts).vex,
	"https://cosign.sigstore.dev/attestation/vuln":          (*facts).scan,
	"https://in-toto.io/attestation/vulns":                  (*facts).scan,
	"https://in-toto.io/attestation/test-result":            (*facts).test,
	"https://in-toto.io/attestation/human-review":           (*facts).review,
	"http://in-toto.io/attestation/human-review":            (*facts).review,
	"https://in-toto.io/attestation/release":                (*facts).release,
	TypeApproval[:strings.LastIndexByte(TypeApproval, '/')]: (*facts).approval,
}

// predicateReader finds the reader of a type, nil for an unknown one.
func predicateReader(typ string) predicate {
	for t := typ; t != ""; {
		if read, ok := predicates[t]; ok {
			return read
		}
		cut := strings.LastIndexByte(t, '/')
		if cut < 0 || !isVersion(t[cut+1:]) {
			return nil
		}
		t = t[:cut]
	}
	return nil
}

// isVersion reports whether a segment of a type URI says a version, or a
// variant that the types above are known to have.
func isVersion(segment string) bool {
	if segment == "vcs" || segment == "crev" {
		return true
	}
	segment = strings.TrimPrefix(segment, "v")
	return segment != "" && strings.Trim(segment, "0123456789.") == ""
}

// text returns a string, cut to what is kept.
func (f *facts) text(v strictjson.Value) string {
	s := v.String()
	if len(s) <= maxText {
		return s
	}
	f.Partial = true
	return strings.ToValidUTF8(s[:maxText], "")
}

// texts returns a list of strings.
func (f *facts) texts(v strictjson.Value) []string {
	var out []string
	for e := range v.Elements() {
		if f.full(len(out), maxList) {
			break
		}
		out = append(out, f.text(e))
	}
	return out
}

// full notes that a list has more than is kept.
func (f *facts) full(n, limit int) bool {
	f.Partial = f.Partial || n >= limit
	return n >= limit
}

// moment reads an RFC 3339 time; zero when it is none.
func moment(v strictjson.Value) time.Time {
	t, err := time.Parse(time.RFC3339, v.String())
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}
	}
	return t.UTC()
}

// material reads a ResourceDescriptor, or what older predicates had for one.
func (f *facts) material(v strictjson.Value) evidence.Material {
	m := evidence.Material{URI: f.text(v.Get("uri")), Digests: digests(v.Get("digest"))}
	if m.URI == "" {
		m.URI = f.text(v.Get("downloadLocation"))
	}
	if m.URI == "" {
		m.URI = f.text(v.Get("name"))
	}
	if len(m.Digests) > maxDigests {
		f.Partial, m.Digests = true, nil
	}
	return m
}

func (f *facts) materials(v strictjson.Value) []evidence.Material {
	var out []evidence.Material
	for e := range v.Elements() {
		if f.full(len(out), maxList) {
			break
		}
		out = append(out, f.material(e))
	}
	return out
}

// flatten writes the scalars under v into out, their path joined with dots.
func (f *facts) flatten(out map[string]string, path string, v strictjson.Value, depth int) {
	if !v.Exists() || f.full(depth, maxDepth) || f.full(len(out), maxParameters) {
		return
	}
	switch {
	case v.IsObject():
		for key, field := range v.Fields() {
			f.flatten(out, join(path, key), field, depth+1)
		}
	case v.IsArray():
		n := 0
		for e := range v.Elements() {
			f.flatten(out, join(path, strconv.Itoa(n)), e, depth+1)
			n++
		}
	default:
		if len(path) > maxText {
			f.Partial = true
			return
		}
		text := v.Text()
		if v.IsString() {
			text = f.text(v)
		}
		out[path] = text
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// parameters flattens v; nil when it says nothing.
func (f *facts) parameters(v strictjson.Value) map[string]string {
	out := map[string]string{}
	f.flatten(out, "", v, 0)
	if len(out) == 0 {
		return nil
	}
	return out
}
