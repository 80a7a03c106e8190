package trust

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rekornote "github.com/sigstore/rekor-tiles/v2/pkg/note"
	"github.com/sigstore/sigstore-go/pkg/root"
)

var update = flag.Bool("update", false, "write testdata/v1 anew")

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a folder with an instance in it, and a clock.
type world struct {
	t   testing.TB
	o   Options
	now time.Time
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: start}
	w.o = Options{
		Dir: filepath.Join(t.TempDir(), "trust"), Origin: "bonded.example", URL: "https://bonded.example:8443",
		Clock: func() time.Time { return w.now }, Log: slog.New(slog.DiscardHandler),
	}
	return w
}

func (w *world) init(c InitOptions) *Instance {
	w.t.Helper()
	i, err := Init(w.t.Context(), w.o, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

func (w *world) offline(passphrase string) *Offline {
	w.t.Helper()
	off, err := OpenOffline(w.t.Context(), filepath.Join(w.o.Dir, OfflineName), []byte(passphrase))
	if err != nil {
		w.t.Fatal(err)
	}
	return off
}

func (w *world) rotate(c RotateOptions) *Instance {
	w.t.Helper()
	i, err := Rotate(w.t.Context(), w.o, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// trusted reads the trusted root as clients do.
func trusted(t testing.TB, i *Instance) *root.TrustedRoot {
	t.Helper()
	b, err := i.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := root.NewTrustedRootFromJSON(b)
	if err != nil {
		t.Fatalf("sigstore-go refuses the trusted root: %v\n%s", err, b)
	}
	return tr
}

// leaf signs a certificate as the CA does, good for ten minutes.
func leaf(t testing.TB, i *Instance, now time.Time) *x509.Certificate {
	t.Helper()
	chain, key := i.CA()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: now, NotAfter: now.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, EmailAddresses: []string{"a@example.com"},
	}, chain[0], &k.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verifies reports whether sigstore-go accepts a certificate at a time.
func accepted(tr *root.TrustedRoot, c *x509.Certificate, at time.Time) bool {
	for _, ca := range tr.FulcioCertificateAuthorities() {
		if _, err := ca.Verify(c, at); err == nil {
			return true
		}
	}
	return false
}

func TestInitMakesWhatClientsRead(t *testing.T) {
	w := newWorld(t)
	i := w.init(InitOptions{})
	tr := trusted(t, i)
	if !accepted(tr, leaf(t, i, w.now), w.now) {
		t.Error("sigstore-go does not accept a certificate of the CA")
	}
	if n := len(tr.TimestampingAuthorities()); n != 1 {
		t.Errorf("%d timestamp authorities, want 1", n)
	}
	_, want, err := rekornote.KeyHash(w.o.Origin, i.Key(LogRekor).Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	log, ok := tr.RekorLogs()[hex.EncodeToString(want)]
	if !ok {
		t.Fatalf("the trusted root does not list the log under rekor-tiles' ID %x", want)
	}
	if log.BaseURL != "https://bonded.example:8443/rekor" {
		t.Errorf("log URL %s", log.BaseURL)
	}
	if _, ok := tr.CTLogs()[i.Key(LogCT).ID()]; !ok {
		t.Error("the trusted root does not list the CT log under its RFC 6962 ID")
	}
	b, err := i.SigningConfig()
	if err != nil {
		t.Fatal(err)
	}
	sc, err := root.NewSigningConfigFromJSON(b)
	if err != nil {
		t.Fatalf("sigstore-go refuses the signing configuration: %v\n%s", err, b)
	}
	tsa, err := root.SelectServices(sc.TimestampAuthorityURLs(), sc.TimestampAuthorityURLsConfig(), []uint32{1}, w.now)
	if err != nil || len(tsa) != 1 || tsa[0].URL != w.o.URL+PathTimestamp {
		t.Errorf("timestamp service %v, %v", tsa, err)
	}
	if rekor, err := root.SelectServices(sc.RekorLogURLs(), sc.RekorLogURLsConfig(), []uint32{2}, w.now); err != nil || len(rekor) != 1 {
		t.Errorf("log service %v, %v", rekor, err)
	}
}

func TestDocumentsAreStable(t *testing.T) {
	w := newWorld(t)
	a, _ := w.init(InitOptions{}).TrustedRoot()
	i, err := Open(t.Context(), w.o)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := i.TrustedRoot()
	if diff := cmp.Diff(string(a), string(b)); diff != "" {
		t.Errorf("the same instance gives another trusted root:\n%s", diff)
	}
}

func TestOriginNeedNotBeTheHost(t *testing.T) {
	w := newWorld(t)
	w.o.Origin = "log.example"
	for _, log := range trusted(t, w.init(InitOptions{})).RekorLogs() {
		if log.BaseURL != "https://log.example/rekor" {
			t.Errorf("log URL %s: its host must be the origin", log.BaseURL)
		}
	}
}

func TestTSACertificateIsForTimestampsAlone(t *testing.T) {
	chain, _ := newWorld(t).init(InitOptions{}).Timestamper()
	for _, e := range chain[0].Extensions {
		if e.Id.Equal(oidEKU) && e.Critical {
			if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}, chain[0].ExtKeyUsage); diff != "" {
				t.Errorf("extended key usage:\n%s", diff)
			}
			return
		}
	}
	t.Error("there is no critical extended key usage (RFC 3161, 2.3)")
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name string
		harm func(w *world, i *Instance)
		want error
		says string
	}{
		{"another origin", func(w *world, _ *Instance) { w.o.Origin = "other.example" }, ErrOrigin, "set trust.origin back to bonded.example"},
		{"a missing key", func(w *world, i *Instance) { w.remove(i.Key(TSA).Place.Name) }, ErrUnusable, "never made anew"},
		{"a missing record", func(w *world, _ *Instance) { w.remove(recordName) }, ErrUnusable, "restore the whole folder"},
		{"a key others can read", func(w *world, i *Instance) { w.chmod(i.Key(Sign).Place.Name, 0o640) }, ErrUnusable, "chmod 600"},
		{"a folder others can look into", func(w *world, _ *Instance) { w.chmod("", 0o750) }, ErrUnusable, "chmod 700"},
		{"a key of another slot", func(w *world, i *Instance) { w.copy(i.Key(TSA).Place.Name, i.Key(Sign).Place.Name) }, ErrUnusable, "not the key of this instance"},
		{"a key of another kind", func(w *world, i *Instance) { w.copy(i.Key(LogAudit).Place.Name, i.Key(Sign).Place.Name) }, ErrUnusable, "want ECDSA P-256"},
		{"no key at all", func(w *world, i *Instance) { w.write(i.Key(Issuer).Place.Name, "secret-looking text") }, ErrUnusable, "PKCS #8"},
		{"a record that is cut", func(w *world, _ *Instance) { w.write(recordName, `{"version":1`) }, ErrUnusable, "backup"},
		{"a record of a later program", func(w *world, _ *Instance) { w.write(recordName, `{"version":2}`) }, ErrUnusable, "version is 2"},
		{"nothing", func(w *world, _ *Instance) { w.o.Dir += "-absent" }, ErrNone, "no instance"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			test.harm(w, w.init(InitOptions{}))
			_, err := Open(t.Context(), w.o)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want %v that says %q", err, test.want, test.says)
			}
			if err != nil && strings.Contains(err.Error(), "secret-looking") {
				t.Errorf("the error shows what was read: %v", err)
			}
		})
	}
}

