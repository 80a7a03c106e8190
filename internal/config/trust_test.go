package config_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/config"
)

func TestTrust(t *testing.T) {
	file := write(t, `
trust:
  origin: logs.example
  keys: {tsa: "credential:tsa", ca-intermediate: "pkcs11://token=bonded"}
  offline_keys: /media/usb/offline-keys.json
  passphrase_file: secrets/passphrase
  head_store: /srv/heads
  witnesses: [{url: "https://w1.example", key: w1+1+a}, {url: "https://w2.example", key: w2+2+b}, {url: "https://w3.example", key: w3+3+c}]
  issuers:
    - {url: "https://token.actions.githubusercontent.com", type: github}
    - {url: "https://login.example", ca_file: ca.pem}
  clients: {ca_file: clients.pem, crl_file: clients.crl, ocsp_dir: ocsp, ocsp_required: true}
`)
	got, err := config.Load(config.Source{File: file, Env: append(home, "BONDED_TRUST_ORGANIZATION=Example", "BONDED_TRUST_CLIENTS_SPIFFE=example.org")})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) config.Path { return config.Path(filepath.Join(filepath.Dir(file), name)) }
	want := config.Trust{
		Origin: "logs.example", Organization: "Example",
		Keys:        map[string]string{"tsa": "credential:tsa", "ca-intermediate": "pkcs11://token=bonded"},
		OfflineKeys: "/media/usb/offline-keys.json", PassphraseFile: at("secrets/passphrase"), HeadStore: "/srv/heads",
		Witnesses: []config.Witness{{URL: "https://w1.example", Key: "w1+1+a"}, {URL: "https://w2.example", Key: "w2+2+b"}, {URL: "https://w3.example", Key: "w3+3+c"}},
		Issuers:   []config.Issuer{{URL: "https://token.actions.githubusercontent.com", Type: "github"}, {URL: "https://login.example", CAFile: at("ca.pem")}},
		Clients:   config.Clients{CAFile: at("clients.pem"), CRLFile: at("clients.crl"), OCSPDir: at("ocsp"), OCSPRequired: true, SPIFFE: []string{"example.org"}},
		Requests:  config.DefaultRequests, Freshness: config.DefaultFreshness,
	}
	if diff := cmp.Diff(want, got.Trust); diff != "" {
		t.Error(diff)
	}
	if n := got.Trust.NeededWitnesses(); n != 2 {
		t.Errorf("%d of 3 witnesses are needed, want 2", n)
	}
	if kind := got.Trust.Issuers[1].Kind(); kind != "email" {
		t.Errorf("an issuer of no type is %s", kind)
	}
}

func TestTrustRefuses(t *testing.T) {
	witness := `{url: "https://a.example", key: a+1+b}`
	for _, tc := range []struct{ name, text, want string }{
		{"a log's key in a token", `keys: {log-rekor: "bonded-pkcs11://token=a;object=b"}`, "2:9: trust.keys: log-rekor: its key is Ed25519, which cannot be in a PKCS #11 token: leave it out for a file, or write credential:log-rekor"},
		{"origin with port", `origin: "a.example:8443"`, `2:11: trust.origin: "a.example:8443" is no host name`},
		{"freshness", "freshness: 1m", "2:14: trust.freshness: is 1m, want 1h to 365d"},
		{"requests", "requests: -1", "2:13: trust.requests: is -1, want 0 to 1000000"},
		{"one file for two", "{offline_keys: /a, passphrase_file: /a}", "trust.passphrase_file: contradicts trust.offline_keys"},
		{"place", `keys: {tsa: ""}`, "does not say where a key is"},
		{"witness without key", `witnesses: [{url: "https://a.example"}]`, "trust.witnesses[0].key"},
		{"witness over http", `witnesses: [{url: "http://a.example", key: a+1+b}]`, "loopback address only"},
		{"quorum of none", "quorum: 1", "is 1 of 0 witnesses"},
		{"quorum out of reach", "{quorum: 2, witnesses: [" + witness + "]}", "is 2 of 1 witnesses"},
		{"quorum of half", "{quorum: 1, witnesses: [" + witness + ", " + witness + "]}", "want more than half"},
		{"issuer without url", "issuers: [{type: email}]", "trust.issuers[0].url"},
		{"issuer twice", `issuers: [{url: "https://a"}, {url: "https://a"}]`, "trust.issuers[1]: contradicts trust.issuers[0]"},
		{"issuer of no type", `issuers: [{url: "https://a", type: circleci}]`, `"circleci" is not one of email, uri`},
		{"keys from two places", `issuers: [{url: "https://a", ca_file: b, jwks_file: c}]`, "trust.issuers[0].ca_file: contradicts trust.issuers[0].jwks_file"},
		{"spiffe without domain", `issuers: [{url: "https://a", type: spiffe}]`, "goes with type spiffe"},
		{"site", `issuers: [{url: "https://a", type: gitlab, site: "http://b"}]`, "is no site"},
		{"site of people", `issuers: [{url: "https://a", site: "https://b"}]`, "goes with type github or gitlab"},
		{"verified builds", `issuers: [{url: "https://a", type: github, email_verified: true}]`, "goes with type email"},
		{"responses of nobody", "clients: {ocsp_dir: a}", "trust.clients.ocsp_dir: contradicts trust.clients.ca_file"},
		{"responses from nowhere", "clients: {ca_file: a, ocsp_required: true}", "trust.clients.ocsp_required: contradicts trust.clients.ocsp_dir"},
		{"lists of nobody", "clients: {crl_file: a}", "trust.clients.crl_file: contradicts trust.clients.ca_file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := write(t, "trust:\n  "+tc.text+"\n")
			_, err := config.Load(config.Source{File: file, Env: home})
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("error %v does not match ErrInvalid", err)
			}
			if got := strings.ReplaceAll(err.Error(), file+":", ""); !strings.Contains(got, tc.want) {
				t.Errorf("error is\n%s\nwant in it\n%s", got, tc.want)
			}
		})
	}
	file := write(t, "listen: 127.0.0.1:1\ntls: {plain_http: true}\ntrust: {clients: {ca_file: a}}\n")
	if _, err := config.Load(config.Source{File: file, Env: home}); err == nil || !strings.Contains(err.Error(), "contradicts tls.plain_http") {
		t.Errorf("client certificates without TLS: %v", err)
	}
}

func TestHostOf(t *testing.T) {
	for url, want := range map[string]string{
		"https://Bonded.example:8443": "bonded.example", "http://127.0.0.1:5000": "127.0.0.1", "https://[::1]:8443": "", "": "", "https://_": "",
	} {
		if got := config.HostOf(url); got != want {
			t.Errorf("the host of %q is %q, want %q", url, got, want)
		}
	}
}
