package assess

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/analyze/extractor"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/feed"
)

var scanTime = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// shelfSource is content by digest. It keeps the contract of Source: reading
// ends with an error where content is not what it is named by.
type shelfSource struct {
	testing.TB
	blobs map[oci.Digest][]byte
	mu    sync.Mutex
	read  map[oci.Digest]int // times that a blob was read to its end
}

func newShelfSource(t testing.TB) *shelfSource {
	return &shelfSource{TB: t, blobs: map[oci.Digest][]byte{}, read: map[oci.Digest]int{}}
}

var errAbsent = errors.New("not on the shelf")

func (s *shelfSource) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	b, ok := s.blobs[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", d.Digest, errAbsent)
	}
	return &shelfReader{ctx: ctx, source: s, want: d.Digest, rest: b, all: b}, nil
}

var errSpoiled = errors.New("spoiled")

type shelfReader struct {
	ctx       context.Context
	source    *shelfSource
	want      oci.Digest
	rest, all []byte
	closed    bool
}

func (r *shelfReader) Read(p []byte) (int, error) {
	if r.closed {
		r.source.Error("read after it was closed")
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.rest) > 0 {
		n := copy(p, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	}
	if oci.FromBytes(r.all) != r.want {
		return 0, errSpoiled
	}
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	r.source.read[r.want]++
	return 0, io.EOF
}

func (r *shelfReader) Close() error { r.closed = true; return nil }

func (s *shelfSource) put(mediaType string, b []byte) oci.Descriptor {
	d := oci.FromBytes(b)
	s.blobs[d] = b
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

const typeLayer = "application/vnd.oci.image.layer.v1.tar+gzip"

// layer puts a compressed tar of files and returns it with its diff_id.
func (s *shelfSource) layer(files map[string]string) (oci.Descriptor, oci.Digest) {
	s.Helper()
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name]))}); err != nil {
			s.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			s.Fatal(err)
		}
	}
	z := gzip.NewWriter(&packed)
	if err := w.Close(); err != nil {
		s.Fatal(err)
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		s.Fatal(err)
	}
	if err := z.Close(); err != nil {
		s.Fatal(err)
	}
	return s.put(typeLayer, packed.Bytes()), oci.FromBytes(plain.Bytes())
}

// manifest puts the configuration and returns a manifest of the layers.
func (s *shelfSource) manifest(configType string, config any, layers ...oci.Descriptor) *oci.Manifest {
	s.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		s.Fatal(err)
	}
	doc := map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": s.put(configType, raw), "layers": layers}
	if raw, err = json.Marshal(doc); err != nil {
		s.Fatal(err)
	}
	m, err := oci.ParseManifest(raw, oci.MediaTypeManifest, oci.SHA256)
	if err != nil {
		s.Fatal(err)
	}
	return m
}

// image is an image of layers of files.
func (s *shelfSource) image(layers ...map[string]string) *oci.Manifest {
	s.Helper()
	cfg := oci.ImageConfig{OS: "linux", Architecture: "amd64"}
	cfg.RootFS.Type = "layers"
	var descs []oci.Descriptor
	for _, files := range layers {
		d, diffID := s.layer(files)
		descs = append(descs, d)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, diffID)
	}
	return s.manifest(oci.MediaTypeConfig, cfg, descs...)
}

// debian are the files that tell of Debian 12 with one package.
func debian(pkg, version string) map[string]string {
	return map[string]string{
		"etc/os-release":      "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"var/lib/dpkg/status": "Package: " + pkg + "\nStatus: install ok installed\nArchitecture: amd64\nVersion: " + version + "\n\n",
	}
}

