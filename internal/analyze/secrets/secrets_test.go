package secrets

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// random returns n characters of an alphabet, the same each time.
func random(seed uint64, n int, alphabet string) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	hexadecimal = "0123456789abcdef"
	upper       = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	alnum       = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// key returns a private key in PEM.
func key(t testing.TB, kind string) string {
	t.Helper()
	src := rand.NewChaCha8([32]byte{1})
	var k any
	var err error
	switch kind {
	case "rsa":
		k, err = rsa.GenerateKey(src, 2048)
	case "ec":
		k, err = ecdsa.GenerateKey(elliptic.P256(), src)
	default:
		_, k, err = ed25519.GenerateKey(src)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// search searches one file of a layer.
func find(t testing.TB, path, content string) []inventory.Secret {
	t.Helper()
	head := content[:min(len(content), 512)]
	found, why, err := New().Layer().File(path, []byte(head), strings.NewReader(content[len(head):]))
	if err != nil || why != "" {
		t.Fatalf("searching %s: %q, %v", path, why, err)
	}
	return found
}

func TestFound(t *testing.T) {
	token := "eyJ" + base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))[3:] + ".eyJ" + random(3, 60, alnum) + "." + random(4, 43, alnum)
	for _, c := range []struct{ rule, path, content string }{
		{"private-key", "app/id_ed25519", key(t, "ed25519")},
		{"private-key", "app/key.pem", key(t, "ec")},
		{"private-key", "app/tls.key", "# a comment\n" + key(t, "rsa")},
		{"private-key", "app/main.go", "const k = \"" + strings.ReplaceAll(key(t, "rsa"), "\n", `\n`) + "\""},
		{"gcp-service-account", "app/sa.json", `{"type": "service_account", "private_key": "` + strings.ReplaceAll(key(t, "rsa"), "\n", `\n`) + `"}`},
		{"age-key", "k.txt", "AGE-SECRET-KEY-1" + random(1, 58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L") + "\n"},
		{"aws-access-key", "app/.env", "AWS_ACCESS_KEY_ID=AKIA" + random(1, 16, upper)},
		{"aws-secret-key", "root/.aws/credentials", "[default]\naws_secret_access_key = " + random(2, 40, alnum) + "\n"},
		{"aws-secret-key", "app/c.json", `{"SecretAccessKey": "` + random(2, 40, alnum) + `"}`},
		{"gcp-oauth-secret", "a", "id: GOCSPX-" + random(1, 28, alnum)},
		{"azure-storage-key", "app/settings", "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=" + random(1, 86, alnum) + "==;"},
		{"azure-shared-key", "app/settings", "Endpoint=sb://x/;SharedAccessKey=" + random(1, 43, alnum) + "="},
		{"azure-client-secret", "app/.env", "AZURE_CLIENT_SECRET=abc8Q~" + random(1, 34, alnum)},
		{"github-token", "a", "x: ghp_" + random(1, 36, alnum)},
		{"github-token", "a", "github_pat_" + random(1, 22, alnum) + "_" + random(2, 59, alnum)},
		{"gitlab-token", "a", `"glpat-` + random(1, 20, alnum) + `"`},
		{"slack-token", "a", "xoxb-123456781234-" + random(1, 24, alnum)},
		{"slack-webhook", "a", "https://hooks.slack.com/services/T" + random(1, 9, upper) + "/B" + random(2, 9, upper) + "/" + random(3, 24, alnum)},
		{"npm-token", "a", "npm_" + random(1, 36, alnum)},
		{"npm-token", "root/.npmrc", "//registry.example.org/:_authToken=" + random(1, 36, hexadecimal) + "\n"},
		{"npm-token", "root/.npmrc", "_auth=" + encode("someone:"+random(1, 9, alnum)) + "\n"},
		{"pypi-token", "a", "pypi-AgEIcHlwaS5vcmc" + random(1, 120, alnum)},
		{"docker-token", "a", "dckr_pat_" + random(1, 27, alnum)},
		{"docker-auth", "root/.docker/config.json", `{"auths":{"https://index.docker.io/v1/":{"auth":"` + encode("me:"+random(1, 12, alnum)) + `"}}}`},
		{"docker-auth", "app/secret.json", `{ "auths": { "ghcr.io": { "username": "me", "password": "` + random(1, 20, alnum) + `" } } }`},
		{"kubernetes-key", "app/kc.yaml", "users:\n- user:\n    client-key-data: " + encode(key(t, "rsa")) + "\n"},
		{"kubernetes-token", "root/.kube/config", "users:\n- user:\n    token: " + random(1, 32, alnum) + "\n"},
		{"kubernetes-token", "run/secrets/kubernetes.io/serviceaccount/token", token},
		{"bearer-token", "app/run.sh", "curl -H 'Authorization: Bearer " + token + "'"},
		{"bearer-token", "app/.env", "API_TOKEN=" + token},
		{"vault-token", "a", "hvs." + random(1, 90, alnum)},
		{"stripe-key", "a", "sk_live_" + random(1, 24, alnum)},
		{"netrc", "root/.netrc", "machine github.com login me password hunter2hunter\n"},
		{"pgpass", "root/.pgpass", "# host\ndb:5432:*:app:tr0ub4dor\n"},
		{"git-credentials", "root/.git-credentials", "https://me:s3cr3tvalue@github.com\n"},
		{"pypi-password", "root/.pypirc", "[pypi]\nusername = me\npassword = correcthorse\n"},
		{"url-password", "etc/pip.conf", "[global]\nindex-url = https://me:correcthorse@pypi.corp/simple\n"},
		{"maven-password", "root/.m2/settings.xml", "<server><password>correcthorse</password></server>"},
		{"password-hash", "etc/shadow", "root:*:1:0:::::\nme:$6$abcdefgh$" + random(1, 80, alnum) + ":1::::::\n"},
	} {
		found := find(t, c.path, c.content)
		if len(found) != 1 || found[0].Rule != c.rule || found[0].Path != c.path {
			t.Errorf("%s in %s: found %+v", c.rule, c.path, found)
		}
		if text := fmt.Sprintf("%+v", found); len(found) == 1 && strings.Contains(text, c.content[len(c.content)/2:]) {
			t.Errorf("%s: the secret is told: %s", c.rule, text)
		}
	}
}

func TestNotFound(t *testing.T) {
	body := strings.Split(key(t, "rsa"), "\n")
	for _, c := range []struct{ path, content string }{
		{"a", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE"},
		{"a", "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		{"a", "aws_secret_access_key = ${SECRET}"},
		{"a", "AKIAAAAAAAAAAAAAAAAA"},                               // entropy
		{"a", random(1, 30, alnum) + "AKIA" + random(1, 16, upper)}, // inside of a word
		{"a", "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="},
		{"a", "ghp_" + strings.Repeat("x", 36)},
		{"a", "ghp_" + random(1, 35, alnum)},
		{"a", "npm_config_cache=/root/.npm npm_package_name=" + random(1, 36, alnum)},
		{"a", body[0] + "\n...\n" + body[len(body)-2]},
		{"a", body[0] + "\nMIIE\n" + body[len(body)-2]},
		{"a", body[0] + "\n" + body[1]}, // no end
		{"a", "-----BEGIN PUBLIC KEY-----\n" + strings.Join(body[1:len(body)-2], "\n") + "\n-----END PUBLIC KEY-----\n"},
		{"a", "token=eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkgYXQgYWxsIn0." + random(1, 43, alnum)}, // alg none
		{"a", "see eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ." + random(1, 43, alnum)},           // no credential by its place
		{"root/.docker/config.json", `{"auths":{"ghcr.io":{}},"credsStore":"desktop"}`},
		{"etc/shadow", "root:*:19000:0:99999:7:::\ndaemon:!:19000::::::\n"},
		{"root/.netrc", "machine example.org login me password <password>\n"},
		{"root/.npmrc", "//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n"},
		{"root/.kube/config", "users: []\n"},
		{"app/prog", "\x7fELF\x00\x00" + key(t, "rsa")}, // no text
		{"app/node_modules/jose/test/key.pem", key(t, "rsa")},
		{"usr/local/lib/python3.12/test/ssl_key.pem", key(t, "rsa")},
		{"root/go/pkg/mod/golang.org/x/crypto@v1/ssh/keys_test.go", key(t, "rsa")},
	} {
		if found := find(t, c.path, c.content); len(found) > 0 {
			t.Errorf("%s, %.60q: found %+v", c.path, c.content, found)
		}
	}
	if found := find(t, "app/node_modules/ours/config/key.pem", key(t, "rsa")); len(found) != 1 {
		t.Error("what is in a package and no test of it is not found")
	}
}

// TestFingerprints: a key is the same however it is written, and what people
// choose has none.
func TestFingerprints(t *testing.T) {
	k := key(t, "rsa")
	a, b := find(t, "a", k), find(t, "b", strings.ReplaceAll(k, "\n", "\r\n"))
	c := find(t, "c", `"`+strings.ReplaceAll(k, "\n", `\n`)+`"`)
	if a[0].Fingerprint == "" || a[0].Fingerprint != b[0].Fingerprint || a[0].Fingerprint != c[0].Fingerprint {
		t.Errorf("%v, %v, %v", a, b, c)
	}
	if d := find(t, "root/.netrc", "machine a login b password abcdabcd"); d[0].Fingerprint != "" {
		t.Errorf("%v", d)
	}
}

// TestPlaces: a secret is found wherever it stands, across the edges of windows
// and whatever comes before, with its line.
func TestPlaces(t *testing.T) {
	token := "ghp_" + random(1, 36, alnum)
	for _, before := range []int{0, 1, 2, 3, 5, 511, 512, windowSize - ahead - 20, windowSize - ahead - 2, windowSize - 3, windowSize, 3 * windowSize} {
		for shift := range 7 {
			pad := strings.Repeat("x = 1\n", (before+shift)/6+1)[:before+shift]
			if n := len(pad); n > 0 {
				pad = pad[:n-1] + "\n"
			}
			found := find(t, "a", pad+token+"\nrest\n"+strings.Repeat(" ", shift*40_000))
			if len(found) != 1 || found[0].Line != 1+strings.Count(pad, "\n") {
				t.Errorf("%d bytes before: %+v", len(pad), found)
			}
		}
	}
	if found := find(t, "a", key(t, "rsa")+token+" "+token+"\n"+key(t, "ec")); len(found) != 4 {
		t.Errorf("%+v", found)
	}
}

func TestLimits(t *testing.T) {
	many := strings.Repeat("ghp_"+random(1, 36, alnum)+"\n", 200)
	found, why, err := New().Layer().File("a", []byte(many[:512]), strings.NewReader(many[512:]))
	if len(found) != maxFound || why != manyFound || err != nil {
		t.Errorf("%d, %q, %v", len(found), why, err)
	}
	s := &search{table: New().table, asked: 1000, text: 1 << 20}
	if _, why, _ = s.File("a", []byte("ghp_ ghp_ ghp_"), strings.NewReader(strings.Repeat("ghp_ ", 1000))); why != manyAsked {
		t.Errorf("%q", why)
	}
	s = &search{table: New().table, asked: 1000, text: 1 << 20}
	if _, why, _ = s.File("a", []byte("begin"), io.LimitReader(zeros{}, 3<<20)); why != longLayer {
		t.Errorf("%q", why)
	}
	if _, why, _ = New().Layer().File("a", []byte("begin"), io.LimitReader(zeros{}, maxFile+windowSize)); why != longFile {
		t.Errorf("%q", why)
	}
	ours := errors.New("ours")
	if _, _, err := New().Layer().File("a", []byte("begin"), iotest.ErrReader(ours)); !errors.Is(err, ours) {
		t.Errorf("%v", err)
	}
}

// zeros reads as the character 0 for ever.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

func TestText(t *testing.T) {
	s := New()
	for text, want := range map[string][]string{
		"DB_PASSWORD=tr0ub4dor3":                                            {"environment"},
		"AWS_SECRET_ACCESS_KEY=" + random(1, 40, alnum):                     {"aws-secret-key"},
		"|1 NPM_TOKEN=" + random(2, 36, hexadecimal) + " /bin/sh -c npm ci": {"environment"},
		"PATH=/usr/bin": nil, "GPG_KEY=A035C8C19219BA821ECEA86B64E628F8D684696D": nil, "DB_PASSWORD_FILE=/run/secrets/db": nil,
		"DB_PASSWORD=changeme": nil, "DB_PASSWORD=$DB": nil, "POSTGRES_PASSWORD=": nil,
	} {
		var got []string
		for _, x := range s.Text("config:Env", text) {
			got = append(got, x.Rule)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestRules: the beginnings are long enough for the table, short enough for the
// window, and what a pattern matches begins with one.
func TestRules(t *testing.T) {
	for _, r := range contentRules() {
		for _, b := range r.begins {
			if len(b) < 4 || len(b) > behind {
				t.Errorf("%s begins with %q, want 4 to %d bytes", r.id, b, behind)
			}
		}
		if r.window == 0 || r.window > ahead {
			t.Errorf("%s looks at %d bytes, at most %d", r.id, r.window, ahead)
		}
	}
}

// TestPrecision: in the tree of Go itself, which is full of keys that test it,
// there is nothing.
func TestPrecision(t *testing.T) {
	var files, size int
	s := New().Layer()
	root := filepath.Join(runtime.GOROOT(), "src") //nolint:staticcheck // the tree that this is built with
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		head := content[:min(len(content), 512)]
		found, why, err := s.File("usr/local/go/src/"+filepath.ToSlash(name), head, bytes.NewReader(content[len(head):]))
		if len(found) > 0 || why != "" || err != nil {
			t.Errorf("%s: %+v, %q, %v", name, found, why, err)
		}
		files, size = files+1, size+len(content)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, %d MB", files, size>>20)
}

func FuzzFile(f *testing.F) {
	f.Add("a", []byte("ghp_"+random(1, 36, alnum)))
	f.Add("root/.netrc", []byte("machine a login b password c"))
	f.Add("a", []byte("-----BEGIN PRIVATE KEY-----\nMII"+random(1, 100, alnum)+"\n-----END PRIVATE KEY-----"))
	f.Add("a", []byte(`{"auths":{"x":{"auth":"`+random(1, 20, alnum)+`"}}}`))
	s := New()
	f.Fuzz(func(t *testing.T, path string, content []byte) {
		head := content[:min(len(content), 512)]
		found, why, err := s.Layer().File(path, head, bytes.NewReader(content[len(head):]))
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			if x.Path != path || x.Line < 1 || x.Line > 1+bytes.Count(content, []byte("\n")) || x.Rule == "" {
				t.Errorf("%+v", x)
			}
		}
		again, whyAgain, err := s.Layer().File(path, head, iotest.OneByteReader(bytes.NewReader(content[len(head):])))
		if err != nil || why != whyAgain || !cmp.Equal(found, again) {
			t.Errorf("found %+v %q, and then %+v %q, %v", found, why, again, whyAgain, err)
		}
	})
}

// BenchmarkFile is how fast text goes through.
func BenchmarkFile(b *testing.B) {
	var text []byte
	for _, name := range []string{"net/http/server.go", "go/types/expr.go", "runtime/proc.go", "cmd/compile/internal/ssa/rewrite386.go"} {
		content, err := os.ReadFile(filepath.Join(runtime.GOROOT(), "src", name)) //nolint:staticcheck // the tree that this is built with
		if err != nil {
			b.Fatal(err)
		}
		text = append(text, content...)
	}
	s := New().Layer().(*search)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.text = maxLayer
		if _, why, err := s.File("a", text[:512], bytes.NewReader(text[512:])); why != "" || err != nil {
			b.Fatal(why, err)
		}
	}
}
