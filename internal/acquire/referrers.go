package acquire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/regclient/regclient/types/errs"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// maxReferrers bounds how many manifests are looked at for what refers to one.
const maxReferrers = 1000

// evidenceTags are the ends of cosign's older tags for what is signed.
var evidenceTags = []string{".sig", ".att"}

// referring is a Source that knows what refers to a manifest.
type referring interface {
	referrers(ctx context.Context, d oci.Digest) ([]*oci.Manifest, error)
}

// Referrers returns the manifests that refer to d where s lies: by their subject,
// and by the tags of cosign's older form, at most 1000 and each once. A source
// that cannot hold any, such as what docker saves, has none.
func Referrers(ctx context.Context, s Source, d oci.Digest) ([]*oci.Manifest, error) {
	r, ok := s.(referring)
	if !ok {
		return nil, nil
	}
	found, err := r.referrers(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("looking for what refers to %s: %w", d, err)
	}
	return found, nil
}

func (s *registry) referrers(ctx context.Context, d oci.Digest) ([]*oci.Manifest, error) {
	list, err := s.client.ReferrerList(ctx, s.at.SetDigest(d.String()))
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	var found []*oci.Manifest
	for _, desc := range list.Descriptors {
		if len(found) == maxReferrers {
			break
		}
		digest, err := oci.ParseDigest(desc.Digest.String())
		if err != nil {
			return nil, err
		}
		m, err := s.Manifest(ctx, oci.Descriptor{MediaType: desc.MediaType, Digest: digest, Size: desc.Size})
		if err != nil {
			return nil, err
		}
		found = append(found, m)
	}
	for _, end := range evidenceTags {
		m, err := s.tagged(ctx, strings.Replace(d.String(), ":", "-", 1)+end, d.Algorithm())
		if err != nil {
			return nil, err
		}
		if m != nil && !holds(found, m.Digest) {
			found = append(found, m)
		}
	}
	return found, nil
}

// tagged returns what a tag names, nil where there is no such tag.
func (s *registry) tagged(ctx context.Context, tag string, alg oci.Algorithm) (*oci.Manifest, error) {
	got, err := s.client.ManifestGet(ctx, s.at.SetTag(tag))
	if errors.Is(err, errs.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	raw, err := got.RawBody()
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	return oci.ParseManifest(raw, got.GetDescriptor().MediaType, alg)
}

func (l *layout) referrers(ctx context.Context, d oci.Digest) ([]*oci.Manifest, error) {
	var found []*oci.Manifest
	for i, desc := range l.entries {
		if i == maxReferrers {
			break
		}
		if desc.Digest == d || desc.Size > oci.MaxManifest || holds(found, desc.Digest) {
			continue
		}
		m, err := l.Manifest(ctx, desc)
		if errors.Is(err, ErrNotFound) {
			continue // a layout may leave out what it names
		}
		if err != nil {
			return nil, err
		}
		about, tagged := repo.EvidenceTag(desc.Annotations[refAnnotation])
		if tagged && about == d || m.Subject != nil && m.Subject.Digest == d {
			found = append(found, m)
		}
	}
	return found, nil
}

func holds(list []*oci.Manifest, d oci.Digest) bool {
	return slices.ContainsFunc(list, func(m *oci.Manifest) bool { return m.Digest == d })
}
