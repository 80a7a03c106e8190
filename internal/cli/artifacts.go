package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/evidence"
)

// rowsShown is how many rows of a list stand on a screen.
const rowsShown = 20

// listFlags are the flags of commands that print long lists.
type listFlags struct {
	all  bool
	rows int // how many stand on a screen
}

func (f *listFlags) add(cmd *cobra.Command, rows int) {
	f.rows = rows
	text := fmt.Sprintf("print the whole list, not its first %d", rows)
	if rows == 0 {
		text = "list all findings too"
	}
	cmd.Flags().BoolVar(&f.all, "all", false, text)
}

// cut returns the rows to print and how many are left out.
func cut[T any](f listFlags, rows []T) ([]T, int) {
	if f.all || len(rows) <= f.rows {
		return rows, 0
	}
	return rows[:f.rows], len(rows) - f.rows
}

func (p *program) findings() *cobra.Command {
	var (
		list   listFlags
		least  string
		fixed_ bool
	)
	cmd := &cobra.Command{
		Use:   "findings REFERENCE",
		Short: "What is wrong with an artifact, worst first",
		Long: `List the vulnerabilities of an artifact's packages, worst first, as of the
newest advisories. What no advisories could be matched to is named too: that
it has no findings does not mean that it is clean. What does no harm by the
word of somebody whom the zone's gate believes, by VEX, stands apart.`,
		Example: `  bonded findings dev/payments/api:1.8
  bonded findings dev/payments/api:1.8 --severity high --fixed --all
  bonded findings dev/payments/api:1.8 -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			if least != "" && evidence.Severity(least).Rank() == 0 {
				return usage("--severity low, medium, high or critical", "%q is no severity", least)
			}
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			f, err := c.Findings(cmd.Context(), reference(args[0], l))
			if err != nil {
				return sought(err, args[0], l)
			}
			f.Tags = askedFirst(f.Tags, args[0])
			beside := func(x api.Finding) bool {
				return evidence.Severity(x.Severity).Rank() < evidence.Severity(least).Rank() || fixed_ && x.Fixed == ""
			}
			f.Findings, f.Suppressed = slices.DeleteFunc(f.Findings, beside), slices.DeleteFunc(f.Suppressed, beside)
			return show(p, f, func(pg *page, f *api.Findings) { pg.findings(f, list, args[0]) })
		},
	}
	list.add(cmd, rowsShown)
	cmd.Flags().StringVar(&least, "severity", "", "only this `SEVERITY` and worse: low, medium, high or critical")
	cmd.Flags().BoolVar(&fixed_, "fixed", false, "only what somebody has fixed")
	p.must(cmd.RegisterFlagCompletionFunc("severity", fixed("low", "medium", "high", "critical")))
	return cmd
}

// findings writes a list of findings under a line that sums it up.
func (pg *page) findings(f *api.Findings, list listFlags, ref string) {
	pg.line(pg.bold.Render(named(f.Repository, f.Tags, f.Digest)), "  ", summed(f))
	pg.snapshot(f.Snapshot, "bonded feed update")
	pg.findingRows(f.Findings, list, "bonded findings "+ref+" --all")
	pg.suppressed(f.Suppressed, list, "bonded findings "+ref+" --all")
	if n := len(f.Unchecked); n > 0 {
		pg.line()
		pg.line(pg.wait.Render("NOT CHECKED"), "  ", many(n, "package", "packages"), " that no advisories could be matched to")
		for i, u := range f.Unchecked {
			if i == factsShown && !list.all {
				pg.more(2, n-i, "bonded findings "+ref+" --all")
				break
			}
			pg.line("  ", strings.TrimSpace(u.Package+" "+u.Version), "  ", u.Text)
		}
	}
}

// findingColumns are those of a list of findings.
var findingColumns = []column{
	{title: "SEVERITY", keep: true}, {title: "ADVISORY", keep: true}, {title: "PACKAGE", least: 16},
	{title: "VERSION"}, {title: "FIXED IN"}, {title: "LAYER", right: true, drop: true},
}

func (pg *page) findingRows(fs []api.Finding, list listFlags, how string) {
	rows, left := cut(list, fs)
	if len(rows) == 0 {
		if left > 0 {
			pg.line()
			pg.line("More: ", many(left, "finding", "findings"), ": ", how)
		}
		return
	}
	var cells [][]string
	for _, x := range rows {
		cells = append(cells, []string{pg.severity(x), known(x), x.Package, x.Version, or(x.Fixed), fmt.Sprint(x.Layer + 1)})
	}
	columns := findingColumns
	if slices.ContainsFunc(rows, func(x api.Finding) bool { return x.EPSS > 0 }) {
		at := len(columns) - 1 // before the layer
		columns = slices.Insert(slices.Clone(columns), at, column{title: "EPSS", right: true, drop: true})
		for i := range cells {
			cells[i] = slices.Insert(cells[i], at, likely(rows[i].EPSS))
		}
	}
	pg.line()
	pg.table(0, columns, cells)
	pg.more(0, left, how)
}

// likely says how likely a fault is to be exploited, in per cent.
func likely(epss float64) string {
	switch {
	case epss == 0:
		return "–"
	case epss < 0.001:
		return "<0.1%"
	}
	return fmt.Sprintf("%.1f%%", 100*epss)
}

// known is the name by which people know an advisory: the CVE where it has one.
func known(f api.Finding) string {
	if strings.HasPrefix(f.ID, "CVE-") {
		return f.ID
	}
	for _, alias := range f.Aliases {
		if strings.HasPrefix(alias, "CVE-") {
			return alias
		}
	}
	return f.ID
}

func (pg *page) severity(f api.Finding) string {
	switch {
	case f.Malicious:
		return pg.bad.Render("malicious")
	case !f.Exploited.IsZero():
		return pg.bad.Render(f.Severity + exploited)
	case f.Severity == string(evidence.Critical):
		return pg.bad.Render(f.Severity)
	case f.Severity == string(evidence.High):
		return pg.wait.Render(f.Severity)
	}
	return f.Severity
}

// summed counts findings by severity, worst first. That there are none says
// something only where there was something to look for.
func summed(f *api.Findings) string {
	switch fs := f.Findings; {
	case len(fs) == 0 && f.Snapshot.Advisories == 0:
		return "not matched against advisories"
	case len(fs) == 0:
		return "no findings"
	}
	n := map[evidence.Severity]int{}
	for _, x := range f.Findings {
		n[evidence.Severity(x.Severity)]++
	}
	var parts []string
	for _, s := range []evidence.Severity{evidence.Critical, evidence.High, evidence.Medium, evidence.Low, evidence.Negligible, evidence.Unknown} {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

// snapshot says which advisories an answer rests on; how loads some.
func (pg *page) snapshot(s api.Snapshot, how string) {
	if s.Advisories == 0 {
		pg.line(pg.wait.Render("no advisories are loaded"), ": nothing could be found (", how, ")")
		return
	}
	text := "as of " + many(s.Advisories, "advisory", "advisories")
	if !s.At.IsZero() {
		text += " of " + pg.ago(s.At)
	}
	pg.line(pg.faint.Render(text + ", snapshot " + short(s.Digest)))
}

func (p *program) inventory() *cobra.Command {
	var (
		list     listFlags
		coverage bool
		secrets  bool
		kind     string
	)
	cmd := &cobra.Command{
		Use:   "inventory REFERENCE",
		Short: "What is inside an artifact, and how far each layer was read",
		Example: `  bonded inventory dev/payments/api:1.8
  bonded inventory dev/payments/api:1.8 --type deb --all
  bonded inventory dev/payments/api:1.8 --secrets
  bonded inventory dev/payments/api:1.8 --coverage`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			inv, err := c.Inventory(cmd.Context(), reference(args[0], l))
			if err != nil {
				return sought(err, args[0], l)
			}
			inv.Tags = askedFirst(inv.Tags, args[0])
			if kind != "" {
				inv.Packages = slices.DeleteFunc(inv.Packages, func(x api.Package) bool { return x.Type != kind })
			}
			return show(p, inv, func(pg *page, inv *api.Inventory) {
				pg.inventoryHead(inv)
				switch {
				case coverage:
					pg.layers(inv)
					return
				case secrets:
					pg.secrets(inv.Secrets, list, "bonded inventory "+args[0]+" --secrets --all")
					return
				}
				pg.packages(inv, list, args[0])
			})
		},
	}
	list.add(cmd, rowsShown)
	cmd.Flags().BoolVar(&coverage, "coverage", false, "say for each layer how far it was read, and what was left out")
	cmd.Flags().BoolVar(&secrets, "secrets", false, "list what looks like a credential, as a waiver names it")
	cmd.MarkFlagsMutuallyExclusive("coverage", "secrets")
	cmd.Flags().StringVar(&kind, "type", "", "only packages of this `TYPE`, such as deb, apk, golang, npm, pypi")
	p.must(cmd.RegisterFlagCompletionFunc("type", fixed("apk", "cargo", "composer", "deb", "gem", "golang", "maven", "npm", "nuget", "pypi", "rpm")))
	return cmd
}

func (pg *page) inventoryHead(inv *api.Inventory) {
	types := map[string]int{}
	for _, x := range inv.Packages {
		types[x.Type]++
	}
	names := make([]string, 0, len(types))
	for t := range types {
		names = append(names, t)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(types[b]-types[a], strings.Compare(a, b)) })
	for i, t := range names {
		names[i] = fmt.Sprintf("%s %s", count(types[t]), t)
	}
	pg.line(pg.bold.Render(named(inv.Repository, inv.Tags, inv.Digest)), "  ", many(len(inv.Packages), "package", "packages"), " in ", many(len(inv.Layers), "layer", "layers"))
	if len(names) > 0 {
		pg.line("  packages  ", strings.Join(names, ", "))
	}
	pg.line("  system    ", or(inv.Distro))
	pg.line("  coverage  ", pg.coverage(inv.Coverage))
	pg.line("  secrets   ", pg.searched(inv, "see --secrets"))
}

// coverage says a state of coverage; what is not full is no clean bill.
func (pg *page) coverage(state string) string {
	switch state {
	case "full":
		return pg.good.Render("full")
	case "partial":
		return pg.wait.Render("partial") + ", see --coverage"
	case "ambiguous":
		return pg.bad.Render("ambiguous") + ": another unpacker could read it differently, see --coverage"
	case "none":
		return pg.bad.Render("none") + ": not analysed, see --coverage"
	}
	return state
}

func (pg *page) layers(inv *api.Inventory) {
	pg.line()
	for i, l := range inv.Layers {
		pg.line(fmt.Sprintf("layer %d of %d  ", i+1, len(inv.Layers)), short(l.Digest), "  ", l.Coverage, "  ", many(l.Packages, "package", "packages"))
		for _, g := range l.Gaps {
			pg.wrap("    ", "      ", g)
		}
		for _, g := range l.Unsearched {
			pg.wrap("    ", "      ", "not searched for secrets: "+g)
		}
	}
}

func (pg *page) packages(inv *api.Inventory, list listFlags, ref string) {
	rows, left := cut(list, inv.Packages)
	if len(rows) == 0 {
		return
	}
	var cells [][]string
	for _, x := range rows {
		cells = append(cells, []string{x.Name, x.Version, x.Type, fmt.Sprint(x.Layer + 1), x.Path})
	}
	pg.line()
	pg.table(0, []column{{title: "PACKAGE", least: 20}, {title: "VERSION"}, {title: "TYPE", keep: true}, {title: "LAYER", right: true, drop: true}, {title: "FOUND AT", least: 16, drop: true}}, cells)
	pg.more(0, left, "bonded inventory "+ref+" --all")
}

func (p *program) sbom() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "sbom REFERENCE",
		Short: "The bill of materials of an artifact, as SPDX or CycloneDX",
		Long: `Print the software bill of materials of an artifact: SPDX 2.3 or CycloneDX
1.6, in JSON (or the same as YAML, with -o yaml). The same artifact gives the
same bytes.`,
		Example: `  bonded sbom dev/payments/api:1.8 > sbom.spdx.json
  bonded sbom dev/payments/api:1.8 --format cyclonedx > sbom.cdx.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "spdx" && format != "cyclonedx" {
				return usage("--format spdx or --format cyclonedx", "%q is no format of a bill of materials", format)
			}
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			b, err := c.SBOM(cmd.Context(), reference(args[0], l), format)
			if err != nil {
				return sought(err, args[0], l)
			}
			if p.output == outputYAML {
				if b, err = yaml.JSONToYAML(b); err != nil {
					return fmt.Errorf("encoding the answer: %v", err)
				}
			}
			_, err = p.io.Out.Write(b)
			return written(err)
		},
	}
	cmd.Flags().StringVar(&format, "format", "spdx", "`STANDARD` to write: spdx or cyclonedx")
	p.must(cmd.RegisterFlagCompletionFunc("format", fixed("spdx", "cyclonedx")))
	return cmd
}

