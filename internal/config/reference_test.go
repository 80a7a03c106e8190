package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
)

const referenceHead = `# Configuration

Every field of the configuration file, from the code's own comments (go test ./internal/config -update rewrites this page). All of it is optional.
Sizes are written as 512MiB or 64GiB, lengths of time as 90s, 15m, 24h or 7d. Relative paths are relative to the file's folder.
[How it is read](README.md#configure) · [JSON schema](../schema/config.json)

`

// TestReference holds the page for people against the schema.
func TestReference(t *testing.T) {
	s := new(jsonschema.Schema)
	if err := json.Unmarshal(generate(t), s); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(referenceHead)
	section(&b, s, "")
	name := filepath.Join("..", "..", "docs", "operate", "configuration.md")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.String(), string(got)); diff != "" {
		t.Errorf("%s is stale, run go test ./internal/config -update: %s", name, diff)
	}
}

// section writes a table of the plain fields, then one section for each field
// that has fields of its own.
func section(b *strings.Builder, s *jsonschema.Schema, path string) {
	title := "Top of the file"
	if path != "" {
		title = "`" + path + "`"
	}
	fmt.Fprintf(b, "## %s\n\n", title)
	if path != "" && s.Description != "" {
		fmt.Fprintf(b, "%s\n\n", prose(s.Description))
	}
	b.WriteString("| field | is |\n|---|---|\n")
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		about := prose(p.Value.Description)
		if sub := below(p.Value); sub != nil {
			about += " See [below](#" + anchor(join(path, p.Key)) + ")."
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", p.Key, strings.ReplaceAll(about, "|", "\\|"))
	}
	b.WriteString("\n")
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		if sub := below(p.Value); sub != nil {
			section(b, sub, join(path, p.Key))
		}
	}
}

// below is the schema of a field's own fields, nil when it has none.
func below(s *jsonschema.Schema) *jsonschema.Schema {
	switch {
	case s.Properties != nil && s.Properties.Len() > 0:
		return s
	case s.Items != nil && s.Items.Properties != nil && s.Items.Properties.Len() > 0:
		return s.Items
	}
	return nil
}

func join(path, key string) string { return strings.TrimPrefix(path+"."+key, ".") }

// anchor is the link that GitHub makes for a heading.
func anchor(path string) string {
	return strings.NewReplacer(".", "", "`", "").Replace(path)
}

// prose takes the Go name off the beginning of a comment.
func prose(text string) string {
	first, rest, ok := strings.Cut(text, " ")
	if !ok || strings.ToLower(first[:1]) == first[:1] {
		return text
	}
	for _, verb := range []string{"is ", "are ", "says ", "holds ", "bound ", "bounds ", "names ", "lists ", "tells ", "keeps ", "sends ", "answers ", "exists "} {
		if strings.HasPrefix(rest, verb) {
			rest = strings.TrimPrefix(strings.TrimPrefix(rest, "is "), "are ")
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return text
}
