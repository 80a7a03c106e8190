package sigstore

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

// notationSetup is what bonded trust notation says.
type notationSetup struct {
	Env      map[string]string `json:"env"`
	Dir      string            `json:"dir"`
	Issuer   string            `json:"issuer"`
	Identity string            `json:"identity"`
	Trusted  []string          `json:"trusted"`
}

// notary is somebody who has Notation.
type notary struct {
	*world
	notationSetup
	images map[string]drive.Image // by tag
}

// newNotary has bonded write what Notation works with.
func newNotary(w *world, args ...string) *notary {
	w.Helper()
	testparts.Program(w, "notation")
	n := &notary{world: w, images: map[string]drive.Image{}}
	out := w.run(w.server.Binary, append([]string{"trust", "notation", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &n.notationSetup); err != nil {
		w.Fatalf("bonded trust notation says %s: %v", out, err)
	}
	return n
}

func (n *notary) try(args ...string) (string, error) { return n.with("notation", args...) }

func (n *notary) with(program string, args ...string) (string, error) {
	var env []string
	for name, value := range n.Env {
		env = append(env, name+"="+value)
	}
	return n.world.try(env, program, args...)
}

func (n *notary) notation(args ...string) string {
	n.Helper()
	out, err := n.try(args...)
	if err != nil {
		n.Fatalf("notation %s: %v\n%s\nthe server said:\n%s", strings.Join(args, " "), err, out, n.server.Said())
	}
	return out
}

func (n *notary) refuses(says string, args ...string) {
	n.Helper()
	out, err := n.try(args...)
	if exit := new(exec.ExitError); !errors.As(err, &exit) {
		n.Errorf("notation %s: %v, want it to be refused with %q\n%s", strings.Join(args, " "), err, says, out)
	}
	n.has(out, says)
}

func (n *notary) sign(format, ref string) {
	n.Helper()
	n.notation("sign", "--signature-format", format, "--timestamp-url", n.Env["TIMESTAMP_URL"], "--timestamp-root-cert", n.Env["TIMESTAMP_ROOT_CERT"], ref)
}

// notationGate lets in what somebody has signed, with whatever program.
func notationGate(issuer string) string {
	return fmt.Sprintf(`apiVersion: bonded.dev/v1
kind: Gate
name: signed
accepts: [image]
enter:
  - {rule: signed, says: Ann signed it, signedBy: {anchor: bonded, issuer: %q, subject: %s}}
stay:
  - {rule: signed, says: Ann signed it, signedBy: {anchor: bonded, issuer: %q, subject: %s}, then: withdraw}
`, issuer, ann, issuer, ann)
}

// push pushes an image and returns its name for programs.
func (n *notary) push(tag string) (ref string) {
	n.Helper()
	i := drive.NewImage(drive.MustGzip(drive.MustLayer(map[string][]byte{"etc/motd": []byte(tag)})))
	if err := n.ann.Push(n.Context(), "dev/app", tag, i); err != nil {
		n.Fatal(err)
	}
	n.images[tag] = i
	return n.ref(tag)
}

func (n *notary) ref(tag string) string {
	return n.host() + "/dev/app@" + n.images[tag].Digest.String()
}

// TestNotation: the stock program signs with this server alone and verifies at
// its level strict, and gates take its signatures by the identity that cosign's
// have.
func TestNotation(t *testing.T) {
	gate := t.TempDir() + "/gate.yaml"
	decree := func(issuer string) {
		t.Helper()
		if err := os.WriteFile(gate, []byte(notationGate(issuer)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	decree("https://issuer.example") // until the server has said where it is
	clients := newClients(t)
	w := newWorld(t, fmt.Sprintf("gates: {signed: %q}\nzones: [{name: dev, gate: signed}]\n", gate)+clients.config())
	w.write("build.crt", clients.cert)
	w.write("build.key", clients.key)
	n := newNotary(w)
	if want := "CN=" + ann + ",O=" + n.Issuer + ",ST=Notation,C=ZZ"; n.Identity != ann || len(n.Trusted) != 1 || n.Trusted[0] != want {
		t.Fatalf("set up for %s as %v, want %s", n.Identity, n.Trusted, want)
	}
	for _, format := range []string{"jws", "cose"} {
		n.sign(format, n.push(format))
		n.has(n.notation("verify", n.ref(format)), "Successfully verified")
	}
	ci := newNotary(w, "--cert", "build.crt", "--key", "build.key", "--dir", "of-the-build")
	if ci.images = n.images; ci.Identity != n.Issuer+"/clients/"+build {
		t.Errorf("the build signs as %s", ci.Identity)
	}
	ci.sign("jws", ci.push("by-build"))
	ci.notation("verify", ci.ref("by-build"))
	n.others()
	n.knownHere("jws")
	before := n.notationSetup

	// Now a gate names her, by the issuer that she signed by.
	decree(before.Issuer)
	w.server.Again()
	w.login()
	for tag, i := range n.images {
		state := "held"
		if tag == "jws" || tag == "cose" {
			state = "admitted"
		}
		if _, err := w.ann.Judged(t.Context(), "dev/app@"+i.Digest.String(), state); err != nil {
			t.Error(err)
		}
	}
	again := newNotary(w, "--no-key", "--identity", ann, "--issuer", before.Issuer)
	again.images = n.images
	again.notation("verify", again.ref("cose"))
	again.refuses("", "sign", again.ref("cose")) // without a key
	again.revoked(before.Issuer)
}

// TestNotationRotated: what was signed with Notation verifies after every key of
// the server was replaced, by stock Notation and by the server.
func TestNotationRotated(t *testing.T) {
	r := &rotation{world: newWorld(t, "")}
	r.write("beside.yaml", fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\nurl: %s\n", r.server.Data(), r.server.URL()))
	r.config = r.at("beside.yaml")
	first, second := r.server.Data()+"/trust/offline-keys.json", r.at("second.json")
	images := map[string]drive.Image{}
	sign := func(tag string) {
		t.Helper()
		n := newNotary(r.world)
		n.images = images
		n.sign("cose", n.push(tag))
		for tag := range images {
			n.notation("verify", n.ref(tag))
			n.said(tag, 1, 0)
		}
	}
	sign("before")
	r.rotate("ca-intermediate", "tsa", "log-ct", "log-rekor", "issuer", "--offline-keys", first)
	r.takenOver()
	sign("another-intermediate")
	r.rotate("ca-root", "tuf-root", "tuf-targets", "log-rekor", "--offline-keys", first, "--new-offline-keys", second)
	r.takenOver()
	sign("another-root")
	company := newCompany(t)
	r.write("chain.pem", company.answer(t, r.rotate("--request", "--offline-keys", second)))
	r.rotate("log-rekor", "--chain", r.at("chain.pem"), "--offline-keys", second)
	r.takenOver()
	sign("below-a-company")
}

// others: what is not signed, or not like that, is refused by Notation and seen
// as what it is by the server.
func (n *notary) others() {
	n.Helper()
	n.refuses("no signature is associated", "verify", n.push("unsigned"))
	eve := n.as("eve@example.com")
	eve.sign("jws", eve.push("by-eve"))
	eve.notation("verify", eve.ref("by-eve"))
	n.refuses("not match the X.509 trusted identities", "verify", "--verbose", n.push("by-eve")) // who brings it sees it
	n.notation("sign", n.push("no-timestamp"))
	n.refuses("no timestamp countersignature", "verify", "--verbose", n.ref("no-timestamp"))
	n.push("tampered")
	n.attach(n.images["tampered"].Descriptor, n.altered(n.referrer("jws"), n.images["tampered"].Descriptor))
	n.refuses("signature is invalid", "verify", "--verbose", n.ref("tampered"))
	for _, tag := range []string{"jws", "cose"} {
		if s := n.said(tag, 1, 0).Signatures[0]; s.Anchor != "bonded" || s.Form != "notation" || s.Subject != ann || s.Issuer != n.Issuer || s.At.IsZero() {
			n.Errorf("%s is signed by %+v", tag, s)
		}
	}
	if s := n.said("by-eve", 1, 0).Signatures[0]; s.Subject != "eve@example.com" {
		n.Errorf("what eve signed is by %+v", s)
	}
	n.has(n.said("no-timestamp", 0, 1).Refused[0].Reasons[0], "it has no timestamp")
	n.has(n.said("tampered", 0, 1).Refused[0].Reasons[0], "its signature does not fit its content")
}

// said waits until the server knows so many signatures and refusals.
func (n *notary) said(tag string, signatures, refused int) *api.Evidence {
	n.Helper()
	tick, late := time.NewTicker(50*time.Millisecond), time.After(takeOverTime)
	defer tick.Stop()
	for {
		why, err := n.ann.Why(n.Context(), "dev/app:"+tag)
		if err != nil {
			why, err = n.ann.Why(n.Context(), "dev/app@"+n.images[tag].Digest.String())
		}
		if err == nil && why.Evidence != nil && len(why.Evidence.Signatures) == signatures && len(why.Evidence.Refused) == refused {
			return why.Evidence
		}
		select {
		case <-tick.C:
		case <-late:
			n.Fatalf("what is said about %s is %+v, %v; want %d signatures, %d refused\nthe server said:\n%s", tag, why, err, signatures, refused, n.server.Said())
		}
	}
}

// revoked: whoever is revoked has signed nothing, and gets no certificate. Stock
// Notation knows nothing of that.
func (n *notary) revoked(issuer string) {
	n.Helper()
	w := n.world
	revoke := func(issuer string) {
		n.Helper()
		if err := w.server.Admin.API(n.Context(), http.MethodPost, "/revocations", api.RevokeRequest{Kind: "identity", Subject: ann, Issuer: issuer, Reason: "her key was seen elsewhere"}, &api.Revoked{}); err != nil {
			n.Fatal(err)
		}
	}
	revoke(issuer)
	for _, tag := range []string{"jws", "cose"} {
		if _, err := w.ann.Judged(n.Context(), "dev/app@"+n.images[tag].Digest.String(), "revoked"); err != nil {
			n.Error(err)
		}
		if err := w.ann.Pull(n.Context(), "dev/app", n.images[tag].Digest.String(), n.images[tag]); err == nil {
			n.Errorf("%s is pulled, and its signer is revoked", tag)
		}
	}
	revoke(n.Issuer) // as she is called by the address that the server has now
	out, err := w.try(nil, w.server.Binary, "trust", "notation")
	if err == nil {
		n.Errorf("a certificate for who is revoked:\n%s", out)
	}
	n.has(out, "her key was seen elsewhere")
}

// referrer is the one thing that refers to an image.
func (n *notary) referrer(tag string) oci.Digest {
	n.Helper()
	var index struct {
		Manifests []oci.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(n.get("/v2/dev/app/referrers/"+n.images[tag].Digest.String()), &index); err != nil || len(index.Manifests) != 1 {
		n.Fatalf("%+v, %v", index, err)
	}
	return index.Manifests[0].Digest
}

// as is somebody else with Notation.
func (n *notary) as(name string) *notary {
	n.Helper()
	who, other := n.server.Enrol(name, "developer"), *n.world
	other.home, other.ann = n.TempDir(), who
	other.env = append([]string{"HOME=" + other.home, "TMPDIR=" + other.home}, n.env...)
	other.env = slices.DeleteFunc(other.env, func(v string) bool { return v == "HOME="+n.home || v == "TMPDIR="+n.home })
	other.write("ca.crt", n.server.CA())
	other.stdin = who.Secret
	other.run(n.server.Binary, "login", n.server.URL(), "--name", name, "--secret-stdin", "--ca", other.at("ca.crt"))
	other.stdin = ""
	return newNotary(&other)
}

// altered is a signature as it is, but for its payload, which is about another
// image of the same size.
func (n *notary) altered(referrer oci.Digest, to oci.Descriptor) []byte {
	n.Helper()
	m, err := oci.ParseManifest(n.get("/v2/dev/app/manifests/"+referrer.String()), oci.MediaTypeManifest, oci.SHA256)
	if err != nil {
		n.Fatal(err)
	}
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(n.get("/v2/dev/app/blobs/"+m.Layers[0].Digest.String()), &envelope); err != nil {
		n.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"targetArtifact": to})
	if err == nil {
		envelope["payload"], err = json.Marshal(base64.RawURLEncoding.EncodeToString(payload))
	}
	if err != nil {
		n.Fatal(err)
	}
	raw, err := json.Marshal(envelope)
	if err != nil {
		n.Fatal(err)
	}
	return raw
}

// attach attaches an envelope to an image as Notation does.
func (n *notary) attach(to oci.Descriptor, raw []byte) {
	n.Helper()
	empty := []byte("{}")
	layer := oci.Descriptor{MediaType: "application/jose+json", Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": "application/vnd.cncf.notary.signature", "subject": to,
		"config":      oci.Descriptor{MediaType: "application/vnd.cncf.notary.signature", Digest: oci.FromBytes(empty), Size: 2},
		"layers":      []oci.Descriptor{layer},
		"annotations": map[string]string{"io.cncf.notary.x509chain.thumbprint#S256": `["00"]`},
	})
	for _, blob := range [][]byte{empty, raw} {
		if err == nil {
			err = n.ann.PushBlob(n.Context(), "dev/app", blob)
		}
	}
	if err == nil {
		err = n.ann.PushManifest(n.Context(), "dev/app", "", oci.MediaTypeManifest, manifest)
	}
	if err != nil {
		n.Fatal(err)
	}
}

// knownHere: bonded verifies what Notation signed, by what the server has found
// and by a trusted root alone, with the server gone.
func (n *notary) knownHere(tag string) {
	n.Helper()
	ref := n.ref(tag)
	who := []string{"--identity", ann, "--issuer", n.Issuer}
	n.write("trusted_root.json", n.run(n.server.Binary, "trust", "root"))
	out, err := n.with("oras", "cp", "--recursive", ref, "--to-oci-layout", n.at("saved")+":1")
	if err != nil {
		n.Fatalf("%v\n%s", err, out)
	}
	n.has(n.run(n.server.Binary, join([]string{"verify", ref[strings.Index(ref, "/")+1:], "--anchor", "bonded"}, who)...), "VERIFIED")
	n.server.Stop()
	n.has(n.run(n.server.Binary, join([]string{"verify", "saved", "--trusted-root", "trusted_root.json"}, who)...), "VERIFIED")
	if out, err := n.world.try(nil, n.server.Binary, "verify", "saved", "--trusted-root", "trusted_root.json", "--identity", "eve@example.com", "--issuer", n.Issuer); err == nil {
		n.Errorf("it is by eve as well:\n%s", out)
	}
}
