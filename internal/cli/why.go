package cli

import (
	"context"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/policy"
)

func (p *program) why() *cobra.Command {
	var (
		q    client.WhyQuery
		wait time.Duration
		past pastFlags
	)
	cmd := &cobra.Command{
		Use:   "why REFERENCE|DIGEST",
		Short: "Why an artifact can or cannot be pulled, and what would change it",
		Long: `Say the decision about an artifact: the outcome of its zone's gate, rule by
rule, with the facts that each rule rests on, and what would change it. With
--wait it is asked until it is decided, as after a push. With --at it is the
decision that was in force then, and with --replay that is made again from what
is stored: the gate's text, the advisories, what had come of verifying evidence,
revocations and waivers as they were.

Exits with 0 when the gate allows it, 1 when it denies, 3 when it is held. With
--replay, with 0 when the same bytes came of it, 1 when others did, 3 when it
cannot be made again.`,
		Example: `  bonded why production/payments/api:1.8
  bonded why sha256:9c1e6f1d1f0b3c1bb5d2ad1a5a3f7f6f0c2f7e5d4c3b2a190807060504034141f7
  bonded why dev/payments/api:1.8 --as-if production
  bonded why dev/payments/api:1.9 --wait 5m
  bonded why production/payments/api:1.8 --proof -o json > decision.json
  bonded why production/payments/api:1.8 --at 2026-03-01 --replay`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeReferences),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < 0 {
				return usage("--wait 5m", "%s is no time to wait for", wait)
			}
			if err := past.read(&q); err != nil {
				return err
			}
			q.Ref = args[0]
			return p.runWhy(cmd.Context(), q, wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait for the decision this long, a `TIME` such as 5m")
	cmd.Flags().BoolVar(&q.Proof, "proof", false, "with all that proves the decision offline; waits for its batch to be signed")
	cmd.Flags().StringVar(&q.Zone, "zone", "", "of several places of a DIGEST, look in this `ZONE`")
	cmd.Flags().StringVar(&q.Hypothetical, "as-if", "", "ask the gate of another `ZONE` what it would say now; nothing is recorded")
	past.add(cmd, &q)
	p.must(cmd.RegisterFlagCompletionFunc("zone", p.completeZones))
	p.must(cmd.RegisterFlagCompletionFunc("as-if", p.completeZones))
	return cmd
}

func (p *program) runWhy(ctx context.Context, q client.WhyQuery, wait time.Duration) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	asked := q.Ref
	q.Ref = reference(q.Ref, l)
	w, err := p.askWhy(ctx, c, q, wait)
	if err != nil {
		return sought(err, asked, l)
	}
	w.Tags = askedFirst(w.Tags, asked)
	p.outcome = exitOfWhy(w)
	if w.Then != nil {
		p.outcome = exitOfThen(w)
	}
	return show(p, w, func(pg *page, w *api.Why) {
		zone, _, _ := strings.Cut(w.Repository, "/")
		if q.Hypothetical != "" {
			zone = q.Hypothetical
		}
		if w.Decision != nil {
			zone = w.Decision.Zone // also where the question was about a zone it is not in yet
		}
		ref := refer(w.Repository, w.Tags, w.Digest)
		pg.rest.findings, pg.rest.all = "bonded findings "+ref+" --all", "bonded why "+ref+" -o json"
		pg.rest.wait = "bonded why " + q.Ref + " --wait 5m"
		if q.Hypothetical != "" {
			pg.rest.all += " --as-if " + q.Hypothetical
		}
		head := verdict{artifact: w.Artifact, zone: zone, held: w.Held, again: w.Again, decision: w.Decision}
		if w.Then != nil {
			pg.past(w, head)
			return
		}
		pg.verdict(head)
		pg.change(w.Decision, w)
		pg.evidence(w.Evidence, nil)
		pg.waiting(w)
		pg.elsewhere(w.Elsewhere)
		pg.lookedAt(w.Decision, ref)
		pg.onward(w, ref)
		if q.Proof {
			pg.proof(w.Proof)
		}
	})
}

// whyPause is the time between two questions whether it is decided.
const whyPause = 300 * time.Millisecond

// askWhy asks until there is a decision, for as long as wait.
func (p *program) askWhy(ctx context.Context, c *client.Client, q client.WhyQuery, wait time.Duration) (*api.Why, error) {
	steps := p.steps()
	defer steps.done()
	for end := p.env.Clock().Add(wait); ; {
		w, err := c.Why(ctx, q)
		if err != nil || settled(w, q.Proof) || !p.env.Clock().Before(end) {
			return w, err
		}
		steps.step("waiting for the decision")
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.env.After(whyPause):
		}
	}
}

// exitOfWhy is the outcome of the decision; without one the artifact waits for
// it, unless it is evidence, which no gate decides on.
func exitOfWhy(w *api.Why) exitCode {
	switch {
	case w.Decision != nil:
		return exitOf(w.Decision.Outcome)
	case w.State == "attached" || w.State == "admitted":
		return exitDone
	}
	return exitCannotTell
}

