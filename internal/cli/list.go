package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/repo"
)

// listing is what bonded list was asked.
type listing struct {
	at      string // as it was written
	query   client.ListQuery
	verdict string
	all     bool
	limit   int // rows; 0: all
}

func (p *program) listCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   "list [ZONE|REPOSITORY]",
		Short: "What stands in the registry: repositories, and what is in them",
		Long: `List the repositories of a zone, or of all zones, in which you can see
something; or what stands in a repository, the newest first, with its tags,
verdict, age, size and worst finding. With --verdict the artifacts of a whole
zone are listed. Evidence is left out, and so are the platforms of an index: it
stands for them.

-o json and -o yaml print all there is, unless --limit says how many.`,
		Example: `  bonded list
  bonded list production
  bonded list dev/payments/api
  bonded list staging --verdict denied
  bonded list dev/payments/api --limit 1 -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: firstOnly(p.completeListed),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				l.at = args[0]
			}
			switch {
			case l.all && cmd.Flags().Changed("limit"):
				return usage("--all, or --limit N", "--all and --limit contradict each other")
			case l.limit < 1:
				return usage("--limit N, or --all", "%d is no number of rows", l.limit)
			case l.all || p.output != outputText && !cmd.Flags().Changed("limit"):
				l.limit = 0
			}
			return p.runList(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&l.verdict, "verdict", "", "only artifacts of this `VERDICT`: allowed, held, denied, withdrawn or revoked")
	cmd.Flags().BoolVar(&l.all, "all", false, fmt.Sprintf("print the whole list, not its first %d", rowsShown))
	cmd.Flags().IntVar(&l.limit, "limit", rowsShown, "print the first `N`")
	p.must(cmd.RegisterFlagCompletionFunc("verdict", fixed("allowed", "held", "denied", "withdrawn", "revoked")))
	return cmd
}

func (p *program) runList(ctx context.Context, l listing) error {
	switch l.verdict {
	case "", "allowed", "held", "denied", "withdrawn", "revoked":
		l.query.Verdict = l.verdict
	default:
		return usage("--verdict allowed, held, denied, withdrawn or revoked", "%q is no verdict", l.verdict)
	}
	c, at, err := p.connect(ctx)
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(reference(l.at, at), "/")
	if strings.Contains(name, "/") {
		l.query.Repository = name
	} else {
		l.query.Zone = name
	}
	if l.query.Repository == "" && l.verdict == "" {
		return p.listRepositories(ctx, c, l)
	}
	return p.listArtifacts(ctx, c, l)
}

func (p *program) listRepositories(ctx context.Context, c *client.Client, l listing) error {
	rows, next, err := gather(l.limit, func(after string, limit int) (*api.Page[api.Repository], error) {
		return c.Repositories(ctx, l.query.Zone, after, limit)
	})
	if err == nil && len(rows) == 0 {
		err = knownZone(ctx, c, l.query.Zone)
	}
	if err != nil {
		return err
	}
	return show(p, api.Page[api.Repository]{Items: rows, Next: next}, func(pg *page, a api.Page[api.Repository]) {
		if len(a.Items) == 0 {
			pg.line("NOTHING that you can see stands there")
			return
		}
		var cells [][]string
		for _, r := range a.Items {
			n := r.Newest
			cells = append(cells, []string{r.Name, tagged(n), pg.listed(n), pg.ago(n.BroughtAt), n.BroughtBy})
		}
		pg.table(0, []column{{title: "REPOSITORY", keep: true}, {title: "NEWEST"}, {title: "VERDICT", keep: true}, {title: "BROUGHT"}, {title: "BY", drop: true}}, cells)
		pg.further(a.Next, l)
	})
}

func (p *program) listArtifacts(ctx context.Context, c *client.Client, l listing) error {
	rows, next, err := gather(l.limit, func(after string, limit int) (*api.Page[api.ListedArtifact], error) {
		q := l.query
		q.After, q.Limit = after, limit
		return c.Artifacts(ctx, q)
	})
	if err == nil && len(rows) == 0 && l.query.Repository == "" {
		err = knownZone(ctx, c, l.query.Zone)
	}
	var asked *client.Error
	if zone, _, ok := strings.Cut(l.query.Repository, "/"); ok && errors.As(err, &asked) && asked.Code == "not-found" {
		return &failure{code: exitUsage, what: asked.Message, next: "see what there is: bonded list " + zone, cause: err}
	}
	if err != nil {
		return err
	}
	return show(p, api.Page[api.ListedArtifact]{Items: rows, Next: next}, func(pg *page, a api.Page[api.ListedArtifact]) { pg.artifacts(a, l) })
}

func (pg *page) artifacts(a api.Page[api.ListedArtifact], l listing) {
	if len(a.Items) == 0 {
		pg.line("NOTHING that you can see is so")
		return
	}
	var cells [][]string
	refused := ""
	for _, x := range a.Items {
		name := tagged(x.Placement)
		if l.query.Repository == "" {
			name = named(x.Repository, x.Tags, x.Digest)
		}
		cells = append(cells, []string{name, x.Kind, pg.listed(x.Placement), pg.ago(x.BroughtAt), bytesOf(x.Size), pg.worst(x)})
		if refused == "" && x.State != string(repo.Admitted) {
			refused = refer(x.Repository, x.Tags, x.Digest)
		}
	}
	title := "ARTIFACT"
	if l.query.Repository != "" {
		pg.line(pg.bold.Render(l.query.Repository))
		title = "TAGS"
	}
	pg.table(0, []column{{title: title, least: 16}, {title: "KIND", drop: true}, {title: "VERDICT", keep: true}, {title: "BROUGHT"}, {title: "SIZE", right: true, drop: true}, {title: "WORST FINDING"}}, cells)
	pg.further(a.Next, l)
	if refused != "" {
		pg.line(pg.faint.Render("why: bonded why " + refused))
	}
}

// tagged is a placement by its tags, or by its digest for eyes.
func tagged(x api.Placement) string {
	if len(x.Tags) == 0 {
		return short(x.Digest)
	}
	return strings.Join(x.Tags, ", ")
}

// listed says in one word how a placement stands.
func (pg *page) listed(x api.Placement) string {
	switch {
	case x.State == string(repo.Held):
		return pg.wait.Render("held")
	case x.State != string(repo.Admitted):
		return pg.bad.Render(x.State)
	case !x.StayUntil.IsZero():
		return pg.wait.Render("stays until " + x.StayUntil.UTC().Format("2006-01-02"))
	}
	return pg.good.Render("allowed")
}

// worst says the worst finding; that there is none says something only where all
// was looked at.
func (pg *page) worst(x api.ListedArtifact) string {
	if x.Worst == nil {
		if x.Checked || x.State == string(repo.Revoked) { // nobody is told what is in that
			return dash
		}
		return pg.wait.Render("not checked")
	}
	f := api.Finding{ID: x.Worst.ID, Aliases: x.Worst.Aliases, Severity: x.Worst.Severity, Malicious: x.Worst.Malicious}
	return pg.severity(f) + " " + known(f)
}

// further says how to see more of a list.
func (pg *page) further(next string, l listing) {
	if next == "" {
		return
	}
	how := []string{"bonded list"}
	if l.at != "" {
		how = append(how, l.at)
	}
	if l.verdict != "" {
		how = append(how, "--verdict "+l.verdict)
	}
	pg.line(pg.faint.Render("…more: " + strings.Join(append(how, "--all"), " ")))
}

// gather asks for pages until there are as many rows as wanted, 0 for all, and
// returns where it ended, "" at the end.
func gather[T any](wanted int, ask func(after string, limit int) (*api.Page[T], error)) (rows []T, next string, err error) {
	rows = []T{}
	for {
		limit := 100
		if wanted > 0 {
			limit = min(limit, wanted-len(rows))
		}
		page, err := ask(next, limit)
		if err != nil {
			return nil, "", err
		}
		rows, next = append(rows, page.Items...), page.Next
		if next == "" || len(rows) == wanted {
			return rows, next, nil
		}
	}
}

// knownZone wants a zone to be there, of which nothing is listed.
func knownZone(ctx context.Context, c *client.Client, name string) error {
	if name == "" {
		return nil
	}
	zones, err := c.Zones(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, z := range zones {
		if z.Name == name {
			return nil
		}
		names = append(names, z.Name)
	}
	return usage("bonded zone list", "there is no zone %q, only %s", name, list(names))
}