func (w *world) path(name string) string { return filepath.Join(w.o.Dir, name) }

func (w *world) remove(name string) { w.must(os.Remove(w.path(name))) }

func (w *world) chmod(name string, mode fs.FileMode) { w.must(os.Chmod(w.path(name), mode)) }

func (w *world) write(name, text string) { w.must(os.WriteFile(w.path(name), []byte(text), 0o600)) }

func (w *world) copy(from, to string) {
	b, err := os.ReadFile(w.path(from))
	w.must(err)
	w.must(os.WriteFile(w.path(to), b, 0o600))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestInitKeepsWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.init(InitOptions{})
	if _, err := Init(t.Context(), w.o, InitOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("a second init: %v", err)
	}
	w.o.Dir += "2"
	if _, err := Init(t.Context(), w.o, InitOptions{OfflinePath: filepath.Join(filepath.Dir(w.o.Dir), "trust", OfflineName)}); !errors.Is(err, ErrExists) {
		t.Errorf("an offline file that is there: %v", err)
	}
	if _, err := os.Stat(w.o.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an init that failed left %s: %v", w.o.Dir, err)
	}
}

func TestInitFailsAsAWhole(t *testing.T) {
	w := newWorld(t)
	boom := errors.New("boom")
	_, err := Init(t.Context(), w.o, InitOptions{Prepare: func(context.Context, string, *Instance, *Offline) error { return boom }})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(filepath.Dir(w.o.Dir))
	if len(left) != 0 {
		t.Errorf("an init that failed left %v", left)
	}
}

