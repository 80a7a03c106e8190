package acquire

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/oci"
)

// fakeRegistry serves a layout: manifests by tag and digest, blobs by digest.
// It answers only what the distribution specification lets a client ask.
type fakeRegistry struct {
	*testing.T
	layout *layoutOf
	tags   map[string]oci.Descriptor
	auth   string                                                         // what Authorization must be; "" for anyone
	before func(w http.ResponseWriter, r *http.Request, path string) bool // reports whether it has answered
	asked  atomic.Int64
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked.Add(1)
	if f.auth != "" && r.Header.Get("Authorization") != f.auth {
		w.Header().Set("WWW-Authenticate", `Basic realm="fake"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/v2/team/app/")
	switch kind, what, _ := strings.Cut(path, "/"); {
	case f.before != nil && f.before(w, r, path):
	case r.URL.Path == "/v2/":
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	case kind == "manifests":
		f.manifest(w, what)
	case kind == "blobs":
		f.serve(w, what, "application/octet-stream")
	default:
		f.Errorf("unknown request %s", r.URL)
	}
}

func (f *fakeRegistry) manifest(w http.ResponseWriter, what string) {
	if d, ok := f.tags[what]; ok {
		what = d.Digest.String()
	}
	var doc struct {
		MediaType string `json:"mediaType"`
	}
	if d, err := oci.ParseDigest(what); err == nil {
		_ = json.Unmarshal(f.layout.files[blobName(d)], &doc) // what is no manifest has no type
	}
	f.serve(w, what, doc.MediaType)
}

func (f *fakeRegistry) serve(w http.ResponseWriter, digest, mediaType string) {
	d, err := oci.ParseDigest(digest)
	b, ok := f.layout.files[blobName(d)]
	if err != nil || !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	_, _ = w.Write(b) // the reader is gone
}

func newFakeRegistry(t *testing.T) (*fakeRegistry, oci.Descriptor) {
	f := &fakeRegistry{T: t, layout: newLayout(t)}
	d := f.layout.index(f.layout.image("linux/arm64", "arm"), f.layout.image("linux/amd64", "one", "two"))
	f.tags = map[string]oci.Descriptor{"1.0": d}
	return f, d
}

func (f *fakeRegistry) plain() string {
	s := httptest.NewServer(f)
	f.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestRegistry(t *testing.T) {
	f, root := newFakeRegistry(t)
	host := f.plain()
	for _, ref := range []string{host + "/team/app:1.0", host + "/team/app@" + root.Digest.String()} {
		s := mustOpen(t, ref)
		c := must(t, s)
		if diff := cmp.Diff([]string{"one", "two"}, contents(t, s, c.Manifest)); diff != "" {
			t.Error(diff)
		}
		if s.Root().Digest != root.Digest || c.Platforms != 2 || s.Name() != ref || s.Path() != strings.ReplaceAll(host, ":", "_")+"/team/app" {
			t.Errorf("root %s, %d platforms, name %s, path %s", s.Root().Digest, c.Platforms, s.Name(), s.Path())
		}
	}
}

func TestRegistryTLS(t *testing.T) {
	f, _ := newFakeRegistry(t)
	s := httptest.NewUnstartedServer(f)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "https://")
	wantError(t, host+"/team/app:1.0", "put its authority's certificate into /etc/docker/certs.d/"+host, ErrUnavailable)
	certs := t.TempDir()
	ca := filepath.Join(certs, host, "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := errors.Join(os.Mkdir(filepath.Dir(ca), 0o755), os.WriteFile(ca, block, 0o644)); err != nil {
		t.Fatal(err)
	}
	o := options(t)
	o.CertDirs = []string{certs}
	src, err := Open(t.Context(), host+"/team/app:1.0", o)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, src, must(t, src).Manifest); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestRegistryCredentials(t *testing.T) {
	f, _ := newFakeRegistry(t)
	secret := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	f.auth = "Basic " + secret
	host := f.plain()
	wantError(t, host+"/team/app:1.0", "log in with: docker login "+host, ErrDenied)
	write := func(name, auth string) string {
		return file(t, name, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, auth))
	}
	o := options(t)
	o.AuthFiles = []string{filepath.Join(t.TempDir(), "absent"), write("first.json", secret), write("second.json", base64.StdEncoding.EncodeToString([]byte("you:wrong")))}
	s, err := Open(t.Context(), host+"/team/app:1.0", o)
	if err != nil {
		t.Fatal(err)
	}
	if got := contents(t, s, must(t, s).Manifest); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestRegistryFaults(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, tt := range map[string]struct {
		ref    string // of the repository
		before func(w http.ResponseWriter, r *http.Request, path string) bool
		want   string
		kind   error
	}{
		"no such tag":        {"team/app:2.0", nil, "the registry does not have it", ErrNotFound},
		"no such repository": {"team/other:1.0", nil, "the registry does not have it", ErrNotFound},
		"forbidden": {"team/app:1.0", func(w http.ResponseWriter, _ *http.Request, path string) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}, "docker login", ErrDenied},
		"another manifest": {"team/app@sha256:" + strings.Repeat("a", 64), func(w http.ResponseWriter, _ *http.Request, path string) bool {
			w.Header().Set("Content-Type", oci.MediaTypeIndex)
			fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[]}`, oci.MediaTypeIndex)
			return true
		}, "content is not what it is named by", ErrCorrupt},
		"a huge manifest": {"team/app:1.0", func(w http.ResponseWriter, _ *http.Request, path string) bool {
			w.Header().Set("Content-Type", oci.MediaTypeIndex)
			for range 5000 {
				if _, err := w.Write(make([]byte, 1024)); err != nil {
					break
				}
			}
			return true
		}, "limit", ErrCorrupt},
		"an error in JSON": {"team/app:1.0", func(w http.ResponseWriter, _ *http.Request, path string) bool {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no tag 1.0 here"}]}`)
			return true
		}, "the registry does not have it: no tag 1.0 here (not found [http 404])", ErrNotFound},
		"a page": {"team/app:1.0", func(w http.ResponseWriter, _ *http.Request, path string) bool {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, "<html>hello</html>")
			return true
		}, "the registry does not have it: not found [http 404]", ErrNotFound},
		"no manifest": {"team/app:1.0", func(w http.ResponseWriter, _ *http.Request, path string) bool {
			fmt.Fprint(w, "<html>hello</html>")
			return true
		}, "", ErrUnavailable},
		"an error that talks": {"team/app:1.0", func(w http.ResponseWriter, _ *http.Request, path string) bool {
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "\x1b[31m"+strings.Repeat("blah ", 10_000))
			return true
		}, "", ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := newFakeRegistry(t)
			f.before = tt.before
			ref := f.plain() + "/" + tt.ref
			wantError(t, ref, tt.want, tt.kind)
			_, err := Open(t.Context(), ref, options(t))
			if err != nil && (strings.ContainsRune(err.Error(), 0x1b) || len(err.Error()) > 700) {
				t.Errorf("%d bytes of error: %q", len(err.Error()), err)
			}
		})
	}
	wantError(t, strings.TrimPrefix(closed.URL, "http://")+"/team/app:1.0", "the registry does not answer", ErrUnavailable)
}

