package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
)

func (p *program) waiver() *cobra.Command {
	cmd := group("waiver", "Ask for and grant permission for what a gate finds", `  bonded waiver ask --repositories 'dev/**' --rule r --for 72h --reason good
  bonded waiver list --open
  bonded waiver grant 4 --dry-run
  bonded waiver grant 4
  bonded waiver end 4 --reason mended`,
		p.waiverAsk(), p.waiverGrant(), p.waiverDeny(), p.waiverEnd(), p.waiverList(), p.waiverShow(), p.waiverExport())
	cmd.Long = `A waiver is a permission: what a rule of a gate finds does not count, in some
repositories, until a moment. Whoever may pull there asks for one; those whom
the gate names under "waive" grant it, and need the verb waive wherever it is
about. At its end it is over to the second. bonded why says what is waived, and
who may waive what is refused.`
	return cmd
}

// asking is a command line that asks for a waiver.
type asking struct {
	req         api.WaiverRequest
	from, until string
	lasts       time.Duration
}

func (p *program) waiverAsk() *cobra.Command {
	var a asking
	cmd := &cobra.Command{
		Use: "ask", Short: "Ask that something a gate finds does not count for a while", Args: cobra.NoArgs,
		Long: `Ask for a waiver. What is left out does not narrow it: without --advisory and
--package it is about the rule as a whole, and without --rule about what any
rule finds that has the advisory or package. With --dry-run nothing is asked:
what would be judged otherwise is printed.`,
		Example: `  bonded waiver ask --repositories 'dev/**' --rule r --for 72h --reason good
  bonded waiver ask --renews 4 --for 72h`,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runWaiverAsk(cmd.Context(), &a) },
	}
	flags := cmd.Flags()
	flags.StringVar(&a.req.Repositories, "repositories", "", "where, a `PATTERN` with the zone written out: production/payments/**")
	flags.StringVar(&a.req.Digest, "digest", "", "only of this `DIGEST`")
	flags.StringVar(&a.req.Rule, "rule", "", "what this `RULE` of the zone's gate finds")
	flags.StringVar(&a.req.Advisory, "advisory", "", "only this `ADVISORY`, or an alias of it")
	flags.StringVar(&a.req.Package, "package", "", "only in this package, a `PURL`; without a version in any")
	flags.StringVar(&a.req.Owner, "owner", "", "`WHO` answers for it, you when absent")
	flags.StringVar(&a.req.Reason, "reason", "", "why, in a `SENTENCE`: it is what an auditor reads")
	flags.StringVar(&a.req.Justification, "justification", "", "why it does no harm, a `WORD` of VEX's: vulnerable_code_not_present, …")
	flags.DurationVar(&a.lasts, "for", 0, "how long it holds, a `TIME` such as 72h")
	flags.StringVar(&a.until, "until", "", "when it ends, a `TIME`: 2026-11-25, or 2026-11-25T08:00:00Z")
	flags.StringVar(&a.from, "from", "", "when it begins, a `TIME`; now when absent")
	flags.BoolVar(&a.req.Follow, "follow", false, "hold for later digests too while package, version and lack of a fix are the same")
	flags.StringVar(&a.req.Renews, "renews", "", "take the place of the waiver with this `NUMBER`: what is left out is as there")
	flags.BoolVar(&a.req.Preview, "dry-run", false, "tell what would be judged otherwise, and ask for nothing")
	return cmd
}

func (p *program) runWaiverAsk(ctx context.Context, a *asking) (err error) {
	switch {
	case a.req.Renews == "" && a.req.Repositories == "":
		return usage("--repositories 'production/payments/**'", "a waiver has to say where it holds")
	case a.req.Renews == "" && a.req.Reason == "":
		return usage("--reason SENTENCE", "a waiver needs a reason: it is what an auditor reads")
	case (a.until == "") == (a.lasts == 0) || a.lasts < 0:
		return usage("--for 72h, or --until 2026-11-25", "a waiver has one end")
	}
	if a.req.From, err = readTime("--from", a.from); err != nil {
		return err
	}
	if a.req.Until, err = readTime("--until", a.until); err != nil {
		return err
	}
	if a.lasts > 0 {
		begin := a.req.From
		if begin.IsZero() {
			begin = p.env.Clock()
		}
		a.req.Until = begin.Add(a.lasts).UTC().Truncate(time.Second)
	}
	c, _, err := p.connect(ctx)
	if err != nil {
		return err
	}
	done, err := c.AskWaiver(ctx, a.req)
	if err != nil {
		return err
	}
	return show(p, done, func(pg *page, done *api.WaiverDone) { pg.waived(done, "ASKED") })
}

