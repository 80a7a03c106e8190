package repo

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
)

var evidenceTag = regexp.MustCompile(`^(sha256|sha512)-([0-9a-f]+)(\.[a-z]+)?$`)

// EvidenceTag reads the digest that evidence under a tag such as
// "sha256-<hex>.sig" (cosign) or "sha256-<hex>" (the OCI referrers tag schema) is
// about.
func EvidenceTag(tag string) (oci.Digest, bool) {
	m := evidenceTag.FindStringSubmatch(tag)
	if m == nil {
		return oci.Digest{}, false
	}
	d, err := oci.ParseDigest(m[1] + ":" + m[2])
	return d, err == nil
}

// Tagging is what CarryTags reads and changes.
type Tagging interface {
	Lookup(ctx context.Context, r oci.Repository, s Selector, v Viewer) (*Placed, error)
	Placements(ctx context.Context, d oci.Digest) ([]Placement, error)
	TagsOf(ctx context.Context, r oci.Repository, d oci.Digest) ([]string, error)
	SetTag(ctx context.Context, r oci.Repository, tag string, d oci.Digest) (oci.Digest, error)
}

// CarryTags has the tags by which evidence d is found in other repositories
// find it in r too, where it stands. A tag that finds other evidence there moves
// only to what holds all of that: cosign adds to what it finds, and who writes
// over a tag in one repository takes nothing away in another.
func CarryTags(ctx context.Context, tx Tagging, r oci.Repository, d oci.Digest) error {
	placements, err := tx.Placements(ctx, d)
	if err != nil {
		return err
	}
	tags := map[string]bool{}
	for _, at := range placements {
		if at.Repository == r {
			continue
		}
		there, err := tx.TagsOf(ctx, at.Repository, d)
		if err != nil {
			return err
		}
		for _, tag := range there {
			if _, ok := EvidenceTag(tag); ok {
				tags[tag] = true
			}
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		ok, err := holdsMore(ctx, tx, r, tag, d)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if _, err := tx.SetTag(ctx, r, tag, d); err != nil {
			return err
		}
	}
	return nil
}

// holdsMore reports whether d may take the tag in r from what has it.
func holdsMore(ctx context.Context, tx Tagging, r oci.Repository, tag string, d oci.Digest) (bool, error) {
	all := Viewer{Quarantine: true}
	has, err := tx.Lookup(ctx, r, Selector{Tag: tag}, all)
	if errors.Is(err, ErrNotFound) {
		return true, nil
	}
	if err != nil || has.Manifest.Digest == d || has.Manifest.Kind != oci.KindEvidence {
		return false, err
	}
	takes, err := tx.Lookup(ctx, r, Selector{Digest: d}, all)
	if err != nil {
		return false, err
	}
	for _, ref := range has.References {
		if ref.Role == RoleLayer && !slices.ContainsFunc(takes.References, func(o Reference) bool { return o.Digest == ref.Digest }) {
			return false, nil
		}
	}
	return true, nil
}