func (p *program) affected() *cobra.Command {
	var list listFlags
	cmd := &cobra.Command{
		Use:   "affected CVE|PURL",
		Short: "Which artifacts hold what a CVE or a package URL names",
		Example: `  bonded affected CVE-2026-31337
  bonded affected pkg:golang/golang.org/x/net
  bonded affected pkg:deb/debian/openssl@3.0.11-1~deb12u2 --all`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: none,
		RunE: func(cmd *cobra.Command, args []string) error {
			a, left, err := p.askAffected(cmd.Context(), args[0], list.all || p.output != outputText)
			if err != nil {
				return err
			}
			return show(p, a, func(pg *page, a *api.Affected) { pg.affected(a, left) })
		},
	}
	list.add(cmd, rowsShown)
	return cmd
}

// askAffected returns the first page of an answer, or with all everything; left
// says that there is more.
func (p *program) askAffected(ctx context.Context, id string, all bool) (a *api.Affected, left bool, err error) {
	c, _, err := p.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	q := client.AffectedQuery{ID: id, Limit: rowsShown}
	if all {
		q.Limit = 1000
	}
	a, err = c.Affected(ctx, q)
	if err != nil {
		return nil, false, err
	}
	for all && a.Next != "" {
		q.After = a.Next
		next, err := c.Affected(ctx, q)
		if err != nil {
			return nil, false, err
		}
		a.Images, a.Next = append(a.Images, next.Images...), next.Next
	}
	return a, a.Next != "", nil
}

