package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// proving is a server whose zone "signed" wants evidence, and those who make it.
type proving struct {
	*world
	files    string
	sigstore *verifytest.Instance
	dev      api.Enrolled
}

// signedGate asks for what each of its rules names. Of the rules of a test, its
// gate has one.
const signedGate = "apiVersion: bonded.dev/v1\nkind: Gate\nname: signed\naccepts: [image, index]\n"

// Rules about evidence.
const (
	byKey = `
enter:
  - {rule: signed, says: our key signed it, signedBy: {anchor: keys}}
stay:
  - {rule: signed, says: our key signed it, signedBy: {anchor: keys}, then: withdraw}
`
	byAlice = `
enter:
  - rule: signed
    says: Alice signed it
    signedBy: {anchor: ours, issuer: "https://idp.example.com", subject: alice@example.com}
`
	byNotary = `
enter:
  - {rule: signed, says: our certificate signed it, signedBy: {anchor: company, subject: "CN=signer,O=Acme,ST=BE,C=DE"}}
`
	fromSource = `
enter:
  - rule: built
    says: a builder of level 2 built it from our source
    provenance:
      signedBy: {anchor: ours, issuer: "https://idp.example.com", subject: "https://ci.example.com/**"}
      source: https://git.example.com/acme/*
      minLevel: 2
  - rule: tested
    says: its tests passed
    hasStatement:
      signedBy: {anchor: ours, issuer: "https://idp.example.com", subject: "https://ci.example.com/**"}
      kind: test
      where: statement.test.result == "passed"
`
)

// newSigning starts a server with anchors of each type whose zone "signed" has
// a gate of these rules.
func newSigning(t *testing.T, rules string) *proving {
	t.Helper()
	s := &proving{files: t.TempDir(), sigstore: verifytest.New(t, "log.example.com")}
	s.write("gate.yaml", []byte(signedGate+rules))
	s.write("root.json", s.sigstore.TrustedRoot(nil))
	s.write("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.sigstore.Root.Raw}))
	if !exists(s.at("cosign.pub")) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.write("cosign.pub", publicPEM(t, key))
	}
	s.world = newWorld(t, s.configure)
	s.dev = s.enrol("ann", "developer", "developer=signed/**", "developer=released/**")
	return s
}

func (s *proving) configure(o *Options) {
	c := o.Config
	c.Gates = map[string]config.Path{"signed": config.Path(s.at("gate.yaml"))}
	c.Zones = []config.Zone{{Name: "signed"}, {Name: "released", Gate: "signed", From: []string{"signed"}}}
	c.Anchors = []config.Anchor{
		{Name: "keys", Type: "key", KeyFile: config.Path(s.at("cosign.pub"))},
		{Name: "ours", Type: "sigstore", TrustedRootFile: config.Path(s.at("root.json"))},
		{Name: "company", Type: "x509", CAFile: config.Path(s.at("ca.pem"))},
	}
	c.Builders = []config.Builder{{ID: "https://builder.example.com/*", Anchor: "ours", Issuer: "https://idp.example.com", Subject: "https://ci.example.com/**", Level: 2}}
}

func (s *proving) at(name string) string { return filepath.Join(s.files, name) }

