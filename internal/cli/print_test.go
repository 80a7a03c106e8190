package cli_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/cli"
)

// TestTable: in a narrow terminal versions give way first and in their middle,
// then whole columns; what a row is about stays, even beyond the edge.
func TestTable(t *testing.T) {
	rows := func() [][]string {
		return [][]string{
			{"critical", "CVE-2026-34182", "libssl-dev", "3.0.19-1~deb12u2", "3.0.20-1~deb12u2", "1"},
			{"high", "CVE-2023-39325", "golang.org/x/net", "0.0.0-20220906165146-f3363e06e74c", "0.17.0", "12"},
		}
	}
	for width, want := range map[int]string{
		0: `
SEVERITY  ADVISORY        PACKAGE           VERSION                            FIXED IN          LAYER
critical  CVE-2026-34182  libssl-dev        3.0.19-1~deb12u2                   3.0.20-1~deb12u2      1
high      CVE-2023-39325  golang.org/x/net  0.0.0-20220906165146-f3363e06e74c  0.17.0               12
`,
		80: `
SEVERITY  ADVISORY        PACKAGE           VERSION        FIXED IN        LAYER
critical  CVE-2026-34182  libssl-dev        3.0.19…eb12u2  3.0.20-…eb12u2      1
high      CVE-2023-39325  golang.org/x/net  0.0.0-…06e74c  0.17.0             12
`,
		74: `
SEVERITY  ADVISORY        PACKAGE           VERSION         FIXED IN
critical  CVE-2026-34182  libssl-dev        3.0.19-…eb12u2  3.0.20-…eb12u2
high      CVE-2023-39325  golang.org/x/net  0.0.0-2…06e74c  0.17.0
`,
		40: `
SEVERITY  ADVISORY        PACKAGE           VERSION       FIXED IN
critical  CVE-2026-34182  libssl-dev        3.0.19…b12u2  3.0.20…b12u2
high      CVE-2023-39325  golang.org/x/net  0.0.0-…6e74c  0.17.0
`,
	} {
		got := cli.FindingTable(width, rows())
		if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), got); diff != "" {
			t.Errorf("in %d columns (-want +got):\n%s", width, diff)
		}
	}
}
