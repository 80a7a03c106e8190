package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) promote() *cobra.Command {
	var req api.PromoteRequest
	cmd := &cobra.Command{
		Use:   "promote REFERENCE --to ZONE",
		Short: "Take an artifact to another zone, if its gate lets it in",
		Long: `Ask the gate of another zone, and when it allows, place the artifact there
under the same path, with all that belongs to it: platforms and referrers.
Nothing is copied and the digest stays the same. When the gate does not allow,
nothing has changed.

Exits with 0 when it was promoted, 1 when the gate denies, 3 when it cannot
tell.`,
		Example: `  bonded promote dev/payments/api:1.8 --to staging
  bonded promote staging/payments/api:1.8 --to production --tag 1.8 --tag stable
  bonded promote dev/payments/api:1.8 --to staging --dry-run`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Reference = args[0]
			return p.runPromote(cmd.Context(), req)
		},
	}
	flags := cmd.Flags()
	cmd.ValidArgsFunction = firstOnly(p.completeReferences)
	flags.StringVar(&req.To, "to", "", "`ZONE` to take it to")
	flags.StringArrayVar(&req.Tags, "tag", nil, "`TAG` to give it there, instead of the one it has; repeat it for more")
	flags.BoolVar(&req.DryRun, "dry-run", false, "ask, and change nothing")
	p.must(cmd.MarkFlagRequired("to"))
	p.must(cmd.RegisterFlagCompletionFunc("to", p.completeZones))
	return cmd
}

func (p *program) runPromote(ctx context.Context, req api.PromoteRequest) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	asked := req.Reference
	req.Reference = reference(req.Reference, l)
	res, err := c.Promote(ctx, req)
	if err != nil {
		return sought(err, asked, l)
	}
	p.outcome = exitOf(res.Decision.Outcome)
	return show(p, res, func(pg *page, res *api.Promoted) {
		pg.rest.findings, pg.rest.all = "bonded findings "+req.Reference+" --all", "bonded why "+req.Reference+" -o json --as-if "+req.To
		if res.Decision.Outcome == api.Allow {
			pg.promoted(res, l.Host, req.DryRun)
			return
		}
		pg.verdict(verdict{
			artifact: api.Artifact{Repository: res.To, Digest: res.Digest, Tags: res.Tags},
			zone:     req.To, decision: &res.Decision,
		})
		pg.change(&res.Decision, nil)
		pg.line()
		pg.line("Nothing has changed: ", req.Reference, " stays where it is.")
		pg.lookedAt(&res.Decision, req.Reference)
	})
}

func (pg *page) promoted(res *api.Promoted, host string, dry bool) {
	head := pg.good.Render("PROMOTED")
	if dry {
		head = pg.good.Render("WOULD BE PROMOTED")
	}
	name := pg.bold.Render(named(pathOf(res.To), res.Tags, res.Digest))
	if len(res.Tags) > 0 {
		name += "  " + pg.faint.Render(short(res.Digest))
	}
	pg.line(head, " to ", res.Decision.Zone, "      ", name)
	pg.line()
	pg.reasons(&res.Decision)
	if n := len(res.Closure); n > 1 {
		pg.line()
		pg.line("with ", many(n-1, "other manifest", "other manifests"), " (platforms and referrers)")
	}
	if !dry {
		pg.line()
		pg.line("pull it as ", host, "/", refer(res.To, res.Tags, res.Digest))
	}
}