func TestOfflineFile(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "keys.json")
	i := w.init(InitOptions{OfflinePath: path, Passphrase: []byte("correct horse")})
	if p, _ := i.OfflinePath(); p != "" {
		t.Errorf("offline file in the folder: %s", p)
	}
	if _, err := OpenOffline(t.Context(), path, []byte("wrong")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if _, err := OpenOffline(t.Context(), path, nil); !errors.Is(err, ErrPassphrase) {
		t.Errorf("no passphrase: %v", err)
	}
	off, err := OpenOffline(t.Context(), path, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(i.Offline(), map[Slot][]byte{Root: off.Root.SPKI, TUFRoot: off.TUFRoot.SPKI, TUFTargets: off.TUFTargets.SPKI}); diff != "" {
		t.Errorf("the record has other offline keys:\n%s", diff)
	}
	b, _ := os.ReadFile(path)
	w.must(os.WriteFile(path, []byte(strings.Replace(string(b), "bonded.example", "bonded.exampl3", 1)), 0o600))
	if _, err := OpenOffline(t.Context(), path, []byte("correct horse")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("a changed origin: %v", err)
	}
	w.must(os.Chmod(path, 0o644))
	if _, err := OpenOffline(t.Context(), path, []byte("correct horse")); !errors.Is(err, ErrUnusable) {
		t.Errorf("a file others can read: %v", err)
	}
}

func TestPlacesNameTheWeakest(t *testing.T) {
	w := newWorld(t)
	i := w.init(InitOptions{})
	if g := i.Places(); g.Weakest != OnThisDisk || !strings.Contains(g.Warning, "not encrypted") || len(g.Keys) != len(needed()) {
		t.Errorf("with the offline file: %+v", g)
	}
	w.remove(OfflineName)
	w.must(i.Reload(t.Context()))
	if g := i.Places(); g.Weakest != InFile || g.Warning != "" {
		t.Errorf("without it: %+v", g)
	}
	w.o.Places, w.o.Credentials = map[Slot]string{}, t.TempDir()
	for _, s := range needed() {
		w.o.Places[s] = "credential:bonded-" + string(s)
		b, err := os.ReadFile(w.path(i.Key(s).Place.Name))
		w.must(err)
		w.must(os.WriteFile(filepath.Join(w.o.Credentials, "bonded-"+string(s)), b, 0o400))
		w.remove(i.Key(s).Place.Name)
	}
	i, err := Open(t.Context(), w.o)
	if err != nil {
		t.Fatal(err)
	}
	if g := i.Places(); g.Weakest != Credential {
		t.Errorf("with credentials: %+v", g)
	}
	w.o.Credentials = ""
	if _, err := Open(t.Context(), w.o); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "LoadCredentialEncrypted") {
		t.Errorf("without systemd: %v", err)
	}
}