// onWaiver is a command about one waiver.
func (p *program) onWaiver(use, short, long string, run func(context.Context, *client.Client, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " NUMBER", Short: short, Long: long, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			err = run(cmd.Context(), c, args[0])
			var asked *client.Error
			if errors.As(err, &asked) && asked.Code == "not-found" {
				return &failure{code: exitUsage, what: fmt.Sprintf("there is no waiver %s that you may know of", args[0]), next: "bonded waiver list", cause: err}
			}
			return err
		},
	}
}

func (p *program) waiverGrant() *cobra.Command {
	var dry bool
	cmd := p.onWaiver("grant", "Say yes to a waiver", `Say yes to a waiver. It is in force once as many have said so as the gate asks
for; where that is more than one, who asked is none of them.`, func(ctx context.Context, c *client.Client, id string) error {
		done, err := c.GrantWaiver(ctx, id, dry)
		if err != nil {
			return err
		}
		return show(p, done, func(pg *page, done *api.WaiverDone) { pg.waived(done, "GRANTED") })
	})
	cmd.Example = "  bonded waiver grant 4 --dry-run"
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be judged otherwise, and change nothing")
	return cmd
}

// waiverEnding makes the commands that end one.
func (p *program) waiverEnding(use, short, long, word string, act func(*client.Client, context.Context, string, string) (*api.WaiverDone, error)) *cobra.Command {
	var reason string
	cmd := p.onWaiver(use, short, long, func(ctx context.Context, c *client.Client, id string) error {
		if reason == "" {
			return usage("--reason SENTENCE", "the end of a waiver needs a reason")
		}
		done, err := act(c, ctx, id, reason)
		if err != nil {
			return err
		}
		return show(p, done, func(pg *page, done *api.WaiverDone) { pg.waived(done, word) })
	})
	cmd.Example = "  bonded waiver " + use + " 4 --reason mended"
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a `SENTENCE`")
	return cmd
}

func (p *program) waiverDeny() *cobra.Command {
	return p.waiverEnding("deny", "Refuse a waiver that somebody asked for", "Refuse a waiver that is not in force.", "DENIED", (*client.Client).DenyWaiver)
}

func (p *program) waiverEnd() *cobra.Command {
	return p.waiverEnding("end", "End a waiver before its time", `End a waiver. What it let stand is judged again without it. Who asked for it can
do so, and who may waive wherever it is about.`, "ENDED", (*client.Client).EndWaiver)
}

func (p *program) waiverShow() *cobra.Command {
	cmd := p.onWaiver("show", "Show a waiver, and what the gate's rules make of it", "", func(ctx context.Context, c *client.Client, id string) error {
		w, err := c.Waiver(ctx, id)
		if err != nil {
			return err
		}
		return show(p, w, func(pg *page, w *api.Waiver) { pg.waiverOf(w); pg.waiverRules(w); pg.follows(w) })
	})
	cmd.Example = "  bonded waiver show 4 -o json"
	return cmd
}

func (p *program) waiverList() *cobra.Command {
	var zone, after string
	var limit int
	var open bool
	cmd := &cobra.Command{
		Use: "list", Short: "List waivers, newest first", Example: "  bonded waiver list --zone production --open", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			found, err := c.Waivers(cmd.Context(), zone, open, after, limit)
			if err != nil {
				return err
			}
			return show(p, found, func(pg *page, found *api.Page[api.Waiver]) { pg.waivers(found) })
		},
	}
	cmd.Flags().StringVar(&zone, "zone", "", "about this `ZONE`")
	cmd.Flags().BoolVar(&open, "open", false, "without those that have ended")
	cmd.Flags().StringVar(&after, "after", "", "go on after this `NUMBER`")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this `MANY`")
	p.must(cmd.RegisterFlagCompletionFunc("zone", p.completeZones))
	return cmd
}

