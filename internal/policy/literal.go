package policy

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// enumerated are the members that have one of a few values, with all of them.
var enumerated = map[string][]string{
	"Finding.severity": wordsOf(evidence.Critical, evidence.High, evidence.Medium, evidence.Low, evidence.Negligible, evidence.Unknown),
	"Layer.coverage":   wordsOf(inventory.CoverageFull, inventory.CoveragePartial, inventory.CoverageAmbiguous, inventory.CoverageNone),
	"Coverage.state":   wordsOf(inventory.CoverageFull, inventory.CoveragePartial, inventory.CoverageAmbiguous, inventory.CoverageNone),
	"Artifact.kind":    wordsOf(allKinds...),
	"Child.outcome":    append(wordsOf(api.Allow, api.Deny, api.CannotTell), ""),
	"Signature.form":   wordsOf(evidence.FormBundle, evidence.FormLegacy, evidence.FormNotation),
	"Statement.kind":   append(wordsOf(statementKinds...), string(evidence.KindUnknown)),
	"Arrival.kind":     append(wordsOf(evidence.Bringers()...), ""),
	"Test.result":      {"passed", "warned", "failed", ""},
}

func wordsOf[T ~string](values ...T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

// literalIssues finds comparisons of such a member with a text that it never
// is: f.severity == "critcal" holds for nothing, and a rule that forbids what
// it holds for lets everything in.
func literalIssues(a *ast.AST) []issue {
	var all []issue
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || !isComparison(e.AsCall().FunctionName()) || len(e.AsCall().Args()) != 2 {
			return
		}
		args := e.AsCall().Args()
		for i, arg := range args {
			if member, known := enumeratedMember(a, arg); known != nil {
				for _, text := range textsIn(args[1-i]) {
					value, _ := text.AsLiteral().Value().(string)
					if slices.Contains(known, value) {
						continue
					}
					at := a.SourceInfo().GetStartLocation(text.ID())
					all = append(all, issue{at.Line(), at.Column() + 1, member + " is never " + quoted(value) + ", only one of " + quoted(known...)})
				}
			}
		}
	}))
	return all
}

func isComparison(function string) bool {
	return function == operators.Equals || function == operators.NotEquals || function == operators.In
}

// enumeratedMember is the member that e reads, with its values; nil for all
// else, such as a label of the same name.
func enumeratedMember(a *ast.AST, e ast.Expr) (string, []string) {
	if e.Kind() != ast.SelectKind || a.GetType(e.AsSelect().Operand().ID()).Kind() != types.StructKind || a.GetType(e.ID()).Kind() != types.StringKind {
		return "", nil
	}
	name := e.AsSelect().FieldName()
	return name, enumerated[a.GetType(e.AsSelect().Operand().ID()).TypeName()+"."+name]
}

// textsIn returns the literal texts of an expression that is one, or a list of
// them.
func textsIn(e ast.Expr) []ast.Expr {
	switch e.Kind() {
	case ast.LiteralKind:
		if e.AsLiteral().Type() == types.StringType {
			return []ast.Expr{e}
		}
	case ast.ListKind:
		var all []ast.Expr
		for _, x := range e.AsList().Elements() {
			all = append(all, textsIn(x)...)
		}
		return all
	}
	return nil
}

func quoted(values ...string) string { return `"` + strings.Join(values, `", "`) + `"` }
