package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// A signature's presence never counts, so there is no list of signatures to
// count: an expression gets those of an anchor and an identity that it writes
// out, or none.

// signatureSet holds the signatures that say nothing but "this". Whoever signs
// a scan has signed what the scan says, and has not signed the image.
type signatureSet struct {
	view *view
	all  []evidence.Signature
}

// statementSet holds the statements with who signed them.
type statementSet struct {
	view *view
	all  []statementView
}

// statementView is a statement with its signature.
type statementView struct {
	*evidence.Statement
	signature *evidence.Signature
}

func newEvidenceSets(v *view) (*signatureSet, *statementSet) {
	bare, said := &signatureSet{view: v}, &statementSet{view: v}
	for i := range v.Verified.Signatures {
		s := &v.Verified.Signatures[i]
		if s.Statement == nil {
			bare.all = append(bare.all, *s)
			continue
		}
		said.all = append(said.all, statementView{s.Statement, s})
	}
	return bare, said
}

// rely notes that the rule under way was told of what came in referrers.
func (v *view) rely(referrers ...oci.Digest) {
	if v.relied == nil {
		v.relied = map[oci.Digest]bool{}
	}
	for _, d := range referrers {
		v.relied[d] = true
	}
}

func (s *signatureSet) by(who evidence.Signer) ref.Val {
	s.view.rely()
	found := []evidence.Signature{}
	for i := range s.all {
		if who.Mismatch(&s.all[i]) == "" {
			s.view.rely(s.all[i].Referrer)
			found = append(found, s.all[i])
		}
	}
	return wrapAll(signatureType, found)
}

func (s *statementSet) by(who evidence.Signer) ref.Val {
	s.view.rely()
	found := []statementView{}
	for _, st := range s.all {
		if who.Mismatch(st.signature) == "" {
			s.view.rely(st.signature.Referrer)
			found = append(found, st)
		}
	}
	return wrapAll(statementType, found)
}

// Functions on evidence.
const (
	functionBy   = "by"
	functionText = "text"
)

// evidenceFunctions declares by and text.
func evidenceFunctions() []cel.EnvOption {
	var by []cel.FunctionOpt
	for _, of := range []struct {
		set, element *objectType
	}{{signaturesType, signatureType}, {statementsType, statementType}} {
		args := []*cel.Type{of.set.typ}
		for _, arg := range []string{"anchor", "subject", "issuer"} {
			args = append(args, cel.StringType)
			id := strings.ToLower(of.set.name) + "_by_" + arg
			by = append(by, cel.MemberOverload(id, slices.Clone(args), cel.ListType(of.element.typ), cel.FunctionBinding(callBy)))
		}
	}
	text := cel.MemberOverload("statement_text", []*cel.Type{statementType.typ, cel.StringType}, cel.StringType, cel.BinaryBinding(callText))
	return []cel.EnvOption{cel.Function(functionBy, by...), cel.Function(functionText, text)}
}

func callBy(args ...ref.Val) ref.Val {
	words := make([]string, 0, len(args)-1)
	for _, a := range args[1:] {
		words = append(words, string(a.(types.String)))
	}
	who, err := signerOf(words)
	if err != nil {
		return types.NewErr("%v", err)
	}
	switch set := args[0].(object).native.(type) {
	case *signatureSet:
		return set.by(who)
	case *statementSet:
		return set.by(who)
	}
	return types.NewErr("by has no meaning here")
}

// signerOf reads the arguments of by: anchor; anchor and subject; anchor, issuer
// and subject.
func signerOf(words []string) (evidence.Signer, error) {
	s := evidence.Signer{Anchor: words[0]}
	var err error
	if len(words) > 1 {
		if s.Subject, err = evidence.ParsePattern(words[len(words)-1]); err != nil {
			return s, err
		}
	}
	if len(words) > 2 {
		if s.Issuer, err = evidence.ParsePattern(words[1]); err != nil {
			return s, err
		}
	}
	if slices.Contains(words, "") {
		return s, fmt.Errorf("by has an empty argument: leave it out, or say who")
	}
	return s, s.Validate()
}

// signersIn checks who is named in an expression, and returns them. The names are written out, so that nothing about the artifact can choose them.
func signersIn(a *ast.AST) (named []evidence.Signer, wrong []issue) {
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != functionBy {
			return
		}
		at := a.SourceInfo().GetStartLocation(e.ID())
		words := make([]string, 0, 3)
		for _, arg := range e.AsCall().Args() {
			text, ok := literalText(arg)
			if !ok {
				wrong = append(wrong, issue{at.Line(), at.Column() + 1, "by takes texts that are written out: who counts must not depend on the artifact"})
				return
			}
			words = append(words, text)
		}
		who, err := signerOf(words)
		if err != nil {
			wrong = append(wrong, issue{at.Line(), at.Column() + 1, err.Error()})
		}
		named = append(named, who)
	}))
	return named, wrong
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().(types.String)
	return string(text), ok
}

// callText reads one value of a predicate by its JSON pointer (RFC 6901).
func callText(of, pointer ref.Val) ref.Val {
	st, ok := of.(object).native.(*statementView)
	path := string(pointer.(types.String))
	switch {
	case !ok:
		return types.NewErr("text has no meaning here")
	case st.Predicate == nil && st.Size > 0:
		return types.NewErr("the predicate of %s has %d bytes, which is more than is kept", oci.Quote(st.Statement.Type), st.Size)
	case path != "" && !strings.HasPrefix(path, "/"):
		return types.NewErr("%s is no JSON pointer: it begins with /", oci.Quote(path))
	}
	v, err := strictjson.Parse(st.Predicate, strictjson.Limits{})
	if err != nil {
		return types.NewErr("reading the predicate of %s: %v", oci.Quote(st.Statement.Type), err)
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path == "" {
			break
		}
		v = step(v, strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~"))
	}
	return types.String(v.Text())
}

// step goes one step down; to nothing where there is nothing.
func step(v strictjson.Value, part string) strictjson.Value {
	if !v.IsArray() {
		return v.Get(part)
	}
	n, err := strconv.Atoi(part)
	for e := range v.Elements() {
		if err == nil && n == 0 {
			return e
		}
		n--
	}
	return strictjson.Value{}
}

func signatureFact(s *evidence.Signature) api.Fact {
	text := "signed by " + s.Identity.String()
	if !s.At.IsZero() {
		text += " at " + s.At.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	text += inPlace(s)
	return api.Fact{ID: s.Referrer.String(), Text: text}
}

func statementFact(s *statementView) api.Fact {
	return api.Fact{ID: s.signature.Referrer.String(), Text: kindWord(s.Kind) + " signed by " + s.signature.Identity.String() + inPlace(s.signature)}
}

// inPlace tells of an index that was signed in place of what it names.
func inPlace(s *evidence.Signature) string {
	if s.Index.IsZero() {
		return ""
	}
	return ", by its index " + s.Index.String()
}

// kindWord is a kind of statement in a sentence.
func kindWord(k evidence.StatementKind) string {
	switch k {
	case evidence.KindSBOM, evidence.KindVEX:
		return strings.ToUpper(string(k))
	case evidence.KindUnknown:
		return "statement"
	}
	return string(k)
}

// statementKinds are the kinds that have facts of their own.
var statementKinds = []evidence.StatementKind{
	evidence.KindProvenance, evidence.KindSummary, evidence.KindSBOM, evidence.KindScan, evidence.KindTest,
	evidence.KindReview, evidence.KindVEX, evidence.KindApproval, evidence.KindRelease,
}
