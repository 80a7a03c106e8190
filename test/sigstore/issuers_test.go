package sigstore

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuers are issuers of identity tokens, each with a key of its own, behind a
// company's certificate: https://HOST/NAME.
type issuers struct {
	*testing.T
	url  string
	keys map[string]*rsa.PrivateKey
	ca   string // PEM
}

func newIssuers(t *testing.T, names ...string) *issuers {
	t.Helper()
	i := &issuers{T: t, keys: map[string]*rsa.PrivateKey{}}
	for _, name := range names {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		i.keys[name] = key
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		at := i.url + "/" + r.PathValue("name")
		answerJSON(w, map[string]any{"issuer": at, "jwks_uri": at + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("GET /{name}/keys", func(w http.ResponseWriter, r *http.Request) { answerJSON(w, i.jwks(r.PathValue("name"))) })
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	i.url, i.ca = srv.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	return i
}

func answerJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (i *issuers) jwks(name string) any {
	key, ok := i.keys[name]
	if !ok {
		return map[string]any{"keys": []any{}}
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return map[string]any{"keys": []any{map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": name, "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}}}
}

// claims of a token that is good for five minutes, and what is said beside.
func (i *issuers) claims(name string, more map[string]any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": i.url + "/" + name, "aud": "sigstore", "iat": now, "nbf": now - 5, "exp": now + 300, "jti": rand.Text()}
	maps.Copy(c, more)
	return c
}

func (i *issuers) token(name string, more map[string]any) string {
	i.Helper()
	return i.signed(i.keys[name], map[string]any{"alg": "RS256", "typ": "JWT", "kid": name}, i.claims(name, more))
}

// signed makes a token by a key: an RSA key, bytes of a shared secret, or nil for
// none.
func (i *issuers) signed(key any, header, claims map[string]any) string {
	i.Helper()
	text := i.part(header) + "." + i.part(claims)
	var sig []byte
	var err error
	sum := sha256.Sum256([]byte(text))
	switch key := key.(type) {
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	case []byte:
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		sig = mac.Sum(nil)
	}
	if err != nil {
		i.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (i *issuers) part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		i.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

const (
	workflow = "acme/app/.github/workflows/release.yml@refs/tags/v1"
	revision = "0123456789012345678901234567890123456789"
)

// ofGitHub, ofGitLab and ofJenkins are the claims that those systems make.
var (
	ofGitHub = map[string]any{
		"sub": "repo:acme/app:ref:refs/tags/v1", "event_name": "push", "sha": revision, "workflow": "release", "repository": "acme/app", "ref": "refs/tags/v1", "ref_type": "tag",
		"job_workflow_ref": workflow, "job_workflow_sha": revision, "workflow_ref": workflow, "workflow_sha": revision, "runner_environment": "github-hosted", "repository_id": "7",
		"repository_owner": "acme", "repository_owner_id": "8", "run_id": "100", "run_number": "10", "run_attempt": "1", "repository_visibility": "private", "actor": "ann", "actor_id": "9",
		"base_ref": "", "head_ref": "", "environment": "prod",
	}
	ofGitLab = map[string]any{
		"sub": "project_path:acme/app:ref_type:tag:ref:v1", "ci_config_ref_uri": "gitlab.example/acme/app//.gitlab-ci.yml@refs/tags/v1", "ci_config_sha": revision,
		"runner_environment": "self-hosted", "runner_id": 4, "project_path": "acme/app", "sha": revision, "ref_type": "tag", "ref": "v1", "ref_path": "refs/tags/v1", "ref_protected": "true",
		"project_id": "7", "namespace_path": "acme", "namespace_id": "8", "pipeline_source": "push", "pipeline_id": "5", "job_id": "100", "project_visibility": "private",
		"user_login": "ann", "user_email": "ann@example.com",
	}
)

func (i *issuers) ofJenkins() map[string]any {
	return map[string]any{"sub": i.url + "/job/app/", "build_number": "17"}
}

// config has the server take their tokens.
func (i *issuers) config(ca string) string {
	var b strings.Builder
	b.WriteString("  issuers:\n")
	for _, one := range []struct{ name, more string }{
		{"github", `type: github, site: "https://github.com"`},
		{"gitlab", `type: gitlab, site: "https://gitlab.example"`},
		{"jenkins", "type: jenkins"}, {"builders", "type: uri"}, {"people", "type: email"},
		{"workloads", "type: spiffe, trust_domain: prod.example"}, {"cluster", "type: kubernetes, audience: bonded"},
	} {
		fmt.Fprintf(&b, "    - {url: %q, ca_file: %q, %s}\n", i.url+"/"+one.name, ca, one.more)
	}
	return b.String()
}

// extensions of a certificate as Fulcio documents them
// (https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md), by the last
// number of 1.3.6.1.4.1.57264.1.
var extensions = map[string]map[int]string{
	"github": {
		2: "push", 3: revision, 4: "release", 5: "acme/app", 6: "refs/tags/v1", 9: "https://github.com/" + workflow, 10: revision, 11: "github-hosted",
		12: "https://github.com/acme/app", 13: revision, 14: "refs/tags/v1", 15: "7", 16: "https://github.com/acme", 17: "8", 18: "https://github.com/" + workflow, 19: revision,
		20: "push", 21: "https://github.com/acme/app/actions/runs/100/attempts/1", 22: "private", 23: "prod",
	},
	"gitlab": {
		9: "https://gitlab.example/acme/app//.gitlab-ci.yml@refs/tags/v1", 10: revision, 11: "self-hosted", 12: "https://gitlab.example/acme/app", 13: revision, 14: "refs/tags/v1",
		15: "7", 16: "https://gitlab.example/acme", 17: "8", 18: "https://gitlab.example/acme/app//.gitlab-ci.yml@refs/tags/v1", 19: revision, 20: "push",
		21: "https://gitlab.example/acme/app/-/jobs/100", 22: "private",
	},
}

// TestIssuers: stock cosign signs with the tokens of CI systems, clusters,
// workloads and people, and what their certificates say is what gates ask for.
func TestIssuers(t *testing.T) {
	i := newIssuers(t, "github", "gitlab", "jenkins", "builders", "people", "workloads", "cluster")
	clients := newClients(t)
	ca := filepath.Join(t.TempDir(), "issuers.pem")
	if err := os.WriteFile(ca, []byte(i.ca), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, strings.TrimSuffix(clients.config(), "}\n")+", spiffe: [prod.example]}\n"+i.config(ca)+`builders:
  - {id: "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/*", anchor: bonded, issuer: "`+i.url+`/github", subject: "https://github.com/acme/*/.github/workflows/*@**", claims: {runnerEnvironment: github-hosted}, self: true, level: 3}
`+i.gates())
	ref := w.push("dev/app")
	w.write("file", "signed")
	for _, one := range []struct {
		name     string
		claims   map[string]any
		identity string
	}{
		{"github", ofGitHub, "https://github.com/" + workflow},
		{"gitlab", ofGitLab, "https://gitlab.example/acme/app//.gitlab-ci.yml@refs/tags/v1"},
		{"jenkins", i.ofJenkins(), i.url + "/job/app/"},
		{"builders", map[string]any{"sub": i.url + "/lines/7"}, i.url + "/lines/7"},
		{"people", map[string]any{"sub": "1", "email": "bob@example.com", "email_verified": true}, "bob@example.com"},
		{"workloads", map[string]any{"sub": "spiffe://prod.example/ns/ci/sa/builder"}, "spiffe://prod.example/ns/ci/sa/builder"},
		{"cluster", ofCluster("bonded"), "https://kubernetes.io/namespaces/ci/serviceaccounts/builder"},
	} {
		w.step(t, one.name, func(w *world) {
			w.signs.Env["SIGSTORE_ID_TOKEN"] = i.token(one.name, one.claims)
			w.cosign("sign-blob", "--yes", "--bundle", one.name+".json", "file")
			as := []string{"--certificate-identity", one.identity, "--certificate-oidc-issuer", i.url + "/" + one.name}
			w.cosign(join([]string{"verify-blob", "--bundle", one.name + ".json"}, as, []string{"file"})...)
			w.refused("no matching CertificateIdentity", "verify-blob", "--bundle", one.name+".json", "--certificate-identity", one.identity, "--certificate-oidc-issuer", i.url+"/"+one.name+"/", "file")
			w.certified(one.name+".json", i.url+"/"+one.name, extensions[one.name])
		})
	}
	w.step(t, "by an X.509 SVID", func(w *world) { w.bySVID(clients) })
	w.step(t, "gates", func(w *world) { w.gated(i, ref) })
	w.step(t, "refused", func(w *world) { w.refuseTokens(i) })
}

// step is a part of a test with a world of its own to fail in.
func (w *world) step(t *testing.T, name string, do func(*world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		at := *w
		at.T = t
		do(&at)
	})
}

func ofCluster(audience string) map[string]any {
	return map[string]any{"aud": []string{audience}, "sub": "system:serviceaccount:ci:builder", "kubernetes.io": map[string]any{
		"namespace": "ci", "pod": map[string]any{"name": "build-1", "uid": "1"}, "serviceaccount": map[string]any{"name": "builder", "uid": "2"}}}
}

// certified: the certificate of a bundle has these extensions of Fulcio's, and no
// other but its issuer and the token's subject.
func (w *world) certified(bundle, issuer string, want map[int]string) {
	w.Helper()
	cert := w.leaf(bundle)
	got := map[int]string{}
	for _, e := range cert.Extensions {
		id := e.Id.String()
		if n := 0; strings.HasPrefix(id, "1.3.6.1.4.1.57264.1.") {
			if _, err := fmt.Sscanf(id[len("1.3.6.1.4.1.57264.1."):], "%d", &n); err != nil {
				w.Errorf("extension %s: %v", id, err)
			}
			got[n] = text(e.Value, n)
		}
	}
	if got[1] != issuer || got[8] != issuer {
		w.Errorf("the issuer is %q and %q, want %s", got[1], got[8], issuer)
	}
	for n, v := range want {
		if got[n] != v {
			w.Errorf("extension %d is %q, want %q", n, got[n], v)
		}
	}
	if life := cert.NotAfter.Sub(cert.NotBefore); life > 10*time.Minute || len(cert.URIs)+len(cert.EmailAddresses) != 1 || cert.Subject.String() != "" {
		w.Errorf("certificate of %s for %v %v %q", life, cert.URIs, cert.EmailAddresses, cert.Subject)
	}
}

// text reads an extension: those up to 6 are bare text, later ones UTF8String.
func text(v []byte, n int) string {
	if n > 6 && len(v) > 2 && v[0] == 12 {
		if v[1] < 0x80 {
			return string(v[2:])
		}
		return string(v[2+int(v[1]&0x7f):])
	}
	return string(v)
}

func (w *world) leaf(bundle string) *x509.Certificate {
	w.Helper()
	var b struct {
		VerificationMaterial struct{ Certificate struct{ RawBytes []byte } }
	}
	if err := json.Unmarshal([]byte(w.read(bundle)), &b); err != nil {
		w.Fatal(err)
	}
	cert, err := x509.ParseCertificate(b.VerificationMaterial.Certificate.RawBytes)
	if err != nil {
		w.Fatal(err)
	}
	return cert
}

// zones ask for a build by an issuer of a ref. All but good ask for another one.
var zones = map[string]struct{ issuer, ref string }{
	"good": {"/github", "refs/tags/v*"}, "branch": {"/github", "refs/heads/main"}, "other": {"/gitlab", "refs/tags/v*"}, "slash": {"/github/", "refs/tags/v*"},
}

// gates writes the gate of each zone, and says so in the configuration.
func (i *issuers) gates() string {
	dir := i.TempDir()
	files, all := "gates:\n", "zones:\n  - {name: dev}\n"
	for zone, c := range zones {
		file := filepath.Join(dir, zone+".yaml")
		text := strings.NewReplacer("NAME", zone, "ISSUER", i.url+c.issuer, "REF", c.ref).Replace(gate)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			i.Fatal(err)
		}
		files += fmt.Sprintf("  %s: %q\n", zone, file)
		all += fmt.Sprintf("  - {name: %s, from: [dev]}\n", zone)
	}
	return files + all
}

// gate asks for what GitHub's workflow of releases signed and built.
const gate = `apiVersion: bonded.dev/v1
kind: Gate
name: NAME
accepts: [image]
enter:
  - rule: signed
    says: the release workflow signed it
    signedBy: {anchor: bonded, issuer: "ISSUER", subject: "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*", claims: {sourceRepositoryURI: "https://github.com/acme/app", sourceRepositoryRef: "REF", runnerEnvironment: github-hosted}}
  - rule: provenance
    says: it is built from our source
    provenance:
      signedBy: {anchor: bonded, issuer: "ISSUER", subject: "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/v*"}
      source: "https://github.com/acme/*"
      ref: "REF"
      minLevel: 3
`

// gated: an image that GitHub's build signs passes a gate that names the build,
// and not one that names another ref or look-alikes of the issuer.
func (w *world) gated(i *issuers, ref string) {
	provenance := fmt.Sprintf(`{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1","externalParameters":{"workflow":{"ref":"refs/tags/v1","repository":"https://github.com/acme/app","path":".github/workflows/release.yml"}},"internalParameters":{},"resolvedDependencies":[{"uri":"git+https://github.com/acme/app@refs/tags/v1","digest":{"gitCommit":%q}}]},"runDetails":{"builder":{"id":"https://github.com/%s"},"metadata":{"invocationId":"https://github.com/acme/app/actions/runs/100/attempts/1"}}}`, revision, workflow)
	w.write("provenance.json", provenance)
	w.signs.Env["SIGSTORE_ID_TOKEN"] = i.token("github", ofGitHub)
	w.cosign("sign", "--yes", ref)
	w.cosign("attest", "--yes", "--type", "slsaprovenance1", "--predicate", "provenance.json", ref)
	// What arrives is verified by a job of the server.
	for deadline := time.Now().Add(programTime); w.asIf(ref, "good") == 3 && time.Now().Before(deadline); {
	}
	for zone := range zones {
		if code := w.asIf(ref, zone); (code == 0) != (zone == "good") || code != 0 && code != 1 && code != 3 {
			out, _ := w.try(nil, w.server.Binary, "why", ref, "--as-if", zone)
			w.Errorf("zone %s: %d\n%s", zone, code, out)
		}
	}
}

// asIf is the exit code of the question what the gate of a zone would say.
func (w *world) asIf(ref, zone string) int {
	w.Helper()
	_, err := w.try(nil, w.server.Binary, "why", ref, "--as-if", zone)
	exit := new(exec.ExitError)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	w.Fatal(err)
	return -1
}

// refuseTokens: what no certificate is made of.
func (w *world) refuseTokens(i *issuers) {
	key, now := i.keys["github"], time.Now().Unix()
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		w.Fatal(err)
	}
	pubPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})
	github := func(change map[string]any) map[string]any {
		c := i.claims("github", ofGitHub)
		maps.Copy(c, change)
		return c
	}
	gitlab := func(pipeline string) map[string]any {
		c := i.claims("gitlab", ofGitLab)
		c["ci_config_ref_uri"] = pipeline
		return c
	}
	header := func(alg, kid string) map[string]any {
		return map[string]any{"alg": alg, "typ": "JWT", "kid": kid}
	}
	host := strings.TrimPrefix(i.url, "https://")
	for name, c := range map[string]struct {
		key    any
		header map[string]any
		claims map[string]any
		says   string
	}{
		"another audience":       {key, header("RS256", "github"), github(map[string]any{"aud": "other"}), "does not verify"},
		"no audience":            {key, header("RS256", "github"), github(map[string]any{"aud": nil}), "does not verify"},
		"the cluster's default":  {i.keys["cluster"], header("RS256", "cluster"), i.claims("cluster", ofCluster("https://kubernetes.default.svc")), "does not verify"},
		"expired":                {key, header("RS256", "github"), github(map[string]any{"exp": now - 60}), "the token ended at"},
		"not yet":                {key, header("RS256", "github"), github(map[string]any{"nbf": now + 3600}), "does not verify"},
		"no signature":           {nil, header("none", "github"), github(nil), "does not verify"},
		"no signature, upper":    {nil, header("None", "github"), github(nil), "does not verify"},
		"the key as a secret":    {pubPEM, header("HS256", "github"), github(nil), "does not verify"},
		"the modulus as secret":  {key.N.Bytes(), header("HS256", "github"), github(nil), "does not verify"},
		"an unknown key":         {i.keys["gitlab"], header("RS256", "nobody"), github(nil), "does not verify"},
		"another's key":          {i.keys["gitlab"], header("RS256", "gitlab"), github(nil), "does not verify"},
		"another's key, renamed": {i.keys["gitlab"], header("RS256", "github"), github(nil), "does not verify"},
		"issuer with a slash":    {key, header("RS256", "github"), github(map[string]any{"iss": i.url + "/github/"}), "are not taken here"},
		"issuer in capitals":     {key, header("RS256", "github"), github(map[string]any{"iss": i.url + "/GitHub"}), "are not taken here"},
		"issuer by a look-alike": {key, header("RS256", "github"), github(map[string]any{"iss": "https://" + host + ".evil.example/github"}), "are not taken here"},
		"issuer with a user":     {key, header("RS256", "github"), github(map[string]any{"iss": "https://github@" + host + "/github"}), "are not taken here"},
		"no issuer":              {key, header("RS256", "github"), github(map[string]any{"iss": nil}), "are not taken here"},
		"no workflow":            {key, header("RS256", "github"), github(map[string]any{"job_workflow_ref": nil}), "it has no job_workflow_ref"},
		"a pipeline elsewhere":   {i.keys["gitlab"], header("RS256", "gitlab"), gitlab("gitlab.example.evil.example/acme/app//.gitlab-ci.yml@refs/tags/v1"), "is not on https://gitlab.example"},
		"a pipeline of a user":   {i.keys["gitlab"], header("RS256", "gitlab"), gitlab("gitlab.example@evil.example/acme/app//.gitlab-ci.yml"), "is not on https://gitlab.example"},
		"another trust domain":   {i.keys["workloads"], header("RS256", "workloads"), i.claims("workloads", map[string]any{"sub": "spiffe://evil.example/x"}), "names nobody who can sign"},
		"no service account":     {i.keys["cluster"], header("RS256", "cluster"), i.claims("cluster", map[string]any{"aud": "bonded", "sub": "system:node:a"}), "of no service account"},
		"a job elsewhere":        {i.keys["jenkins"], header("RS256", "jenkins"), i.claims("jenkins", map[string]any{"sub": "https://evil.example/job/app/"}), "is not below"},
		"an address unverified":  {i.keys["people"], header("RS256", "people"), i.claims("people", map[string]any{"sub": "1", "email": "bob@example.com"}), "email_verified"},
	} {
		w.step(w.T, name, func(w *world) {
			status, said := w.certificateFor(i.signed(c.key, c.header, c.claims))
			if status != http.StatusUnauthorized && status != http.StatusForbidden {
				w.Errorf("answered %d: %s", status, said)
			}
			w.has(said, c.says)
		})
	}
}

