package sigstore

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/test/drive"
)

// takeOverTime bounds how long a running server may go on with what was replaced.
const takeOverTime = 60 * time.Second

// rotation is a server whose keys are replaced while it runs.
type rotation struct {
	*world
	config string // of commands beside the server: they have to know its address
	signed []string
}

// sign signs with stock cosign. The name is kept, to be verified at each step.
func (r *rotation) sign(name string) {
	r.Helper()
	r.signIn() // the key of the issuer may have been replaced too
	r.signBlob(name)
	r.signed = append(r.signed, name)
}

// verify verifies all that was ever signed, by what the server publishes now.
func (r *rotation) verify() {
	r.Helper()
	for _, name := range r.signed {
		r.cosign(join([]string{"verify-blob", "--bundle", name + ".json"}, r.as(ann), []string{name + ".txt"})...)
	}
	r.cosign(join([]string{"verify"}, r.as(ann), []string{r.ref()})...)
}

// rotate replaces keys by the command beside the server.
func (r *rotation) rotate(args ...string) string {
	r.Helper()
	return r.run(r.server.Binary, append([]string{"trust", "rotate", "--config", r.config}, args...)...)
}

// takenOver waits until the log signs with the key that clients learn of last.
func (r *rotation) takenOver() {
	r.Helper()
	var root struct {
		Tlogs []struct {
			LogID struct {
				KeyID []byte `json:"keyId"`
			} `json:"logId"`
		} `json:"tlogs"`
	}
	if err := json.Unmarshal([]byte(r.run(r.server.Binary, "trust", "root")), &root); err != nil {
		r.Fatal(err)
	}
	want := root.Tlogs[len(root.Tlogs)-1].LogID.KeyID[:4]
	tick, late := time.NewTicker(50*time.Millisecond), time.After(takeOverTime)
	defer tick.Stop()
	for {
		checkpoint := string(r.get("/rekor/api/v2/checkpoint"))
		if slices.ContainsFunc(strings.Split(checkpoint, "\n"), func(line string) bool {
			at := strings.LastIndexByte(line, ' ')
			sig, err := base64.StdEncoding.DecodeString(line[at+1:])
			return strings.HasPrefix(line, "— ") && err == nil && bytes.HasPrefix(sig, want)
		}) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			r.Fatalf("the server has not taken over key %x within %s:\n%s\nit said:\n%s", want, takeOverTime, checkpoint, r.server.Said())
		}
	}
}

// TestRotate replaces every key of a server that runs, then its root, then puts
// the root under a company's authority. All the time stock cosign signs, and
// verifies what it has signed since the first day, with no restart of the server
// and nothing told to cosign.
func TestRotate(t *testing.T) {
	for _, shape := range drive.Shapes {
		if slices.Contains(shapes, shape.Name) {
			t.Run(shape.Name, func(t *testing.T) { rotate(t, shape.Config(t)+fmt.Sprintf("trust: {head_store: %q}\n", t.TempDir())) })
		}
	}
}

func rotate(t *testing.T, config string) {
	r := &rotation{world: newWorld(t, config)}
	r.write("beside.yaml", fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\nurl: %s\n%s", r.server.Data(), r.server.URL(), config))
	r.config = r.at("beside.yaml")
	r.cosign("sign", "--yes", r.push("dev/app"))
	r.sign("before")
	r.write("first_root.json", r.run(r.server.Binary, "trust", "root"))

	first := r.server.Data() + "/trust/offline-keys.json"
	r.rotate("ca-intermediate", "tsa", "log-rekor", "log-ct", "log-audit", "issuer", "tuf-snapshot", "tuf-timestamp", "sign", "--offline-keys", first)
	r.sign("meanwhile") // the server goes on with what it has, which is good for a day
	r.takenOver()
	r.sign("all-keys")
	r.verify()

	r.rotate("ca-root", "tuf-root", "tuf-targets", "log-rekor", "--offline-keys", first, "--new-offline-keys", r.at("second.json"))
	r.takenOver()
	r.sign("another-root")
	r.verify()

	company := newCompany(t)
	csr := r.rotate("--request", "--offline-keys", r.at("second.json"))
	r.write("chain.pem", company.answer(t, csr))
	r.rotate("log-rekor", "--chain", r.at("chain.pem"), "--offline-keys", r.at("second.json"))
	r.takenOver()
	r.sign("below-a-company")
	r.verify()

	// Whoever keeps the trusted root of the first day is not led on.
	r.cosign(r.verifyBlob("before", "first_root.json")...)
	for _, name := range []string{"all-keys", "another-root", "below-a-company"} {
		r.refused("", r.verifyBlob(name, "first_root.json")...)
	}
	var audited api.AuditCheck
	if err := r.server.Admin.API(t.Context(), http.MethodPost, "/audit/verify", struct{}{}, &audited); err != nil || !audited.OK || audited.Entries == 0 {
		t.Errorf("the audit log after its key was replaced: %+v, %v", audited, err)
	}
	r.server.Stop()
	r.server.Fsck()
}

// company is a company's certificate authority.
type company struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newCompany(t *testing.T) company {
	t.Helper()
	key := ecdsaKey(t)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"Example"}, CommonName: "Example Root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return company{key, c, certificate(t, c, c, &key.PublicKey, key)}
}

// answer signs a request, and returns the chain.
func (c company) answer(t *testing.T, request string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(request))
	if block == nil {
		t.Fatalf("%q is no certificate signing request", request)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	sub := &x509.Certificate{SerialNumber: serial, Subject: csr.Subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	return certificate(t, sub, c.cert, csr.PublicKey.(*ecdsa.PublicKey), c.key) + c.pem
}