func TestRotationKeepsOldSignatures(t *testing.T) {
	w := newWorld(t)
	running := w.init(InitOptions{})
	old, oldLog := leaf(t, running, w.now), running.Key(LogRekor).ID()
	signedAt := w.now
	w.now = w.now.Add(30 * 24 * time.Hour)
	published := 0
	next := w.rotate(RotateOptions{
		Slots: []Slot{Intermediate, TSA, LogRekor, LogCT, Issuer}, Offline: w.offline(""),
		Publish: func(_ context.Context, p Publication) error {
			published++
			if running.Version() != p.Was.Version() || running.Version() == p.Next.Version() || len(trusted(t, p.Next).FulcioCertificateAuthorities()) != 2 {
				t.Error("what is published is not what comes")
			}
			return nil
		},
	})
	tr := trusted(t, next)
	if published != 1 || !accepted(tr, old, signedAt) {
		t.Errorf("published %d times; an old signature must still verify", published)
	}
	if running.Key(LogRekor).ID() != oldLog {
		t.Error("a running instance changed without Reload")
	}
	if c := leaf(t, running, w.now); !accepted(tr, c, w.now) {
		t.Error("what a process signs before its reload is refused within the overlap")
	}
	if late := w.now.Add(DefaultOverlap + time.Hour); accepted(tr, leaf(t, running, late), late) {
		t.Error("what the old key signs after the overlap is accepted")
	}
	w.must(running.Reload(t.Context()))
	if running.Version() != next.Version() {
		t.Error("Reload did not take the rotation")
	}
	if c := leaf(t, running, w.now); !accepted(tr, c, w.now) {
		t.Error("the new intermediate is refused")
	}
	if logs := running.Logs(LogRekor); len(logs) != 2 || logs[0].ID() != oldLog || logs[0].Until != w.now.Add(DefaultOverlap) {
		t.Errorf("logs %+v", logs)
	}
	if n, later := len(running.Issuers(w.now)), len(running.Issuers(w.now.Add(DefaultOverlap))); n != 2 || later != 1 {
		t.Errorf("%d issuer keys now and %d after the overlap, want 2 and 1", n, later)
	}
	if left, _ := filepath.Glob(w.path("*" + keySuffix)); len(left) != len(needed()) {
		t.Errorf("replaced private keys are left: %v", left)
	}
}

func TestRotateRefuses(t *testing.T) {
	w := newWorld(t)
	i := w.init(InitOptions{})
	off := w.offline("")
	other := newWorld(t)
	other.o.Origin = "other.example"
	other.init(InitOptions{})
	tests := []struct {
		name string
		c    RotateOptions
		says string
	}{
		{"without the offline keys", RotateOptions{Slots: []Slot{TSA}}, "offline keys are needed"},
		{"offline keys of another instance", RotateOptions{Slots: []Slot{TSA}, Offline: other.offline("")}, "is of other.example"},
		{"an unknown slot", RotateOptions{Slots: []Slot{"moon"}, Offline: off}, "no slot"},
		{"a new root without a file", RotateOptions{Slots: []Slot{Root}, Offline: off}, "--new-offline-keys"},
		{"forgetting the log in use", RotateOptions{Forget: []string{i.Key(LogRekor).ID()}, Offline: off}, "in use"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Rotate(t.Context(), w.o, test.c)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one that says %q", err, test.says)
			}
			again, err := Open(t.Context(), w.o)
			if err != nil || again.Version() != i.Version() {
				t.Errorf("the instance changed: %v", err)
			}
			if left, _ := filepath.Glob(w.path("*" + keySuffix)); len(left) != len(needed()) {
				t.Errorf("key files are left: %v", left)
			}
		})
	}
}

func TestInterruptedRotationIsFinished(t *testing.T) {
	w := newWorld(t)
	i := w.init(InitOptions{})
	boom := errors.New("boom")
	var promised string
	c := RotateOptions{
		Slots: []Slot{TSA, Root, TUFRoot}, Offline: w.offline(""), NewOffline: filepath.Join(t.TempDir(), "new.json"),
		Publish: func(_ context.Context, p Publication) error {
			promised = p.Next.Version()
			return boom
		},
	}
	if _, err := Rotate(t.Context(), w.o, c); !errors.Is(err, boom) || !strings.Contains(err.Error(), "repeat it") {
		t.Fatal(err)
	}
	if again, err := Open(t.Context(), w.o); err != nil || again.Version() != i.Version() {
		t.Fatalf("the instance changed: %v", err)
	}
	c.Publish = func(_ context.Context, p Publication) error {
		if p.NextOffline.TUFRoot.ID() == p.WasOffline.TUFRoot.ID() {
			t.Error("the new offline keys are not read again")
		}
		return nil
	}
	if next := w.rotate(c); next.Version() != promised {
		t.Error("what was published is not what came")
	}
	if left, _ := filepath.Glob(w.path("*" + keySuffix)); len(left) != len(needed()) {
		t.Errorf("key files are left: %v", left)
	}
}