// advisories writes records of Debian and the ratings of one of their CVEs.
func advisories(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"Debian/DEBIAN-CVE-2026-0001.json": `{"id":"DEBIAN-CVE-2026-0001","modified":"2026-01-01T00:00:00Z","upstream":["CVE-2026-0001"],"summary":"overflow",
			"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.15-1"}]}]}]}`,
		"PyPI/PYSEC-1.json": `{"id":"PYSEC-1","modified":"2026-01-01T00:00:00Z","aliases":["CVE-2026-0001"],
			"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
			"affected":[{"package":{"ecosystem":"PyPI","name":"cryptography"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"99"}]}]}]}`,
	} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func fromFolder(dir string) func(context.Context, *inventory.Image) (*vuln.Index, error) {
	return func(ctx context.Context, im *inventory.Image) (*vuln.Index, error) {
		return feed.IndexFor(ctx, feed.FolderOptions{Dir: dir, Now: scanTime}, im)
	}
}

func shipped(t testing.TB, name string) *policy.Gate {
	t.Helper()
	g, err := policy.ShippedGate(name)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func newTestOffline() *Offline {
	clock := func() time.Time { return scanTime }
	log := slog.New(slog.DiscardHandler)
	return NewOffline(OfflineOptions{
		Analyzer: analyze.New(analyze.Options{Extractors: extractor.All(), Claimers: extractor.Claimers(), Now: clock, Log: log}),
		Engine:   "bonded test", Clock: clock, Log: log,
	})
}

// scan judges an image by a shipped gate.
func scan(t testing.TB, s *shelfSource, m *oci.Manifest, gate, advisories string) (*Answer, error) {
	t.Helper()
	q := Question{Source: s, Manifest: m, Repository: oci.MustRepository(gate + "/app"), Gate: shipped(t, gate)}
	if advisories != "" {
		q.Advisories = fromFolder(advisories)
	}
	return newTestOffline().Judge(t.Context(), q)
}

// outcomes is "outcome: rule outcome, …" with the rules that do not allow.
func outcomes(d *api.Decision) string {
	var open []string
	for _, r := range d.Reasons {
		if r.Outcome != api.Allow {
			open = append(open, r.Rule+" "+string(r.Outcome))
		}
	}
	return strings.TrimSuffix(string(d.Outcome)+": "+strings.Join(open, ", "), ": ")
}

func TestOffline(t *testing.T) {
	osv := advisories(t)
	for name, tt := range map[string]struct {
		layers           []map[string]string
		gate, advisories string
		want             string
		findings         []string
	}{
		"denied":                             {[]map[string]string{debian("openssl", "3.0.11-1")}, "production", osv, "deny: no-severe-with-fix deny", []string{"DEBIAN-CVE-2026-0001 critical openssl 3.0.11-1 to 3.0.15-1"}},
		"fixed":                              {[]map[string]string{debian("openssl", "3.0.15-1")}, "production", osv, "allow", nil},
		"fixed by a layer above":             {[]map[string]string{debian("openssl", "3.0.11-1"), {"etc/x": "x"}, debian("openssl", "3.0.16-1")}, "production", osv, "allow", nil},
		"dev takes what is faulty":           {[]map[string]string{debian("openssl", "3.0.11-1")}, "dev", osv, "allow", []string{"DEBIAN-CVE-2026-0001 critical openssl 3.0.11-1 to 3.0.15-1"}},
		"without advisories":                 {[]map[string]string{debian("openssl", "3.0.11-1")}, "dev", "", "cannot-tell: no-malicious-packages cannot-tell", nil},
		"without packages":                   {[]map[string]string{{"etc/x": "x"}}, "production", osv, "allow", nil},
		"without layers":                     {nil, "production", osv, "allow", nil},
		"of an ecosystem without advisories": {[]map[string]string{{"usr/lib/node_modules/x/package.json": `{"name":"x","version":"1.0.0"}`}}, "production", osv, "cannot-tell: every-package-checked cannot-tell", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelfSource(t)
			m := s.image(tt.layers...)
			a, err := scan(t, s, m, tt.gate, tt.advisories)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcomes(&a.Decision); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			var findings []string
			for _, f := range a.Findings.Findings {
				findings = append(findings, fmt.Sprintf("%s %s %s %s to %s", f.ID, f.Severity, f.Package, f.Version, f.Fixed))
			}
			if diff := cmp.Diff(tt.findings, findings); diff != "" {
				t.Error(diff)
			}
			for _, d := range m.References() {
				if s.read[d.Digest] == 0 {
					t.Errorf("%s was not read to its end", d.MediaType)
				}
			}
			d := a.Decision
			if d.Repository != tt.gate+"/app" || d.Zone != tt.gate || d.Digest != m.Digest.String() || !d.DecidedAt.Equal(scanTime) || d.Inputs.Engine != "bonded test" || d.Inputs.Inventory == "" || d.Inputs.ExtractorSet == "" {
				t.Errorf("decision %+v", d)
			}
			if a.Inventory.Platform != "linux/amd64" || len(a.Inventory.Layers) != len(tt.layers) || a.Inventory.Coverage != "full" {
				t.Errorf("inventory %+v", a.Inventory)
			}
		})
	}
}

