package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// verifiedAudit is the answer of bonded audit verify.
type verifiedAudit struct {
	*api.AuditCheck
	// Compare is the head in one word, for somebody else to compare with.
	Compare string `json:"compare"`
	// First: nothing was known of this server before, and its root is trusted from now on.
	First bool `json:"first,omitempty"`
	// Root is the SHA-256 of the TUF root that the log's key follows from; empty
	// where the key was given.
	Root string `json:"root,omitempty"`
	// Remembered is when the newest head of before was seen, and New how many
	// entries came since.
	Remembered time.Time `json:"remembered,omitzero"`
	New        int64     `json:"new,omitempty"`
}

// verifyFlags are those of bonded audit verify.
type verifyFlags struct {
	auditFlags
	dataFlags
	compare []string
	since   bool
	fresh   time.Duration
}

// defaultFresh is how old cosignatures may be: a log that does not grow is
// cosigned again every ten minutes.
const defaultFresh = time.Hour

func (f *auditFlags) add(p *program, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "`KEY` of the log, NAME+ID+KEY, or a file with it (default: what follows from the server's TUF root)")
	flags.StringVar(&f.checksum, "root-checksum", "", checksumHelp)
	flags.StringArrayVar(&f.witnesses, "witness", nil, "`KEY` of a witness, or a file with it; may be repeated (default: those that the server's keys name)")
	flags.IntVar(&f.quorum, "quorum", 0, "how many witnesses must have signed (default: as the server's keys say, or more than half of --witness)")
	flags.BoolVar(&f.forget, "forget", false, "forget what was seen of this log, and begin anew")
}

func (p *program) auditVerify() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that nothing was edited, dropped or reordered",
		Long: `Read the audit log of a server, rebuild its tree and check it: the signature of
its head, every entry, all heads that this user has seen before, the
cosignatures of witnesses, and (by the server) every row of its database and the
head store. Run it from a machine that the server's administrators do not own.

The key of the log and those of its witnesses come from the server's TUF
repository, as all that the server signs by: they follow from its first root,
also when they were replaced. What is trusted on first use is that root alone;
--root-checksum trusts the one that bonded trust env or the operator names. The
head is remembered, so that a history that was cut or rewritten is found. Two
people find out whether they are shown the same by --compare with the head that
the other one's run prints, or with a checkpoint in a file.

With --data or --config the data on this machine is read, where no server runs
on it.

Exits with 1 when something was changed, with 3 when that cannot be told: too
few witnesses, or a log that is ahead of the database (what a restored backup
leaves, and also somebody who cuts the end off).`,
		Example: `  bonded audit verify
  bonded audit verify --root-checksum 5d41…
  bonded audit verify --since-remembered
  bonded audit verify --compare 18204:3f2a…
  bonded audit verify --key log.key --witness witness.key
  bonded audit verify --data /srv/bonded`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runVerify(cmd.Context(), f) },
	}
	f.auditFlags.add(p, cmd)
	f.dataFlags.add(p, cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&f.compare, "compare", nil, "`HEAD` that somebody else has seen, or a file with a checkpoint; may be repeated")
	flags.BoolVar(&f.since, "since-remembered", false, "read only what came since the head that was seen last")
	flags.DurationVar(&f.fresh, "fresh", defaultFresh, "how old signatures of witnesses may be; 0 for any age")
	for _, other := range []string{"key", "root-checksum", "witness", "quorum", "forget", "since-remembered", "fresh"} {
		cmd.MarkFlagsMutuallyExclusive("data", other)
		cmd.MarkFlagsMutuallyExclusive("config", other)
	}
	return cmd
}

func (p *program) runVerify(ctx context.Context, f verifyFlags) error {
	heads, err := readHeads(f.compare)
	if err != nil {
		return err
	}
	if f.data != "" || f.file != "" {
		return p.verifyData(ctx, f.dataFlags, heads)
	}
	a, err := p.openAudit(ctx, f.auditFlags)
	if err != nil {
		return err
	}
	v, err := p.verifyFrom(ctx, a, f, heads)
	if err != nil {
		return err
	}
	return p.verified(v)
}

