package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/policy"
)

// VerifyRequest says what to verify, by an anchor that files make.
type VerifyRequest struct {
	// Target is as in ScanRequest.
	Target string
	// Anchor names the anchor that the files make.
	Anchor string
	// Key, TrustedRoot and CA are files: public keys, trusted_root.json of a
	// Sigstore instance, certificates of Notation's authorities. Exactly one of Key
	// and CA, or TrustedRoot; with Key, TrustedRoot demands an entry in its log.
	Key, TrustedRoot, CA string
	// Gate, where given, says who counts.
	Gate *policy.Gate
	// Step is told what is being done.
	Step func(what string)
}

// Verified is what came of verifying.
type Verified struct {
	Target string `json:"target"`
	Digest string `json:"digest"`
	// Repository and Tag are those of a reference to a registry, without its host;
	// "" where files were verified.
	Repository string `json:"repository,omitempty"`
	Tag        string `json:"tag,omitempty"`
	// Epoch is the state of the repository that the artifact was held against;
	// nil where it was none.
	Epoch   *api.Epoch  `json:"epoch,omitempty"`
	Outcome api.Outcome `json:"outcome"`
	Wanted  string      `json:"wanted,omitempty"` // who was asked for
	// Counts are the envelopes, by digest, that are by who was asked for.
	Counts   []string     `json:"counts,omitempty"`
	Evidence api.Evidence `json:"evidence"`
	Reasons  []api.Reason `json:"reasons,omitempty"` // of a gate's rules
}

// evidenceFlags are the flags of verify.
type evidenceFlags struct {
	anchor, key, root, ca   string
	identity, issuer, typed string
	gate, epoch             string
}

