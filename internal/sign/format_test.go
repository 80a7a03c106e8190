package sign

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the statement into docs/format/batch.md")

// TestFormat holds docs/format/batch.md to the bytes that are signed.
func TestFormat(t *testing.T) {
	const file = "../../docs/format/batch.md"
	f := &Flow{Options: Options{URL: "https://bonded.example", Clock: func() time.Time { return time.Date(2026, 11, 22, 6, 0, 0, 7000, time.UTC) }}}
	b := &Batch{Number: 1}
	for _, payload := range []string{`{"a":1}`, `{"b":2}`, `{"c":3}`} {
		b.Leaves = append(b.Leaves, PayloadHash([]byte(payload)))
	}
	in, err := f.statement(b, Head{Origin: "bonded.example/audit", Root: Root(nil)})
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Check(); err != nil {
		t.Error(err)
	}
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(doc), "```\n")
	if len(parts) != 3 {
		t.Fatalf("%s has %d blocks of text, want one", file, (len(parts)-1)/2)
	}
	if *update {
		parts[1] = string(in.Statement) + "\n"
		if err := os.WriteFile(file, []byte(strings.Join(parts, "```\n")), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := strings.TrimSpace(parts[1]); got != string(in.Statement) {
		t.Errorf("%s has\n%s\nand signed is\n%s", file, got, in.Statement)
	}
}
