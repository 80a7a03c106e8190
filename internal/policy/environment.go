package policy

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// Limits of expressions. Costs are units of CEL: about one per field read or
// comparison, one per ten characters looked at. A unit takes 20 to 100 ns.
const (
	// MaxCost is what one expression may cost: estimated for the largest input
	// of expectedSizes when the gate is read, and counted when it is asked.
	MaxCost = 10_000_000
	// MaxGateCost is what all expressions of a gate may cost together,
	// estimated, and those of a clause, counted.
	MaxGateCost = 60_000_000

	maxExpression = 4096 // characters
	maxNodes      = 2000 // of the syntax tree, macros expanded
	maxNesting    = 2    // loops in loops
	// interruptEvery is how many rounds of a loop may pass before a cancelled
	// context is noticed.
	interruptEvery = 100
)

// expectedSizes are the sizes that estimates are made for: elements of a list
// or map, characters of a text, by the path of what has it. They are above all
// but odd inputs; an input that is larger still meets MaxCost when it is asked.
var expectedSizes = map[string]uint64{
	"findings": 5_000, "suppressed": 5_000, "packages": 20_000, "unchecked": 20_000, "secrets": 1_000, "layers": 200, "coverage.gaps": 1_000, "children": 100,
	"findings.@items.severity": 10, "findings.@items.summary": 500, "suppressed.@items.severity": 10, "suppressed.@items.summary": 500, "layers.@items.coverage": 10,
}

// Sizes of what expectedSizes does not name.
const (
	expectedList       = 100
	expectedText       = 100
	expectedSignatures = 100     // of one signer's signatures or statements
	expectedPredicate  = 1 << 10 // tenths of a character to read
)

// environment is what expressions are compiled in, made once: it is immutable
// and takes milliseconds to make.
var environment = sync.OnceValues(newEnvironment)

// newEnvironment declares our variables and types, and takes out of standard
// CEL what would make a decision depend on more than its input, or on the order
// of a map: time zones (read from the machine's files), and dyn, which hides
// types from the checks below.
func newEnvironment() (*cel.Env, error) {
	base, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(&env.LibrarySubset{ExcludeFunctions: excluded()})),
		cel.CustomTypeAdapter(base),
		cel.CustomTypeProvider(newProvider(base, objectTypes)),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(maxExpression),
		cel.ExpressionNodeLimit(maxNodes),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(), cel.ValidateComprehensionNestingLimit(maxNesting), readingOnly{},
		),
		ext.Strings(ext.StringsVersion(0)),
		ext.Sets(),
	}
	for _, v := range variables {
		opts = append(opts, cel.VariableWithDoc(v.name, v.typ, v.doc))
	}
	return cel.NewCustomEnv(append(opts, evidenceFunctions()...)...)
}

// statementEnvironment is that of hasStatement's where: the same, with the
// statement in question.
var statementEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	base, err := environment()
	if err != nil {
		return nil, err
	}
	return base.Extend(cel.Variable(theStatement, statementType.typ))
})

func excluded() []*env.Function {
	zoned := map[string]string{
		overloads.TimeGetFullYear: overloads.TimestampToYearWithTz, overloads.TimeGetMonth: overloads.TimestampToMonthWithTz,
		overloads.TimeGetDayOfYear: overloads.TimestampToDayOfYearWithTz, overloads.TimeGetDayOfMonth: overloads.TimestampToDayOfMonthZeroBasedWithTz,
		overloads.TimeGetDate: overloads.TimestampToDayOfMonthOneBasedWithTz, overloads.TimeGetDayOfWeek: overloads.TimestampToDayOfWeekWithTz,
		overloads.TimeGetHours: overloads.TimestampToHoursWithTz, overloads.TimeGetMinutes: overloads.TimestampToMinutesWithTz,
		overloads.TimeGetSeconds: overloads.TimestampToSecondsWithTz, overloads.TimeGetMilliseconds: overloads.TimestampToMillisecondsWithTz,
	}
	fs := []*env.Function{{Name: overloads.TypeConvertDyn}}
	for name, overload := range zoned {
		fs = append(fs, &env.Function{Name: name, Overloads: []*env.Overload{{ID: overload}}})
	}
	return fs
}

