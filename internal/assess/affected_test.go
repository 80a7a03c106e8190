package assess

import (
	"slices"
	"testing"
)

// TestTelling: the summary is taken of who tells most about what was asked for.
func TestTelling(t *testing.T) {
	const asked = "GO-2026-1"
	ids := []string{"ALSA-2026:9", "DEBIAN-CVE-2026-1", "GHSA-x", "CVE-2026-1", asked, "GO-2026-2"}
	slices.SortStableFunc(ids, func(a, b string) int { return telling(a, asked) - telling(b, asked) })
	if want := []string{asked, "CVE-2026-1", "GHSA-x", "GO-2026-2", "ALSA-2026:9", "DEBIAN-CVE-2026-1"}; !slices.Equal(ids, want) {
		t.Errorf("%v, want %v", ids, want)
	}
}
