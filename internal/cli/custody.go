package cli

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/custody"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
)

func (p *program) custody() *cobra.Command {
	return group("custody", "Tell and prove what happened to an artifact", `  bonded custody show production/app:1.0
  bonded custody export sha256:… -f app.custody.json
  bonded custody verify app.custody.json --trusted-root trusted_root.json`, p.custodyShow(), p.custodyExport(), p.custodyVerify())
}

func (p *program) custodyShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show {REFERENCE|DIGEST}",
		Short: "Tell what happened to an artifact, and what proves it",
		Long: `Tell what happened to an artifact, oldest first. It takes a role with the verb
read-audit, or with export in the repositories where the artifact stands; what
is in others is not told. What a line is proven by is what the server says: to
check it, export the file and verify that.`,
		Example: `  bonded custody show production/app:1.0
  bonded custody show sha256:… -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			line, err := c.Custody(cmd.Context(), args[0])
			if err != nil {
				return sought(err, args[0], l)
			}
			return show(p, line, func(pg *page, l *api.CustodyTimeline) {
				pg.line(pg.bold.Render(l.Digest), "  in ", strings.Join(l.Repositories, ", "))
				pg.steps(l.Steps)
				for _, text := range l.LeftOut {
					pg.wrap("  left out: ", "    ", text)
				}
			})
		},
	}
}

// steps writes a timeline.
func (pg *page) steps(steps []api.CustodyStep) {
	rows := make([][]string, len(steps))
	for i, s := range steps {
		at := "at an unknown time"
		if !s.At.IsZero() {
			at = s.At.UTC().Format(time.RFC3339)
		}
		proven := s.ProvenBy
		if proven == "" {
			proven = "nothing yet"
		}
		rows[i] = []string{at, s.What, s.Where, s.Who, strings.TrimPrefix(proven, "audit log, ")}
	}
	if len(rows) > 0 {
		pg.table(2, []column{{title: "WHEN", keep: true}, {title: "WHAT", keep: true}, {title: "WHERE"}, {title: "WHO"}, {title: "PROVEN BY"}}, rows)
	}
}

// exportedCustody is the answer of bonded custody export.
type exportedCustody struct {
	File    string   `json:"file"`
	Digest  string   `json:"digest"`
	Size    int      `json:"size"`
	LeftOut []string `json:"left_out,omitempty"`
}

func (p *program) custodyExport() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "export {REFERENCE|DIGEST}",
		Short: "Write the file that proves what happened, offline",
		Long: `Write one file with all that the server knows about an artifact, each thing with
its proof: bonded custody verify checks it without a network and without a
server. It takes a role with the verb export; what is in repositories where that
is not given is not in the file. The export is recorded.

-o FILE writes to that file too, as long as it is not the name of a format: -o
json prints what was written as JSON.`,
		Example: `  bonded custody export sha256:… -o app.custody.json
  bonded custody export production/app:1.0 --file app.custody.json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			given := p.output
			err := p.checkOutput()
			switch {
			case err == nil:
				return nil
			case file != "":
				return usage("-o text, -o json or -o yaml beside --file", "two files are named: %s and %s", file, given)
			}
			file = given
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.runExport(cmd.Context(), args[0], file) },
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` to write (default: HEX.custody.json)")
	p.must(cmd.MarkFlagFilename("file", "json"))
	return cmd
}

func (p *program) runExport(ctx context.Context, ref, file string) error {
	c, l, err := p.connect(ctx)
	if err != nil {
		return err
	}
	steps := p.steps()
	steps.step("the server gathers what it knows, and its proofs")
	raw, err := c.ExportCustody(ctx, ref)
	steps.done()
	if err != nil {
		return sought(err, ref, l)
	}
	f, err := custody.Parse(raw)
	if err != nil {
		return fmt.Errorf("reading the answer of the server: %w", err)
	}
	d, err := oci.ParseDigest(f.Digest)
	if err != nil {
		return fmt.Errorf("reading the answer of the server: %w", err)
	}
	if file == "" {
		file = d.Hex()[:12] + ".custody.json"
	}
	if err := os.WriteFile(file, raw, 0o644); err != nil {
		return fmt.Errorf("writing the custody file: %w", err)
	}
	return show(p, exportedCustody{file, f.Digest, len(raw), f.LeftOut}, func(pg *page, e exportedCustody) {
		pg.line(pg.good.Render("WRITTEN"), "  ", e.File, ", about ", e.Digest)
		for _, text := range e.LeftOut {
			pg.wrap("  left out: ", "    ", text)
		}
		pg.line("to check it anywhere: bonded custody verify ", e.File, " --trusted-root trusted_root.json")
	})
}

// custodyFlags are those of bonded custody verify.
type custodyFlags struct {
	root, digest string
	anchors      []string
}

func (p *program) custodyVerify() *cobra.Command {
	var f custodyFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Verify a custody file, without a network and without a server",
		Long: `Verify a custody file by the trusted root of its server alone, which must have
come another way than the file: bonded trust root prints it. What the server
signed must be by --server URL; without that, by the server that the trusted
root names.

Evidence that others signed is verified by --anchor, by the name and a file of
each: a trusted_root.json, or PEM public keys or CA certificates. Nothing is
shown as verified that was not. That a file has nothing of a kind does not prove
that there was nothing.

