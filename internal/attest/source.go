package attest

import (
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// setSource says what a build started from, in one spelling whoever wrote it:
// the repository without "git+", ".git", ref and fragment; the revision apart.
func setSource(pr *evidence.Provenance, m evidence.Material) {
	uri, ref := splitURI(m.URI)
	if uri == "" {
		return
	}
	pr.Source = evidence.Material{URI: uri, Digests: m.Digests}
	pr.Revision = revision(m.Digests)
	if pr.Ref == "" {
		pr.Ref = ref
	}
}

// splitURI takes an SPDX download location, or BuildKit's form of one, apart:
// git+https://host/path.git@ref#fragment.
func splitURI(uri string) (repository, ref string) {
	uri = strings.TrimPrefix(uri, "git+")
	uri, fragment, _ := strings.Cut(uri, "#")
	scheme := strings.Index(uri, "://")
	if scheme < 0 {
		return strings.TrimSuffix(uri, ".git"), ""
	}
	// An @ before the path is a user's name.
	path := strings.IndexByte(uri[scheme+3:], '/')
	if path >= 0 {
		if at := strings.IndexByte(uri[scheme+3+path:], '@'); at >= 0 {
			cut := scheme + 3 + path + at
			uri, ref = uri[:cut], uri[cut+1:]
		}
	}
	if ref == "" && strings.HasPrefix(fragment, "refs/") {
		ref, _, _ = strings.Cut(fragment, ":") // BuildKit: #ref:subfolder
	}
	return strings.TrimSuffix(uri, ".git"), ref
}

// revision is the digest of a commit.
func revision(digests map[string]string) string {
	for _, alg := range []string{"gitCommit", "sha1", "gitTree", "sha256"} {
		if d := digests[alg]; d != "" {
			return d
		}
	}
	return ""
}

// materialDigests finds the digests of a repository among the materials.
func materialDigests(pr *evidence.Provenance, uri string) map[string]string {
	want, _ := splitURI(uri)
	for _, m := range pr.Materials {
		if got, _ := splitURI(m.URI); got == want && strings.HasPrefix(m.URI, "git+") {
			return m.Digests
		}
	}
	return nil
}

// onlySource takes the one git repository among the materials for the source.
// Of several, nothing says which, and none is taken.
func onlySource(pr *evidence.Provenance) {
	var found evidence.Material
	for _, m := range pr.Materials {
		if !strings.HasPrefix(m.URI, "git+") {
			continue
		}
		here, _ := splitURI(m.URI)
		if before, _ := splitURI(found.URI); found.URI != "" && (before != here || revision(found.Digests) != revision(m.Digests)) {
			return
		}
		found = m
	}
	setSource(pr, found)
}
