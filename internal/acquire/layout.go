package acquire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Files of an OCI layout (image specification 1.1, image-layout.md).
const (
	indexFile   = "index.json"
	versionFile = "oci-layout"
	maxVersion  = 4096 // bytes of oci-layout
)

// Annotations that name a root of a layout: the specification's, which holds a
// tag or a whole name, and containerd's, which holds the whole name.
const (
	refAnnotation  = "org.opencontainers.image.ref.name"
	nameAnnotation = "io.containerd.image.name"
)

// layout is an OCI layout.
type layout struct {
	files
	label, path string
	root        oci.Descriptor
	entries     []oci.Descriptor // of index.json
	// index is index.json where it stands for the artifact itself: several
	// images without a name, one for each platform.
	index *oci.Manifest
}

func openLayout(_ context.Context, f files, t target) (*layout, error) {
	if err := checkVersion(f); err != nil {
		return nil, err
	}
	raw, err := readAll(f, indexFile, oci.MaxManifest)
	if err != nil {
		return nil, err
	}
	index, err := oci.ParseManifest(raw, "", oci.SHA256)
	if err == nil && !index.IsIndex() {
		err = errors.New("it is no index")
	}
	if err != nil {
		return nil, invalid("", "reading %s: %w", indexFile, err)
	}
	l := &layout{files: f, entries: index.Manifests}
	return l, l.choose(index, t)
}

// checkVersion refuses layouts of a version to come. One without the file is
// read as what it looks like: some tools leave it out.
func checkVersion(f files) error {
	if !f.has(versionFile) {
		return nil
	}
	raw, err := readAll(f, versionFile, maxVersion)
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return invalid("", "reading %s: %v", versionFile, err)
	}
	if v.Version != "1.0.0" {
		return invalid("", "it is an OCI layout of version %s, and only 1.0.0 is known", oci.Quote(v.Version))
	}
	return nil
}

// choose settles which artifact of the layout is meant.
func (l *layout) choose(index *oci.Manifest, t target) error {
	roots := slices.DeleteFunc(slices.Clone(index.Manifests), func(d oci.Descriptor) bool { return t.name == "" && isEvidence(d) })
	if t.name != "" {
		roots = slices.DeleteFunc(roots, func(d oci.Descriptor) bool { return !named(d, t.name) })
	}
	switch {
	case len(index.Manifests) == 0:
		return absent("", "the layout is empty")
	case len(roots) == 0 && t.name == "":
		return absent("name one of "+listed(namesOf(index.Manifests)), "the layout holds only what is said about images elsewhere")
	case len(roots) == 0:
		return absent("name one of "+listed(namesOf(index.Manifests)), "the layout has nothing named %s", oci.Quote(t.name))
	case sameDigest(roots):
		l.root = roots[0]
	case platforms(roots):
		l.index = index
		l.root = oci.Descriptor{MediaType: index.MediaType, Digest: index.Digest, Size: int64(len(index.Raw))}
	default:
		return invalid("say which: "+t.path+":NAME, of "+listed(namesOf(roots)), "the layout has %d images", len(roots))
	}
	l.label, l.path = t.shown, pathOf(nameOf(roots[0]))
	if !strings.ContainsAny(nameOf(roots[0]), "/:") {
		l.path = fileBase(t.path) // a tag alone, or nothing
	}
	return nil
}

// isEvidence recognises roots that say something about another: with an
// artifact type, for no platform, or by cosign's tags. Some tools write the
// type of its configuration as that of an image.
func isEvidence(d oci.Descriptor) bool {
	ref := d.Annotations[refAnnotation]
	return d.ArtifactType != "" && !slices.Contains(runnable, d.ArtifactType) || d.Platform.IsUnknown() ||
		strings.HasPrefix(ref, "sha256-") && (strings.HasSuffix(ref, ".sig") || strings.HasSuffix(ref, ".att") || strings.HasSuffix(ref, ".sbom"))
}

// runnable are the artifact types of what is no evidence.
var runnable = []string{oci.MediaTypeConfig, oci.MediaTypeDockerConfig, oci.MediaTypeHelmConfig}

// named reports whether a root goes by a name, a tag or a digest.
func named(d oci.Descriptor, name string) bool {
	full, ref := d.Annotations[nameAnnotation], d.Annotations[refAnnotation]
	return name == full || name == ref || name == d.Digest.String() || strings.HasSuffix(full, "/"+name)
}

// nameOf returns the longest name of a root, "" when it has none.
func nameOf(d oci.Descriptor) string {
	if full := d.Annotations[nameAnnotation]; full != "" {
		return full
	}
	return d.Annotations[refAnnotation]
}

// namesOf returns what the roots can be asked for by.
func namesOf(roots []oci.Descriptor) []string {
	names := make([]string, len(roots))
	for i, d := range roots {
		if names[i] = nameOf(d); names[i] == "" {
			names[i] = d.Digest.String()
		}
	}
	return names
}

// maxListed is how many names an error lists.
const maxListed = 10

func listed(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	more := ""
	if len(names) > maxListed {
		more = fmt.Sprintf(" and %d more", len(names)-maxListed)
		names = names[:maxListed]
	}
	for i := range names {
		names[i] = shown(names[i])
	}
	return strings.Join(names, ", ") + more
}

// sameDigest: several names of one artifact are one.
func sameDigest(roots []oci.Descriptor) bool {
	return !slices.ContainsFunc(roots, func(d oci.Descriptor) bool { return d.Digest != roots[0].Digest })
}

// platforms reports whether the roots are one image for several platforms: all
// say for which, under one name or none.
func platforms(roots []oci.Descriptor) bool {
	return !slices.ContainsFunc(roots, func(d oci.Descriptor) bool { return d.Platform == nil || nameOf(d) != nameOf(roots[0]) })
}

// fileBase is what a file is called without what says how it is packed.
func fileBase(path string) string {
	name := filepath.Base(path)
	if abs, err := filepath.Abs(path); err == nil {
		name = filepath.Base(abs) // "." has none
	}
	for {
		short := archiveNames.ReplaceAllString(name, "")
		if short == name || short == "" {
			return pathOf(name)
		}
		name = short
	}
}

func (l *layout) Name() string         { return l.label }
func (l *layout) Path() string         { return l.path }
func (l *layout) Root() oci.Descriptor { return l.root }
func (l *layout) Close() error         { return l.files.close() }

func (l *layout) Manifest(ctx context.Context, d oci.Descriptor) (*oci.Manifest, error) {
	if l.index != nil && d.Digest == l.index.Digest {
		return l.index, nil
	}
	r, err := l.content(d)
	if err != nil {
		return nil, err
	}
	return readManifest(ctx, r, d)
}

func (l *layout) Blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	r, err := l.content(d)
	if err != nil {
		return nil, err
	}
	return verify(ctx, r, d), nil
}

func (l *layout) content(d oci.Descriptor) (io.ReadCloser, error) {
	r, size, err := l.open("blobs/" + string(d.Digest.Algorithm()) + "/" + d.Digest.Hex())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, absent("copy the image again, whole", "%s is not in the layout", d.Digest)
	case err != nil:
		return nil, fmt.Errorf("opening %s: %w", d.Digest, err)
	case size != d.Size:
		return nil, errors.Join(fmt.Errorf("%s: %w: it has %d bytes and should have %d", d.Digest, ErrCorrupt, size, d.Size), r.Close())
	}
	return r, nil
}
