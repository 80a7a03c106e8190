package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/oci"
)

func (p *program) revoke() *cobra.Command {
	cmd := group("revoke", "End trust in a digest, key, identity, builder, feed or window", `  bonded revoke digest production/payments/api:1.8 --reason stolen --preview
  bonded revoke window --pushed-by ci --from 2026-11-20 --reason stolen
  bonded revoke list
  bonded revoke lift 4 --reason found`,
		p.revokeDigest(), p.revokeKey(), p.revokeIdentity(), p.revokeBuilder(), p.revokeFeed(), p.revokeWindow(), p.revokeList(), p.revokeLift())
	cmd.Long = `End trust in something, once: from the answer on it is refused on every path,
whoever asks. What it touches is withdrawn at once, and what others have to say
is judged again. With --preview nothing changes: the same question is asked, and
what would be hit is printed.

It needs the verb revoke on the server.`
	return cmd
}

// revocation is a command line that revokes.
type revocation struct {
	req         api.RevokeRequest
	from, until string
}

// revoking makes the command of one kind. read takes the argument, if use wants
// one.
func (p *program) revoking(use, short, long, example string, read func(context.Context, *revocation, string) error) (*cobra.Command, *revocation) {
	kind, argument, _ := strings.Cut(use, " ")
	v := &revocation{req: api.RevokeRequest{Kind: kind}}
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Example: example, Args: cobra.NoArgs}
	if argument != "" {
		cmd.Args = cobra.ExactArgs(1)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if read != nil {
			if err := read(cmd.Context(), v, strings.Join(args, "")); err != nil {
				return err
			}
		}
		return p.runRevoke(cmd.Context(), v)
	}
	flags := cmd.Flags()
	flags.StringVar(&v.req.Reason, "reason", "", "why, in a `SENTENCE`: it is told to everyone who is refused")
	flags.BoolVar(&v.req.Preview, "preview", false, "tell what would be hit, and change nothing")
	return cmd, v
}

// between gives a command the times that are meant.
func (v *revocation) between(cmd *cobra.Command, of string) {
	cmd.Flags().StringVar(&v.from, "from", "", "only what was "+of+" from this `TIME` on: 2026-11-22, or 2026-11-22T08:00:00Z")
	cmd.Flags().StringVar(&v.until, "until", "", "only what was "+of+" before this `TIME`")
}

func (p *program) revokeDigest() *cobra.Command {
	cmd, _ := p.revoking("digest DIGEST|REFERENCE", "Refuse an artifact, or a layer with all that holds it", `Refuse a manifest wherever it stands, with the indexes that name it and, of an
index, what it is made of. Of a layer or config, refuse all that holds it. The
same content cannot be pushed again until the revocation is lifted.`,
		"  bonded revoke digest production/payments/api:1.8 --reason stolen --preview", p.digestOf)
	cmd.ValidArgsFunction = firstOnly(p.completeReferences)
	return cmd
}

// digestOf reads what names an artifact; a tag is looked up first.
func (p *program) digestOf(ctx context.Context, v *revocation, arg string) error {
	if d, err := oci.ParseDigest(arg); err == nil {
		v.req.Digest = d.String()
		return nil
	}
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	name := reference(arg, l)
	ref, err := oci.ParseReference(name)
	if err != nil {
		return err
	}
	if !ref.Digest.IsZero() {
		v.req.Digest = ref.Digest.String()
		return nil
	}
	found, err := c.Why(ctx, client.WhyQuery{Ref: name})
	if err != nil {
		return sought(err, arg, l)
	}
	v.req.Digest = found.Digest
	return nil
}

func (p *program) revokeKey() *cobra.Command {
	cmd, v := p.revoking("key SHA256", "Let signatures by a key count no more", `Let signatures by a bare key, named by the SHA-256 of its public key in hex,
count no more, whenever they arrive. What stands because of one is withdrawn at
once, and comes back when its gate lets it in without.`,
		"  bonded revoke key 3f1c… --from 2026-11-20 --reason stolen", func(_ context.Context, v *revocation, arg string) error { v.req.Key = arg; return nil })
	v.between(cmd, "signed")
	return cmd
}

func (p *program) revokeIdentity() *cobra.Command {
	cmd, v := p.revoking("identity SUBJECT", "Let signatures by an identity count no more", `Let signatures by an identity count no more, whenever they arrive: exactly this
subject, or a pattern as gates have them. It does not end the account: for that,
see bonded principal disable.`,
		"  bonded revoke identity https://gitlab.acme.internal/team/app --reason stolen", func(_ context.Context, v *revocation, arg string) error { v.req.Subject = arg; return nil })
	cmd.Flags().StringVar(&v.req.Issuer, "issuer", "", "only where this `URL` vouches for it")
	v.between(cmd, "signed")
	return cmd
}

