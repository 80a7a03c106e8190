package acquire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Chosen is the one artifact of a source that is looked at.
type Chosen struct {
	Manifest *oci.Manifest // no index
	// Platform is what the index says that the image is for; nil when it does
	// not say, or there is no index.
	Platform *oci.Platform
	// Platforms is how many images the index has; 0 without an index.
	Platforms int

	looked int // manifests so far
}

// maxLooked bounds how many manifests are read on the way to one: indexes in
// indexes can name the same ones over and over.
const maxLooked = 1000

// Choose goes down from the root of a source to one image. From an index it
// takes the image for want; where want is zero, that for linux/amd64, and
// where there is none, the first that is there: an index may name images that
// were not copied. Errors match those of Source.Manifest.
func Choose(ctx context.Context, s Source, want oci.Platform) (*Chosen, error) {
	c := &Chosen{}
	err := c.descend(ctx, s, s.Root(), want, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.Name(), err)
	}
	return c, nil
}

func (c *Chosen) descend(ctx context.Context, s Source, d oci.Descriptor, want oci.Platform, depth int) error {
	if c.looked++; c.looked > maxLooked {
		return fmt.Errorf("%s: %w: none of the first %d manifests that the index leads to is an image", s.Root().Digest, oci.ErrManifestInvalid, maxLooked)
	}
	m, err := s.Manifest(ctx, d)
	switch {
	case err != nil:
		return err
	case !m.IsIndex() && depth > 0 && m.Kind() != oci.KindImage:
		return absent("", "%s is no image", d.Digest)
	case !m.IsIndex():
		c.Manifest, c.Platform = m, d.Platform
		return nil
	case depth == oci.MaxIndexDepth:
		return fmt.Errorf("%s: %w: indexes nested deeper than %d", d.Digest, oci.ErrManifestInvalid, oci.MaxIndexDepth)
	}
	children := slices.DeleteFunc(slices.Clone(m.Manifests), func(d oci.Descriptor) bool { return d.Platform.IsUnknown() })
	c.Platforms = len(children)
	if want.OS != "" {
		children = slices.DeleteFunc(children, func(d oci.Descriptor) bool { return d.Platform != nil && !serves(d.Platform, want) })
		if len(children) == 0 {
			return absent("", "the index has no image for %s; it has %s", want, listed(platformsOf(m.Manifests)))
		}
	}
	slices.SortStableFunc(children, func(p, q oci.Descriptor) int { return cmp.Compare(foreignness(p), foreignness(q)) })
	for _, child := range children {
		err := c.descend(ctx, s, child, want, depth+1)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		return err
	}
	return absent("copy the image again, whole", "index %s names %d images, and none of them is here", d.Digest, len(children))
}

// serves reports whether an image for p is one for want.
func serves(p *oci.Platform, want oci.Platform) bool {
	return p.OS == want.OS && p.Architecture == want.Architecture && (want.Variant == "" || p.Variant == want.Variant)
}

// foreignness orders the images of an index by what most people mean.
func foreignness(d oci.Descriptor) int {
	if d.Platform != nil && d.Platform.OS == "linux" && d.Platform.Architecture == "amd64" {
		return 0
	}
	return 1
}

func platformsOf(children []oci.Descriptor) []string {
	var names []string
	for _, d := range children {
		if d.Platform != nil && !d.Platform.IsUnknown() {
			names = append(names, d.Platform.String())
		}
	}
	return names
}