// verified prints an answer and sets the exit code.
func (p *program) verified(v *verifiedAudit) error {
	switch v.State {
	case api.AuditOK:
	case api.AuditWrong:
		p.outcome = exitDenied
	default:
		p.outcome = exitCannotTell
	}
	return show(p, v, func(pg *page, v *verifiedAudit) { pg.verified(v) })
}

// readHeads reads those that are files.
func readHeads(names []string) ([]string, error) {
	var heads []string
	for _, name := range names {
		if strings.Contains(name, ":") {
			if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
				heads = append(heads, name)
				continue
			}
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the head to compare with: %w", err)
		}
		heads = append(heads, string(b))
	}
	return heads, nil
}

// verifyData verifies data on this machine.
func (p *program) verifyData(ctx context.Context, f dataFlags, heads []string) error {
	if p.env.Audit == nil {
		return absent("verify data")
	}
	cfg, err := p.loadConfig(f)
	if err == nil {
		err = haveData(cfg)
	}
	if err != nil {
		return err
	}
	bar := p.auditBar()
	check, err := p.env.Audit(ctx, cfg, AuditRequest{Heads: heads, Progress: bar.update})
	bar.done()
	if err != nil {
		return err
	}
	return p.verified(&verifiedAudit{AuditCheck: check, Compare: compareWord(check)})
}

// verifyFrom verifies a log over the network, and remembers what it saw.
func (p *program) verifyFrom(ctx context.Context, a *auditSource, f verifyFlags, heads []string) (*verifiedAudit, error) {
	v := &verifiedAudit{First: a.firstRoot, Root: a.seen.Root}
	known, err := a.seen.Known()
	if err != nil {
		return nil, &failure{code: exitUsage, what: err.Error(), next: "restore " + a.file + ", or begin anew with --forget", cause: err}
	}
	last, at, ok := a.seen.Last()
	if ok {
		v.Remembered = last.At
	}
	for _, text := range heads {
		c, err := audit.ReadHead(a.verifier, text)
		if err != nil {
			return nil, &failure{code: exitUsage, what: err.Error(), next: "a head is SIZE:ROOT as bonded audit verify prints it, or a checkpoint that the log signed", cause: err}
		}
		known = append(known, tlog.Known{From: "somebody else", Checkpoint: c})
	}
	o := audit.VerifyOptions{
		Source: a.src, Origin: a.seen.Origin, Verifier: a.verifier, Known: known, Witnesses: a.witnesses, Quorum: a.seen.Quorum, Fresh: f.fresh, Clock: p.env.Clock,
	}
	if f.since && ok {
		o.Since = &at
	}
	bar := p.auditBar()
	o.Progress = bar.update
	v.AuditCheck, err = audit.Verify(ctx, o)
	bar.done()
	if err != nil {
		return nil, a.unread(err)
	}
	if o.Since == nil {
		p.askServer(ctx, a, v.AuditCheck)
	}
	v.Compare = compareWord(v.AuditCheck)
	if held(v.AuditCheck) {
		if ok {
			v.New = v.Entries - at.Size
		}
		return v, a.remember(p, []byte(v.Checkpoint))
	}
	return v, nil
}

// held reports whether a head may be remembered: the log is what it says, and
// goes on from all that was seen.
func held(c *api.AuditCheck) bool {
	for _, part := range c.Checks {
		switch part.Name {
		case "signature", "tree", "history":
			if part.State != api.AuditOK && part.State != api.AuditNone {
				return false
			}
		}
	}
	return c.Checkpoint != ""
}

// askServer has the server hold its rows and its head store against its log:
// nobody else can see them.
func (p *program) askServer(ctx context.Context, a *auditSource, check *api.AuditCheck) {
	steps := p.steps()
	steps.step("the server compares the rows of its database")
	its, err := a.client.VerifyAudit(ctx)
	steps.done()
	if err != nil {
		check.Checks = append(check.Checks, api.AuditPart{Name: "rows", State: api.AuditCannotTell, Text: "the server did not compare the rows of its database: " + err.Error(), Next: "bonded health"})
		audit.Conclude(check)
		return
	}
	for _, part := range its.Checks {
		switch {
		case part.Name == "rows", part.Name == "head store":
		case part.Name == "history" && part.State != api.AuditNone: // of the head store
			part.Name = "head store"
		case part.Name == "tree" && part.State == api.AuditWrong: // it reads other bytes than it shows
			part.Name = "server"
		default:
			continue
		}
		check.Checks = append(check.Checks, part)
	}
	check.Rows, check.MoreRows = its.Rows, its.MoreRows
	audit.Conclude(check)
}