// What a registry sends for a blob is believed as little as a file.
func TestRegistryBlobs(t *testing.T) {
	f, _ := newFakeRegistry(t)
	var answer func(w http.ResponseWriter, r *http.Request, b []byte)
	f.before = func(w http.ResponseWriter, r *http.Request, path string) bool {
		digest, ok := strings.CutPrefix(path, "blobs/")
		if ok {
			answer(w, r, f.layout.files[blobName(oci.MustDigest(digest))])
		}
		return ok
	}
	s := mustOpen(t, f.plain()+"/team/app:1.0")
	layer := must(t, s).Manifest.Layers[0]
	broken := false
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, b []byte)
		want   error // nil when the blob can be read
	}{
		{"flipped", func(w http.ResponseWriter, _ *http.Request, b []byte) {
			_, _ = w.Write(append([]byte{b[0] ^ 1}, b[1:]...))
		}, ErrCorrupt},
		{"long", func(w http.ResponseWriter, _ *http.Request, b []byte) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(append(b[:len(b):len(b)], 0))
		}, ErrCorrupt},
		{"short", func(w http.ResponseWriter, r *http.Request, b []byte) {
			if r.Header.Get("Range") != "" {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.(http.Flusher).Flush()
			_, _ = w.Write(b[:len(b)-1])
		}, ErrCorrupt},
		{"broken off once, and gone on with", func(w http.ResponseWriter, r *http.Request, b []byte) {
			if from := r.Header.Get("Range"); from != "" {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes 700-%d/%d", len(b)-1, len(b)))
				w.WriteHeader(http.StatusPartialContent)
				_, _ = w.Write(b[700:])
				broken = from == fmt.Sprintf("bytes=700-%d", len(b))
				return
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b[:700])
		}, nil},
		{"gone", func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNotFound) }, ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer = tt.answer
			b, err := blobOf(t, s, layer)
			switch {
			case tt.want == nil && (err != nil || sha256.Sum256(b) != sha256.Sum256(f.layout.files[blobName(layer.Digest)])):
				t.Errorf("%d bytes, %v", len(b), err)
			case tt.want != nil && !errors.Is(err, tt.want):
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if !broken {
		t.Error("a broken body was not gone on with where it broke")
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.8.8.8": true, "[::1]:5000": true, "[::1]": true,
		"docker.io": false, "10.0.0.1:5000": false, "localhost.example": false, "[fe80::1]": false,
	} {
		if isLoopback(host) != want {
			t.Errorf("%s: want %t", host, want)
		}
	}
}