func TestServersKeysNeedNoOfflineFile(t *testing.T) {
	w := newWorld(t)
	was := w.init(InitOptions{}).Key(Sign).ID()
	if i := w.rotate(RotateOptions{Slots: []Slot{Sign, Issuer}}); i.Key(Sign).ID() == was {
		t.Error("the key did not change")
	}
}

func TestForgottenLog(t *testing.T) {
	w := newWorld(t)
	stolen := w.init(InitOptions{}).Key(LogRekor).ID()
	w.rotate(RotateOptions{Slots: []Slot{LogRekor}, Offline: w.offline(""), Overlap: -1})
	i := w.rotate(RotateOptions{Forget: []string{stolen}, Offline: w.offline("")})
	if logs := trusted(t, i).RekorLogs(); len(logs) != 1 {
		t.Errorf("the trusted root has %d logs, want 1", len(logs))
	}
}

func TestNewRoot(t *testing.T) {
	w := newWorld(t)
	i := w.init(InitOptions{})
	old := leaf(t, i, w.now)
	first := w.offline("")
	path := filepath.Join(t.TempDir(), "new.json")
	i = w.rotate(RotateOptions{Slots: []Slot{Root}, NewOffline: path, Offline: first})
	tr := trusted(t, i)
	if !accepted(tr, old, w.now) || !accepted(tr, leaf(t, i, w.now), w.now) {
		t.Error("both generations must verify")
	}
	if a := i.Authorities(); a[0].Certs[1].Equal(a[1].Certs[1]) {
		t.Error("the root did not change")
	}
	if _, err := Rotate(t.Context(), w.o, RotateOptions{Slots: []Slot{TSA}, Offline: first}); !errors.Is(err, ErrUnusable) {
		t.Errorf("the old offline file after the root changed: %v", err)
	}
	off, err := OpenOffline(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.rotate(RotateOptions{Slots: []Slot{TSA}, Offline: off})
}

// company is an authority that we become a subordinate of.
type company struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCompany(t testing.TB) company {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Company Root"}, NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return company{cert, key}
}

// answer signs a request, after change.
func (c company) answer(t testing.TB, request []byte, change func(*x509.Certificate)) []byte {
	block, _ := pem.Decode(request)
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		t.Fatalf("the request: %v, %v", err, csr.CheckSignature())
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: csr.Subject, NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(5, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign,
	}
	change(tmpl)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, csr.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})...)
}

func TestSubordinate(t *testing.T) {
	w := newWorld(t)
	i := w.init(InitOptions{})
	old, off, boss := leaf(t, i, w.now), w.offline(""), newCompany(t)
	request, err := i.Request(off)
	if err != nil {
		t.Fatal(err)
	}
	refused := []struct {
		name   string
		change func(*x509.Certificate)
		says   string
	}{
		{"no authority", func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 }, "may not sign certificates"},
		{"too short a path", func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }, "path length"},
		{"only code signing", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }, "extended key usage"},
		{"ended", func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Minute) }, "it is good from"},
		{"name constraints", func(c *x509.Certificate) { c.PermittedEmailAddresses = []string{"company.example"} }, "name constraints"},
	}
	for _, test := range refused {
		_, err := Rotate(t.Context(), w.o, RotateOptions{Chain: boss.answer(t, request, test.change), Offline: off})
		if !errors.Is(err, ErrChain) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	good := boss.answer(t, request, func(*x509.Certificate) {})
	otherKey := newWorld(t)
	otherKey.o.Origin = "bonded.example"
	otherI := otherKey.init(InitOptions{})
	otherRequest, _ := otherI.Request(otherKey.offline(""))
	for name, chain := range map[string][]byte{
		"over another key": boss.answer(t, otherRequest, func(*x509.Certificate) {}),
		"without its root": good[:strings.LastIndex(string(good), "-----BEGIN")],
		"trailing text":    append(append([]byte(nil), good...), "hello"...),
	} {
		if _, err := Rotate(t.Context(), w.o, RotateOptions{Chain: chain, Offline: off}); !errors.Is(err, ErrChain) {
			t.Errorf("a chain %s: %v", name, err)
		}
	}
	i = w.rotate(RotateOptions{Chain: good, Offline: off})
	tr := trusted(t, i)
	if !accepted(tr, leaf(t, i, w.now), w.now) || !accepted(tr, old, w.now) {
		t.Error("certificates before and after must verify")
	}
	chain, _ := i.CA()
	if len(chain) != 3 || !chain[2].Equal(boss.cert) {
		t.Errorf("the chain has %d certificates", len(chain))
	}
	if i = w.rotate(RotateOptions{Slots: []Slot{Intermediate}, Offline: off}); !accepted(trusted(t, i), leaf(t, i, w.now), w.now) {
		t.Error("a later intermediate must stay below the company's root")
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, test := range []struct{ origin, url, place, says string }{
		{"Bonded.example", "https://a", "", "no origin"},
		{"bonded.example:8443", "https://a", "", "no origin"},
		{"bonded.example", "https://a/", "", "no URL"},
		{"bonded.example", "ftp://a", "", "no URL"},
		{"bonded.example", "https://a", "file:../x", "no place"},
		{"bonded.example", "https://a", "credential:", "no place"},
		{"bonded.example", "https://a", "UP://x", "no place"},
	} {
		o := Options{Dir: t.TempDir(), Origin: test.origin, URL: test.url, Clock: time.Now}
		if test.place != "" {
			o.Places = map[Slot]string{TSA: test.place}
		}
		if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: error %v, want one that says %q", test, err, test.says)
		}
	}
}

