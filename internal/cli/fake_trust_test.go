package cli_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	trustroot "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tuf"
)

// signs answers what a server that signs does. Its TUF repository is a real
// one, of an instance that is made when it is first asked for.
func (f *fakeServer) signs(mux *http.ServeMux, handle handler) {
	repository := sync.OnceValues(func() (*fakeRepository, error) { return newRepository(f.URL, f.root(), f.audit) })
	f.repository = repository
	mux.HandleFunc("/tuf/", func(w http.ResponseWriter, r *http.Request) {
		h, err := repository()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		http.StripPrefix("/tuf", h).ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /oidc/token", f.token)
	published := time.Date(2026, 5, 7, 0, 0, 0, 0, time.UTC)
	handle("GET /api/v1/trust", func(*http.Request) (any, *api.Error) {
		return api.Trust{
			Origin: "bonded.example", URL: f.URL, RootChecksum: "00ff", Weakest: "offline keys on the server",
			Keys:    []api.KeyPlace{{Slot: "tsa", Place: "file:tsa.key", Strength: "file"}, {Slot: "issuer", Place: "credential:issuer", Strength: "credential"}, {Slot: "sign", Place: "file:sign.key", Strength: "file"}},
			Logs:    []api.LogState{{Name: "rekor", Origin: "bonded.example", Key: "bonded.example+2f1c0b7d+AYQ3T1", Size: 1234, Published: 1200}, {Name: "ct", Origin: "bonded.example/ct"}},
			Witness: &api.Witness{URL: f.URL + "/witness", Key: "bonded.example/witness+2f1c0b7d+BAYQ3T1", Of: []api.Witnessed{{Origin: "other.example/audit", Size: 77}}},
			Anchors: []api.AnchorState{{Name: "public", Type: "sigstore", From: "the program (public-good)", AsOf: &published}, {Name: "filed", Type: "key", From: "/etc/bonded/ci.pub", Problem: "no such file"}},
			Endings: []api.Ending{{What: "intermediate", At: now.AddDate(0, 0, 20)}}, Warnings: []string{"offline keys: they lie on this server"},
		}, nil
	})
	settle := func(r *http.Request, approve bool) (any, *api.Error) {
		s := api.SignIn{Code: r.PathValue("code"), Kind: "device", State: "refused", From: "192.0.2.7", Started: now.Add(-time.Minute), Expires: now.Add(9 * time.Minute)}
		if s.Code != "BCDF-GHJK" {
			return nil, &api.Error{Code: "not-found", Message: "no such sign-in"}
		}
		if approve {
			s.State, s.Identity = "approved", "ann@example.com"
		}
		return s, nil
	}
	handle("POST /api/v1/sign-ins/{code}", func(r *http.Request) (any, *api.Error) {
		return settle(r, body[api.SignInAnswer](f, r).Approve)
	})
}

// root is what the states of repositories are verified by.
func (f *fakeServer) root() []byte {
	raw := f.sigstore.TrustedRoot(func(r *trustroot.TrustedRoot) { r.CertificateAuthorities[0].Uri = f.URL + trust.PathFulcio })
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// fakeRepository is a TUF repository with the keys to publish again.
type fakeRepository struct {
	*tuf.Repository
	files map[string][]byte
	off   *trust.Offline
}

// newRepository is the TUF repository of an instance made now; root, where it is
// not nil, is its trusted root in the place of the instance's. Its clients look at
// the clock of the machine.
func newRepository(url string, root []byte, log *fakeAudit) (*fakeRepository, error) {
	dir, err := os.MkdirTemp("", "bonded-fake-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	store := memory{}
	o := trust.Options{Dir: filepath.Join(dir, "trust"), Origin: "bonded.example", URL: url, Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	r := &fakeRepository{}
	_, err = trust.Init(context.Background(), o, trust.InitOptions{Prepare: func(_ context.Context, _ string, i *trust.Instance, off *trust.Offline) (err error) {
		r.Repository = tuf.New(tuf.Options{Store: store, Keys: i, Clock: time.Now, Log: o.Log})
		r.off = off
		if r.files, err = tuf.Documents(i); err != nil {
			return err
		}
		if root != nil {
			r.files[trust.TrustedRootName] = root
		}
		return r.publish(log)
	}})
	return r, err
}

// publish publishes the keys that a log has.
func (r *fakeRepository) publish(log *fakeAudit) (err error) {
	keys := trust.LogKeys{MediaType: "application/vnd.bonded.logs.v1+json", Witnesses: []string{log.witness}, Quorum: 1}
	for _, key := range log.keys {
		keys.Logs = append(keys.Logs, trust.LogKey{Origin: fakeOrigin, Key: key})
	}
	if r.files[trust.LogsName], err = json.Marshal(keys); err != nil {
		return err
	}
	return r.Publish(context.Background(), tuf.Update{Files: r.files, Offline: r.off})
}

// memory is a tuf.Store that is written before it is read.
type memory map[string][]byte

func (m memory) Get(_ context.Context, name string) ([]byte, error) {
	b, ok := m[name]
	if !ok {
		return nil, os.ErrNotExist
	}
	return b, nil
}

func (m memory) Put(_ context.Context, name string, b []byte) error {
	m[name] = b
	return nil
}

func (m memory) Replace(_ context.Context, name string, _, b []byte) error {
	m[name] = b
	return nil
}

// token answers the issuer of the fake server, which has no tokens for narrow.
func (f *fakeServer) token(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	const exchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	switch secret := r.PostFormValue("subject_token"); {
	case r.PostFormValue("grant_type") != exchange || r.PostFormValue("subject_token_type") != "urn:ietf:params:oauth:token-type:access_token":
		f.misused("a token was asked for by %v", r.PostForm)
	case secret == "narrow:s3cret":
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "this secret is narrowed to part of what narrow may do"})
	case secret != "ann:"+f.secrets["ann"]:
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": "the name or the secret is wrong"})
	default:
		claims, err := json.Marshal(map[string]any{"sub": f.URL + "/oidc/people/ann", "email": "ann@example.com", "email_verified": true, "exp": now.Add(5 * time.Minute).Unix(), "aud": r.PostFormValue("audience")})
		if err != nil {
			panic(err)
		}
		reply(w, http.StatusOK, map[string]any{"access_token": "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln", "expires_in": 300})
	}
}

// fakeRotate stands for what replaces keys.
func fakeRotate(_ context.Context, c *config.Config, r cli.RotateRequest) (*cli.Rotated, error) {
	out := &cli.Rotated{Origin: "bonded.example", Replaced: r.Slots, Expiries: []trust.Expiry{{What: "intermediate", At: now.AddDate(1, 0, 0)}}}
	switch {
	case r.Request:
		out.Request = "-----BEGIN CERTIFICATE REQUEST-----\n"
	case r.GiveUp:
		out.Replaced = []string{"log-rekor"}
		out.Notes = []string{"start the server; it goes on from what the database has"}
	case len(r.Slots) > 0 && r.OfflineKeys == "":
		return nil, cli.Misused(errors.New("the offline keys are needed"), "--offline-keys FILE")
	}
	if len(r.Passphrase) > 0 {
		out.Notes = append(out.Notes, fmt.Sprintf("the passphrase has %d letters, data is in %s", len(r.Passphrase), filepath.Base(string(c.Data))))
	}
	return out, nil
}
