package acquire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
)

// savedFile is the table of contents of what docker save wrote up to version
// 24, and of podman save --format docker-archive:
// https://github.com/moby/docker-image-spec (v1.2).
const savedFile = "manifest.json"

// Limits of that table.
const (
	maxSaved  = 4 << 20 // bytes
	maxImages = 1000
)

// Media types of the manifest that saved makes up.
const (
	typeLayer     = "application/vnd.docker.image.rootfs.diff.tar"
	typeLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	typeLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd"
)

// saved is one image of an archive without manifests. One is made up from its
// configuration and the layers as they lie there. Names of files mean nothing:
// digests are taken from the content, and whether the layers are those of the
// configuration is for the analysis to say.
type saved struct {
	files
	label, path string
	manifest    *oci.Manifest
	names       map[oci.Digest]string     // of configuration and layers
	described   map[string]oci.Descriptor // by name
}

// savedImage is one entry of savedFile.
type savedImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func openSaved(ctx context.Context, f files, t target) (*saved, error) {
	raw, err := readAll(f, savedFile, maxSaved)
	if err != nil {
		return nil, err
	}
	var images []savedImage
	if err := json.Unmarshal(raw, &images); err != nil {
		return nil, invalid("", "reading %s: %v", savedFile, err)
	}
	if len(images) > maxImages {
		return nil, invalid("", "the archive has %d images, at most %d", len(images), maxImages)
	}
	image, err := chooseSaved(images, t)
	if err != nil {
		return nil, err
	}
	s := &saved{files: f, label: t.shown, path: fileBase(t.path), names: map[oci.Digest]string{}, described: map[string]oci.Descriptor{}}
	if len(image.RepoTags) > 0 {
		s.path = pathOf(image.RepoTags[0])
	}
	return s, s.makeManifest(ctx, image)
}

// chooseSaved settles which image of the archive is meant.
func chooseSaved(images []savedImage, t target) (*savedImage, error) {
	if len(images) == 0 {
		return nil, absent("", "the archive is empty")
	}
	if t.name == "" && len(images) == 1 {
		return &images[0], nil
	}
	var names []string
	for i := range images {
		for _, tag := range images[i].RepoTags {
			if t.name != "" && (tag == t.name || strings.HasSuffix(tag, "/"+t.name)) {
				return &images[i], nil
			}
		}
		names = append(names, images[i].RepoTags...)
	}
	switch {
	case t.name != "":
		return nil, absent("name one of "+listed(names), "the archive has nothing named %s", oci.Quote(t.name))
	case len(names) == 0:
		return nil, invalid("save the one that is meant by itself", "the archive has %d images without a name", len(images))
	}
	return nil, invalid("say which: "+t.path+":NAME, of "+listed(names), "the archive has %d images", len(images))
}

// wireManifest is Docker's manifest of version 2, schema 2.
type wireManifest struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	Config        oci.Descriptor   `json:"config"`
	Layers        []oci.Descriptor `json:"layers"`
}

func (s *saved) makeManifest(ctx context.Context, image *savedImage) error {
	if len(image.Layers) > oci.MaxDescriptors {
		return invalid("", "the image has %d layers, at most %d", len(image.Layers), oci.MaxDescriptors)
	}
	w := wireManifest{SchemaVersion: 2, MediaType: oci.MediaTypeDockerManifest, Layers: []oci.Descriptor{}}
	config, err := s.describe(ctx, image.Config)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	w.Config = config
	w.Config.MediaType = oci.MediaTypeDockerConfig
	for i, name := range image.Layers {
		d, err := s.describe(ctx, name)
		if err != nil {
			return fmt.Errorf("reading layer %d of %d: %w", i+1, len(image.Layers), err)
		}
		w.Layers = append(w.Layers, d)
	}
	raw, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("making a manifest: %v", err)
	}
	s.manifest, err = oci.ParseManifest(raw, oci.MediaTypeDockerManifest, oci.SHA256)
	return err
}

// describe returns the descriptor of a file, made from its content. Images
// repeat layers, and each file is read once.
func (s *saved) describe(ctx context.Context, name string) (oci.Descriptor, error) {
	name, ok := tarName(name)
	if !ok {
		return oci.Descriptor{}, invalid("", "%s names %s, which can be no file of the archive", savedFile, oci.Quote(name))
	}
	if d, ok := s.described[name]; ok {
		return d, nil
	}
	r, size, err := s.open(name)
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer r.Close()
	head := bytes.Buffer{}
	h := oci.SHA256.New()
	if _, err = io.Copy(h, io.TeeReader(io.LimitReader(r, magicLen), &head)); err == nil {
		_, err = io.Copy(h, &bounded{ctx, r})
	}
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("reading %s: %w", oci.Quote(name), err)
	}
	d := oci.Descriptor{MediaType: layerType(head.Bytes()), Digest: oci.SHA256.FromHash(h), Size: size}
	s.described[name], s.names[d.Digest] = d, name
	return d, nil
}

// magicLen is how many bytes layerType looks at.
const magicLen = 4

// layerType goes by the first bytes, as everything that reads layers does.
func layerType(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return typeLayerGzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return typeLayerZstd
	}
	return typeLayer
}

func (s *saved) Name() string { return s.label }
func (s *saved) Path() string { return s.path }
func (s *saved) Close() error { return s.files.close() }

func (s *saved) Root() oci.Descriptor {
	return oci.Descriptor{MediaType: s.manifest.MediaType, Digest: s.manifest.Digest, Size: int64(len(s.manifest.Raw))}
}

func (s *saved) Manifest(_ context.Context, d oci.Descriptor) (*oci.Manifest, error) {
	if d.Digest != s.manifest.Digest {
		return nil, absent("", "%s is not in the archive", d.Digest)
	}
	return s.manifest, nil
}

func (s *saved) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	name, ok := s.names[d.Digest]
	if !ok {
		return nil, absent("", "%s is not in the archive", d.Digest)
	}
	r, _, err := s.open(name)
	if err != nil {
		return nil, err
	}
	return verify(ctx, r, d), nil
}