// Whatever is wrong with the content, the answer is not yes.
func TestOfflineContent(t *testing.T) {
	good := map[string]string{"etc/x": "x"}
	for name, tt := range map[string]struct {
		make func(s *shelfSource) *oci.Manifest
		want string // outcome by the gate of dev, or part of the error
	}{
		"another layer than configured": {func(s *shelfSource) *oci.Manifest {
			d, _ := s.layer(good)
			cfg := oci.ImageConfig{OS: "linux", Architecture: "amd64"}
			cfg.RootFS.DiffIDs = []oci.Digest{oci.FromBytes([]byte("another"))}
			return s.manifest(oci.MediaTypeConfig, cfg, d)
		}, "deny: layers-match-config deny"},
		"no configuration": {func(s *shelfSource) *oci.Manifest {
			d, _ := s.layer(good)
			return s.manifest(oci.MediaTypeConfig, "no configuration", d)
		}, "cannot-tell: layers-match-config cannot-tell"},
		"no tar": {func(s *shelfSource) *oci.Manifest {
			cfg := oci.ImageConfig{OS: "linux", Architecture: "amd64"}
			cfg.RootFS.DiffIDs = []oci.Digest{oci.FromBytes([]byte("text"))}
			return s.manifest(oci.MediaTypeConfig, cfg, s.put(typeLayer, bytes.Repeat([]byte("text"), 1000)))
		}, "cannot-tell: layers-match-config cannot-tell, analysed cannot-tell"},
		"a foreign layer that is not here": {func(s *shelfSource) *oci.Manifest {
			cfg := oci.ImageConfig{OS: "windows", Architecture: "amd64"}
			cfg.RootFS.DiffIDs = []oci.Digest{oci.FromBytes([]byte("text"))}
			return s.manifest(oci.MediaTypeConfig, cfg, oci.Descriptor{MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: oci.FromBytes([]byte("elsewhere")), Size: 9})
		}, "cannot-tell: layers-match-config cannot-tell, analysed cannot-tell"},
		"an encrypted layer that is not here": {func(s *shelfSource) *oci.Manifest {
			cfg := oci.ImageConfig{OS: "linux", Architecture: "amd64"}
			cfg.RootFS.DiffIDs = []oci.Digest{oci.FromBytes([]byte("text"))}
			return s.manifest(oci.MediaTypeConfig, cfg, oci.Descriptor{MediaType: typeLayer + "+encrypted", Digest: oci.FromBytes([]byte("secret")), Size: 9})
		}, "cannot-tell: layers-match-config cannot-tell, analysed cannot-tell"},
		"a layer is missing": {func(s *shelfSource) *oci.Manifest {
			m := s.image(good, good, map[string]string{"a": "b"})
			delete(s.blobs, m.Layers[2].Digest)
			return m
		}, "analysing layer 3 of sha256:"},
		"the configuration is missing": {func(s *shelfSource) *oci.Manifest {
			m := s.image(good)
			delete(s.blobs, m.Config.Digest)
			return m
		}, "opening the configuration"},
		"a spoiled layer": {func(s *shelfSource) *oci.Manifest {
			m := s.image(good)
			s.blobs[m.Layers[0].Digest] = append(s.blobs[m.Layers[0].Digest], 0)
			return m
		}, "spoiled"},
		"a spoiled configuration": {func(s *shelfSource) *oci.Manifest {
			m := s.image(good)
			s.blobs[m.Config.Digest] = append(s.blobs[m.Config.Digest], ' ')
			return m
		}, "spoiled"},
		// Its first bytes tell that it is no layer; they are believed only when
		// the rest was verified.
		"spoiled and no tar": {func(s *shelfSource) *oci.Manifest {
			cfg := oci.ImageConfig{OS: "linux", Architecture: "amd64"}
			m := s.manifest(oci.MediaTypeConfig, cfg, s.put(typeLayer, bytes.Repeat([]byte("text"), 100_000)))
			s.blobs[m.Layers[0].Digest][399_999] ^= 1
			return m
		}, "spoiled"},
		"an image as evidence": {func(s *shelfSource) *oci.Manifest {
			d, _ := s.layer(good)
			d.MediaType = "application/vnd.in-toto+json"
			return s.manifest(oci.MediaTypeConfig, oci.ImageConfig{OS: "linux", Architecture: "amd64"}, d)
		}, "deny: layers-match-config deny"},
		"evidence": {func(s *shelfSource) *oci.Manifest {
			m := s.manifest(oci.MediaTypeEmpty, struct{}{})
			m.Subject = &oci.Descriptor{Digest: m.Digest}
			return m
		}, "is not judged itself; scan what it is about"},
		"an index": {func(s *shelfSource) *oci.Manifest {
			m, err := oci.ParseManifest([]byte(`{"schemaVersion":2,"manifests":[]}`), oci.MediaTypeIndex, oci.SHA256)
			if err != nil {
				s.Fatal(err)
			}
			return m
		}, "one of its images is judged at a time"},
		"a chart": {func(s *shelfSource) *oci.Manifest {
			return s.manifest(oci.MediaTypeHelmConfig, struct{}{}, s.put("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("chart")))
		}, "allow"},
		"of no known kind": {func(s *shelfSource) *oci.Manifest { return s.manifest("text/plain", "x") }, "deny: kind deny"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelfSource(t)
			m := tt.make(s)
			a, err := scan(t, s, m, "dev", advisories(t))
			var got string
			if err != nil {
				got = err.Error()
			} else {
				got = outcomes(&a.Decision)
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if err == nil && (a.Inventory.Layers == nil || a.Inventory.Packages == nil || a.Findings.Findings == nil || a.Inventory.Digest != m.Digest.String()) {
				t.Errorf("inventory %+v", a.Inventory)
			}
		})
	}
}

func TestOfflineSteps(t *testing.T) {
	s := newShelfSource(t)
	m := s.image(map[string]string{"a": "1"}, map[string]string{"b": "2"}, map[string]string{"c": "3"})
	var steps []string
	_, err := newTestOffline().Judge(t.Context(), Question{
		Source: s, Manifest: m, Repository: oci.MustRepository("dev/app"), Gate: shipped(t, "dev"), Advisories: fromFolder(advisories(t)),
		Step: func(what string) { steps = append(steps, what) },
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(steps[:3])
	want := []string{"analysing layer 1 of 3", "analysing layer 2 of 3", "analysing layer 3 of 3", "reading advisories", "asking gate dev"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Error(diff)
	}
}

func TestOfflineCancelled(t *testing.T) {
	s := newShelfSource(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := newTestOffline().Judge(ctx, Question{Source: s, Manifest: s.image(map[string]string{"a": "1"}), Repository: oci.MustRepository("dev/app"), Gate: shipped(t, "dev")})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestOfflineAdvisoriesFail(t *testing.T) {
	s := newShelfSource(t)
	_, err := scan(t, s, s.image(debian("openssl", "1")), "dev", t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "reading advisories from") {
		t.Error(err)
	}
}
