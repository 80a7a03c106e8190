package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Limits of what a decision carries of foreign text.
const (
	maxFacts     = 20  // per reason
	maxFactText  = 600 // bytes per field; an advisory's summary fits
	maxBriefText = 200 // bytes per field of a sentence
)

// maliciousText begins the text of a fact about a package that was published to
// do harm.
const maliciousText = "malicious package"

// item is one element of a list that a rule gave.
type item struct {
	fact    api.Fact
	finding *evidence.Finding // nil when it is something else
	purl    string            // of the package that it is about; "" for none, and where finding says it
}

// isFactList reports whether lists of the type can be listed as facts.
func isFactList(t *types.Type) bool {
	if t.Kind() != types.ListKind {
		return false
	}
	of := t.Parameters()[0]
	return of.Kind() == types.StringKind || slices.Contains(factObjects, of)
}

// factObjects are the object types that make a fact each.
var factObjects = []*types.Type{findingType.typ, packageType.typ, uncheckedType.typ, layerType.typ, gapType.typ, secretType.typ, childType.typ, signatureType.typ, statementType.typ}

// factTypes names what may be in a list of facts, for errors.
func factTypes() string {
	var names []string
	for _, t := range factObjects {
		names = append(names, t.TypeName())
	}
	return strings.Join(names, ", ") + " or string"
}

// items reads a list that a rule gave, worst severity first and otherwise in
// its order. Otherwise it says what is wrong with the list, as checked types
// never let happen.
func (v *view) items(list ref.Val) (items []item, wrong string) {
	l, ok := list.(traits.Lister)
	if !ok {
		return nil, "it gives " + list.Type().TypeName() + ", not a list"
	}
	for it := l.Iterator(); it.HasNext() == types.True; {
		e := it.Next()
		i, ok := v.item(e)
		if !ok {
			return nil, "it gives a list of " + e.Type().TypeName()
		}
		i.fact = clipFact(i.fact)
		items = append(items, i)
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Compare(b.rank(), a.rank()) })
	return items, ""
}

func (i *item) rank() int {
	if i.finding == nil {
		return -1
	}
	return i.finding.Severity.Rank()
}

func (v *view) item(e ref.Val) (item, bool) {
	if s, ok := e.(types.String); ok {
		return item{fact: api.Fact{ID: string(s)}}, true
	}
	o, _ := e.(object)
	switch n := o.native.(type) {
	case *evidence.Finding:
		return item{fact: v.findingFact(n), finding: n}, true
	case *inventory.Located:
		return item{fact: api.Fact{ID: n.PURL, Package: n.Name, Version: n.Version, Where: v.where(n.Layer, n.Path)}, purl: n.PURL}, true
	case *Unchecked:
		return item{fact: api.Fact{ID: n.Package.PURL, Package: n.Package.Name, Version: n.Package.Version, Where: v.where(n.Package.Layer, n.Package.Path), Text: n.Reason}, purl: n.Package.PURL}, true
	case *layerView:
		return item{fact: v.layerFact(n)}, true
	case *gapView:
		return item{fact: api.Fact{ID: cmp.Or(n.Path, n.layer.descriptor.Digest.String()), Where: v.where(n.layer.index, ""), Text: n.Reason}}, true
	case *inventory.LocatedSecret:
		return v.secretItem(n), true
	case *evidence.Signature:
		return item{fact: signatureFact(n)}, true
	case *statementView:
		return item{fact: statementFact(n)}, true
	case *Child:
		return item{fact: api.Fact{ID: n.Digest.String(), Where: n.platform(), Text: n.outcome()}}, true
	}
	return item{}, false
}

func (v *view) findingFact(f *evidence.Finding) api.Fact {
	text := f.Summary
	if f.Malicious {
		text = strings.TrimSuffix(maliciousText+": "+text, ": ")
	}
	return api.Fact{
		ID: f.CVE(), Severity: string(cmp.Or(f.Severity, evidence.Unknown)), Package: f.Package, Version: f.Version,
		Fixed: f.Fixed, Where: v.where(f.Layer, f.Path), Text: text, Exploited: f.Exploited, EPSS: f.EPSS,
	}
}

