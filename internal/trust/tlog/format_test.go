package tlog_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// TestFormat holds the code to docs/format/log.md: the log there is one, byte for
// byte.
func TestFormat(t *testing.T) {
	o := tlogtest.Options(t, &tlogtest.Memory{}, blobs())
	l := tlogtest.Begin(t, o)
	entries := []tlog.Entry{tlogtest.Entry("one"), tlogtest.Entry("two"), tlogtest.Entry("")}
	signed := must[[]byte](t)(l.Append(t.Context(), entries, o.Store.Append))
	want := fmt.Sprintf("```\n%v\n\n%s\n%x\n\n", o.Verifier, signed, must[[]byte](t)(l.Tile(t.Context(), tlog.Tile{Level: tlog.Entries, Width: 3})))
	for _, e := range entries {
		want += fmt.Sprintf("%x\n", e.Leaf[:])
	}
	want += "```\n"
	doc, err := os.ReadFile("../../../docs/format/log.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(doc), "\n\n"+want) {
		t.Errorf("docs/format/log.md does not end with\n%s", want)
	}
}
