package drive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Image is an image that a test made, with all its bytes.
type Image struct {
	oci.Descriptor // of the manifest
	Manifest       []byte
	Config         []byte
	Layers         [][]byte
}

// MustLayer makes an uncompressed tar of files by name, the same for the same
// files.
func MustLayer(files map[string][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: name, Mode: 0o755, Size: int64(len(files[name])), ModTime: time.Unix(0, 0)}
		err := w.WriteHeader(header)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			panic(fmt.Sprintf("writing %s to a buffer: %v", name, err))
		}
	}
	if err := w.Close(); err != nil {
		panic(fmt.Sprintf("writing a tar to a buffer: %v", err))
	}
	return b.Bytes()
}

// MustGzip compresses a layer.
func MustGzip(layer []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(layer); err != nil {
		panic(fmt.Sprintf("compressing to a buffer: %v", err))
	}
	if err := w.Close(); err != nil {
		panic(fmt.Sprintf("compressing to a buffer: %v", err))
	}
	return b.Bytes()
}

// layer describes a layer and returns its diff ID. A gzip stream that cannot be
// read gets one of its own bytes, for tests of what is not well made.
func layer(l []byte) (oci.Descriptor, oci.Digest) {
	r, err := gzip.NewReader(bytes.NewReader(l))
	if err != nil {
		return describe("application/vnd.oci.image.layer.v1.tar", l), oci.FromBytes(l)
	}
	h := oci.SHA256.New()
	if _, err := io.Copy(h, r); err != nil {
		return describe("application/vnd.oci.image.layer.v1.tar+gzip", l), oci.FromBytes(l)
	}
	return describe("application/vnd.oci.image.layer.v1.tar+gzip", l), oci.SHA256.FromHash(h)
}

// NewImage makes an image of layers that are tars, as they are or compressed
// with gzip.
func NewImage(layers ...[]byte) Image {
	cfg := oci.ImageConfig{Architecture: "amd64", OS: "linux"}
	cfg.RootFS.Type = "layers"
	descs := make([]oci.Descriptor, len(layers))
	for i, l := range layers {
		var id oci.Digest
		descs[i], id = layer(l)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, id)
	}
	config := mustJSON(cfg)
	manifest := mustJSON(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": describe(oci.MediaTypeConfig, config), "layers": descs,
	})
	return Image{Descriptor: describe(oci.MediaTypeManifest, manifest), Manifest: manifest, Config: config, Layers: layers}
}

// NewManifest makes the manifest of an image whose config was changed.
func NewManifest(i Image) Image {
	old := NewImage(i.Layers...)
	changed := describe(oci.MediaTypeConfig, i.Config)
	raw := bytes.Replace(old.Manifest, mustJSON(describe(oci.MediaTypeConfig, old.Config)), mustJSON(changed), 1)
	return Image{Descriptor: describe(oci.MediaTypeManifest, raw), Manifest: raw, Config: i.Config, Layers: i.Layers}
}

// Blobs are the layers and the config.
func (i Image) Blobs() [][]byte { return append(slices.Clone(i.Layers), i.Config) }

// WriteLayout writes the image as an OCI layout with one tag.
func (i Image) WriteLayout(dir, tag string) error {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, b := range append(i.Blobs(), i.Manifest) {
		errs = append(errs, os.WriteFile(filepath.Join(blobs, oci.FromBytes(b).Hex()), b, 0o600))
	}
	named := i.Descriptor
	named.Annotations = map[string]string{"org.opencontainers.image.ref.name": tag}
	index := mustJSON(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeIndex, "manifests": []oci.Descriptor{named}})
	return errors.Join(append(errs,
		os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600),
	)...)
}

func describe(mediaType string, content []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: oci.FromBytes(content), Size: int64(len(content))}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encoding %T: %v", v, err))
	}
	return b
}

// NewEvidence makes an artifact about a subject.
func NewEvidence(subject oci.Descriptor, artifactType string, content []byte) Image {
	empty := []byte("{}")
	manifest := mustJSON(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": artifactType, "subject": subject,
		"config": describe(oci.MediaTypeEmpty, empty), "layers": []oci.Descriptor{describe("application/octet-stream", content)},
	})
	return Image{Descriptor: describe(oci.MediaTypeManifest, manifest), Manifest: manifest, Config: empty, Layers: [][]byte{content}}
}
