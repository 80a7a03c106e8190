package inventory

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPathSet(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 1000, 20_000} {
		marks := map[PathKey]PathMark{}
		for i := range n {
			marks[KeyOf(fmt.Sprint("a/", i))] = PathMark(1 + i%63)
		}
		set := NewPathSet(marks)
		if !set.Valid() || set.Len() != n {
			t.Fatalf("%d paths: valid %v, %d", n, set.Valid(), set.Len())
		}
		for i := range n {
			if got := set.Marks(KeyOf(fmt.Sprint("a/", i))); got != PathMark(1+i%63) {
				t.Fatalf("path %d of %d: got %b", i, n, got)
			}
			if got := set.Marks(KeyOf(fmt.Sprint("b/", i))); got != 0 {
				t.Fatalf("absent path %d of %d: got %b", i, n, got)
			}
		}
	}
}

// TestPathSetOfNeighbours: keys that are not spread evenly are found, too.
func TestPathSetOfNeighbours(t *testing.T) {
	marks := map[PathKey]PathMark{{}: 1}
	for i := range 1000 {
		marks[PathKey{0, 0, 0, 0, 0, 0, 0, 0, byte(i >> 8), byte(i)}] = 2
	}
	last := PathKey{}
	for i := range last {
		last[i] = 0xff
	}
	marks[last] = 3
	set := NewPathSet(marks)
	for k, want := range marks {
		if got := set.Marks(k); got != want {
			t.Fatalf("%x: got %d, want %d", k, got, want)
		}
	}
}

func TestPathSetValid(t *testing.T) {
	set := NewPathSet(map[PathKey]PathMark{{1}: 1, {2}: 2})
	swapped := append(append(PathSet{}, set[16:]...), set[:16]...)
	twice := append(append(PathSet{}, set[:16]...), set[:16]...)
	for name, bad := range map[string]PathSet{"cut": set[:20], "unsorted": swapped, "twice": twice} {
		if bad.Valid() {
			t.Errorf("%s is valid", name)
		}
	}
}

func TestWorse(t *testing.T) {
	order := []CoverageState{CoverageFull, CoveragePartial, CoverageAmbiguous, CoverageNone}
	for i, a := range order {
		for j, b := range order {
			if got := a.Worse(b); got != order[max(i, j)] {
				t.Errorf("%s or %s: got %s", a, b, got)
			}
		}
		if a.Worse("") != CoverageNone || CoverageState("x").Worse(a) != CoverageNone {
			t.Errorf("an unknown state is better than none")
		}
	}
}

func TestGaps(t *testing.T) {
	var g Gaps
	if diff := cmp.Diff(Coverage{State: CoverageFull}, g.Coverage()); diff != "" {
		t.Error(diff)
	}
	g.Add(CoverageAmbiguous, Gap{Reason: "a"})
	g.Add(CoveragePartial, Gap{Reason: "b"})
	if diff := cmp.Diff(Coverage{State: CoverageAmbiguous, Gaps: []Gap{{Reason: "a"}, {Reason: "b"}}}, g.Coverage()); diff != "" {
		t.Error(diff)
	}
	var many Gaps
	for range 150 {
		many.Add(CoveragePartial, Gap{Reason: "c"})
	}
	g.Merge(&many)
	c := g.Coverage()
	if len(c.Gaps) != MaxGaps || c.Gaps[MaxGaps-1].Reason != "and 53 more" || c.State != CoverageAmbiguous {
		t.Errorf("got %s, %d gaps, the last %+v", c.State, len(c.Gaps), c.Gaps[len(c.Gaps)-1])
	}
	many.AddFirst(CoverageAmbiguous, Gap{Reason: "front"})
	g = Gaps{}
	g.Merge(&many)
	c = g.Coverage()
	if len(c.Gaps) != MaxGaps || c.Gaps[0].Reason != "front" || c.Gaps[MaxGaps-1].Reason != "and 52 more" || c.State != CoverageAmbiguous {
		t.Errorf("got %s, %+v … %+v", c.State, c.Gaps[0], c.Gaps[MaxGaps-1])
	}
	var none Gaps
	none.Merge(&Gaps{})
	if none.Coverage().State != CoverageFull {
		t.Error("nothing merged with nothing is not full")
	}
}

func TestCoverageAdd(t *testing.T) {
	var many Gaps
	for range 150 {
		many.Add(CoveragePartial, Gap{Reason: "c"})
	}
	c := many.Coverage()
	d := c.Add(CoverageNone, Gap{Reason: "first"})
	if d.State != CoverageNone || len(d.Gaps) != MaxGaps || d.Gaps[0].Reason != "first" || d.Gaps[MaxGaps-1].Reason != "and 52 more" {
		t.Errorf("got %s, %+v … %+v", d.State, d.Gaps[0], d.Gaps[len(d.Gaps)-1])
	}
	if c.State != CoveragePartial || c.Gaps[0].Reason != "c" {
		t.Error("Add changed what it was called on")
	}
	one := Coverage{State: CoverageFull}.Add(CoveragePartial, Gap{Reason: "x"})
	if diff := cmp.Diff(Coverage{State: CoveragePartial, Gaps: []Gap{{Reason: "x"}}}, one); diff != "" {
		t.Error(diff)
	}
}

func TestImageCoverage(t *testing.T) {
	im := Image{}
	if im.Coverage() != CoverageFull {
		t.Error("an image without layers is not covered fully")
	}
	im.Packages = []Located{{Package: Package{Type: "deb"}}}
	if im.Coverage() != CoveragePartial || !im.UnknownDistro() {
		t.Error("packages of an unknown distribution are covered")
	}
	im.Layers = []LayerCoverage{{Coverage: Coverage{State: CoverageFull}}, {Coverage: Coverage{State: CoverageAmbiguous}}}
	if im.Coverage() != CoverageAmbiguous {
		t.Error("the worst layer does not count")
	}
}
