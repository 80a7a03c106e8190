package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
)

// previewed is a preview with all that would flip.
type previewed struct {
	api.Preview
	Flips []api.Flip `json:"flips"`
}

func (p *program) gatePreview() *cobra.Command {
	var zone string
	cmd := &cobra.Command{
		Use:   "preview FILE --zone ZONE",
		Short: "Tell exactly what would flip if a gate were in force",
		Long: `Have the server judge all that stands in a zone, or waits there, by the gate of
a file, as if that were in force, and list what would not stand as it does.
Nothing is recorded. Data that the gate names is the server's.

Exits with 1 when something could be pulled less than before, or is to be
withdrawn.`,
		Example: "  bonded gate preview ./production.yaml --zone production\n  bonded gate preview ./production.yaml --zone production -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.runPreview(cmd.Context(), args[0], zone)
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "the `ZONE` in which it would be in force")
	p.must(cmd.MarkFlagRequired("zone"))
	p.must(cmd.RegisterFlagCompletionFunc("zone", p.completeZones))
	return cmd
}

func (p *program) runPreview(ctx context.Context, file, zone string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading gate: %w", err)
	}
	c, _, err := p.connect(ctx)
	if err != nil {
		return err
	}
	out := previewed{Flips: []api.Flip{}}
	steps := p.steps()
	defer steps.done()
	steps.step("judging what is in " + zone)
	for u, err := range c.PreviewGate(ctx, api.PreviewRequest{Zone: zone, Text: string(text)}) {
		if err != nil {
			return err
		}
		if u.Flip != nil {
			out.Flips = append(out.Flips, *u.Flip)
		}
		if u.Done != nil {
			out.Preview = *u.Done
			continue
		}
		if p.io.ErrTerminal {
			steps.step(fmt.Sprintf("judging what is in %s: %d of %d", zone, u.Judged, u.Total))
		}
	}
	steps.done()
	if out.Worse > 0 {
		p.outcome = exitDenied
	}
	return show(p, out, func(pg *page, out previewed) { pg.previewed(&out) })
}

func (pg *page) previewed(out *previewed) {
	if len(out.Flips) == 0 {
		pg.line(fmt.Sprintf("Nothing would flip: %s stand as this gate would have it.", many(out.Judged, "artifact", "artifacts")))
		return
	}
	rows := make([][]string, 0, len(out.Flips))
	for i := range out.Flips {
		f := &out.Flips[i]
		mark := pg.good.Render("✓")
		if f.Worse {
			mark = pg.bad.Render("✗")
		}
		rows = append(rows, []string{mark, f.Repository + "@" + short(f.Digest), flagged(f.Before, f.FlaggedBefore) + " → " + flagged(f.After, f.Flagged), policy.Printable(f.Sentence)})
	}
	pg.table(0, []column{{keep: true}, {keep: true}, {keep: true}, {least: 30}}, rows)
	pg.line()
	pg.line(fmt.Sprintf("%d of %d would flip: %d worse, %d better", len(out.Flips), out.Judged, out.Worse, out.Better))
	var rules [][]string
	for _, name := range slices.Sorted(maps.Keys(out.Rules)) {
		rules = append(rules, []string{name, count(out.Rules[name])})
	}
	if len(rules) > 0 {
		pg.line()
		pg.table(0, []column{{title: "RULE", keep: true}, {title: "NOT ALLOWED", right: true}}, rules)
	}
}

// flagged is a state as people read it.
func flagged(state string, denied bool) string {
	if denied {
		return state + ", flagged"
	}
	return state
}
