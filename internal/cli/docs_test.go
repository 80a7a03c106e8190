package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/bonded-dev/bonded/internal/cli"
)

// each calls fn for every command of ours.
func each(cmd *cobra.Command, fn func(*cobra.Command)) {
	fn(cmd)
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			each(sub, fn)
		}
	}
}

// TestHelp: every command says what it does, in lines that fit, with examples
// that its own parser takes.
func TestHelp(t *testing.T) {
	each(cli.Root(), func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		if cmd.Short == "" || len(cmd.Short) > 66 || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its line in the overview is %q, want up to 66 characters without a full stop", name, cmd.Short)
		}
		if cmd.Example == "" && cmd.HasParent() {
			t.Errorf("%s has no example", name)
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example + "\n" + cmd.UsageString()) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 && !strings.Contains(line, "sha256:") {
				t.Errorf("%s: a line of its help has %d columns: %s", name, n, line)
			}
		}
		for line := range strings.Lines(cmd.Example) {
			checkExample(t, name, strings.TrimSpace(line))
		}
	})
}

// checkExample parses an example as the program would.
func checkExample(t *testing.T, name, line string) {
	t.Helper()
	words := strings.Fields(line)
	if i := slices.IndexFunc(words, func(w string) bool { return w == ">" || w == "<" || w == "|" }); i >= 0 {
		words = words[:i]
	}
	if len(words) < 2 || words[0] != "bonded" {
		t.Errorf("%s: an example is not a command line: %s", name, line)
		return
	}
	cmd, rest, err := cli.Root().Find(words[1:])
	if err != nil {
		t.Errorf("%s: example %q: %v", name, line, err)
		return
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Errorf("%s: example %q: %v", name, line, err)
		return
	}
	for _, err := range []error{cmd.ValidateArgs(cmd.Flags().Args()), cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()} {
		if err != nil {
			t.Errorf("%s: example %q: %v", name, line, err)
		}
	}
}

// TestDocumentedCommands: what the pages tell people to type is understood.
func TestDocumentedCommands(t *testing.T) {
	root := filepath.Join("..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "operate", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		inside := false
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "```") {
				inside = !inside
			}
			line, _, _ = strings.Cut(strings.TrimPrefix(line, "bin/"), " #")
			if inside && strings.HasPrefix(line, "bonded ") {
				checkExample(t, filepath.Base(page), strings.TrimSpace(line))
				found++
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands were found", found)
	}
}

// TestDocs holds docs/cli against the commands: a page of Markdown for each,
// and the pages for man.
func TestDocs(t *testing.T) {
	root := cli.Root()
	want := t.TempDir()
	if err := os.Mkdir(filepath.Join(want, "man"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := doc.GenMarkdownTree(root, want); err != nil {
		t.Fatal(err)
	}
	date := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Bonded", Manual: "Bonded", Date: &date}, filepath.Join(want, "man")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join("..", "..", "docs", "cli")
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(want)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(tree(t, want), tree(t, dir)); diff != "" {
		t.Errorf("docs/cli is stale, run go test ./internal/cli -update:\n%s", diff)
	}
}

// tree reads all files below dir.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		files[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestEveryVerb: each command that can be run is run by a script, and those
// that answer are asked for JSON too.
func TestEveryVerb(t *testing.T) {
	var said bytes.Buffer
	files, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		a, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		said.Write(a.Comment)
	}
	var asked, inJSON []string
	for line := range strings.Lines(said.String()) {
		_, rest, ok := strings.Cut(line, "bonded ")
		if !ok {
			continue
		}
		cmd, _, err := cli.Root().Find(strings.Fields(rest))
		if err != nil {
			continue
		}
		asked = append(asked, cmd.CommandPath())
		if strings.Contains(rest, "-o json") || strings.Contains(rest, "-o yaml") {
			inJSON = append(inJSON, cmd.CommandPath())
		}
	}
	// TestTail, TestWitness, TestTrustNotation, TestTrustRefresh
	elsewhere := []string{"bonded audit tail", "bonded witness serve", "bonded trust notation", "bonded trust refresh"}
	always := []string{"bonded sbom", "bonded config schema"} // are JSON whatever is asked for
	each(cli.Root(), func(cmd *cobra.Command) {
		name := cmd.CommandPath()
		switch {
		case cmd.HasSubCommands() || slices.Contains(elsewhere, name):
		case !slices.Contains(asked, name):
			t.Errorf("no script runs %s", name)
		case !slices.Contains(inJSON, name) && !slices.Contains(always, name):
			t.Errorf("no script asks %s for JSON or YAML", name)
		}
	})
}
