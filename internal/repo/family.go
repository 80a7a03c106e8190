package repo

import (
	"context"
	"errors"
	"slices"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Family answers which indexes are made of what, in all repositories.
type Family interface {
	// IndexesOf returns the indexes that name d themselves and stand in some
	// repository, in the order in which they first came; at most limit.
	IndexesOf(ctx context.Context, d oci.Digest, limit int) ([]oci.Digest, error)
}

// Ancestors returns the indexes that name d, themselves or through indexes that
// they name, the nearest first; at most limit. more: there are others.
func Ancestors(ctx context.Context, f Family, d oci.Digest, limit int) (found []oci.Digest, more bool, err error) {
	level := []oci.Digest{d}
	for range oci.MaxIndexDepth {
		var next []oci.Digest
		for _, child := range level {
			parents, err := f.IndexesOf(ctx, child, limit+1)
			if err != nil {
				return nil, false, err
			}
			for _, p := range parents {
				if slices.Contains(found, p) {
					continue
				}
				if len(found) == limit {
					return found, true, nil
				}
				found, next = append(found, p), append(next, p)
			}
		}
		if level = next; len(level) == 0 {
			break
		}
	}
	return found, false, nil
}

// WithChildren returns d and, where it is an index that is stored, all that it
// names, at any depth. What is not stored is among it, and names nothing.
func WithChildren(ctx context.Context, g Graph, d oci.Digest) ([]oci.Digest, error) {
	all, seen := []oci.Digest{d}, map[oci.Digest]bool{d: true}
	for i := 0; i < len(all); i++ {
		m, err := g.Stored(ctx, all[i])
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, ref := range m.References {
			if ref.Role == RoleChild && !seen[ref.Digest] {
				seen[ref.Digest] = true
				all = append(all, ref.Digest)
			}
		}
	}
	return all, nil
}
