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
	"github.com/bonded-dev/bonded/internal/oci"
)

// Based returns bases as decisions name them.
func Based(all []evidence.Base) []api.Base {
	var names []api.Base
	for i := range all {
		b := &all[i]
		names = append(names, api.Base{
			Repository: b.Repository.String(), Digest: b.Digest.String(), Layers: b.Layers, AdmittedAt: stamp(b.At), Tag: b.Tag, Past: b.Past, Newer: b.Newer.String(),
		})
	}
	return names
}

// BasesOf is what decisions name so.
func BasesOf(names []api.Base) ([]evidence.Base, error) {
	all := make([]evidence.Base, len(names))
	for i, n := range names {
		b := evidence.Base{Layers: n.Layers, At: n.AdmittedAt, Tag: n.Tag, Past: n.Past}
		var err error
		if b.Repository, err = oci.ParseRepository(n.Repository); err != nil {
			return nil, err
		}
		if b.Digest, err = oci.ParseDigest(n.Digest); err != nil {
			return nil, err
		}
		if n.Newer != "" {
			if b.Newer, err = oci.ParseDigest(n.Newer); err != nil {
				return nil, err
			}
		}
		all[i] = b
	}
	return all, nil
}

func compareBases(a, b *evidence.Base) int {
	return cmp.Or(
		cmp.Compare(b.Layers, a.Layers), cmp.Compare(a.Repository.String(), b.Repository.String()), compareDigests(&a.Digest, &b.Digest),
		cmp.Compare(a.Tag, b.Tag), compareDigests(&a.Newer, &b.Newer), a.At.Compare(b.At),
	)
}

// ReadsBases reports whether any rule asks what an image descends from.
func (g *Gate) ReadsBases() bool { return len(g.bases) > 0 }

// AsksForBase reports whether any rule asks for bases in a repository.
func (g *Gate) AsksForBase(r oci.Repository) bool {
	return slices.ContainsFunc(g.bases, func(p evidence.Pattern) bool { return p == anyBase || p.Match(r.String()) })
}

// anyBase: an expression looks at all of them.
var anyBase evidence.Pattern

// readsBases are the repositories in which rules look for bases.
func readsBases(rules []rule) []evidence.Pattern {
	var all []evidence.Pattern
	for i := range rules {
		r := &rules[i]
		if c, ok := r.check.(baseFrom); ok {
			all = append(all, c.in...)
		}
		for _, x := range []*expression{r.require, r.forbid, r.unknown} {
			if x != nil && x.names["bases"] {
				all = append(all, anyBase)
			}
		}
	}
	return all
}

var baseType = typeOver("Base", "an image that stands in a zone, and whose layers are all, in their order, the lowest of this one", []memberOf[evidence.Base]{
	{"repository", types.StringType, "where it is admitted, zone first", func(b *evidence.Base) ref.Val { return types.String(b.Repository.String()) }},
	{"digest", types.StringType, "`sha256:…`", func(b *evidence.Base) ref.Val { return types.String(b.Digest.String()) }},
	{"layers", types.IntType, "how many it has", func(b *evidence.Base) ref.Val { return types.Int(b.Layers) }},
	{"admitted", types.TimestampType, "when it was admitted", func(b *evidence.Base) ref.Val { return types.Timestamp{Time: b.At} }},
	{"tag", types.StringType, "that names it, or did last; empty when none ever did", func(b *evidence.Base) ref.Val { return types.String(b.Tag) }},
	{"past", types.BoolType, "no tag names it any more, and one did", func(b *evidence.Base) ref.Val { return types.Bool(b.Past) }},
	{"newer", types.StringType, "digest that `tag` names now, where that is something else", func(b *evidence.Base) ref.Val { return types.String(b.Newer.String()) }},
}...)

// bases is the list, or an error where it is not known.
func (v *view) bases() ref.Val {
	if !v.BasesKnown {
		return types.NewErr("nobody has looked for its base")
	}
	return wrapAll(baseType, v.Bases)
}

// baseFrom: it descends from an image that stands in one of these repositories.
type baseFrom struct {
	in      []evidence.Pattern
	current bool
}

func (p *gateParser) baseFrom(t *ruleText) check {
	c := baseFrom{current: t.BaseFrom.Current}
	for _, s := range t.BaseFrom.Repositories {
		pattern, err := evidence.ParsePattern(s.text)
		if err != nil || s.text == "" {
			p.addf(s.at, "rule %s: baseFrom: repositories has %s, want a pattern such as catalog/**", t.Rule.text, oci.Quote(s.text))
			continue
		}
		c.in = append(c.in, pattern)
	}
	if len(t.BaseFrom.Repositories) == 0 {
		p.addf(t.Rule.at, "rule %s: baseFrom needs repositories: where bases stand, as in repositories: catalog/**", t.Rule.text)
	}
	return c
}

func (c baseFrom) look(e *evaluation) (found, open []item) {
	v := e.view
	if open = v.notAnalysed(); len(open) > 0 {
		return nil, open
	}
	if !v.BasesKnown {
		return nil, []item{textItem("nobody has looked for its base")}
	}
	past := -1
	for i := range v.Bases {
		b := &v.Bases[i]
		switch {
		case !slices.ContainsFunc(c.in, func(p evidence.Pattern) bool { return p.Match(b.Repository.String()) }):
		case !c.current || !b.Past:
			return nil, nil
		case past < 0:
			past = i
		}
	}
	if past >= 0 {
		b := &v.Bases[past]
		text := fmt.Sprintf("its base %s@%s is named by no tag any more", b.Repository, b.Digest.Short())
		if !b.Newer.IsZero() {
			text += fmt.Sprintf(", and %s names %s", b.Tag, b.Newer.Short())
		}
		return []item{textItem("%s", text)}, nil
	}
	for i := range v.Image.Layers {
		if l := &v.Image.Layers[i]; !l.DiffIDOK {
			return nil, []item{textItem("layer %d of %d was not compared with its configuration, so what lies above is not looked at", i+1, len(v.Image.Layers))}
		}
	}
	return []item{textItem("the layers of no image that stands in %s are its lowest", c.where())}, nil
}

func (c baseFrom) where() string {
	names := make([]string, len(c.in))
	for i, p := range c.in {
		names[i] = p.String()
	}
	return strings.Join(names, ", ")
}

func (c baseFrom) texts() readyTexts {
	says := "it is built on an image that stands in " + c.where()
	if c.current {
		says += " and is named there by a tag"
	}
	return readyTexts{says: says, denied: "its base is another", unclear: "nobody knows what it is built on", remedy: "build it again, on an image that stands there: bonded list " + c.where()}
}