// certificateFor asks for a certificate for a token. Whether the caller has the
// key is looked at after that.
func (w *world) certificateFor(token string) (status int, said string) {
	w.Helper()
	key := ecdsaKey(w.T)
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		w.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"credentials": map[string]any{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey":         map[string]any{"algorithm": "ECDSA", "content": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))},
			"proofOfPossession": []byte("none"),
		},
	})
	if err != nil {
		w.Fatal(err)
	}
	a, err := w.ann.Do(w.Context(), http.MethodPost, "/fulcio/api/v2/signingCert", body, "Content-Type", "application/json")
	if err != nil {
		w.Fatal(err)
	}
	return a.Status, string(a.Body)
}

// bySVID: a workload that has a certificate of its SPIFFE ID signs as that, and
// one of another trust domain does not.
func (w *world) bySVID(c clients) {
	w.env = append(w.env, "BONDED_URL="+w.server.URL(), "BONDED_CA="+w.at("ca.crt"))
	const id = "spiffe://prod.example/ns/ci/sa/builder"
	cert, key := c.svid(w.T, id)
	w.write("svid.crt", cert)
	w.write("svid.key", key)
	w.signIn("--cert", "svid.crt", "--key", "svid.key")
	w.cosign("sign-blob", "--yes", "--bundle", "svid.json", "file")
	w.cosign(join([]string{"verify-blob", "--bundle", "svid.json"}, w.as(id), []string{"file"})...)
	cert, key = c.svid(w.T, "spiffe://evil.example/ns/ci/sa/builder")
	w.write("svid.crt", cert)
	w.write("svid.key", key)
	out, err := w.try(nil, w.server.Binary, "trust", "token", "--cert", "svid.crt", "--key", "svid.key")
	if err == nil {
		w.Errorf("a workload of another trust domain: %s", out)
	}
	w.has(out, "is in no trust domain of this server")
}
