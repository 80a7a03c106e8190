package config_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/config"
)

func TestAnchors(t *testing.T) {
	file := write(t, `
anchors:
  - {name: public, type: sigstore, trusted_root_file: public-good.json}
  - {name: release-keys, type: key, key_file: keys/cosign.pub, trusted_root_file: public-good.json, log: true}
  - {name: good, type: sigstore, trusted_root: public-good}
  - {name: company, type: x509, ca_file: ca.pem, tsa_file: tsa.pem, crl_file: ca.crl}
builders:
  - {id: "https://ci.example/*", anchor: public, issuer: "https://ci.example", subject: "https://ci.example/**", claims: {runnerEnvironment: hosted}, self: true, level: 3}
`)
	got, err := config.Load(config.Source{File: file, Env: home})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) config.Path { return config.Path(filepath.Join(filepath.Dir(file), name)) }
	want := []config.Anchor{
		{Name: "public", Type: "sigstore", TrustedRootFile: at("public-good.json")},
		{Name: "release-keys", Type: "key", KeyFile: at("keys/cosign.pub"), TrustedRootFile: at("public-good.json"), Log: true},
		{Name: "good", Type: "sigstore", TrustedRoot: "public-good"},
		{Name: "company", Type: "x509", CAFile: at("ca.pem"), TSAFile: at("tsa.pem"), CRLFile: at("ca.crl")},
	}
	if diff := cmp.Diff(want, got.Anchors); diff != "" {
		t.Error(diff)
	}
	id, who, err := got.Builders[0].Patterns()
	if err != nil || !id.Match("https://ci.example/x") || who.Anchor != "public" || !who.Claims["runnerEnvironment"].Match("hosted") {
		t.Errorf("builder is %v, %+v, %v", id, who, err)
	}
}

func TestAnchorsRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"own name", "anchors: [{name: bonded, type: key, key_file: a}]", "is the name of the server's own anchor"},
		{"no name", "anchors: [{type: key, key_file: a}]", "is no name for an anchor"},
		{"name twice", "anchors: [{name: a, type: key, key_file: a}, {name: a, type: key, key_file: a}]", "anchors[1]: contradicts anchors[0]"},
		{"type", "anchors: [{name: a, type: pgp}]", `1:27: anchors[0].type: "pgp" is not one of sigstore, github, key, x509`},
		{"without its file", "anchors: [{name: a, type: sigstore}]", "trusted_root or trusted_root_file is missing, which type sigstore needs"},
		{"two roots", "anchors: [{name: a, type: sigstore, trusted_root: public-good, trusted_root_file: a}]", "contradicts anchors[0].trusted_root_file"},
		{"no such root", "anchors: [{name: a, type: sigstore, trusted_root: staging}]", `"staging" is not one of github, public-good`},
		{"root of another type", "anchors: [{name: a, type: github, trusted_root: public-good}]", "public-good goes with type sigstore, key"},
		{"root of an x509", "anchors: [{name: a, type: x509, ca_file: a, trusted_root: github}]", "github goes with type github"},
		{"file of another type", "anchors: [{name: a, type: key, key_file: a, ca_file: b}]", "anchors[0].ca_file: goes with type x509"},
		{"log of nobody", "anchors: [{name: a, type: key, key_file: a, log: true}]", "nothing says which log"},
		{"builder of no anchor", "builders: [{id: a, subject: b, level: 1}]", "builders[0]: a signer needs an anchor"},
		{"builder of an unknown anchor", "builders: [{id: a, anchor: c, subject: b, level: 1}]", `"c" is no anchor of this file`},
		{"builder without id", "builders: [{anchor: bonded, level: 1}]", "id is empty"},
		{"builder of any issuer", `builders: [{id: a, anchor: bonded, issuer: "**", subject: b, level: 1}]`, "must be written out"},
		{"look-alikes", `builders: [{id: "*example.com", anchor: bonded, subject: b, level: 1}]`, "would match look-alikes"},
		{"level", `builders: [{id: a, anchor: bonded, subject: b, level: 4}]`, "builders[0].level: is 4, want 0 to 3"},
		{"key", `builders: [{id: a, anchor: bonded, key: abc, level: 1}]`, "is no SHA-256 in hex"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, tc.text+"\n")
			_, err := config.Load(config.Source{File: file, Env: home})
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("error %v does not match ErrInvalid", err)
			}
			if got := strings.ReplaceAll(err.Error(), file+":", ""); !strings.Contains(got, tc.want) {
				t.Errorf("error is\n%s\nwant in it\n%s", got, tc.want)
			}
		})
	}
}