func (p *program) verify() *cobra.Command {
	var f evidenceFlags
	cmd := &cobra.Command{
		Use:   "verify REFERENCE|DIGEST|LAYOUT|TAR",
		Short: "Who signed an artifact, and what they said about it",
		Long: `Verify the signatures and statements about an artifact: Sigstore bundles,
cosign's older tags, and Notary Project's. What verified is shown with who
signed, when, and the log that has it; what did not, with the reasons.

With --key, --trusted-root or --ca it is verified here, for an artifact in any
registry or OCI layout, and no server is asked. Without, the server that you are
logged in to is asked what it has verified, by its own anchors.

A signature's presence never counts: say who is to have signed, by --identity
and --issuer, by --key, or by --gate. In patterns * stands for a part of one
path segment, and ** for any number of segments. Where nobody is named the
server's decision is the outcome.

A server is asked for the proven state of the repository too (bonded epoch), and
one older than what was seen is refused. Without a network --epoch FILE has that
state, which --trusted-root verifies: the artifact must be admitted in it, and
be what its tag names. Where nobody is named that is the outcome.

Exits with 0 when who is wanted has signed, 1 when not, 3 when something could
not be checked.`,
		Example: `  bonded verify production/payments/api:1.8
  bonded verify production/payments/api:1.8 --anchor ci-keys
  bonded verify r.example/app:1 --key cosign.pub
  bonded verify a.tar --trusted-root r.json --issuer https://i --identity a@b
  bonded verify ./layout --key cosign.pub --anchor ci-keys --gate ./release.yaml
  bonded verify ./layout --trusted-root r.json --epoch epoch.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.key != "" || f.root != "" || f.ca != "" {
				return p.verifyHere(cmd.Context(), args[0], f)
			}
			return p.verifyThere(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.identity, "identity", "", "who is to have signed, a `PATTERN`: mail address, URL or X.509 name")
	flags.StringVar(&f.issuer, "issuer", "", "who is to have vouched for that, a `PATTERN` with its host written out")
	flags.StringVar(&f.typed, "type", "", "want a statement of this predicate `TYPE`, or kind such as sbom, and not a signature")
	flags.StringVar(&f.anchor, "anchor", "", "`NAME` of the anchor: one of the server's, or what a gate calls the files given here")
	flags.StringVar(&f.key, "key", "", "PEM `FILE` with public keys that are to have signed")
	flags.StringVar(&f.root, "trusted-root", "", "`FILE` trusted_root.json of a Sigstore instance; with --key, demand an entry in its log")
	flags.StringVar(&f.ca, "ca", "", "PEM `FILE` with the authorities of Notation's certificates")
	flags.StringVar(&f.epoch, "epoch", "", "`FILE` with the state of the repository, as bonded epoch -o json prints it")
	flags.StringVar(&f.gate, "gate", "", "`FILE` with a gate, whose rules about evidence are asked")
	for _, name := range []string{"key", "trusted-root", "ca", "gate", "epoch"} {
		p.must(cmd.MarkFlagFilename(name))
	}
	cmd.MarkFlagsMutuallyExclusive("key", "ca")
	cmd.MarkFlagsMutuallyExclusive("trusted-root", "ca")
	cmd.MarkFlagsMutuallyExclusive("gate", "identity")
	cmd.MarkFlagsMutuallyExclusive("gate", "type")
	return cmd
}

// signer is who the flags name.
func (f evidenceFlags) signer() (evidence.Signer, error) {
	s := evidence.Signer{Anchor: f.anchor}
	var err error
	if s.Subject, err = evidence.ParsePattern(f.identity); err == nil {
		s.Issuer, err = evidence.ParsePattern(f.issuer)
	}
	if err == nil {
		err = s.Validate()
	}
	switch {
	case err == nil:
		return s, nil
	case f.anchor == "":
		return s, usage("--anchor bonded for signatures by this server's keys; others: bonded trust status", "%v", err)
	}
	return s, usage("bonded verify --help", "%v", err)
}

// verifyHere asks no server.
func (p *program) verifyHere(ctx context.Context, target string, f evidenceFlags) error {
	if p.env.Verify == nil {
		return absent("verify")
	}
	if f.anchor == "" {
		f.anchor = "given"
	}
	who, err := f.signer()
	if err != nil {
		return err
	}
	if f.epoch != "" && f.root == "" {
		return usage("bonded verify "+word(target)+" --epoch "+word(f.epoch)+" --trusted-root FILE", "a state of a repository is verified by the trusted root of its server, and none is given")
	}
	r := VerifyRequest{Target: target, Anchor: f.anchor, Key: f.key, TrustedRoot: f.root, CA: f.ca}
	switch {
	case f.gate != "":
		if r.Gate, _, err = gateOf(f.gate); err != nil {
			return err
		}
	case f.epoch != "" && f.key == "" && f.identity == "" && f.issuer == "" && f.typed == "": // the state says
	case f.key == "" && f.identity == "":
		return usage("bonded verify "+word(target)+" --identity PATTERN --issuer PATTERN", "whose signature counts is not said, and that there is one proves nothing")
	case f.root != "" && f.key == "" && f.identity != "" && f.issuer == "":
		return usage("bonded verify "+word(target)+" --identity "+word(f.identity)+" --issuer PATTERN", "who vouches for %s is not said: anybody can be called that", f.identity)
	}
	steps := p.steps()
	r.Step = steps.step
	v, err := p.env.Verify(ctx, r)
	steps.done()
	if err != nil {
		return err
	}
	if f.epoch != "" {
		if err := p.stands(v, epochFiles{f.epoch, f.root}); err != nil {
			return err
		}
	}
	switch {
	case r.Gate != nil:
	case f.key == "" && f.identity == "": // the state is the outcome
		v.Outcome, v.Wanted = api.Allow, fmt.Sprintf("admitted in %s, as of epoch %d", v.Epoch.Repository, v.Epoch.Epoch)
	default:
		v.count(who, f.typed)
	}
	return p.showVerified(v)
}

// stands makes sure that an artifact is admitted in a state that files have, and
// is what its tag names there.
func (p *program) stands(v *Verified, f epochFiles) error {
	e, err := p.epochOf(f)
	if err != nil {
		return err
	}
	v.Epoch = &e.Epoch
	refuse := func(format string, operands ...any) error {
		what := v.Target + " " + fmt.Sprintf(format, operands...) + fmt.Sprintf(", in epoch %d of %s", e.Epoch.Epoch, e.Repository)
		return &failure{code: exitDenied, what: what, next: "bonded why " + word(e.Repository+"@"+v.Digest) + ", or is there a newer state?"}
	}
	if !hasLines(e) {
		return noLines(f.file)
	}
	switch names, state := api.TagIn(e.State, v.Tag), api.PlacedIn(e.State, v.Digest); {
	case state == "":
		return refuse("is %s, which is not admitted", short(v.Digest))
	case state != "admitted":
		return refuse("is %s, which is %s", short(v.Digest), state)
	case v.Tag == "":
		return nil
	case v.Repository != e.Repository:
		return &failure{code: exitCannotTell, what: fmt.Sprintf("what %s:%s names is not in the state of %s", v.Repository, v.Tag, e.Repository), next: "name it by its digest: …@" + v.Digest}
	case names != v.Digest:
		return refuse("is %s, and its tag names %s", short(v.Digest), or(short(names)))
	}
	return nil
}

// verifyThere asks the server what it has verified.
func (p *program) verifyThere(ctx context.Context, asked string, f evidenceFlags) error {
	if f.epoch != "" {
		return usage("bonded verify "+word(asked)+" --epoch "+word(f.epoch)+" --trusted-root FILE", "--epoch goes with --trusted-root; a server that is asked tells its state itself")
	}
	if f.gate != "" {
		return usage("bonded why "+word(asked)+" --as-if ZONE", "--gate goes with files: --key, --trusted-root or --ca")
	}
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	w, err := c.Why(ctx, client.WhyQuery{Ref: reference(asked, l)})
	if err != nil {
		return sought(err, asked, l)
	}
	ref, _ := oci.ParseReference(reference(asked, l)) // the server has understood it
	if err := p.current(ctx, c, w, ref); err != nil {
		return err
	}
	tags := w.Tags
	if slices.Contains(tags, ref.Tag) {
		tags = []string{ref.Tag} // of several the one that was asked about
	}
	v := &Verified{Target: named(w.Repository, tags, w.Digest), Digest: w.Digest, Evidence: api.Evidence{Signatures: []api.Signature{}}}
	if w.Evidence != nil {
		v.Evidence = *w.Evidence
	}
	if f.identity == "" && f.issuer == "" && f.anchor == "" || w.State == "revoked" { // then nobody's signature makes it good
		v.Outcome = api.CannotTell
		if w.Decision != nil {
			v.Outcome, v.Reasons = w.Decision.Outcome, w.Decision.Reasons
		}
		return p.showVerified(v)
	}
	who, err := f.signer()
	if err != nil {
		return err
	}
	v.count(who, f.typed)
	return p.showVerified(v)
}

// count settles the outcome: who was wanted has signed it, or has not, or that
// could not be checked.
func (v *Verified) count(who evidence.Signer, typed string) {
	v.Wanted, v.Counts = wanted(who, typed), []string{}
	for i := range v.Evidence.Signatures {
		s := &v.Evidence.Signatures[i]
		sig := evidence.Signature{Anchor: s.Anchor, Identity: evidence.Identity{Issuer: s.Issuer, Subject: s.Subject, Key: s.Key, Claims: s.Claims}}
		is := typed == "" && s.Statement == nil || typed != "" && s.Statement != nil && (s.Statement.Type == typed || s.Statement.Kind == typed)
		if is && who.Mismatch(&sig) == "" {
			v.Counts = append(v.Counts, s.Envelope)
		}
	}
	unsure := slices.ContainsFunc(v.Evidence.Refused, func(r api.Refusal) bool { return r.Unsure })
	switch {
	case len(v.Counts) > 0:
		v.Outcome = api.Allow
	case unsure:
		v.Outcome = api.CannotTell
	default:
		v.Outcome = api.Deny
	}
}

// wanted says in a sentence who is to have signed what.
func wanted(who evidence.Signer, typed string) string {
	what := "a signature"
	if typed != "" {
		what = "a statement of type " + typed
	}
	by := "a key"
	if !who.Subject.IsZero() {
		by = who.Subject.String()
	}
	if !who.Issuer.IsZero() {
		by += " (" + who.Issuer.String() + ")"
	}
	return what + " by " + by + " of anchor " + who.Anchor
}

func (p *program) showVerified(v *Verified) error {
	p.outcome = exitOf(v.Outcome)
	return show(p, v, func(pg *page, v *Verified) {
		state := map[api.Outcome]string{api.Allow: pg.good.Render("VERIFIED"), api.Deny: pg.bad.Render("NOT VERIFIED"), api.CannotTell: pg.wait.Render("CANNOT TELL")}[v.Outcome]
		digest := ""
		if !strings.Contains(v.Target, v.Digest) {
			digest = "  " + pg.faint.Render(short(v.Digest))
		}
		pg.line(state, "  ", pg.bold.Render(v.Target), digest)
		if v.Wanted != "" {
			pg.wrap("  wanted: ", "    ", v.Wanted)
		}
		pg.rest.all = "-o json"
		if len(v.Reasons) > 0 {
			pg.line()
			pg.reasons(&api.Decision{Reasons: v.Reasons})
		}
		pg.evidence(&v.Evidence, v.Counts)
	})
}

// evidence writes what was said about an artifact; counts marks the envelopes of
// who was asked for.
func (pg *page) evidence(e *api.Evidence, counts []string) {
	if e == nil || len(e.Signatures)+len(e.Refused)+len(e.Unsigned) == 0 {
		return
	}
	pg.line()
	pg.line("Evidence")
	for i := range e.Signatures {
		if i == evidenceShown {
			break
		}
		s := &e.Signatures[i]
		mark := pg.good.Render("✓")
		if counts != nil && !slices.Contains(counts, s.Envelope) {
			mark = pg.faint.Render("–")
		}
		pg.wrap("  "+mark+" ", "      ", said(s))
		pg.wrap("      ", "      ", pg.faint.Render(proven(s)))
	}
	pg.more(4, len(e.Signatures)-evidenceShown, pg.rest.all)
	for i, r := range e.Refused {
		if i == evidenceShown {
			break
		}
		mark, why := pg.bad.Render("✗"), "refused"
		if r.Unsure {
			mark, why = pg.wait.Render("?"), "could not be checked"
		}
		pg.wrap("  "+mark+" ", "      ", fmt.Sprintf("%s %s: %s", short(r.Referrer), why, strings.Join(r.Reasons, "; ")))
	}
	pg.more(4, len(e.Refused)-evidenceShown, pg.rest.all)
	for i, s := range e.Unsigned {
		if i == evidenceShown {
			break
		}
		pg.wrap("  "+pg.faint.Render("–")+" ", "      ", s.Kind+", signed by nobody: "+s.Says)
	}
	pg.more(4, len(e.Unsigned)-evidenceShown, pg.rest.all)
}

// evidenceShown is how many signatures, refusals and statements stand on a screen.
const evidenceShown = 8

// said is what a signature says, and who says it.
func said(s *api.Signature) string {
	by := s.Subject
	switch {
	case by == "":
		by = "key " + s.Key[:min(16, len(s.Key))] + "…"
	case s.Issuer != "":
		by += " (" + s.Issuer + ")"
	}
	if s.Statement == nil {
		return "signed by " + by
	}
	return s.Statement.Kind + " by " + by + ": " + s.Statement.Says
}

// proven is how a signature is known to be one.
func proven(s *api.Signature) string {
	parts := []string{"anchor " + s.Anchor}
	if !s.At.IsZero() {
		parts = append(parts, "at "+moment(s.At))
	}
	if s.Log != "" {
		parts = append(parts, fmt.Sprintf("entry %d of log %s", s.LogIndex, s.Log))
	}
	if s.Index != "" {
		parts = append(parts, "by its index "+short(s.Index))
	}
	return strings.Join(append(parts, s.Form+" "+short(s.Envelope)), ", ")
}