// compareWord is the head of an answer in one word, "" when there is none.
func compareWord(c *api.AuditCheck) string {
	if c.Checkpoint == "" {
		return ""
	}
	return fmt.Sprintf("%d:%s", c.Entries, c.Head)
}

// Words for the states.
var auditWords = map[string]string{
	api.AuditOK: "OK", api.AuditWrong: "CHANGED", api.AuditLogAhead: "LOG AHEAD OF THE DATABASE", api.AuditCannotTell: "CANNOT TELL",
}

// rowsOfAudit is how many rows are shown to people.
const rowsOfAudit = 20

func (pg *page) verified(v *verifiedAudit) {
	style := pg.wait
	switch v.State {
	case api.AuditOK:
		style = pg.good
	case api.AuditWrong:
		style = pg.bad
	}
	text := many(v.Entries, "entry", "entries")
	if !v.Remembered.IsZero() && v.OK {
		text += fmt.Sprintf(", %s new since %s", count(v.New), pg.ago(v.Remembered))
	}
	pg.line(style.Render(auditWords[v.State]), "  ", text, "  ", v.Origin)
	for _, part := range v.Checks {
		pg.wrap("  "+pg.auditMark(part.State)+fmt.Sprintf(" %-10s  ", part.Name), strings.Repeat(" ", 16), part.Text)
	}
	if len(v.Rows) > 0 {
		pg.line()
		for _, row := range v.Rows[:min(len(v.Rows), rowsOfAudit)] {
			pg.wrap("  "+pg.bad.Render("✗")+" ", "    ", row.Text)
		}
		pg.more(2, len(v.Rows)+v.MoreRows-min(len(v.Rows), rowsOfAudit), "-o json")
	}
	pg.line()
	if v.Next != "" {
		pg.wrap("next: ", "      ", v.Next)
	}
	if v.First {
		pg.line("root, trusted from now on; compare it with the operator's bonded trust status:")
		pg.line("  ", v.Root)
	}
	if v.Compare != "" {
		pg.line("head, for somebody else to compare with: bonded audit verify --compare")
		pg.line("  ", v.Compare)
	}
}

// auditMark is the sign before a part.
func (pg *page) auditMark(state string) string {
	switch state {
	case api.AuditOK:
		return pg.good.Render("✓")
	case api.AuditWrong:
		return pg.bad.Render("✗")
	case api.AuditNone:
		return "–"
	}
	return pg.wait.Render("?")
}

// auditBar shows how far a log was read: a bar on a terminal, a line now and then
// where there is none, nothing where a program reads the answer.
type auditBar struct {
	p    *program
	bars *mpb.Progress
	bar  *mpb.Bar
	said int64
}

func (p *program) auditBar() *auditBar { return &auditBar{p: p} }

// entriesSaid is how many entries lie between two plain lines.
const entriesSaid = 1_000_000

func (b *auditBar) update(done, total int64) {
	switch {
	case b.p.output != outputText:
		return
	case !b.p.io.ErrTerminal:
		if done-b.said >= entriesSaid {
			b.said = done
			fmt.Fprintf(b.p.io.Err, "read %s of %s entries\n", count(done), count(total))
		}
		return
	case b.bars == nil:
		b.bars = mpb.New(mpb.WithOutput(b.p.io.Err), mpb.WithAutoRefresh(), mpb.WithRefreshRate(refresh), mpb.WithWidth(28))
		b.bar = b.bars.AddBar(total, mpb.AppendDecorators(decor.CountersNoUnit("%d/%d"), decor.Name(" entries")))
	}
	b.bar.SetCurrent(done)
}

// done takes the bar away.
func (b *auditBar) done() {
	if b.bars != nil {
		b.bar.Abort(true)
		b.bars.Wait()
	}
}