func (p *program) revokeBuilder() *cobra.Command {
	cmd, v := p.revoking("builder URI", "Refuse what a builder built", `Refuse all of which verified provenance names this builder, and let what it
signs count no more.`, "  bonded revoke builder https://ci.acme.internal/runner/7 --reason open",
		func(_ context.Context, v *revocation, arg string) error { v.req.Builder = arg; return nil })
	v.between(cmd, "signed")
	return cmd
}

func (p *program) revokeFeed() *cobra.Command {
	cmd, _ := p.revoking("feed FEED", "Let what a feed of advisories says count no more", `Let the records of a feed count no more, of a source or of one ecosystem of it:
packages that it is about are unchecked, not clean. All zones are judged again.`,
		"  bonded revoke feed osv/Debian --reason forged", func(_ context.Context, v *revocation, arg string) error { v.req.Feed = arg; return nil })
	return cmd
}

func (p *program) revokeWindow() *cobra.Command {
	cmd, v := p.revoking("window", "Refuse all that somebody touched between two times", `Refuse all that a principal pushed, or a signer signed, between two times,
wherever it stands now. Times of signing are those that a log or a timestamp
authority proves; a signature without one is inside.`,
		"  bonded revoke window --pushed-by ci --from 2026-11-20 --reason stolen", nil)
	flags := cmd.Flags()
	flags.StringVar(&v.req.Principal, "pushed-by", "", "what this `PRINCIPAL` pushed")
	flags.StringVar(&v.req.Subject, "subject", "", "what this `IDENTITY` signed")
	flags.StringVar(&v.req.Issuer, "issuer", "", "only where this `URL` vouches for the identity")
	flags.StringVar(&v.req.Key, "key", "", "what the key of this `SHA256` signed")
	flags.StringVar(&v.req.Builder, "builder", "", "what this `BUILDER` built")
	v.between(cmd, "pushed or signed")
	return cmd
}

// times reads what people write.
func (v *revocation) times() (err error) {
	if v.req.From, err = readTime("--from", v.from); err == nil {
		v.req.Until, err = readTime("--until", v.until)
	}
	return err
}

func readTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usage(flag+" 2026-11-22 or "+flag+" 2026-11-22T08:00:00Z", "%s is no time", s)
}

func (p *program) runRevoke(ctx context.Context, v *revocation) error {
	if err := v.times(); err != nil {
		return err
	}
	if v.req.Kind == "window" && v.req.From.IsZero() && v.req.Until.IsZero() {
		return usage("--from 2026-11-20, --until 2026-11-22, or both", "a window is between two times, and none is given")
	}
	if v.req.Reason == "" {
		return usage("--reason SENTENCE", "a revocation needs a reason: it is what everyone is told who is refused")
	}
	c, _, err := p.connect(ctx)
	if err != nil {
		return err
	}
	done, err := c.RevokeTrust(ctx, v.req)
	if err != nil {
		return err
	}
	return show(p, done, func(pg *page, done *api.Revoked) { pg.revoked(done) })
}

func (pg *page) revoked(done *api.Revoked) {
	r := done.Revocation
	switch {
	case done.Preview:
		pg.line(pg.wait.Render("WOULD REVOKE"), "  ", pg.bold.Render(r.What))
	default:
		pg.line(pg.bad.Render("REVOKED"), "  ", pg.bold.Render(r.What), "  ", pg.faint.Render(fmt.Sprintf("revocation %d", r.ID)))
	}
	pg.wrap("  ", "  ", r.Reason)
	pg.line()
	pg.hits(done, "withdrawn")
	pg.line("  ", many(done.Barred, "digest", "digests"), " may stand nowhere, ", many(done.Rejudged, "placement is", "placements are"), " judged again")
	if done.Preview {
		pg.line()
		pg.line("Nothing has changed. next: the same without --preview")
		return
	}
	pg.line()
	pg.line("if that was a mistake: bonded revoke lift ", strconv.FormatInt(r.ID, 10), " --reason mistake")
}