func (pg *page) affected(a *api.Affected, left bool) {
	head := pg.bold.Render(a.Query)
	if a.Severity != "" {
		head += "  " + a.Severity
	}
	if !a.Known.IsZero() {
		head += "  " + pg.faint.Render("known to us for "+span(pg.now.Sub(a.Known)))
	}
	pg.line(head)
	if ids := slices.DeleteFunc(slices.Clone(a.IDs), func(id string) bool { return id == a.Query }); len(ids) > 0 {
		pg.wrap("  also     ", "           ", list(ids))
	}
	if a.Summary != "" {
		pg.wrap("  what     ", "           ", a.Summary)
	}
	pg.line()
	if len(a.Images) == 0 {
		pg.line(pg.good.Render("NO ARTIFACT"), " here holds it, as of ", count(a.Snapshot.Advisories), " advisories")
		return
	}
	holds := map[string]bool{} // one artifact may hold it in several packages
	var cells [][]string
	for _, r := range a.Images {
		holds[r.Repository+"@"+r.Digest] = true
		cells = append(cells, []string{named(r.Repository, r.Tags, r.Digest), r.State, r.Package, r.Version, or(r.Fixed)})
	}
	cols := []column{{title: "ARTIFACT", keep: true}, {title: "STATE", keep: true}, {title: "PACKAGE"}, {title: "VERSION"}, {title: "FIXED IN"}}
	if strings.HasPrefix(a.Query, "pkg:") { // asked about a package, not about what is wrong with it
		cols = cols[:len(cols)-1]
		for i := range cells {
			cells[i] = cells[i][:len(cols)]
		}
	}
	shown := many(len(holds), "artifact holds it", "artifacts hold it")
	if left {
		shown = "at least " + shown
	}
	pg.line(pg.bad.Render("AFFECTED"), "  ", shown)
	pg.table(2, cols, cells)
	if left {
		pg.line("  ", pg.faint.Render("…more: bonded affected "+a.Query+" --all"))
	}
}
