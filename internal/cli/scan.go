package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/gatefile"
	"github.com/bonded-dev/bonded/internal/policy"
)

func (p *program) scan() *cobra.Command {
	var (
		list             listFlags
		gate, advisories string
		files            []string
	)
	cmd := &cobra.Command{
		Use:   "scan LAYOUT|TAR|REFERENCE",
		Short: "Analyse and judge an artifact here, without a server",
		Long: `Analyse an artifact and judge it, with the engine of a server and its words,
but without one: an OCI layout (a folder), a tar of one or of docker save, or
a reference to an image in a registry.

Of a shipped gate it is also said what the zones would say that lead on from
its own. Without --advisories nothing is matched, and a gate that asks for it
cannot tell. Exits with 0 when the gate allows it, 1 when it denies, 3 when it
cannot tell.`,
		Example: `  bonded scan ./image.tar --advisories ./osv
  bonded scan ./layout --gate production --advisories ./osv
  bonded scan docker.io/library/debian:12 --gate ./own.yaml --advisories ./osv`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := ScanRequest{Target: args[0], Advisories: advisories}
			return p.runScan(cmd.Context(), r, gate, files, list)
		},
	}
	list.add(cmd, 0) // the verdict stays on the screen
	cmd.Flags().StringVar(&gate, "gate", "dev", "name of a shipped gate, or a `FILE` with one")
	p.dataFlag(cmd, &files)
	cmd.Flags().StringVar(&advisories, "advisories", "", "`FOLDER` with advisories in the layout of osv.dev")
	p.must(cmd.MarkFlagDirname("advisories"))
	p.must(cmd.RegisterFlagCompletionFunc("gate", func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return policy.Shipped(), cobra.ShellCompDirectiveDefault
	}))
	return cmd
}

func (p *program) runScan(ctx context.Context, r ScanRequest, gate string, files []string, list listFlags) error {
	if p.env.Scan == nil {
		return absent("scan")
	}
	data, err := readData(files)
	if err != nil {
		return err
	}
	if r.Gate, r.Shipped, err = gateOf(gate, data...); err != nil {
		return err
	}
	again := []string{"bonded scan", word(r.Target), "--gate", word(gate)}
	if r.Advisories != "" {
		again = append(again, "--advisories", word(r.Advisories))
	}
	steps := p.steps()
	r.Step, r.Bytes = steps.step, steps.bytes
	res, err := p.env.Scan(ctx, r)
	steps.done()
	if err != nil {
		return err
	}
	p.outcome = exitOf(res.Decision.Outcome)
	return show(p, res, func(pg *page, res *ScanResult) {
		pg.rest.findings = strings.Join(append(again, "--all"), " ")
		pg.rest.all = strings.Join(append(again, "-o json"), " ")
		pg.line(pg.bold.Render(res.Target), "  ", many(len(res.Inventory.Packages), "package", "packages"), " in ", many(len(res.Inventory.Layers), "layer", "layers"), ", ", summed(&res.Findings))
		pg.line("  coverage  ", pg.coverage(res.Inventory.Coverage))
		pg.line("  secrets   ", pg.searched(&res.Inventory, "see --all"))
		pg.snapshot(res.Findings.Snapshot, "--advisories FOLDER")
		pg.line()
		pg.ends(pg.state(verdict{zone: res.Decision.Zone, decision: &res.Decision})+pg.wouldBe(res.Next), pg.faint.Render("gate "+r.Gate.Name()+" "+r.Gate.Digest().Short()))
		pg.line()
		pg.reasons(&res.Decision)
		pg.change(&res.Decision, nil)
		pg.secrets(res.Inventory.Secrets, list, pg.rest.findings)
		pg.findingRows(res.Findings.Findings, list, pg.rest.findings)
	})
}

// wouldBe says what zones say that an artifact goes to next: " · would be DENIED by
// staging: 2 of 9 rules".
func (pg *page) wouldBe(next []api.Decision) string {
	text := ""
	for _, d := range next {
		against := 0
		for _, r := range d.Reasons {
			if r.Outcome == d.Outcome {
				against++
			}
		}
		of := fmt.Sprintf(": %d of %s", against, many(len(d.Reasons), "rule", "rules"))
		switch d.Outcome {
		case api.Allow:
			text += " · would be " + pg.good.Render("ALLOWED") + " by " + d.Zone
		case api.Deny:
			text += " · would be " + pg.bad.Render("DENIED") + " by " + d.Zone + of
		default:
			text += " · would be " + pg.wait.Render("HELD") + " by " + d.Zone + of
		}
	}
	return text
}

// word writes an argument as a shell reads it.
func word(arg string) string {
	if arg != "" && !strings.ContainsFunc(arg, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\"'`$&|;<>()*?[]#~!\\{}", r) }) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// gateOf reads a gate from a file, or takes a shipped one by its name.
func gateOf(name string, data ...*policy.Data) (g *policy.Gate, shipped bool, err error) {
	if slices.Contains(policy.Shipped(), name) {
		g, err = policy.ShippedGate(name)
		return g, true, err
	}
	g, _, err = gatefile.Read(name, data...)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "./") {
		err = usage("bonded gate list --shipped", "%q is neither a file nor a shipped gate", name)
	}
	return g, false, err
}

// readData reads the data that rules of gates name.
func readData(files []string) ([]*policy.Data, error) {
	data, err := gatefile.ReadData(files...)
	if errors.Is(err, policy.ErrDataInvalid) {
		return nil, &failure{code: exitUsage, what: err.Error(), next: "repair it: it needs apiVersion, kind: Data, name, and a list or a table of texts", cause: err}
	}
	return data, err
}

// absent is the answer of a build without a part.
func absent(verb string) error {
	return &failure{code: exitUnavailable, what: fmt.Sprintf("this build cannot %s", verb), next: "use the released program"}
}