// hits lists placements.
func (pg *page) hits(done *api.Revoked, verb string) {
	if len(done.Hits) == 0 {
		pg.line("  nothing that stands here is ", verb)
		return
	}
	var rows [][]string
	for _, h := range done.Hits {
		rows = append(rows, []string{named(h.Repository, h.Tags, h.Digest), h.State, h.Why})
	}
	pg.table(2, []column{{title: strings.ToUpper(verb), keep: true}, {title: "WAS"}, {title: "BECAUSE"}}, rows)
	if done.More > 0 {
		pg.more(2, done.More, "bonded audit log --kind placement.revoked")
	}
}

// given lists what a lift gives back.
func (pg *page) given(done *api.Revoked) {
	if len(done.Hits) == 0 {
		pg.line("  nothing that stands here is given back")
		return
	}
	var rows [][]string
	for _, h := range done.Hits {
		rows = append(rows, []string{named(h.Repository, h.Tags, h.Digest), strings.TrimPrefix(h.Why, "was ")})
	}
	pg.table(2, []column{{title: "GIVEN BACK", keep: true}, {title: "WAS"}}, rows)
	if done.More > 0 {
		pg.more(2, done.More, "bonded revoke list")
	}
	pg.line()
	pg.line("What a gate judges stays out of reach until that lets it in.")
	pg.line("next: bonded why ", refer(done.Hits[0].Repository, done.Hits[0].Tags, done.Hits[0].Digest), " --wait 5m")
}

func (p *program) revokeList() *cobra.Command {
	var after string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List revocations, newest first, those that were lifted too", Example: "  bonded revoke list -o json", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			found, err := c.Revocations(cmd.Context(), after, limit)
			if err != nil {
				return err
			}
			return show(p, found, func(pg *page, found *api.Page[api.Revocation]) { pg.revocations(found) })
		},
	}
	cmd.Flags().StringVar(&after, "after", "", "go on after this `NUMBER`")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this `MANY`")
	return cmd
}

func (pg *page) revocations(found *api.Page[api.Revocation]) {
	if len(found.Items) == 0 {
		pg.line("none")
		return
	}
	var rows [][]string
	for _, r := range found.Items {
		state := pg.bad.Render("in force")
		if r.Lifted != nil {
			state = pg.faint.Render("lifted by " + r.Lifted.By)
		}
		rows = append(rows, []string{strconv.FormatInt(r.ID, 10), r.What, state, pg.left(&r), r.By, pg.ago(r.At), r.Reason})
	}
	pg.table(0, []column{{title: "NUMBER", right: true, keep: true}, {title: "REVOKED"}, {title: "STATE"}, {title: "WITHDRAWN"}, {title: "BY"}, {title: "WHEN"}, {title: "REASON"}}, rows)
	if found.Next != "" {
		pg.line()
		pg.line("next: bonded revoke list --after ", found.Next)
	}
}

// left says how much a revocation has withdrawn, and what of the work about that
// is left.
func (pg *page) left(r *api.Revocation) string {
	p := r.Progress
	if p == nil || p.Withdrawn == 0 && p.Waiting == 0 {
		return dash
	}
	text := count(p.Withdrawn)
	switch {
	case r.Lifted != nil && p.GivenBack < p.Withdrawn:
		text = count(p.GivenBack) + " of " + text + " given back"
	case p.Recorded < p.Withdrawn:
		text += ", " + count(p.Recorded) + " recorded"
	}
	if p.Waiting > 0 {
		text += ", " + count(p.Waiting) + " to judge"
	}
	return text
}

func (p *program) revokeLift() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "lift NUMBER", Short: "Bring trust back", Long: `End a revocation. What it had withdrawn is judged again by the gates of its
zones, and stays out of reach until they let it in.`,
		Example: "  bonded revoke lift 4 --reason found", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id <= 0 {
				return usage("bonded revoke list", "%q is no number of a revocation", args[0])
			}
			if reason == "" {
				return usage("--reason SENTENCE", "lifting a revocation needs a reason")
			}
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			done, err := c.LiftRevocation(cmd.Context(), id, reason)
			var asked *client.Error
			if errors.As(err, &asked) && asked.Code == "not-found" {
				return &failure{code: exitUsage, what: fmt.Sprintf("there is no revocation %d", id), next: "bonded revoke list", cause: err}
			}
			if err != nil {
				return err
			}
			return show(p, done, func(pg *page, done *api.Revoked) {
				pg.line(pg.good.Render("LIFTED"), "  ", pg.bold.Render(done.Revocation.What), "  ", pg.faint.Render(fmt.Sprintf("revocation %d", id)))
				pg.line()
				pg.given(done)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a `SENTENCE`")
	return cmd
}
