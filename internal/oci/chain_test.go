package oci

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
)

func TestChainIDs(t *testing.T) {
	a, b, c := FromBytes([]byte("a")), FromBytes([]byte("b")), FromBytes([]byte("c"))
	ab := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(a.String()+" "+b.String())))
	abc := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ab+" "+c.String())))
	got := ChainIDs([]Digest{a, b, c})
	if len(got) != 3 || got[0] != a || got[1].String() != ab || got[2].String() != abc {
		t.Errorf("got %v", got)
	}
	if other := ChainIDs([]Digest{a, c, b}); other[0] != a || slices.Contains(got, other[1]) || slices.Contains(got, other[2]) {
		t.Errorf("in another order: %v", other)
	}
	if got := ChainIDs(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}
