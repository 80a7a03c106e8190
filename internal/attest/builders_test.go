package attest

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
)

func TestLevels(t *testing.T) {
	const generator = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0"
	const workflow = "https://github.com/org/app/.github/workflows/release.yml@refs/heads/main"
	const hosted = "https://github.com/actions/runner/github-hosted"
	claims := func(kv ...string) map[string]string {
		m := map[string]string{"runnerEnvironment": "github-hosted", "sourceRepositoryURI": "https://github.com/org/app", "sourceRepositoryDigest": "abc"}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	source := evidence.Material{URI: "https://github.com/org/app"}
	tests := []struct {
		name     string
		builder  string
		subject  string
		issuer   string
		claims   map[string]string
		revision string
		want     int
	}{
		{"generator", generator, generator, githubIssuer, claims(), "abc", 3},
		{"generator of another tag than signed", generator, generator[:len(generator)-1] + "1", githubIssuer, claims(), "abc", 0},
		{"generator on a branch", "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/heads/main", "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/heads/main", githubIssuer, claims(), "abc", 2},
		{"generator claimed by a workflow", generator, workflow, githubIssuer, claims(), "abc", 0},
		{"generator by another issuer", generator, generator, "https://token.example.com", claims(), "abc", 0},
		{"look-alike generator", "https://github.com/slsa-framework-evil/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0", "https://github.com/slsa-framework-evil/slsa-github-generator/.github/workflows/generator_generic_slsa3.yml@refs/tags/v2.1.0", githubIssuer, claims(), "abc", 2},
		{"attest-build-provenance", hosted, workflow, githubIssuer, claims(), "abc", 2},
		{"on a runner of their own", hosted, workflow, githubIssuer, claims("runnerEnvironment", "self-hosted"), "abc", 0},
		{"about another repository", hosted, workflow, githubIssuer, claims("sourceRepositoryURI", "https://github.com/evil/app"), "abc", 0},
		{"about another revision", hosted, workflow, githubIssuer, claims(), "abd", 0},
		{"unknown builder", "https://ci.example.com", workflow, githubIssuer, claims(), "abc", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sig := &evidence.Signature{Anchor: "sigstore", Identity: evidence.Identity{Issuer: test.issuer, Subject: test.subject, Claims: test.claims}}
			pr := &evidence.Provenance{Builder: test.builder, Source: source, Revision: test.revision, Level: 3}
			if got := Shipped().Level(pr, sig); got != test.want {
				t.Errorf("level %d, want %d", got, test.want)
			}
		})
	}
	own := Builders{{ID: evidence.MustPattern("https://tekton.dev/chains/v2"), Signer: evidence.Signer{Anchor: "chains", Key: "aa"}, Level: 7}}
	sig := &evidence.Signature{Anchor: "chains", Identity: evidence.Identity{Key: "aa"}}
	if got := own.Level(&evidence.Provenance{Builder: "https://tekton.dev/chains/v2"}, sig); got != 3 {
		t.Errorf("a row of our own gave %d, want 3 at most", got)
	}
	sig.Anchor = "other"
	if got := own.Level(&evidence.Provenance{Builder: "https://tekton.dev/chains/v2"}, sig); got != 0 {
		t.Errorf("another anchor gave %d", got)
	}
}

func TestSplitURI(t *testing.T) {
	tests := []struct{ uri, repository, ref string }{
		{"git+https://github.com/o/r@refs/heads/main", "https://github.com/o/r", "refs/heads/main"},
		{"https://github.com/moby/buildkit.git#refs/tags/v0.11.0", "https://github.com/moby/buildkit", "refs/tags/v0.11.0"},
		{"https://github.com/moby/buildkit.git#refs/heads/x:sub/dir", "https://github.com/moby/buildkit", "refs/heads/x"},
		{"git+ssh://git@host/o/r.git@v1", "ssh://git@host/o/r", "v1"},
		{"https://user@host", "https://user@host", ""},
		{"", "", ""},
	}
	for _, test := range tests {
		if repository, ref := splitURI(test.uri); repository != test.repository || ref != test.ref {
			t.Errorf("%q is %q at %q", test.uri, repository, ref)
		}
	}
}
