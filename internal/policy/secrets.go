package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// noSecrets: nothing that looks like a credential is in any of its layers, as
// far as anybody looked.
type noSecrets struct{ except []evidence.Pattern }

func (p *gateParser) noSecrets(t *ruleText) check {
	var c noSecrets
	for _, s := range t.NoSecrets.Except {
		c.except = append(c.except, p.pattern(t, "noSecrets.except", s))
	}
	return c
}

func (c noSecrets) look(e *evaluation) (found, open []item) {
	v := e.view
	secrets := v.secrets()
	for i := range secrets {
		s := &secrets[i]
		if !slices.ContainsFunc(c.except, func(p evidence.Pattern) bool { return p.Match(s.Path) }) {
			found = append(found, v.secretItem(s))
		}
	}
	open = v.notAnalysed()
	for i := range v.layers {
		if l := &v.layers[i]; v.Image != nil && l.Searched.State != inventory.CoverageFull {
			open = append(open, item{fact: clipFact(v.unsearchedFact(l))})
		}
	}
	return found, open
}

func (noSecrets) texts() readyTexts {
	return readyTexts{
		says: "it holds no secrets", unclear: "not all of it was searched for secrets",
		remedy: "make the {id} invalid where it counts, and build without it: a layer keeps what a later one removes",
	}
}

// unsearchedFact says of a layer why it was not searched as a whole.
func (v *view) unsearchedFact(l *layerView) api.Fact {
	text := "not searched for secrets"
	if l.Searched.State != "" && l.Searched.State != inventory.CoverageNone {
		text = "searched for secrets in part"
	}
	if gaps := l.Searched.Gaps; len(gaps) > 0 {
		text += ": " + gaps[0].Reason
		if gaps[0].Path != "" {
			text += " (" + gaps[0].Path + ")"
		}
	}
	return api.Fact{ID: l.descriptor.Digest.String(), Where: v.where(l.index, ""), Text: text}
}

// secrets are those of the image, by layer, path and line.
func (v *view) secrets() []inventory.LocatedSecret {
	if v.Image == nil {
		return nil
	}
	return v.Image.Secrets
}

// searched is how far the whole artifact was searched for secrets.
func (v *view) searched() inventory.CoverageState {
	worst := inventory.CoverageFull
	if v.Image == nil {
		worst = inventory.CoverageNone
	}
	for i := range v.layers {
		worst = worst.Worse(v.layers[i].Searched.State)
	}
	return worst
}

// secretItem names a secret as a fact; what it is nobody knows here.
func (v *view) secretItem(s *inventory.LocatedSecret) item {
	fact := api.Fact{ID: s.Rule}
	if s.Layer == inventory.NoLayer {
		fact.Where = fmt.Sprintf("configuration, %s %d", strings.TrimPrefix(s.Path, inventory.Configuration), s.Line)
	} else {
		fact.Where = v.where(s.Layer, fmt.Sprintf("%s, line %d", s.Path, s.Line))
	}
	if s.Removed {
		fact.Text = fmt.Sprintf("removed later, still in layer %d", s.Layer+1)
	}
	return item{fact: clipFact(fact), purl: s.PURL()}
}

func compareSecrets(a, b *inventory.LocatedSecret) int {
	return cmp.Or(cmp.Compare(a.Layer, b.Layer), inventory.CompareSecrets(a.Secret, b.Secret), compareBool(b.Removed, a.Removed))
}

var secretType = typeOver("Secret", "a place in the image that holds what looks like a credential; what it is, is not told", []memberOf[inventory.LocatedSecret]{
	{"rule", types.StringType, "what it looks like: `private-key`, `aws-secret-key`, `github-token`; all are in analyzers.md", func(s *inventory.LocatedSecret) ref.Val { return types.String(s.Rule) }},
	{"path", types.StringType, "the file; `config:Env`, `config:History` and the like for what stands in the configuration", func(s *inventory.LocatedSecret) ref.Val { return types.String(s.Path) }},
	{"line", types.IntType, "of the file, from 1", func(s *inventory.LocatedSecret) ref.Val { return types.Int(s.Line) }},
	{"layer", types.IntType, "index of the layer that has it; -1 for the configuration", func(s *inventory.LocatedSecret) ref.Val { return types.Int(s.Layer) }},
	{"fingerprint", types.StringType, "the same for the same secret, wherever it stands; empty for what people choose", func(s *inventory.LocatedSecret) ref.Val { return types.String(s.Fingerprint) }},
	{"removed", types.BoolType, "an upper layer removes or replaces the file; the secret is still in its own", func(s *inventory.LocatedSecret) ref.Val { return types.Bool(s.Removed) }},
}...)