func TestKeysSign(t *testing.T) {
	i := newWorld(t).init(InitOptions{})
	msg := []byte("hello")
	key := i.Key(LogAudit).Signer
	sig, err := key.Sign(rand.Reader, msg, crypto0{})
	if err != nil || !ed25519.Verify(key.Public().(ed25519.PublicKey), msg, sig) {
		t.Errorf("%v", err)
	}
}

func FuzzParseOffline(f *testing.F) {
	w := newWorld(f)
	w.init(InitOptions{})
	b, _ := os.ReadFile(w.path(OfflineName))
	f.Add(b)
	f.Add([]byte(`{"version":1,"origin":"a","kdf":{"n":2,"r":8,"p":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","nonce":"AAAAAAAAAAAAAAAA"},"sealed":"AAAA"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 || strings.Contains(string(b), `"n":`) && len(b) > 300 {
			return // costs of scrypt are bounded, and still too high for a fuzzer
		}
		if _, err := parseOffline(b, nil); err != nil && !errors.Is(err, ErrUnusable) && !errors.Is(err, ErrPassphrase) {
			t.Errorf("error %v matches none that callers test for", err)
		}
	})
}

func FuzzParseChain(f *testing.F) {
	w := newWorld(f)
	chain, _ := w.init(InitOptions{}).CA()
	var text []byte
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, b []byte) {
		chain, err := parseChain(b)
		if err != nil && !errors.Is(err, ErrChain) {
			t.Errorf("error %v does not match ErrChain", err)
		}
		if err == nil {
			_ = checkChain(chain, chain[0].PublicKey, start)
		}
	})
}

// TestGolden opens what the first version wrote.
func TestGolden(t *testing.T) {
	w := newWorld(t)
	if *update {
		fresh := newWorld(t)
		fresh.init(InitOptions{Passphrase: []byte("golden")})
		w.must(os.RemoveAll("testdata/v1"))
		w.must(os.CopyFS("testdata/v1", os.DirFS(fresh.o.Dir)))
	}
	w.must(os.CopyFS(w.o.Dir, os.DirFS("testdata/v1")))
	w.must(os.Chmod(w.o.Dir, 0o700))
	files, _ := filepath.Glob(w.path("*"))
	for _, f := range files { // git keeps no modes
		w.must(os.Chmod(f, 0o600))
	}
	i, err := Open(t.Context(), w.o)
	if err != nil {
		t.Fatal(err)
	}
	if about, err := Peek(w.o.Dir); err != nil || about.Origin != "bonded.example" {
		t.Errorf("%+v, %v", about, err)
	}
	if !accepted(trusted(t, i), leaf(t, i, w.now), w.now) {
		t.Error("its certificates are refused")
	}
	if _, err := Rotate(t.Context(), w.o, RotateOptions{Slots: []Slot{TSA}, Offline: w.offline("golden")}); err != nil {
		t.Error(err)
	}
}
