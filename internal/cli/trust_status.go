package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/trust"
)

func (p *program) trustStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Where keys live, when they end, and how the logs are",
		Long: `Say what the server signs with: where its keys live and which place is the
weakest, how long its logs are, when certificates and metadata end, and how
cosign is told to trust it.

Exits with 5 when something is wrong.`,
		Example: "  bonded trust status\n  bonded trust status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			t, err := c.Trust(cmd.Context())
			if err != nil {
				return err
			}
			if t.Problem != "" {
				p.outcome = exitUnavailable
			}
			return show(p, t, func(pg *page, t *api.Trust) { pg.trust(t, l) })
		},
	}
}

func (pg *page) trust(t *api.Trust, l login) {
	if t.Problem == "" {
		pg.line(pg.good.Render("OK"), "  ", t.Origin)
	} else {
		pg.wrap(pg.bad.Render("WRONG")+"  ", "       ", t.Problem)
	}
	at := map[string][]string{}
	for _, k := range t.Keys {
		at[k.Strength] = append(at[k.Strength], k.Slot)
	}
	pg.fact("weakest key", t.Weakest)
	for _, strength := range sorted(at) {
		pg.wrap(fmt.Sprintf("  %-21s  ", strength), strings.Repeat(" ", 25), strings.Join(at[strength], ", "))
	}
	for _, s := range t.Logs {
		text := many(s.Size, "entry", "entries")
		if s.Published < s.Size {
			text += fmt.Sprintf(", %s of them published", count(s.Published))
		}
		pg.fact("log "+s.Name, text)
		pg.fact("", s.Key)
	}
	pg.fact("fork protection", cmp.Or(t.ForkProtection, "none"))
	if w := t.Witness; w != nil {
		pg.fact("witness at", w.URL)
		pg.fact("", w.Key)
		for _, l := range w.Of {
			pg.fact("witness of", l.Origin+", "+many(l.Size, "entry", "entries"))
		}
	}
	for _, e := range t.Endings {
		pg.fact(e.What, "good until "+e.At.Format(time.DateOnly))
	}
	for _, a := range t.Anchors {
		text := a.From
		if a.AsOf != nil {
			text += ", of " + a.AsOf.Format(time.DateOnly)
		}
		if a.Problem != "" {
			text += ": cannot be asked, " + a.Problem
		}
		pg.fact("anchor "+a.Name, text)
	}
	for _, w := range t.Warnings {
		pg.wrap("  "+pg.wait.Render("!")+" ", "    ", w)
	}
	pg.line()
	mirror := l.URL + trust.PathTUF
	pg.line("cosign trusts it by: eval \"$(bonded trust env)\", or on a machine without bonded")
	pg.line("  cosign initialize --mirror ", mirror, " \\")
	pg.line("    --root ", mirror, "/1.root.json \\")
	pg.line("    --root-checksum ", t.RootChecksum)
}

func (p *program) trustApprove() *cobra.Command {
	var refuse bool
	cmd := &cobra.Command{
		Use:   "approve CODE",
		Short: "Let a program that waits for it sign as you",
		Long: `Approve a sign-in that cosign, or another program, has just started on a device
or in a browser and that shows a code: it gets an identity token of yours.
Approve only what you have started yourself.`,
		Example: "  bonded trust approve BCDF-GHJK\n  bonded trust approve BCDF-GHJK --refuse",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			s, err := c.SettleSignIn(cmd.Context(), args[0], !refuse)
			var asked *client.Error
			if errors.As(err, &asked) && asked.Code == "not-found" {
				return &failure{code: exitCode(asked.ExitCode()), what: fmt.Sprintf("nobody waits with the code %s at %s", args[0], l.Host), next: "codes live ten minutes: start the sign-in again", cause: err}
			}
			if err != nil {
				return err
			}
			return show(p, s, func(pg *page, s *api.SignIn) {
				if refuse {
					pg.line("Refused  ", s.Code)
					return
				}
				pg.line(pg.good.Render("Approved"), "  ", s.Code, ": the ", s.Kind, " at ", or(s.From), ", which began ", pg.ago(s.Started), ", signs as ", pg.bold.Render(s.Identity))
			})
		},
	}
	cmd.Flags().BoolVar(&refuse, "refuse", false, "end the sign-in instead")
	return cmd
}