// verdict is what the head of an answer tells.
type verdict struct {
	artifact api.Artifact
	zone     string
	held     bool
	again    bool          // it was revoked, and that was lifted
	decision *api.Decision // nil while none was made
}

// verdict writes the answer's first line, and the reasons.
func (pg *page) verdict(v verdict) {
	state, name := pg.state(v), pg.bold.Render(named(pathOf(v.artifact.Repository), v.artifact.Tags, v.artifact.Digest))
	if len(v.artifact.Tags) > 0 {
		name += "  " + pg.faint.Render(short(v.artifact.Digest))
	}
	head := state + "      " + name
	if lipgloss.Width(head) > pg.width {
		pg.line(state)
		head = "  " + name
	}
	if v.decision == nil {
		pg.line(head)
		return
	}
	pg.ends(head, pg.faint.Render("decided "+pg.ago(v.decision.DecidedAt)))
	pg.line()
	pg.reasons(v.decision)
}

// state says in capitals how an artifact stands.
func (pg *page) state(v verdict) string {
	d := v.decision
	switch {
	case d == nil && v.artifact.State == "attached":
		return pg.good.Render("EVIDENCE") + " in " + v.zone + ", which no gate decides on"
	case d == nil && v.artifact.State == "admitted":
		return pg.good.Render("OPEN") + " in " + v.zone + ", which has no gate"
	case d == nil && v.again:
		return pg.wait.Render("HELD") + " for " + v.zone + ": its revocation was lifted, and it is being judged again"
	case d == nil:
		return pg.wait.Render("WAITING") + " for " + v.zone + ": not judged yet"
	case v.artifact.State == "withdrawn":
		return pg.bad.Render("WITHDRAWN") + " from " + v.zone
	}
	stay := d.Clause == string(policy.Stay)
	switch {
	case d.Outcome == api.Allow && stay:
		return pg.good.Render("ALLOWED") + " to stay in " + v.zone
	case d.Outcome == api.Allow:
		return pg.good.Render("ALLOWED") + " for " + v.zone
	case d.Outcome == api.CannotTell && stay:
		return pg.wait.Render("IN DOUBT") + " in " + v.zone + ", and stays"
	case d.Outcome == api.CannotTell:
		return pg.wait.Render("HELD") + " for " + v.zone
	case stay && !d.StayUntil.IsZero() && d.StayUntil.After(pg.now):
		return pg.bad.Render("DENIED") + " in " + v.zone + ", stays until " + d.StayUntil.UTC().Format("2006-01-02 15:04Z")
	case stay:
		return pg.bad.Render("DENIED") + " in " + v.zone
	}
	return pg.bad.Render("DENIED") + " for " + v.zone
}

// factsShown is how many facts of a rule stand on a screen.
const factsShown = 5

// reasons writes one line per rule and the facts under those that do not pass.
func (pg *page) reasons(d *api.Decision) {
	width := 0
	for _, r := range d.Reasons {
		width = max(width, len(r.Rule))
	}
	for i := range d.Reasons {
		r := &d.Reasons[i]
		indent := strings.Repeat(" ", 4+width+2)
		first := "  " + pg.mark(r.Outcome) + " " + r.Rule + strings.Repeat(" ", width-len(r.Rule)+2)
		if r.Outcome == api.Allow {
			pg.wrap(first, indent, r.Says)
			continue
		}
		text, listed := r.Says, pg.lists(r)
		if lead := policy.Lead(r); listed && lead != "" {
			text = lead
		}
		if !r.Until.IsZero() {
			text += "; acted on " + pg.ago(r.Until) + ", at " + moment(r.Until)
		}
		pg.wrap(first, indent, text)
		if listed {
			pg.facts(r)
		}
	}
}

// lists reports whether the facts of a rule stand below it: a single one may be
// said already.
func (pg *page) lists(r *api.Reason) bool {
	return len(r.Facts) != 1 || !strings.Contains(r.Says, policy.Brief(r.Facts[0])) || r.Facts[0].Where != ""
}

// factIndent is where facts stand, under the sentence of their rule.
const factIndent = 6

// facts writes what a rule points at, worst first.
// exploited follows the severity of a fault that is known to be.
const exploited = ", exploited"

func (pg *page) facts(r *api.Reason) {
	var rows [][]string
	for i, f := range r.Facts {
		if i == factsShown {
			break
		}
		if f.Severity == "" {
			pg.wrap(strings.Repeat(" ", factIndent), strings.Repeat(" ", factIndent+2), policy.Brief(f))
			continue
		}
		layer, path, _ := strings.Cut(f.Where, ", ")
		fix := "no fix known"
		if f.Fixed != "" {
			fix = "→ " + f.Fixed
		}
		severity := f.Severity
		if !f.Exploited.IsZero() {
			severity += exploited
		}
		rows = append(rows, []string{severity, f.ID, strings.TrimSpace(f.Package + " " + f.Version), fix, layer, path})
	}
	if len(rows) > 0 {
		pg.table(factIndent, []column{{keep: true}, {keep: true}, {least: 20}, {least: 14}, {keep: true, drop: true}, {least: 20, drop: true}}, rows)
	}
	how := pg.rest.all
	if len(rows) > 0 {
		how = pg.rest.findings
	}
	pg.more(factIndent, r.More+max(0, len(r.Facts)-factsShown), how)
}

