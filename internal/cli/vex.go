package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) vex() *cobra.Command {
	return group("vex", "What others say about findings, by VEX", "  bonded vex check ./openvex.json production/payments/api:1.8", p.vexCheck())
}

// maxVEX bounds a document that is sent, in bytes.
const maxVEX = 5 << 20

func (p *program) vexCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE REFERENCE",
		Short: "What a VEX document would change, before it is attached",
		Long: `Ask the server what a document (OpenVEX, CSAF or CycloneDX; - reads it from
the input) would change about an artifact if somebody whom the gate of its zone
believes attached it: which findings it would put aside, which of its statements
would change nothing, and why, and what the gate would say then. Nothing is
changed or kept. Of an index one image is looked at.

Exits with 0 when the gate would allow it then, 1 when it would deny, 3 when it
could not tell.`,
		Example: `  bonded vex check ./openvex.json production/payments/api:1.8
  bonded vex check ./openvex.json production/payments/api:1.8 -o json`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return firstOnly(p.completeReferences)(cmd, args[1:], begun)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.runVEXCheck(cmd.Context(), args[0], args[1]) },
	}
}

func (p *program) runVEXCheck(ctx context.Context, file, ref string) error {
	document, err := p.readVEX(file)
	if err != nil {
		return err
	}
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	v, err := c.CheckVEX(ctx, reference(ref, l), document)
	if err != nil {
		return sought(err, ref, l)
	}
	v.Tags = askedFirst(v.Tags, ref)
	p.outcome = exitOf(v.After.Outcome)
	return show(p, v, func(pg *page, v *api.VEXCheck) {
		pg.rest.findings, pg.rest.all = "bonded findings "+ref+" --all", "bonded why "+ref+" -o json"
		pg.vexCheck(v)
	})
}

func (p *program) readVEX(file string) ([]byte, error) {
	in := p.io.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usage("name a file with an OpenVEX, CSAF or CycloneDX document", "reading the document: %v", err)
		}
		defer f.Close()
		in = f
	}
	document, err := io.ReadAll(io.LimitReader(in, maxVEX+1))
	switch {
	case err != nil:
		return nil, usage("name a file with an OpenVEX, CSAF or CycloneDX document", "reading the document: %v", err)
	case len(document) > maxVEX:
		return nil, usage("take apart what it says of several artifacts", "%s has more than %s", file, bytesOf(maxVEX))
	}
	return document, nil
}

// vexCheck writes what a document would change, and what the gate would say.
func (pg *page) vexCheck(v *api.VEXCheck) {
	ends := " → " + pg.outcome(v.After.Outcome)
	if v.After.Outcome == v.Before.Outcome {
		ends = ", as before"
	}
	pg.line(pg.outcome(v.Before.Outcome), ends, "  ", pg.bold.Render(named(v.Repository, v.Tags, v.Digest)), "  ", pg.faint.Render("nothing was changed"))
	said := many(v.Statements, "statement", "statements") + " in " + v.Format
	if v.Author != "" {
		said += ", by " + v.Author
	}
	pg.line("  document  ", short(v.Document), ", ", said)
	if v.As != "" {
		pg.line("  taken as  ", v.As, ", by somebody whom the gate of ", v.After.Zone, " believes")
	} else {
		pg.line("  taken as  ", pg.wait.Render("nothing"), ": the gate of ", v.After.Zone, " takes nobody's word about findings (vex)")
	}
	if v.Partial {
		pg.line("  ", pg.wait.Render("it says more than is kept of one document"))
	}
	pg.vexChanges(v.Findings)
	if len(v.Idle) > 0 {
		pg.line()
		pg.line(pg.wait.Render("NO CHANGE"), "  by ", many(len(v.Idle)+v.More, "statement", "statements"))
	}
	for i, s := range v.Idle {
		if i == factsShown {
			break
		}
		pg.wrap("  ", "    ", s.Vulnerability+" "+s.Status+" ("+strings.Join(s.Products, ", ")+"): "+s.Why)
	}
	pg.more(2, max(0, len(v.Idle)-factsShown)+v.More, "-o json")
	if v.After.Outcome != api.Allow {
		pg.line()
		pg.reasons(&v.After)
	}
}

// outcome says an outcome in capitals.
func (pg *page) outcome(o api.Outcome) string {
	switch o {
	case api.Allow:
		return pg.good.Render("ALLOWED")
	case api.Deny:
		return pg.bad.Render("DENIED")
	}
	return pg.wait.Render("HELD")
}

// vexChanges writes the findings that a document speaks last of.
func (pg *page) vexChanges(changes []api.VEXChange) {
	if len(changes) == 0 {
		return
	}
	var cells [][]string
	for _, x := range changes {
		what := "stays"
		if x.Suppressed {
			what = "no harm"
		}
		before := dash
		if x.Before != nil {
			before = x.Before.Status
		}
		cells = append(cells, []string{what, pg.severity(x.Finding), known(x.Finding), strings.TrimSpace(x.Finding.Package + " " + x.Finding.Version), saidOf(x.Finding.VEX), before})
	}
	pg.line()
	pg.table(0, []column{{title: "WOULD BE", keep: true}, {title: "SEVERITY", keep: true}, {title: "ADVISORY", keep: true}, {title: "PACKAGE", least: 16}, {title: "SAYS", least: 12}, {title: "BEFORE"}}, cells)
}

// suppressed writes the findings that do no harm by somebody's word, and whose.
func (pg *page) suppressed(fs []api.Finding, list listFlags, how string) {
	if len(fs) == 0 {
		return
	}
	pg.line()
	pg.line(pg.good.Render("NO HARM"), "  ", many(len(fs), "finding", "findings"), " by the word of somebody whom the gate believes (VEX)")
	rows, left := cut(list, fs)
	var cells [][]string
	for _, x := range rows {
		cells = append(cells, []string{pg.severity(x), known(x), x.Package, x.Version, saidOf(x.VEX), sayer(x.VEX)})
	}
	pg.table(2, []column{
		{title: "SEVERITY", keep: true}, {title: "ADVISORY", keep: true}, {title: "PACKAGE", least: 16},
		{title: "VERSION", drop: true}, {title: "SAYS", least: 12}, {title: "WHO", least: 12},
	}, cells)
	pg.more(2, left, how)
}

// saidOf is what is said of a finding, with the reason.
func saidOf(a *api.Assessment) string {
	switch {
	case a == nil:
		return dash
	case a.Justification != "":
		return a.Status + ": " + a.Justification
	}
	return a.Status
}

// sayer is who says it.
func sayer(a *api.Assessment) string {
	if a == nil {
		return dash
	}
	return a.By
}
