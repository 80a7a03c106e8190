package house

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const eventsFile = "../../docs/format/events.md"

// TestEventsAreDocumented: what the program writes into the audit log is in the
// table of docs/format/events.md, kinds and the keys of their details, and
// nothing else is.
func TestEventsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(eventsFile)
	if err != nil {
		t.Fatal(err)
	}
	documented, described := kindsOf(t, string(text))
	kinds, keys := written(t)
	for _, kind := range kinds {
		if !slices.Contains(documented, kind) {
			t.Errorf("events of the kind %s are written and not documented in docs/format/events.md", kind)
		}
	}
	for _, kind := range documented {
		if !slices.Contains(kinds, kind) {
			t.Errorf("docs/format/events.md has the kind %s, which nothing writes", kind)
		}
	}
	for _, key := range keys {
		if !slices.Contains(described, key) {
			t.Errorf("events have the detail %s, which docs/format/events.md does not name", key)
		}
	}
}

var codeSpan = regexp.MustCompile("`([^`]+)`")

// kindsOf reads the kinds and the details of the table below "## Kinds". A kind
// that begins with a dot shares its noun with the kind before.
func kindsOf(t *testing.T, text string) (kinds, details []string) {
	t.Helper()
	_, table, ok := strings.Cut(text, "## Kinds\n")
	if !ok {
		t.Fatal("docs/format/events.md has no kinds")
	}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.Contains(cells[1], "`") {
			continue
		}
		noun := ""
		for _, m := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
			if !strings.HasPrefix(m[1], ".") {
				noun, _, _ = strings.Cut(m[1], ".")
				kinds = append(kinds, m[1])
				continue
			}
			kinds = append(kinds, noun+m[1])
		}
		for _, m := range codeSpan.FindAllStringSubmatch(cells[3], -1) {
			details = append(details, m[1])
		}
	}
	return kinds, details
}

var kindWord = regexp.MustCompile(`^[a-z]+\.[a-z]+$`)

// judged are the states that a decision can give a placement; they end the
// kinds that begin with placement.
var judged = []string{"admitted", "held", "denied", "withdrawn"}

// written finds the kinds of the events that the program makes, in calls of
// event, newEvent, edit and audit.New and in what is assigned to kind, and the
// keys that With gives them where audit is at hand.
func written(t *testing.T) (kinds, keys []string) {
	t.Helper()
	tr := load(t)
	tr.inspect(func(f file, n ast.Node) {
		if f.test || !strings.HasPrefix(f.path, "internal/") {
			return
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			switch name := called(n.Fun); name {
			case "event", "newEvent", "edit", "New":
				for _, arg := range n.Args {
					kinds = append(kinds, kindsIn(arg)...)
				}
			case "With":
				if len(n.Args) == 2 { // slog's has more, or pairs of them
					keys = append(keys, stringsIn(n.Args[0])...)
				}
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if id, ok := left.(*ast.Ident); ok && id.Name == "kind" && i < len(n.Rhs) {
					kinds = append(kinds, kindsIn(n.Rhs[i])...)
				}
			}
		}
	})
	slices.Sort(kinds)
	slices.Sort(keys)
	return slices.Compact(kinds), slices.Compact(keys)
}

// called returns the last name of a function that is called.
func called(fun ast.Expr) string {
	switch fun := fun.(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		return fun.Sel.Name
	}
	return ""
}

func kindsIn(e ast.Expr) []string {
	if sum, ok := e.(*ast.BinaryExpr); ok && sum.Op == token.ADD {
		var out []string
		for _, begin := range stringsIn(sum.X) {
			for _, state := range judged {
				if kind := begin + state; kindWord.MatchString(kind) {
					out = append(out, kind)
				}
			}
		}
		return out
	}
	return slices.DeleteFunc(stringsIn(e), func(s string) bool { return !kindWord.MatchString(s) })
}

// stringsIn returns the value of e where it is the text of a string.
func stringsIn(e ast.Expr) []string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return nil
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return nil // the parser has checked it
	}
	return []string{s}
}