func (pg *page) mark(o api.Outcome) string {
	switch o {
	case api.Allow:
		return pg.good.Render("✓")
	case api.Deny:
		return pg.bad.Render("✗")
	default:
		return pg.wait.Render("?")
	}
}

// change writes what would change the answer; nothing when it is yes.
func (pg *page) change(d *api.Decision, w *api.Why) {
	var lines []string
	if d != nil && d.Outcome != api.Allow {
		for _, r := range d.Reasons {
			if r.Outcome != api.Allow && r.Remedy != "" {
				lines = append(lines, r.Remedy)
			}
		}
	}
	if w != nil {
		for _, h := range w.Waivable {
			lines = append(lines, "a waiver of "+h.Rule+": by "+h.By+"; bonded waiver ask --help")
		}
	}
	if w != nil && w.Passes != "" && (d == nil || d.Outcome != api.Allow) {
		lines = append(lines, "nearest digest that passes: "+named(pathOf(w.Repository), w.PassTags, w.Passes))
	}
	if d != nil && d.Outcome != api.Deny && d.ValidUntil.After(pg.now) {
		lines = append(lines, "time: it is decided again "+pg.ago(d.ValidUntil)+", at "+moment(d.ValidUntil))
	}
	if d == nil && w != nil && w.Held {
		if !w.Again {
			lines = append(lines, "waiting: the decision comes when the analysis of its layers is done")
		}
		lines = append(lines, "to wait for it: "+pg.rest.wait)
	}
	if len(lines) == 0 {
		return
	}
	pg.line()
	pg.line("What would change this")
	for _, l := range lines {
		pg.wrap("  ", "    ", l)
	}
}

// onward says where what stands can go from here.
func (pg *page) onward(w *api.Why, ref string) {
	for _, zone := range w.Next {
		pg.line("next: bonded promote ", ref, " --to ", zone)
		pg.line(pg.faint.Render("      what " + zone + " would say: bonded why " + ref + " --as-if " + zone))
	}
}

// waiting writes which tags do not point yet where somebody asked, and why.
func (pg *page) waiting(w *api.Why) {
	if len(w.Waiting) == 0 {
		return
	}
	pg.line()
	pg.line("Tags that wait")
	for _, t := range w.Waiting {
		to := ""
		if t.Digest != w.Digest {
			to = " → " + short(t.Digest)
		}
		pg.line("  ", t.Tag, to, "  ", pg.faint.Render("asked by "+t.By+" "+pg.ago(t.At)))
		if t.Decision == nil {
			pg.wrap("    ", "    ", "not decided yet")
			continue
		}
		for _, r := range t.Decision.Reasons {
			if r.Outcome != api.Allow {
				pg.wrap("    "+pg.mark(r.Outcome)+" ", "      ", r.Rule+": "+r.Says)
			}
		}
	}
}

// elsewhere writes where else the digest stands.
func (pg *page) elsewhere(ps []api.Placement) {
	if len(ps) == 0 {
		return
	}
	pg.line()
	pg.line("Elsewhere")
	for i, e := range ps {
		if i == factsShown {
			break
		}
		pg.line("  ", e.State, "  ", named(e.Repository, e.Tags, e.Digest))
	}
	pg.more(2, len(ps)-factsShown, pg.rest.all)
}

// lookedAt names the inputs of a decision.
func (pg *page) lookedAt(d *api.Decision, ref string) {
	if d == nil {
		return
	}
	var looked []string
	if d.Inputs.Gate != "" { // a revocation has none
		looked = append(looked, "gate "+short(d.Inputs.Gate))
	}
	if d.Inputs.Snapshot != "" {
		looked = append(looked, "advisories "+short(d.Inputs.Snapshot))
	}
	if n := len(d.Inputs.Evidence); n > 0 {
		looked = append(looked, many(n, "referrer", "referrers"))
	}
	if n := len(d.Inputs.Children); n > 0 {
		looked = append(looked, many(n, "platform", "platforms"))
	}
	at := "at " + d.DecidedAt.UTC().Format(time.RFC3339)
	if len(looked) > 0 {
		at = "Looked at: " + strings.Join(looked, ", ") + ", " + at
	} else {
		at = "Decided " + at
	}
	pg.line()
	pg.wrap("", "  ", pg.faint.Render(at))
	if ref != "" {
		pg.line(pg.faint.Render("More: bonded findings " + ref))
	}
}
