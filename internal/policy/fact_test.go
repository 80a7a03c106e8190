package policy

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/api"
)

// TestClipSaysWhatIsLeftOut: what is kept and the number of what is not add up
// to the text, and no character is broken.
func TestClipSaysWhatIsLeftOut(t *testing.T) {
	for _, text := range []string{
		"", "short", strings.Repeat("x", maxFactText), strings.Repeat("x", maxFactText+1), strings.Repeat("ä", maxFactText),
		"x" + strings.Repeat("ä", 5000), strings.Repeat("\U0001F512", 250_000), strings.Repeat("… (9 bytes more)", 1000),
	} {
		got := clip(text)
		if len(text) <= maxFactText {
			if got != text {
				t.Errorf("%d bytes became %q", len(text), got)
			}
			continue
		}
		end := strings.LastIndex(got, "… (")
		kept, mark := got[:end], got[end:]
		var more int
		if _, err := fmt.Sscanf(mark, "… (%d bytes more)", &more); err != nil {
			t.Errorf("%d bytes end with %q", len(text), mark)
		}
		if !strings.HasPrefix(text, kept) || len(kept)+more != len(text) || len(got) > maxFactText || len(got) < maxFactText-utf8.UTFMax || !utf8.ValidString(got) {
			t.Errorf("%d bytes became %d and %q", len(text), len(kept), mark)
		}
	}
	if got := clip("a\xff"); got != "a\uFFFD" {
		t.Errorf("a broken text became %q", got)
	}
}

// TestClipFact: no text of a fact is stored beyond its limit, nor told in a
// sentence beyond that of sentences.
func TestClipFact(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	f := clipFact(api.Fact{ID: long, Severity: long, Package: long, Version: long, Fixed: long, Where: long, Text: long})
	for _, s := range []string{f.ID, f.Severity, f.Package, f.Version, f.Fixed, f.Where, f.Text} {
		if len(s) > maxFactText || !strings.HasSuffix(s, " bytes more)") {
			t.Errorf("%d bytes: %q", len(s), s)
		}
	}
	if s := Brief(api.Fact{ID: long, Text: long}); len(s) > maxBriefText || !strings.HasSuffix(s, "…") {
		t.Errorf("a sentence of %d bytes", len(s))
	}
}