Exits with 0 when all that is in the file verifies, with 1 when something in it
is wrong, with 3 when something cannot be proven with what was given.`,
		Example: `  bonded custody verify app.json --trusted-root root.json
  bonded custody verify app.json --trusted-root root.json --digest sha256:…
  bonded custody verify app.json --trusted-root root.json --anchor ci=ci.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return p.verifyCustody(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.root, "trusted-root", "", "trusted_root.json of the server, in this `FILE`")
	flags.StringVar(&f.digest, "digest", "", "refuse a file that is about another `DIGEST`")
	flags.StringArrayVar(&f.anchors, "anchor", nil, "`NAME=FILE` by which evidence of others is verified; may be repeated")
	p.must(cmd.MarkFlagRequired("trusted-root"))
	p.must(cmd.MarkFlagFilename("trusted-root", "json"))
	return cmd
}

func (p *program) verifyCustody(ctx context.Context, file string, f custodyFlags) error {
	raw, err := readBounded(file, custody.MaxFile)
	if err != nil {
		return err
	}
	o := custody.VerifyOptions{Clock: p.env.Clock, Log: slog.New(slog.DiscardHandler)}
	if o.Root, err = readBounded(f.root, maxTrusted); err != nil {
		return err
	}
	if o.Server = p.server; o.Server != "" && !strings.Contains(o.Server, "://") {
		o.Server = "https://" + o.Server
	}
	if f.digest != "" {
		if o.Digest, err = oci.ParseDigest(f.digest); err != nil {
			return usage("--digest sha256:HEX", "%v", err)
		}
	}
	for _, text := range f.anchors {
		a, err := anchorFrom(text)
		if err != nil {
			return err
		}
		o.Anchors = append(o.Anchors, a)
	}
	c, err := custody.Verify(ctx, raw, o)
	switch {
	case errors.Is(err, custody.ErrGiven):
		return &failure{code: exitUsage, what: err.Error(), next: "--trusted-root has what bonded trust root prints; name the server with --server URL", cause: err}
	case errors.Is(err, custody.ErrFile):
		return &failure{code: exitDenied, what: fmt.Sprintf("%s proves nothing: %v", file, err), next: "bonded custody export writes such files", cause: err}
	case errors.Is(err, custody.ErrLarge):
		return &failure{code: exitCannotTell, what: fmt.Sprintf("%s was not verified: %v", file, err), cause: err}
	case err != nil:
		return err
	}
	switch c.State {
	case api.CustodyVerified:
	case api.CustodyFailed:
		p.outcome = exitDenied
	default:
		p.outcome = exitCannotTell
	}
	return show(p, c, func(pg *page, c *api.CustodyCheck) { pg.custody(c) })
}

// maxTrusted bounds a file of an anchor, in bytes.
const maxTrusted = 4 << 20

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &failure{code: exitUsage, what: fmt.Sprintf("reading a file: %v", err), cause: err}
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	if err != nil {
		return nil, &failure{code: exitUsage, what: fmt.Sprintf("reading %s: %v", name, err), cause: err}
	}
	return b, nil
}

// anchorFrom reads NAME=FILE.
func anchorFrom(text string) (verify.Anchor, error) {
	name, file, ok := strings.Cut(text, "=")
	if !ok || name == "" || file == "" {
		return verify.Anchor{}, usage("--anchor NAME=FILE", "an anchor is a name and a file, and not %q", text)
	}
	b, err := readBounded(file, maxTrusted)
	if err != nil {
		return verify.Anchor{}, err
	}
	a := verify.Anchor{Name: name, Kind: verify.KindSigstore}
	block, _ := pem.Decode(b)
	switch {
	case bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")):
		a.Roots = [][]byte{b}
	case block != nil && block.Type == "CERTIFICATE":
		a.Kind, a.CAs = verify.KindX509, b
	case block != nil:
		a.Kind, a.Keys = verify.KindKey, b
	default:
		return a, usage("a trusted_root.json, or PEM public keys or CA certificates", "%s is no file of an anchor", file)
	}
	return a, nil
}

// custody writes what verifying a file found: first the answer, then each part.
func (pg *page) custody(c *api.CustodyCheck) {
	words := map[api.CustodyState]string{
		api.CustodyVerified: pg.good.Render("VERIFIED"), api.CustodyNotProvable: pg.wait.Render("NOT PROVABLE"),
		api.CustodyNotRecorded: pg.faint.Render("NOT RECORDED"), api.CustodyFailed: pg.bad.Render("FAILED"),
	}
	pg.line(words[c.State], "  ", c.Digest, ", by ", c.Server)
	for _, part := range c.Parts {
		pg.line("  ", pg.bold.Render(part.Part), ": ", words[part.State])
		if part.Text != "" {
			pg.wrap("    ", "    ", part.Text)
		}
		verified := 0
		for _, i := range part.Items {
			if i.State == api.CustodyVerified {
				verified++
				continue
			}
			pg.wrap("    "+words[i.State]+"  ", "      ", i.What+": "+i.Text)
		}
		if verified > 0 {
			pg.line("    ", many(int64(verified), "thing", "things"), " verified")
		}
	}
	if len(c.Steps) > 0 {
		pg.line("What was verified, by time:")
		pg.steps(c.Steps)
	}
}
