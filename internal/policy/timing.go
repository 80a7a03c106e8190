package policy

import (
	"time"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// timing says when the value of an expression may change by time alone. Only
// two names tell the time, now and snapshot.age; where each use is a comparison
// with a literal, the moments of change can be computed.
type timing struct {
	ages    []time.Duration // literals that snapshot.age is compared with
	moments []time.Time     // literals that now is compared with
	// unknown: there is another use of the time, so that no moment of change
	// can be computed.
	unknown bool
}

// timingOf reads the uses of time from an expression.
func timingOf(a *ast.AST) timing {
	var t timing
	uses := 0
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case isNow(e), isAge(e):
			uses++
		case e.Kind() == ast.CallKind && isOrder(e.AsCall().FunctionName()):
			t.addComparison(e.AsCall().Args())
		}
	}))
	t.unknown = uses > len(t.ages)+len(t.moments)
	return t
}

func isOrder(function string) bool {
	switch function {
	case operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return true
	}
	return false
}

func isNow(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == "now" }

func isAge(e ast.Expr) bool {
	if e.Kind() != ast.SelectKind || e.AsSelect().FieldName() != "age" {
		return false
	}
	of := e.AsSelect().Operand()
	return of.Kind() == ast.IdentKind && of.AsIdent() == "snapshot"
}

// addComparison notes "snapshot.age < duration('72h')" and "now <
// timestamp('…')", either way round.
func (t *timing) addComparison(args []ast.Expr) {
	for i, e := range args {
		literal, ok := literalOf(args[1-i])
		if !ok {
			continue
		}
		switch v := literal.(type) {
		case time.Duration:
			if isAge(e) {
				t.ages = append(t.ages, v)
			}
		case time.Time:
			if isNow(e) {
				t.moments = append(t.moments, v)
			}
		}
	}
}

// literalOf reads duration("…") and timestamp("…").
func literalOf(e ast.Expr) (any, bool) {
	if e.Kind() != ast.CallKind {
		return nil, false
	}
	call := e.AsCall()
	if len(call.Args()) != 1 || call.Args()[0].Kind() != ast.LiteralKind {
		return nil, false
	}
	text, ok := call.Args()[0].AsLiteral().(types.String)
	if !ok {
		return nil, false
	}
	switch call.FunctionName() {
	case overloads.TypeConvertDuration:
		d, ok := text.ConvertToType(types.DurationType).(types.Duration)
		return d.Duration, ok
	case overloads.TypeConvertTimestamp:
		ts, ok := text.ConvertToType(types.TimestampType).(types.Timestamp)
		return ts.Time, ok
	}
	return nil, false
}

// next returns the first moment after v.Now at which the expression may have
// another value, zero when there is none. It is exact but for one microsecond:
// whether a comparison includes its limit does not matter to it.
func (t timing) next(v *view) time.Time {
	var next time.Time
	for _, m := range t.moments {
		next = earliest(next, flip(m, v.Now))
	}
	if v.Snapshot.At.IsZero() {
		return next // never loaded: time does not change that
	}
	for _, age := range t.ages {
		// A load from the future has an age too, which shrinks until then.
		next = earliest(next, flip(v.Snapshot.At.Add(-age), v.Now))
		next = earliest(next, flip(v.Snapshot.At.Add(age), v.Now))
	}
	return next
}

// flip returns the first moment after now at which a comparison with m can
// turn out otherwise: m itself, or just after it; zero when that is past.
func flip(m, now time.Time) time.Time {
	m = stamp(m)
	for _, at := range []time.Time{m, m.Add(time.Microsecond)} {
		if at.After(now) {
			return at
		}
	}
	return time.Time{}
}

// earliest returns the earlier of two times, of which zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