func (p *program) waiverExport() *cobra.Command {
	var repositories string
	cmd := &cobra.Command{
		Use: "export", Short: "Print the waivers in force as OpenVEX", Args: cobra.NoArgs, Example: "  bonded waiver export --repositories 'production/**' > waivers.openvex.json",
		Long: `Print an OpenVEX document about what stands by waivers. A fault is
"not_affected" only by a waiver with a justification, and else "affected", with
what is done.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			doc, err := c.ExportWaivers(cmd.Context(), repositories)
			if err == nil && p.output == outputYAML {
				doc, err = yaml.JSONToYAML(doc)
			}
			if err == nil {
				_, err = p.io.Out.Write(doc)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&repositories, "repositories", "", "where, a `PATTERN`: production/**")
	return cmd
}

// waived writes what an act on a waiver did, or would do.
func (pg *page) waived(done *api.WaiverDone, word string) {
	w := &done.Waiver
	switch {
	case done.Preview:
		pg.line(pg.wait.Render("WOULD WAIVE"))
	case word == "GRANTED" && w.State != "granted":
		pg.line(pg.wait.Render("GRANTED BY YOU"), "  ", pg.faint.Render("others have to say yes, too"))
	default:
		pg.line(pg.bold.Render(word))
	}
	pg.waiverOf(w)
	if done.Preview {
		pg.flips(done)
	}
	if w.Ended == nil {
		pg.waiverRules(w)
	}
	for _, warning := range done.Warnings {
		pg.wrap(pg.wait.Render("! "), "  ", warning)
	}
	if word == "ASKED" && !done.Preview {
		pg.line("next: those who may, bonded waiver grant ", w.ID)
	}
}

func (pg *page) flips(done *api.WaiverDone) {
	var rows [][]string
	for _, f := range done.Flips {
		rows = append(rows, []string{named(f.Repository, nil, f.Digest), f.State, string(f.Before), string(f.After)})
	}
	if len(rows) > 0 {
		pg.line()
		pg.table(2, []column{{title: "JUDGED OTHERWISE", keep: true}, {title: "IS"}, {title: "NOW"}, {title: "THEN"}}, rows)
	}
	if done.More {
		pg.line("  of more than ", strconv.Itoa(done.Looked), ", which were looked at")
	}
}

// what says what a waiver is about, in one line.
func what(w *api.Waiver) string {
	var parts []string
	for _, s := range []string{w.Advisory, w.Package} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if w.Rule != "" {
		parts = append(parts, "rule "+w.Rule)
	}
	where := "in " + w.Repositories
	if w.Digest != "" {
		where += "@" + short(w.Digest)
	}
	if w.Follow {
		where += " and what follows"
	}
	return strings.Join(append(parts, where), ", ")
}

func (pg *page) waiverOf(w *api.Waiver) {
	number := "waiver " + w.ID
	if w.ID == "" {
		number = "not asked for"
	}
	pg.wrap("  ", "    ", what(w)+"  "+pg.faint.Render(number))
	pg.wrap("  ", "    ", w.Reason+" ("+w.Owner+" answers for it)")
	if w.Justification != "" {
		pg.line("  justification ", w.Justification)
	}
	pg.line("  ", pg.waiverState(w), ", asked for by ", w.AskedBy)
}

func (pg *page) waiverState(w *api.Waiver) string {
	switch {
	case w.Ended != nil:
		return w.Ended.How + " by " + w.Ended.By + " " + pg.ago(w.Ended.At)
	case w.State == "granted":
		return pg.good.Render("granted") + " by " + strings.Join(grantors(w), " and ") + " until " + moment(w.Until)
	case len(w.Granted) > 0:
		return pg.wait.Render("asked") + ", granted by " + strings.Join(grantors(w), " and ") + ", until " + moment(w.Until)
	}
	return pg.wait.Render(w.State) + " until " + moment(w.Until)
}

func grantors(w *api.Waiver) []string {
	var names []string
	for _, g := range w.Granted {
		names = append(names, g.Name)
	}
	return names
}

// waiverRules writes which rules honour a waiver, and what the others miss.
func (pg *page) waiverRules(w *api.Waiver) {
	var rows [][]string
	for _, r := range w.Rules {
		says := "until " + moment(r.Until)
		if r.Why != "" {
			says = r.Why
		}
		rows = append(rows, []string{r.Rule, r.Needs, says})
	}
	if len(rows) > 0 {
		pg.line()
		pg.table(2, []column{{title: "RULE", keep: true}, {title: "WHO MAY WAIVE"}, {title: "HONOURS IT"}}, rows)
	}
}

func (pg *page) follows(w *api.Waiver) {
	var rows [][]string
	for _, f := range w.Follows {
		says := "it holds there"
		if f.Why != "" {
			says = f.Why
		}
		rows = append(rows, []string{named(f.Repository, nil, f.Digest), says})
	}
	if len(rows) > 0 {
		pg.line()
		pg.table(2, []column{{title: "FOLLOWS TO", keep: true}, {title: "WHETHER"}}, rows)
	}
}

func (pg *page) waivers(found *api.Page[api.Waiver]) {
	if len(found.Items) == 0 {
		pg.line("none")
		return
	}
	var rows [][]string
	for i := range found.Items {
		w := &found.Items[i]
		rows = append(rows, []string{w.ID, pg.waiverState(w), what(w), w.Owner, w.Reason})
	}
	pg.table(0, []column{{title: "NUMBER", right: true, keep: true}, {title: "STATE"}, {title: "ABOUT"}, {title: "OWNER"}, {title: "REASON"}}, rows)
	if found.Next != "" {
		pg.line()
		pg.line("next: bonded waiver list --after ", found.Next)
	}
}
