package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
)

func (p *program) approve() *cobra.Command {
	var req api.ApproveRequest
	cmd := &cobra.Command{
		Use:   "approve REFERENCE",
		Short: "Say yes to an artifact, where a gate asks people",
		Long: `Say yes to an artifact: with --to, to its coming into another zone, else to
what waits or stands in the zone where it is. An approval is of a digest, and of
an index with all that it names; who approves twice has approved once. Gates
that ask for approvals say whose they want, and how many.

It needs the verb approve on the target repository.`,
		Example: `  bonded approve staging/payments/api:1.8 --to production --reason tested
  bonded approve production/payments/api:1.8
  bonded approve staging/payments/api:1.8 --to production --withdraw`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Reference = args[0]
			return p.runApprove(cmd.Context(), req)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&req.To, "to", "", "`ZONE` that it may come into (default: the one where it is)")
	flags.StringVar(&req.Reason, "reason", "", "why, in a `SENTENCE` that the decision tells")
	flags.BoolVar(&req.Withdraw, "withdraw", false, "take your own approval back")
	p.must(cmd.RegisterFlagCompletionFunc("to", p.completeZones))
	return cmd
}

func (p *program) runApprove(ctx context.Context, req api.ApproveRequest) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	asked := req.Reference
	req.Reference = reference(req.Reference, l)
	res, err := c.Approve(ctx, req)
	if err != nil {
		return sought(err, asked, l)
	}
	return show(p, res, func(pg *page, res *api.Approved) {
		head := pg.good.Render("APPROVED")
		if req.Withdraw {
			head = pg.wait.Render("APPROVAL WITHDRAWN")
		}
		pg.line(head, " for ", res.Repository, "  ", pg.faint.Render(short(res.Digest)))
		pg.line()
		pg.said(res.Approvals, "approved", "nobody approves of it")
		pg.line()
		if res.From == res.Repository {
			pg.line("next: bonded why ", res.Repository, "@", res.Digest, " --wait 1m")
			return
		}
		pg.line("next: bonded promote ", req.Reference, " --to ", req.To)
	})
}

// said lists what people have said.
func (pg *page) said(words []api.Word, verb, none string) {
	if len(words) == 0 {
		pg.line("  ", none)
	}
	for _, w := range words {
		pg.line("  ", verb, " by ", pg.bold.Render(w.By), "  ", pg.ago(w.At))
		if w.Reason != "" {
			pg.wrap("    ", "    ", w.Reason)
		}
	}
}

func (p *program) hold() *cobra.Command {
	var req api.StopRequest
	cmd := &cobra.Command{
		Use:   "hold REFERENCE --reason SENTENCE",
		Short: "Stop an artifact from being promoted any further",
		Long: `Stop an artifact where it stands: it can still be pulled, and is promoted to no
other zone, alone or as a part of something, and no tag is rolled back to it,
until somebody lets it go on with bonded resume. What stands in other zones
already stays there: for that, see bonded revoke.

It needs the verb hold on its repository.`,
		Example:           `  bonded hold staging/payments/api:1.8 --reason slow`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Reference = args[0]
			return p.runStop(cmd.Context(), req)
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, in a `SENTENCE`: it is told to everyone who wants to promote it")
	p.must(cmd.MarkFlagRequired("reason"))
	return cmd
}

func (p *program) resume() *cobra.Command {
	req := api.StopRequest{Resume: true}
	cmd := &cobra.Command{
		Use:   "resume REFERENCE",
		Short: "Let an artifact that was held be promoted again",
		Long: `Let an artifact go on that bonded hold has stopped, whoever did that.

It needs the verb hold on its repository.`,
		Example:           `  bonded resume staging/payments/api:1.8 --reason measured`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Reference = args[0]
			return p.runStop(cmd.Context(), req)
		},
	}
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, in a `SENTENCE` for the audit log")
	return cmd
}

func (p *program) runStop(ctx context.Context, req api.StopRequest) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	asked := req.Reference
	req.Reference = reference(req.Reference, l)
	res, err := c.Stop(ctx, req)
	if err != nil {
		return sought(err, asked, l)
	}
	return show(p, res, func(pg *page, res *api.Stopped) {
		target := res.Repository + "@" + res.Digest
		if req.Resume {
			pg.line(pg.good.Render("RESUMED"), "  ", req.Reference, "  ", pg.faint.Render(short(res.Digest)))
			return
		}
		pg.line(pg.wait.Render("HELD"), "  ", req.Reference, "  ", pg.faint.Render(short(res.Digest)))
		pg.line()
		pg.said(res.Stops, "stopped", "nobody holds it")
		pg.line()
		pg.line("to let it go on: bonded resume ", target)
	})
}
