package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) rollback() *cobra.Command {
	var (
		req  api.RollbackRequest
		list bool
	)
	cmd := &cobra.Command{
		Use:   "rollback REPOSITORY:TAG",
		Short: "Let a tag name again what it named before",
		Long: `Let a tag name again what it named before: the digest before this one or, with
--to, any that it has named. It must still stand in its zone, with no deadline
running, and the gate must let it in if it came now; otherwise nothing has
changed. Who rolls back twice goes back twice.

Exits with 0 when the tag was moved, 1 when the gate denies, 3 when it cannot
tell.`,
		Example: `  bonded rollback production/payments/api:stable --reason defect
  bonded rollback production/payments/api:stable --list
  bonded rollback production/payments/api:stable --dry-run`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			if req.Reference = args[0]; list {
				return p.runNamed(cmd.Context(), args[0])
			}
			return p.runRollback(cmd.Context(), req)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&req.To, "to", "", "`DIGEST` to go back to, one that the tag has named")
	flags.StringVar(&req.Reason, "reason", "", "why, in a `SENTENCE` for the audit log")
	flags.BoolVar(&req.DryRun, "dry-run", false, "ask, and change nothing")
	flags.BoolVar(&list, "list", false, "list what the tag has named, and change nothing")
	cmd.MarkFlagsMutuallyExclusive("list", "to")
	return cmd
}

func (p *program) runRollback(ctx context.Context, req api.RollbackRequest) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	asked := req.Reference
	req.Reference = reference(req.Reference, l)
	res, err := c.Rollback(ctx, req)
	if err != nil {
		return sought(err, asked, l)
	}
	p.outcome = exitOf(res.Decision.Outcome)
	return show(p, res, func(pg *page, res *api.RolledBack) {
		target := res.Repository + "@" + res.Digest
		pg.rest.findings, pg.rest.all = "bonded findings "+target+" --all", "bonded why "+target+" -o json"
		if res.Decision.Outcome == api.Allow {
			pg.rolledBack(res)
			return
		}
		pg.verdict(verdict{
			artifact: api.Artifact{Repository: res.Repository, Digest: res.Digest}, zone: res.Decision.Zone, decision: &res.Decision,
		})
		pg.change(&res.Decision, nil)
		pg.line()
		pg.line("Nothing has changed: ", req.Reference, " names what it named.")
		pg.line("next: bonded rollback ", req.Reference, " --list")
	})
}

func (pg *page) rolledBack(res *api.RolledBack) {
	head := "ROLLED BACK"
	if !res.Done {
		head = "WOULD BE ROLLED BACK"
	}
	pg.line(pg.good.Render(head), "  ", pg.bold.Render(pathOf(res.Repository)+":"+res.Tag), "  ", pg.faint.Render(short(res.Digest)))
	if res.Before != "" {
		pg.line("  it named  ", short(res.Before))
	}
	pg.line()
	pg.reasons(&res.Decision)
	if res.Done {
		pg.line()
		pg.line("what else it named: bonded rollback ", res.Repository, ":", res.Tag, " --list")
	}
}

// maxNamed is how far back a tag is listed, and can go.
const maxNamed = 1000

func (p *program) runNamed(ctx context.Context, asked string) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	named, err := c.Named(ctx, reference(asked, l), "", maxNamed)
	if err != nil {
		return sought(err, asked, l)
	}
	return show(p, named, func(pg *page, named []api.Named) {
		var rows [][]string
		for _, n := range named {
			until := moment(n.To)
			if n.To.IsZero() {
				until = pg.good.Render("now")
			}
			how := ""
			if n.Back != 0 {
				how = "rolled back"
			}
			rows = append(rows, []string{n.Digest, moment(n.From), until, n.State, how})
		}
		pg.table(0, []column{{title: "DIGEST", keep: true}, {title: "FROM"}, {title: "UNTIL"}, {title: "IS NOW"}, {title: "HOW"}}, rows)
	})
}
