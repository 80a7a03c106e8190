package sigstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/test/drive"
)

// TestReplicas has two servers on one database, each with a copy of the keys. A
// device asks one of them and its person tells the other; and neither ever shows
// a client less of the TUF repository than the other has.
func TestReplicas(t *testing.T) {
	at := slices.IndexFunc(drive.Shapes, func(s drive.Shape) bool { return s.Name == "postgres+s3" })
	config := drive.Shapes[at].Config(t)
	one := drive.Start(t, drive.Options{Config: config})
	person := one.Enrol(ann, "developer")
	data := filepath.Join(t.TempDir(), "data")
	copyFolder(t, filepath.Join(one.Data(), "trust"), filepath.Join(data, "trust"))
	// The other is at another address, and is not to say so: only who has the
	// offline keys could.
	if err := os.Remove(filepath.Join(data, "trust", trust.OfflineName)); err != nil {
		t.Fatal(err)
	}
	other := drive.Start(t, drive.Options{Config: config, Data: data})

	started := device(t, other)
	if got := poll(t, one, started); got.Error != "authorization_pending" {
		t.Errorf("before it was approved: %+v", got)
	}
	if err := person.API(t.Context(), http.MethodPost, "/sign-ins/"+started.User, api.SignInAnswer{Approve: true}, nil); err != nil {
		t.Fatal(err)
	}
	if got := poll(t, other, started); got.Token == "" {
		t.Errorf("after it was approved by the other server: %+v", got)
	}
	if got := poll(t, one, started); got.Token != "" || got.Error == "" {
		t.Errorf("a second token: %+v", got)
	}

	seen := int64(0)
	look := func(servers ...*drive.Server) {
		t.Helper()
		for _, s := range servers {
			v := timestamp(t, s)
			if v < seen {
				t.Errorf("%s shows timestamp %d, and %d was shown before", s.URL(), v, seen)
			}
			seen = v
		}
	}
	look(one, other, one, other)
	for _, s := range []*drive.Server{one, other} {
		was := seen
		s.Stop()
		s.Again() // which signs it again
		look(one, other, one)
		if seen == was {
			t.Errorf("a start did not sign the timestamp again: %d", seen)
		}
	}
}

// copyFolder copies a folder with the modes that its files have.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), info.Mode().Perm())
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// verifier is what the device proves with that it is the one that started (RFC 7636).
const verifier = "a-verifier-of-forty-three-characters-or-more-x"

// signIn is a sign-in of a device.
type signIn struct {
	Device string `json:"device_code"`
	User   string `json:"user_code"`
}

func device(t *testing.T, s *drive.Server) (started signIn) {
	t.Helper()
	sum := sha256.Sum256([]byte(verifier))
	post(t, s, "/oidc/device/code", url.Values{"client_id": {"sigstore"}, "scope": {"openid email"}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}}, &started)
	if started.Device == "" || started.User == "" {
		t.Fatalf("%+v", started)
	}
	return started
}

// answer is what a device is told.
type answer struct {
	Token string `json:"id_token"`
	Error string `json:"error"`
}

func poll(t *testing.T, s *drive.Server, started signIn) (a answer) {
	t.Helper()
	post(t, s, "/oidc/token", url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {"sigstore"},
		"device_code": {started.Device}, "code_verifier": {verifier}}, &a)
	return a
}

func post(t *testing.T, s *drive.Server, path string, form url.Values, into any) {
	t.Helper()
	got, err := s.As("", "").Do(t.Context(), http.MethodPost, path, []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if err == nil {
		err = json.Unmarshal(got.Body, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func timestamp(t *testing.T, s *drive.Server) int64 {
	t.Helper()
	got, err := s.As("", "").Do(context.WithoutCancel(t.Context()), http.MethodGet, "/tuf/timestamp.json", nil)
	var meta struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	if err == nil {
		err = json.Unmarshal(got.Body, &meta)
	}
	if err != nil || meta.Signed.Version == 0 {
		t.Fatal(fmt.Errorf("reading the timestamp: %+v, %w", got, err))
	}
	return meta.Signed.Version
}
