package policy

import (
	"math"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// Scores says what of the scores of findings somebody looks at: which changes of
// them can change what he says.
type Scores struct {
	// All: every change can.
	All bool
	// Thresholds are what they are compared with, sorted, each once. A score that is
	// on the same side of all of them as before changes nothing.
	Thresholds []float64
}

func (s *Scores) add(o Scores) {
	s.All = s.All || o.All
	s.Thresholds = append(s.Thresholds, o.Thresholds...)
	slices.Sort(s.Thresholds)
	s.Thresholds = slices.Compact(s.Thresholds)
}

// Scores returns what of the scores the gate's rules look at.
func (g *Gate) Scores() Scores {
	var s Scores
	for _, rules := range [][]rule{g.enter, g.stay} {
		for i := range rules {
			s.add(rules[i].scores())
		}
	}
	return s
}

func (r *rule) scores() (s Scores) {
	for _, e := range []*expression{r.require, r.forbid, r.unknown} {
		if e != nil {
			s.add(e.scores)
		}
	}
	if r.demand != nil && r.demand.where != nil {
		s.add(r.demand.where.scores)
	}
	if c, ok := r.check.(maxSeverity); ok && c.epss > 0 {
		s.add(Scores{Thresholds: []float64{c.epss}})
	}
	return s
}

// scoresIn reads what of the scores an expression looks at. Where each use is a
// comparison of f.epss with a number, or f.scored, the thresholds can be told.
func scoresIn(a *ast.AST) Scores {
	var s Scores
	uses, told := 0, 0
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case isScore(a, e, "epss", "percentile"):
			uses++
		case isScore(a, e, "scored"):
			s.Thresholds = append(s.Thresholds, math.SmallestNonzeroFloat64)
		case e.Kind() == ast.CallKind && isOrder(e.AsCall().FunctionName()):
			for i, arg := range e.AsCall().Args() {
				if n, ok := numberIn(e.AsCall().Args()[1-i]); ok && isScore(a, arg, "epss") {
					told++
					s.Thresholds = append(s.Thresholds, n, math.Nextafter(n, math.Inf(1))) // whether the limit is included
				}
			}
		}
	}))
	s.All = uses > told
	s.add(Scores{})
	return s
}

// isScore reports whether an expression is one of those members of a finding.
func isScore(a *ast.AST, e ast.Expr, members ...string) bool {
	return e.Kind() == ast.SelectKind && slices.Contains(members, e.AsSelect().FieldName()) &&
		a.GetType(e.AsSelect().Operand().ID()).TypeName() == findingType.typ.TypeName()
}

// numberIn reads a literal number.
func numberIn(e ast.Expr) (float64, bool) {
	if e.Kind() != ast.LiteralKind {
		return 0, false
	}
	switch n := e.AsLiteral().(type) {
	case types.Double:
		return float64(n), true
	case types.Int:
		return float64(n), true
	}
	return 0, false
}