func (s *proving) write(name string, content []byte) {
	if err := os.WriteFile(s.at(name), content, 0o600); err != nil {
		panic(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func publicPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// image pushes an image that waits to be signed.
func (s *proving) image(what string) oci.Descriptor {
	s.Helper()
	desc := s.pushImage(s.dev, "signed/app", what, layerOf(s.T, map[string][]byte{"a": []byte(what)}))
	s.settled("signed/app", desc.Digest, repo.Held)
	return desc
}

// bundle attaches a Sigstore bundle.
func (s *proving) bundle(about oci.Descriptor, spec verifytest.Spec) oci.Descriptor {
	s.Helper()
	const typ = "application/vnd.dev.sigstore.bundle.v0.3+json"
	return s.attach(about, typ, typ, s.sigstore.JSON(s.sigstore.Bundle(spec)))
}

// attach attaches an envelope.
func (s *proving) attach(about oci.Descriptor, artifactType, mediaType string, raw []byte) oci.Descriptor {
	s.Helper()
	return s.pushManifest(s.dev, "signed/app", "", map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": artifactType, "subject": about,
		"config": s.pushAs(s.dev, "signed/app", oci.MediaTypeEmpty, []byte("{}")), "layers": []oci.Descriptor{s.pushAs(s.dev, "signed/app", mediaType, raw)},
	})
}

// says is a statement about an image.
func says(about oci.Descriptor, typ, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":%s}`, about.Digest.Hex(), typ, predicate)
}

// why returns what people are told.
func (s *proving) why(ref string) *api.Why {
	s.Helper()
	res, body := s.request(s.dev, http.MethodGet, "/api/v1/why?ref="+ref, nil)
	s.want(http.StatusOK, res, body)
	return decode[api.Why](s.world, body)
}

// still makes sure that a placement is as it was, once all jobs are done.
func (s *proving) still(desc oci.Descriptor, state repo.State, decision int64) {
	s.Helper()
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	if p := s.settled("signed/app", desc.Digest, state); p.Decision != decision {
		s.Errorf("it was decided again, because of what does not count: decision %d, was %d", p.Decision, decision)
	}
}

// TestCosignOpensTheGate: a gate that wants a signature holds an image until
// stock cosign has signed it, in either form; a signature by another key is shown,
// and changes nothing.
func TestCosignOpensTheGate(t *testing.T) {
	cosign := testparts.Program(t, "cosign")
	keys := t.TempDir()
	run := func(s *proving, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), cosign, args...)
		cmd.Dir = keys
		cmd.Env = []string{"HOME=" + keys, "COSIGN_PASSWORD=", "PATH=" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run(nil, "generate-key-pair")
	run(nil, "generate-key-pair", "--output-key-prefix", "other")
	s := newSigning(t, byKey)
	public, err := os.ReadFile(filepath.Join(keys, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("cosign.pub", public)
	if err := s.anchors.follow(t.Context(), s.assess.Retrust); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(s.transport.url, "http://")
	sign := func(desc oci.Descriptor, more ...string) {
		t.Helper()
		args := append([]string{"sign", "--yes", "--tlog-upload=false", "--use-signing-config=false", "--allow-http-registry", "--registry-username", s.dev.Name, "--registry-password", s.dev.Secret}, more...)
		run(s, append(args, host+"/signed/app@"+desc.Digest.String())...)
	}
	for name, form := range map[string][]string{"bundle": nil, "tag": {"--new-bundle-format=false"}} {
		image := s.image(name)
		held := s.settled("signed/app", image.Digest, repo.Held)
		sign(image, append(form, "--key", "other.key")...)
		s.still(image, repo.Held, held.Decision)
		why := s.why("signed/app:" + name)
		if e := why.Evidence; e == nil || len(e.Refused) != 1 || len(e.Signatures) != 0 || !strings.Contains(strings.Join(e.Refused[0].Reasons, " "), "anchor keys: ") {
			t.Errorf("%s: what is refused is not shown: %+v", name, e)
		}
		if r := why.Decision.Reasons[len(why.Decision.Reasons)-1]; r.Outcome != api.CannotTell || !strings.Contains(r.Remedy, "attach a signature by a key of anchor keys") {
			t.Errorf("%s: held with %+v", name, r)
		}
		sign(image, append(form, "--key", "cosign.key")...)
		s.settled("signed/app", image.Digest, repo.Admitted)
		if status, body := s.pull(s.reader, "signed/app", name); status != http.StatusOK {
			t.Errorf("%s: pulling what was signed: %d %s", name, status, body)
		}
		why = s.why("signed/app:" + name)
		if e := why.Evidence; e == nil || len(e.Signatures) != 1 || e.Signatures[0].Key == "" {
			t.Errorf("%s: evidence is %+v", name, e)
		} else if in := why.Decision.Inputs; in.Anchors != s.anchors.digest() || len(in.Evidence) == 0 {
			t.Errorf("%s: the decision names %+v", name, in)
		}
		// The way on: evidence goes along, tags too, and counts there.
		if p := s.promote(s.admin, "signed/app:"+name, "released", http.StatusOK); p.Decision.Outcome != api.Allow {
			t.Errorf("%s: %+v", name, p.Decision)
		}
		cmd := []string{"verify", "--key", "cosign.pub", "--insecure-ignore-tlog", "--allow-http-registry", "--registry-username", s.dev.Name, "--registry-password", s.dev.Secret}
		if form != nil {
			cmd = append(cmd, form...)
		}
		run(s, append(cmd, host+"/released/app@"+image.Digest.String())...)
	}
	s.clean()
}

// TestLookAlikesSignNothing: who is nearly who is wanted is told so, and held.
func TestLookAlikesSignNothing(t *testing.T) {
	s := newSigning(t, byAlice)
	image := s.image("1")
	sign := says(image, "https://sigstore.dev/cosign/sign/v1", "{}")
	theirs := verifytest.New(t, "log.example.com")
	for _, spec := range []verifytest.Spec{
		{Payload: sign, Identity: "alice@example.com.evil.net"},
		{Payload: sign, Identity: "Alice@example.com"},
		{Payload: sign, Issuer: "https://idp.example.com.evil.net"},
		{Payload: says(image, "https://example.com/opinion/v1", "{}")}, // about it, not of it
	} {
		s.bundle(image, spec)
		s.idleOf(assess.JobEvidence, assess.JobJudge)
	}
	p := s.settled("signed/app", image.Digest, repo.Held)
	const typ = "application/vnd.dev.sigstore.bundle.v0.3+json"
	s.attach(image, typ, typ, theirs.JSON(theirs.Bundle(verifytest.Spec{Payload: sign}))) // another instance
	s.bundle(image, verifytest.Spec{Payload: says(oci.Descriptor{Digest: oci.FromBytes([]byte("another"))}, "https://sigstore.dev/cosign/sign/v1", "{}")})
	s.bundle(image, verifytest.Spec{Payload: sign, TimeAt: verifytest.Noon.Add(time.Hour)})
	s.still(image, repo.Held, p.Decision)
	why := s.why("signed/app:1")
	if e := why.Evidence; len(e.Signatures) != 4 || len(e.Refused) != 3 {
		t.Errorf("%d signatures and %d refusals", len(e.Signatures), len(e.Refused))
	}
	reason := why.Decision.Reasons[len(why.Decision.Reasons)-1]
	if len(reason.Facts) != 3 || len(reason.Evidence) != 0 || !strings.Contains(reason.Says, "there is no signature by alice@example.com (https://idp.example.com) of anchor ours") {
		t.Errorf("held with %+v", reason)
	}
	s.bundle(image, verifytest.Spec{Payload: sign})
	s.settled("signed/app", image.Digest, repo.Admitted)
	if r := s.why("signed/app:1").Decision.Reasons; len(r[len(r)-1].Evidence) != 1 {
		t.Errorf("allowed with %+v", r)
	}
	var by []assess.EvidenceRow
	err := s.db.View(t.Context(), func(tx *db.Tx) (err error) {
		by, err = tx.EvidenceBy(t.Context(), assess.SignedBy{Issuer: "https://idp.example.com", Subject: "alice@example.com"}, 0, 10)
		return err
	})
	if err != nil || len(by) != 2 {
		t.Errorf("what Alice touched is %d rows, %v", len(by), err)
	}
}

// TestProvenanceAndTests: what was stated opens the gate, or denies.
func TestProvenanceAndTests(t *testing.T) {
	s := newSigning(t, fromSource)
	image := s.image("1")
	ci := func(about oci.Descriptor, typ, predicate string) {
		s.Helper()
		s.bundle(about, verifytest.Spec{Payload: says(about, typ, predicate), Identity: "https://ci.example.com/acme/build"})
	}
	built := func(source string) string {
		return fmt.Sprintf(`{"buildDefinition":{"buildType":"https://x","externalParameters":{"source":{"uri":%q}},"resolvedDependencies":[]},"runDetails":{"builder":{"id":"https://builder.example.com/7"}}}`, "git+"+source)
	}
	const provenance, test = "https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/test-result/v0.1"
	ci(image, provenance, built("https://git.example.com/acme/app"))
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	s.settled("signed/app", image.Digest, repo.Held) // its tests are still to come
	ci(image, test, `{"result":"FAILED","configuration":[]}`)
	s.settled("signed/app", image.Digest, repo.Denied)
	ci(image, test, `{"result":"PASSED","configuration":[]}`)
	s.settled("signed/app", image.Digest, repo.Admitted)

	evil := s.image("2")
	ci(evil, provenance, built("https://git.example.com/evil/app"))
	s.settled("signed/app", evil.Digest, repo.Denied)
	why := s.why("signed/app:2")
	if r := why.Decision.Reasons[1]; !strings.Contains(r.Says, `its source is "https://git.example.com/evil/app"`) {
		t.Errorf("denied with %+v", r)
	}
}

// TestNotationOpensTheGate: Notary Project's signatures count for certificates,
// for as long as those last.
func TestNotationOpensTheGate(t *testing.T) {
	s := newSigning(t, byNotary)
	image := s.image("1")
	leaf := s.sigstore.Issue(s.sigstore.Root, &x509.Certificate{
		Subject:  pkix.Name{Country: []string{"DE"}, Province: []string{"BE"}, Organization: []string{"Acme"}, CommonName: "signer"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	})
	notary, err := signer.NewGenericSigner(leaf.Key, []*x509.Certificate{leaf.Certificate, s.sigstore.Root.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := notary.Sign(t.Context(), ocispec.Descriptor{MediaType: oci.MediaTypeManifest, Digest: digest.Digest(image.Digest.String()), Size: image.Size}, notation.SignerSignOptions{SignatureMediaType: "application/jose+json"})
	if err != nil {
		t.Fatal(err)
	}
	s.attach(image, "application/vnd.cncf.notary.signature", "application/jose+json", raw)
	p := s.settled("signed/app", image.Digest, repo.Admitted)
	if wait := time.Until(p.RecheckAt); wait <= 0 || wait > time.Hour {
		t.Errorf("it is looked at again in %s, and certificates end", wait)
	}
}

// TestAnchorsAreReadAgain: an anchor that is changed is in force without a
// restart: what its key signed goes, and comes back with it. One whose file is
// gone takes nothing out and lets nothing in.
func TestAnchorsAreReadAgain(t *testing.T) {
	s := newSigning(t, byKey)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	follow := func() {
		t.Helper()
		if err := s.anchors.follow(context.WithoutCancel(t.Context()), s.assess.Retrust); err != nil {
			t.Fatal(err)
		}
		s.idleOf(assess.JobGate, assess.JobEvidence, assess.JobJudge)
	}
	before, err := os.ReadFile(s.at("cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	image := s.image("1")
	s.bundle(image, verifytest.Spec{Payload: says(image, "https://sigstore.dev/cosign/sign/v1", "{}"), Key: key, NoLog: true, NoTime: true})
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	s.settled("signed/app", image.Digest, repo.Held)
	s.write("cosign.pub", append(bytes.Clone(before), publicPEM(t, key)...))
	follow()
	s.settled("signed/app", image.Digest, repo.Admitted)

	if err := os.Remove(s.at("cosign.pub")); err != nil {
		t.Fatal(err)
	}
	follow()
	other := s.image("2")
	s.bundle(other, verifytest.Spec{Payload: says(other, "https://sigstore.dev/cosign/sign/v1", "{}"), Key: key, NoLog: true, NoTime: true})
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	s.settled("signed/app", other.Digest, repo.Held)
	s.settled("signed/app", image.Digest, repo.Admitted)
	if health, err := s.Health(t.Context()); err != nil || !strings.Contains(health.Checks["anchors"], "keys cannot be asked") {
		t.Errorf("health says %+v, %v", health, err)
	}
	s.write("cosign.pub", before)
	follow()
	s.settled("signed/app", image.Digest, repo.Withdrawn)
	s.clean()
}

// TestGateOfNobody: a server does not start with a gate that names an anchor it
// does not have, or nobody of one that vouches for many.
func TestGateOfNobody(t *testing.T) {
	for rules, want := range map[string]string{
		"enter: [{rule: a, says: b, signedBy: {anchor: theirs}}]\n":                         "names anchor \"theirs\", which is not configured",
		"enter: [{rule: a, says: b, signedBy: {anchor: ours}}]\n":                           "names nobody of anchor ours",
		"enter: [{rule: a, says: b, signedBy: {anchor: bonded, subject: a@example.com}}]\n": "and no issuer",
	} {
		s := &proving{files: t.TempDir(), sigstore: verifytest.New(t, "log.example.com")}
		s.write("gate.yaml", []byte(signedGate+rules))
		s.write("root.json", s.sigstore.TrustedRoot(nil))
		gate, err := gatesOf(&config.Config{Gates: map[string]config.Path{"signed": config.Path(s.at("gate.yaml"))}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = assess.New(assess.Options{Gates: gate.compiled, Kinds: (&anchors{configured: []config.Anchor{{Name: "ours", Type: "sigstore"}}}).kinds()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", rules, err, want)
		}
	}
}

// TestEvidenceIsVerifiedOnce: judging again reads what came of it.
func TestEvidenceIsVerifiedOnce(t *testing.T) {
	s := newSigning(t, byAlice)
	image := s.image("1")
	s.bundle(image, verifytest.Spec{Payload: says(image, "https://sigstore.dev/cosign/sign/v1", "{}")})
	s.settled("signed/app", image.Digest, repo.Admitted)
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	rows := func() (all []assess.EvidenceRow) {
		err := s.db.View(t.Context(), func(tx *db.Tx) (err error) {
			all, err = tx.EvidenceAbout(t.Context(), image.Digest)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	before := rows()
	if err := s.assess.RejudgeZone(t.Context(), "signed"); err != nil {
		t.Fatal(err)
	}
	s.idleOf(assess.JobJudge)
	if after := rows(); len(before) != 1 || len(after) != 1 || after[0].ID != before[0].ID || after[0].Checked.Signatures[0].Form != evidence.FormBundle {
		t.Errorf("rows before %+v, after %+v", before, after)
	}
}

// TestEvidenceThatIsTooMuch: of a referrer that says more than is kept nobody can
// tell what the rest says; what else was attached counts.
func TestEvidenceThatIsTooMuch(t *testing.T) {
	s := newSigning(t, byAlice)
	image := s.image("1")
	const typ = "application/vnd.dev.sigstore.bundle.v0.3+json"
	m := map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": typ, "subject": image,
		"config": s.pushAs(s.dev, "signed/app", oci.MediaTypeEmpty, []byte("{}")),
	}
	var layers []oci.Descriptor
	for i := range 8 {
		long := strings.Repeat(`"`+strings.Repeat("x", 4000)+`",`, 200)
		predicate := fmt.Sprintf(`{"result":"PASSED","passedTests":[%s"%d"]}`, long, i)
		raw := s.sigstore.JSON(s.sigstore.Bundle(verifytest.Spec{Identity: "mallory@example.com", Payload: says(image, "https://in-toto.io/attestation/test-result/v0.1", predicate)}))
		layers = append(layers, s.pushAs(s.dev, "signed/app", typ, raw))
	}
	m["layers"] = layers
	s.pushManifest(s.dev, "signed/app", "", m)
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	e := s.why("signed/app@" + image.Digest.String()).Evidence
	if e == nil || len(e.Signatures) != 5 || len(e.Refused) != 1 || !e.Refused[0].Unsure {
		t.Fatalf("the evidence is %+v", e)
	}
	s.bundle(image, verifytest.Spec{Payload: says(image, "https://sigstore.dev/cosign/sign/v1", "{}")})
	s.settled("signed/app", image.Digest, repo.Admitted)
}
