package acquire

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/bonded-dev/bonded/internal/oci"
)

// layoutOf collects the files of an OCI layout.
type layoutOf struct {
	testing.TB
	files map[string][]byte
	roots []oci.Descriptor
}

func newLayout(t testing.TB) *layoutOf {
	return &layoutOf{TB: t, files: map[string][]byte{versionFile: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
}

// blob adds content and returns its descriptor.
func (l *layoutOf) blob(mediaType string, b []byte) oci.Descriptor {
	d := oci.FromBytes(b)
	l.files[blobName(d)] = b
	return oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func blobName(d oci.Digest) string { return "blobs/" + string(d.Algorithm()) + "/" + d.Hex() }

func (l *layoutOf) json(mediaType string, v any) oci.Descriptor {
	l.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		l.Fatal(err)
	}
	return l.blob(mediaType, b)
}

// manifest is the wire form of a manifest or an index.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        *oci.Descriptor   `json:"config,omitempty"`
	Layers        []oci.Descriptor  `json:"layers,omitempty"`
	Manifests     *[]oci.Descriptor `json:"manifests,omitempty"`
}

// image adds an image whose layers hold one file each, with that content.
func (l *layoutOf) image(platform string, contents ...string) oci.Descriptor {
	l.Helper()
	p := platformOf(platform)
	cfg := oci.ImageConfig{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant}
	cfg.RootFS.Type = "layers"
	m := manifest{SchemaVersion: 2, MediaType: oci.MediaTypeManifest}
	for i, c := range contents {
		raw := tarOf(l, map[string][]byte{fmt.Sprintf("file%d", i): []byte(c)})
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, oci.FromBytes(raw))
		m.Layers = append(m.Layers, l.blob("application/vnd.oci.image.layer.v1.tar", raw))
	}
	config := l.json(oci.MediaTypeConfig, cfg)
	m.Config = &config
	d := l.json(oci.MediaTypeManifest, m)
	d.Platform = p
	return d
}

func platformOf(s string) *oci.Platform {
	parts := strings.Split(s, "/")
	p := &oci.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	return p
}

func (l *layoutOf) index(children ...oci.Descriptor) oci.Descriptor {
	l.Helper()
	return l.json(oci.MediaTypeIndex, manifest{SchemaVersion: 2, MediaType: oci.MediaTypeIndex, Manifests: &children})
}

// root adds a root, by a name or none.
func (l *layoutOf) root(d oci.Descriptor, name string) oci.Descriptor {
	if name != "" {
		d.Annotations = map[string]string{refAnnotation: name}
	}
	l.roots = append(l.roots, d)
	return d
}

// all returns the files of the layout, index.json included.
func (l *layoutOf) all() map[string][]byte {
	l.Helper()
	if l.files[indexFile] == nil {
		roots := append([]oci.Descriptor{}, l.roots...)
		b, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: oci.MediaTypeIndex, Manifests: &roots})
		if err != nil {
			l.Fatal(err)
		}
		l.files[indexFile] = b
	}
	return l.files
}

// saved returns the files that docker save made of an image before it wrote
// layouts: layers by names of their own, one of them a link.
func (l *layoutOf) saved(d oci.Descriptor, tags ...string) map[string][]byte {
	l.Helper()
	m, err := oci.ParseManifest(l.files[blobName(d.Digest)], "", oci.SHA256)
	if err != nil {
		l.Fatal(err)
	}
	files := map[string][]byte{m.Config.Digest.Hex() + ".json": l.files[blobName(m.Config.Digest)]}
	entry := savedImage{Config: m.Config.Digest.Hex() + ".json", RepoTags: tags}
	for i, layer := range m.Layers {
		name := fmt.Sprintf("%d/layer.tar", i)
		files[name] = l.files[blobName(layer.Digest)]
		entry.Layers = append(entry.Layers, name)
	}
	if files[savedFile], err = json.Marshal([]savedImage{entry}); err != nil {
		l.Fatal(err)
	}
	return files
}

// tarOf makes a tar of files. A content of "-> NAME" makes a symbolic link.
func tarOf(t testing.TB, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put(t, w, tar.Header{Name: name, Mode: 0o644}, files[name])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(t testing.TB, w *tar.Writer, h tar.Header, content []byte) {
	t.Helper()
	if link, ok := strings.CutPrefix(string(content), "-> "); ok {
		h.Typeflag, h.Linkname, content = tar.TypeSymlink, link, nil
	}
	h.Size = int64(len(content))
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	return w.EncodeAll(b, nil)
}

// file writes a file into a folder of the test's own.
func file(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// dir writes a tree.
func dir(t testing.TB, files map[string][]byte) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "layout")
	for name, b := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func options(t testing.TB) Options {
	return Options{Temp: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
}

func mustOpen(t testing.TB, target string) Source {
	t.Helper()
	s, err := Open(t.Context(), target, options(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// contents reads the layers of an image and returns the content of their
// files, in order.
func contents(t testing.TB, s Source, m *oci.Manifest) (all []string) {
	t.Helper()
	for _, d := range m.Layers {
		b, err := blobOf(t, s, d)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
			z, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if b, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		r := tar.NewReader(bytes.NewReader(b))
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		c, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(c))
	}
	return all
}

func blobOf(t testing.TB, s Source, d oci.Descriptor) ([]byte, error) {
	r, err := s.Blob(t.Context(), d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
