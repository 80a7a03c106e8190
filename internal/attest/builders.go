package attest

import (
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// Builder grants a SLSA build level: to statements that name a builder and are
// signed by who speaks for it.
//
// What a level demands is said in https://slsa.dev/spec/v1.2/build-track-basics:
// 1 that provenance exists, 2 that a hosted platform signed it, 3 that nobody who
// can change the build can forge it. Whether a builder keeps that is a judgement
// about the builder, made once, by whoever writes the row.
type Builder struct {
	ID     evidence.Pattern `json:"id" yaml:"id"` // builder.id of the statement
	Signer evidence.Signer  `json:"signer" yaml:"signer"`
	// Self demands that the statement names as its builder the very identity
	// that signed it, so that one builder cannot speak for another.
	Self  bool `json:"self,omitempty" yaml:"self,omitempty"`
	Level int  `json:"level" yaml:"level"` // 0 to 3
}

// Builders is the table. The highest level of all rows that match is granted; no
// row, no level.
type Builders []Builder

// Level returns the level of a provenance by the signature it came with. A
// statement about another source or revision than the certificate was issued
// for has none: whoever may sign for one repository may not speak for others.
func (b Builders) Level(pr *evidence.Provenance, sig *evidence.Signature) int {
	if contradicts(pr, sig.Identity.Claims) {
		return 0
	}
	level := 0
	for _, row := range b {
		switch {
		case !row.ID.Match(pr.Builder):
		case row.Self && pr.Builder != sig.Identity.Subject:
		case row.mismatch(sig):
		default:
			level = max(level, min(row.Level, 3))
		}
	}
	return level
}

// mismatch matches the signer; a row without an anchor takes any.
func (row Builder) mismatch(sig *evidence.Signature) bool {
	signer := row.Signer
	if signer.Anchor == "" {
		signer.Anchor = sig.Anchor
	}
	return signer.Mismatch(sig) != ""
}

// contradicts compares the statement's source with the certificate's.
func contradicts(pr *evidence.Provenance, claims map[string]string) bool {
	repository, revision := claims["sourceRepositoryURI"], claims["sourceRepositoryDigest"]
	if repository != "" && !strings.EqualFold(repository, pr.Source.URI) {
		return true
	}
	return revision != "" && revision != pr.Revision
}

// githubIssuer is the OIDC issuer of GitHub Actions.
const githubIssuer = "https://token.actions.githubusercontent.com"

// Shipped returns the rows for GitHub's generators. They name no anchor: add
// them for anchors that trust GitHub's issuer.
func Shipped() Builders {
	github := evidence.MustPattern(githubIssuer)
	hosted := map[string]evidence.Pattern{"runnerEnvironment": evidence.MustPattern("github-hosted")}
	generator := "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
	var rows Builders
	for _, workflow := range []string{"generator_generic_slsa3.yml", "generator_container_slsa3.yml", "builder_go_slsa3.yml", "builder_container-based_slsa3.yml"} {
		id := evidence.MustPattern(generator + workflow + "@refs/tags/v*")
		// The generator runs apart from the build it speaks of, and signs as itself.
		rows = append(rows, Builder{ID: id, Signer: evidence.Signer{Issuer: github, Subject: id}, Self: true, Level: 3})
	}
	workflow := evidence.MustPattern("https://github.com/*/*/.github/workflows/*@**")
	signer := evidence.Signer{Issuer: github, Subject: workflow, Claims: hosted}
	return append(rows,
		// actions/attest-build-provenance: the workflow that builds also signs.
		Builder{ID: evidence.MustPattern("https://github.com/actions/runner/github-hosted"), Signer: signer, Level: 2},
		Builder{ID: workflow, Signer: signer, Self: true, Level: 2},
	)
}
