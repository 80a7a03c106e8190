package server

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// world is a running server and those who use it.
type world struct {
	*testing.T
	*Server
	dir    string
	admin  api.Enrolled
	reader api.Enrolled // who may only pull
	feed   string       // folder of its advisories
	stop   func()
	// opened is told of the server before it runs. Optional.
	opened func(*Server)
	// change makes the options what they are to be.
	change func(*Options)
}

// newWorld starts a development server in a fresh folder.
func newWorld(t *testing.T, change ...func(*Options)) *world {
	w := &world{T: t, dir: t.TempDir(), feed: t.TempDir(), change: func(o *Options) {
		for _, fn := range change {
			fn(o)
		}
	}}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// options are those by which the server is opened on its folder.
func (w *world) options() Options {
	w.Helper()
	c := config.Default()
	c.Listen, c.Data, c.TLS.Off = "127.0.0.1:0", config.Path(w.dir), true
	never := config.Duration(0)
	c.Feeds = []config.Feed{{Name: "test", Dir: config.Path(w.feed), Ecosystems: []string{"Go"}, Interval: &never}}
	log := slog.New(slog.NewTextHandler(testWriter{w.T}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	tracing, err := telemetry.StartTracing(w.Context(), telemetry.TraceOptions{Log: log})
	if err != nil {
		w.Fatal(err)
	}
	o := Options{Config: &c, Dev: true, Version: "test", Log: log, Metrics: telemetry.NewRegistry("test"), Tracing: tracing}
	w.change(&o)
	return o
}

// start opens the server on its folder, as after a restart.
func (w *world) start() {
	w.Helper()
	var err error
	if w.Server, err = New(w.Context(), w.options()); err != nil {
		w.Fatal(err)
	}
	if w.opened != nil {
		w.opened(w.Server)
	}
	started, err := w.Started(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if started.Admin != nil {
		w.admin, w.reader = *started.Admin, *started.Reader
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- w.Server.Run(ctx, func() { close(ready) }) }()
	<-ready
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("stopping: %v", err)
		}
		w.stop = func() {}
	}
}

// testWriter logs to the test while it runs.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// enrol makes an account.
func (w *world) enrol(name string, grants ...string) api.Enrolled {
	w.Helper()
	act, err := authz.Check(authz.Internal("test"), authz.Administer, noRepository, nil)
	if err != nil {
		w.Fatal(err)
	}
	invite, err := w.accounts.Invite(w.Context(), act, api.InviteRequest{Name: name, Grants: grants})
	if err != nil {
		w.Fatal(err)
	}
	e, err := w.accounts.Enrol(w.Context(), api.EnrolRequest{Code: invite.Code, Label: "test"}, netip.IPv6Loopback())
	if err != nil {
		w.Fatal(err)
	}
	return *e
}

// advise loads one advisory about a Go module.
func (w *world) advise(id, module, fixed, severity string) {
	w.Helper()
	w.advised(id, module, fixed, severity)
	w.load()
}

// advised is advise without loading it.
func (w *world) advised(id, module, fixed, severity string) {
	w.Helper()
	record := fmt.Sprintf(`{"schema_version":"1.7.0","id":%q,"modified":"2026-11-01T00:00:00Z","summary":"a test","severity":[{"type":"CVSS_V3","score":%q}],
		"affected":[{"package":{"ecosystem":"Go","name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, id, severity, module, fixed)
	if err := os.WriteFile(filepath.Join(w.feed, id+".json"), []byte(record), 0o600); err != nil {
		w.Fatal(err)
	}
}

func (w *world) load() {
	w.Helper()
	act, err := authz.Check(authz.Internal("test"), authz.Administer, noRepository, nil)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.feeds.Update(w.Context(), act, api.FeedUpdate{}, nil); err != nil {
		w.Fatal(err)
	}
}

// Severities as CVSS vectors.
const (
	critical = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
	low      = "CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"
)

// request sends a request as somebody and returns the answer with its body read.
func (w *world) request(who api.Enrolled, method, path string, body []byte, header ...string) (*http.Response, []byte) {
	w.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		target = w.transport.url + path
	}
	req, err := http.NewRequestWithContext(w.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if who.Name != "" {
		req.SetBasicAuth(who.Name, who.Secret)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res, answer
}

// want fails the test unless the answer has the status.
func (w *world) want(status int, res *http.Response, body []byte) {
	w.Helper()
	if res.StatusCode != status {
		w.Fatalf("%s %s: %s, want %d\n%s", res.Request.Method, res.Request.URL.Path, res.Status, status, body)
	}
}

// pushBlob uploads a blob in one request.
func (w *world) pushBlob(who api.Enrolled, repository string, content []byte) oci.Descriptor {
	w.Helper()
	d := oci.FromBytes(content)
	res, body := w.request(who, http.MethodPost, "/v2/"+repository+"/blobs/uploads/?digest="+d.String(), content, "Content-Type", "application/octet-stream")
	w.want(http.StatusCreated, res, body)
	return oci.Descriptor{Digest: d, Size: int64(len(content)), MediaType: "application/vnd.oci.image.layer.v1.tar"}
}

// pushImage pushes an image of layers and returns its manifest's descriptor.
func (w *world) pushImage(who api.Enrolled, repository, tag string, layers ...[]byte) oci.Descriptor {
	w.Helper()
	cfg := oci.ImageConfig{Architecture: "amd64", OS: "linux"}
	cfg.RootFS.Type = "layers"
	m := map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest}
	var descs []oci.Descriptor
	for _, l := range layers {
		desc := w.pushBlob(who, repository, l)
		descs = append(descs, desc)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, desc.Digest)
	}
	raw, err := json.Marshal(cfg)
	if err != nil {
		w.Fatal(err)
	}
	config := w.pushBlob(who, repository, raw)
	config.MediaType = oci.MediaTypeConfig
	m["config"], m["layers"] = config, descs
	return w.pushManifest(who, repository, tag, m)
}

// pushManifest pushes a manifest by tag, or by digest when tag is "".
func (w *world) pushManifest(who api.Enrolled, repository, tag string, m map[string]any) oci.Descriptor {
	w.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		w.Fatal(err)
	}
	d := oci.FromBytes(raw)
	name := tag
	if name == "" {
		name = d.String()
	}
	mediaType := m["mediaType"].(string)
	res, body := w.request(who, http.MethodPut, "/v2/"+repository+"/manifests/"+name, raw, "Content-Type", mediaType)
	w.want(http.StatusCreated, res, body)
	return oci.Descriptor{Digest: d, Size: int64(len(raw)), MediaType: mediaType}
}

// layerOf makes a tar of files.
func layerOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for name, content := range files {
		if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), ModTime: time.Unix(0, 0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// program is this test's own binary: a real Go program with real modules.
func program(t *testing.T) []byte {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// settled waits until a placement is in one of the states.
func (w *world) settled(repository string, d oci.Digest, states ...repo.State) *repo.Placement {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := w.db.PlacementOf(ctx, oci.MustRepository(repository), d)
		if err == nil {
			for _, s := range states {
				if p.State == s && p.Decision != 0 {
					return p
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.Fatalf("%s@%s: %+v, %v; want %v", repository, d, p, err, states)
		}
	}
}

// pull gets a manifest and all it names, and returns the first status that is
// not 200.
func (w *world) pull(who api.Enrolled, repository, name string) (int, string) {
	w.Helper()
	res, body := w.request(who, http.MethodGet, "/v2/"+repository+"/manifests/"+name, nil)
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, string(body)
	}
	m, err := oci.ParseManifest(body, res.Header.Get("Content-Type"), oci.SHA256)
	if err != nil {
		w.Fatal(err)
	}
	for _, d := range m.References() {
		if m.IsIndex() {
			if status, body := w.pull(who, repository, d.Digest.String()); status != http.StatusOK {
				return status, body
			}
			continue
		}
		res, body := w.request(who, http.MethodGet, "/v2/"+repository+"/blobs/"+d.Digest.String(), nil)
		if res.StatusCode != http.StatusOK {
			return res.StatusCode, string(body)
		}
		if oci.FromBytes(body) != d.Digest {
			w.Fatalf("blob %s came as %s", d.Digest, oci.FromBytes(body))
		}
	}
	return http.StatusOK, ""
}

// clean fails the test unless fsck finds nothing, and each decision that was made
// comes out the same when it is made again.
func (w *world) clean() {
	w.Helper()
	w.replayed()
	report, err := w.Fsck(w.Context(), true, nil)
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range report.Problems {
		w.Errorf("fsck: %s %s: %s", p.Check, p.Subject, p.Text)
	}
}

func decode[T any](w *world, body []byte) *T {
	w.Helper()
	out := new(T)
	if len(body) > 0 {
		if err := json.Unmarshal(body, out); err != nil {
			w.Fatalf("%v: %s", err, body)
		}
	}
	return out
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// expireLeases ends what lets uploaders read what they uploaded.
func (w *world) expireLeases() {
	w.Helper()
	err := w.db.Update(w.Context(), func(tx *db.Tx) error {
		return w.db.EachBlob(w.Context(), func(d oci.Digest, _ int64) error {
			return tx.Unlease(w.Context(), oci.MustRepository("catalog/app"), d)
		})
	})
	if err != nil {
		w.Fatal(err)
	}
}
