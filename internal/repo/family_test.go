package repo_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// family is a repo.Family and the part of a repo.Graph that stores: by index, what
// it names.
type family struct {
	repo.Graph
	names map[string][]string
	order []string
}

func named(s string) oci.Digest { return oci.FromBytes([]byte(s)) }

func (f *family) IndexesOf(_ context.Context, d oci.Digest, limit int) (found []oci.Digest, _ error) {
	for _, index := range f.order {
		if slices.ContainsFunc(f.names[index], func(s string) bool { return named(s) == d }) && len(found) < limit {
			found = append(found, named(index))
		}
	}
	return found, nil
}

func (f *family) Stored(_ context.Context, d oci.Digest) (*repo.Manifest, error) {
	for index, children := range f.names {
		if named(index) == d {
			m := &repo.Manifest{Digest: d, References: []repo.Reference{{Digest: named("config"), Role: repo.RoleConfig}}}
			for _, c := range children {
				m.References = append(m.References, repo.Reference{Digest: named(c), Role: repo.RoleChild})
			}
			return m, nil
		}
	}
	return nil, fmt.Errorf("%s: %w", d, repo.ErrNotFound)
}

// TestFamily: up and down, each once, as deep as indexes may be, and no further
// than was asked for.
func TestFamily(t *testing.T) {
	f := &family{
		names: map[string][]string{"inner": {"a", "b"}, "outer": {"inner", "a"}, "other": {"b"}, "1": {"outer"}, "2": {"1"}, "3": {"2"}, "4": {"3"}},
		order: []string{"4", "3", "2", "1", "inner", "outer", "other"},
	}
	for _, tt := range []struct {
		of    string
		limit int
		want  []string
		more  bool
	}{
		{"a", 9, []string{"inner", "outer", "1", "2", "3"}, false}, // 4 is too far
		{"b", 9, []string{"inner", "other", "outer", "1", "2"}, false},
		{"a", 2, []string{"inner", "outer"}, true},
		{"a", 1, []string{"inner"}, true},
		{"4", 9, nil, false},
	} {
		got, more, err := repo.Ancestors(t.Context(), f, named(tt.of), tt.limit)
		if err != nil || more != tt.more || !slices.Equal(got, digests(tt.want)) {
			t.Errorf("the indexes of %s, %d at most: %v, %t, %v; want %v, %t", tt.of, tt.limit, got, more, err, digests(tt.want), tt.more)
		}
	}
	for of, want := range map[string][]string{"outer": {"outer", "inner", "a", "b"}, "a": {"a"}, "nowhere": {"nowhere"}} {
		got, err := repo.WithChildren(t.Context(), f, named(of))
		if err != nil || !slices.Equal(got, digests(want)) {
			t.Errorf("what is in %s: %v, %v; want %v", of, got, err, digests(want))
		}
	}
}

func digests(names []string) (ds []oci.Digest) {
	for _, n := range names {
		ds = append(ds, named(n))
	}
	return ds
}
