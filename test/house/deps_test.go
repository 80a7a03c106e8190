package house

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what is derived from the code")

const dependenciesFile = "../../docs/dependencies.txt"

const dependenciesHead = `# The modules that bonded is linked from (linux/amd64, without cgo), and how many packages of each.
# Rewritten by: make generate. A new line needs its reason in the change that brings it.
`

func TestDependenciesAreReviewed(t *testing.T) {
	got := dependencies(t)
	if *update {
		if err := os.WriteFile(dependenciesFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(dependenciesFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("what the program is linked from has changed; review it, then run: make generate\n(-reviewed +linked)\n%s", diff)
	}
}

// dependencies lists modules with version and number of linked packages.
func dependencies(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{with .Replace}} => {{.Path}} {{.Version}}{{end}}{{end}}{{end}}`, "./cmd/bonded")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing what the program is linked from: %v\n%s", err, &stderr)
	}
	count := map[string]int{}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			count[line]++
		}
	}
	lines := make([]string, 0, len(count))
	for line, n := range count {
		lines = append(lines, fmt.Sprintf("%s %d\n", line, n))
	}
	slices.Sort(lines)
	return dependenciesHead + strings.Join(lines, "")
}