// readingOnly refuses what makes maps and objects: the order of a map made in
// an expression differs from run to run.
type readingOnly struct{}

// Name identifies the validator.
func (readingOnly) Name() string { return "bonded.reading_only" }

// Validate reports map and object literals.
func (readingOnly) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, iss *cel.Issues) {
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.MapKind:
			iss.ReportErrorAtID(e.ID(), "a map cannot be made in an expression: its order is not defined; use a list")
		case ast.StructKind:
			iss.ReportErrorAtID(e.ID(), "an object cannot be made in an expression")
		}
	}))
}

// sizes estimates how large values can get, for cost.Estimator.
type sizes struct{}

// EstimateSize answers for what is reached from a variable, and for members of
// what a function of ours gave.
func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if len(n.Path()) == 0 && (n.Expr() == nil || n.Expr().Kind() != ast.SelectKind) {
		return nil
	}
	max, ok := expectedSizes[strings.Join(n.Path(), ".")]
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		if !ok {
			max = expectedList
		}
	case types.StringKind:
		if !ok {
			max = expectedText
		}
	default:
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: max}
}

// EstimateCallCost answers for the functions that are ours, and leaves others to
// CEL's own models.
func (sizes) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	switch function {
	case functionBy:
		return cost.NewCallEstimate(cost.Estimate{Min: 1, Max: 10 * expectedSignatures}, &cost.SizeEstimate{Min: 0, Max: expectedSignatures})
	case functionText:
		return cost.NewCallEstimate(cost.Estimate{Min: 1, Max: expectedPredicate}, &cost.SizeEstimate{Min: 0, Max: expectedText})
	}
	return nil
}

// compiled is an expression ready to be asked.
type compiled struct {
	program cel.Program
	typ     *types.Type // of the result
	cost    uint64      // at most, for inputs of the expected sizes
	changes timing
	signers []evidence.Signer // whom it names
	names   map[string]bool   // variables that it looks at
	scores  Scores            // what of them it looks at
}

// issue is a fault of an expression at a place in it; lines and columns count
// from 1, in characters.
type issue struct {
	line, column int
	text         string
}

// compileIn checks and plans one expression.
func compileIn(environment func() (*cel.Env, error), text string) (*compiled, []issue) {
	e, err := environment()
	if err != nil {
		return nil, []issue{{1, 1, fmt.Sprintf("making the environment of expressions: %v", err)}}
	}
	checked, iss := e.Compile(text)
	if iss.Err() != nil {
		return nil, issuesOf(iss)
	}
	if wrong := literalIssues(checked.NativeRep()); len(wrong) > 0 {
		return nil, wrong
	}
	signers, wrong := signersIn(checked.NativeRep())
	if len(wrong) > 0 {
		return nil, wrong
	}
	estimate, err := e.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, []issue{{1, 1, fmt.Sprintf("estimating the cost: %v", err)}}
	}
	if estimate.Max > MaxCost {
		return nil, []issue{{1, 1, fmt.Sprintf("may cost up to %s units on a large artifact, and %d are allowed: avoid a loop in a loop, or narrow a list first", units(estimate.Max), MaxCost)}}
	}
	program, err := e.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(MaxCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, []issue{{1, 1, fmt.Sprintf("planning: %v", err)}}
	}
	return &compiled{program, checked.OutputType(), estimate.Max, timingOf(checked.NativeRep()), signers, variablesIn(checked.NativeRep()), scoresIn(checked.NativeRep())}, nil
}

// variablesIn are the variables that an expression names, those of its loops
// included.
func variablesIn(a *ast.AST) map[string]bool {
	names := map[string]bool{}
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.IdentKind {
			names[e.AsIdent()] = true
		}
	}))
	return names
}

func issuesOf(iss *cel.Issues) []issue {
	var all []issue
	for _, e := range iss.Errors() {
		text := hint(e.Message)
		all = append(all, issue{e.Location.Line(), e.Location.Column() + 1, text})
		if strings.Contains(text, "is no operator") {
			break // what follows is about the rest of a text that was misread
		}
	}
	return all
}

// units says a cost that may be without bound.
func units(n uint64) string {
	if n > 1<<40 {
		return "an unknown number of"
	}
	return fmt.Sprint(n)
}