func (v *view) layerFact(l *layerView) api.Fact {
	text := map[inventory.CoverageState]string{
		inventory.CoverageFull: "", inventory.CoveragePartial: "analysed in part",
		inventory.CoverageAmbiguous: "ambiguous", inventory.CoverageNone: "not analysed",
	}[l.Coverage.State]
	if gaps := l.Coverage.Gaps; len(gaps) > 0 {
		text = strings.TrimPrefix(text+": "+gaps[0].Reason, ": ")
		if gaps[0].Path != "" {
			text += " (" + gaps[0].Path + ")"
		}
	}
	return api.Fact{ID: l.descriptor.Digest.String(), Where: v.where(l.index, ""), Text: text}
}

// where says "layer 1 of 7, var/lib/dpkg/status".
func (v *view) where(layer int, path string) string {
	w := fmt.Sprintf("layer %d of %d", layer+1, len(v.layers))
	if path != "" {
		w += ", " + path
	}
	return w
}

// clipFact clips each field.
func clipFact(f api.Fact) api.Fact {
	for _, s := range []*string{&f.ID, &f.Severity, &f.Package, &f.Version, &f.Fixed, &f.Where, &f.Text} {
		*s = clip(*s)
	}
	return f
}

// clip bounds what is stored of a foreign text to maxFactText bytes of valid
// UTF-8, and says how many it leaves out. The whole is where the text is from:
// the inventory, the advisory or the evidence that the decision names.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxFactText {
		return s
	}
	more := func(n int) string { return fmt.Sprintf("… (%d bytes more)", n) }
	kept := before(s, maxFactText-len(more(len(s))))
	return kept + more(len(s)-len(kept))
}

// cut shortens s to at most max bytes of valid UTF-8, for a sentence: what it
// leaves out is in a fact.
func cut(s string, max int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= max {
		return s
	}
	return before(s, max-len("…")) + "…"
}

// before returns the first bytes of s, at most max, that end with a character.
func before(s string, max int) string {
	for !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}

// Printable returns s with control and formatting characters replaced, so that
// foreign text cannot move the cursor, colour a terminal, or read backwards.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.Is(unicode.C, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// Brief says a fact in a few words: "CVE-2026-31337 in openssl 3.0.11 (fixed
// in 3.0.15)".
func Brief(f api.Fact) string {
	subject := f.ID
	if d, err := oci.ParseDigest(f.ID); err == nil {
		subject = cmp.Or(f.Where, d.Short())
	}
	switch {
	case f.Severity != "":
		return Printable(cut(subject, maxBriefText) + " in " + packageAt(f) + fixedIn(f))
	case f.Package != "":
		subject = packageAt(f)
	case f.Where != "" && subject != f.Where:
		subject += " (" + f.Where + ")"
	}
	if f.Text != "" {
		subject += ": " + f.Text
	}
	return Printable(cut(subject, maxBriefText))
}

func packageAt(f api.Fact) string {
	return cut(strings.TrimSuffix(f.Package+" "+f.Version, " "), maxBriefText)
}

func fixedIn(f api.Fact) string {
	switch {
	case strings.HasPrefix(f.Text, maliciousText):
		return " (malicious)"
	case f.Fixed != "":
		return " (fixed in " + cut(f.Fixed, maxBriefText) + ")"
	}
	return " (no fix known)"
}

// summarize says the worst of so many facts, and how many there are beside it.
func summarize(worst api.Fact, total int) string {
	if total < 2 {
		return Brief(worst)
	}
	return fmt.Sprintf("%s, and %d more", Brief(worst), total-1)
}

// placeholders are what a remedy may name of the worst fact.
var placeholders = []string{"id", "severity", "package", "version", "fixed", "where"}

// fill puts the fact into a remedy; "" when what it names is not known.
func fill(remedy string, f api.Fact) string {
	values := map[string]string{
		"id": f.ID, "severity": f.Severity, "package": f.Package, "version": f.Version, "fixed": f.Fixed, "where": f.Where,
	}
	known := true
	s := placeholderForm.ReplaceAllStringFunc(remedy, func(ph string) string {
		v := values[strings.Trim(ph, "{}")]
		known = known && v != ""
		return cut(v, maxBriefText)
	})
	if !known {
		return ""
	}
	return Printable(s)
}
