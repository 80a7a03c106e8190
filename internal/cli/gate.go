package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/gatefile"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/policy/policytest"
)

func (p *program) gate() *cobra.Command {
	return group("gate", "The policies of zones: read, check and test them",
		"  bonded gate list\n  bonded gate check ./strict.yaml", p.gateList(), p.gateShow(), p.gateCheck(), p.gateTest(), p.gatePreview())
}

func (p *program) gateList() *cobra.Command {
	var shipped bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the gates in force, or those that come with this program",
		Example: "  bonded gate list\n  bonded gate list --shipped",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			gates, err := p.gates(cmd.Context(), shipped)
			if err != nil {
				return err
			}
			return show(p, gates, func(pg *page, gates []api.Gate) {
				var rows [][]string
				for _, g := range gates {
					rows = append(rows, []string{g.Name, short(g.Digest)})
				}
				pg.table(0, []column{{title: "GATE", keep: true}, {title: "DIGEST", keep: true}}, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&shipped, "shipped", false, "those that come with this program; no server is asked")
	return cmd
}

// gates lists gates without their text.
func (p *program) gates(ctx context.Context, shipped bool) ([]api.Gate, error) {
	if !shipped {
		c, _, err := p.connect(ctx)
		if err != nil {
			return nil, err
		}
		return c.Gates(ctx)
	}
	var gates []api.Gate
	for _, name := range policy.Shipped() {
		g, err := policy.ShippedGate(name)
		if err != nil {
			return nil, err
		}
		gates = append(gates, api.Gate{Name: name, Digest: g.Digest().String()})
	}
	return gates, nil
}

func (p *program) gateShow() *cobra.Command {
	var shipped bool
	cmd := &cobra.Command{
		Use:               "show GATE",
		Short:             "Print a gate's text",
		Example:           "  bonded gate show production\n  bonded gate show production --shipped > production.yaml",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: firstOnly(p.completeGates),
		RunE: func(cmd *cobra.Command, args []string) error {
			g, err := p.gateText(cmd.Context(), args[0], shipped)
			if err != nil {
				return err
			}
			if p.output != outputText {
				return p.encode(g)
			}
			_, err = io.WriteString(p.io.Out, strings.TrimRight(cleanLines(g.Text), "\n")+"\n")
			return written(err)
		},
	}
	cmd.Flags().BoolVar(&shipped, "shipped", false, "the one that comes with this program; no server is asked")
	return cmd
}

func (p *program) gateText(ctx context.Context, name string, shipped bool) (*api.Gate, error) {
	if !shipped {
		c, _, err := p.connect(ctx)
		if err != nil {
			return nil, err
		}
		return c.Gate(ctx, name)
	}
	text, err := policy.ShippedText(name)
	if err != nil {
		return nil, usage("bonded gate list --shipped", "%v", err)
	}
	g, err := policy.Parse(name, text)
	if err != nil {
		return nil, err
	}
	return &api.Gate{Name: name, Digest: g.Digest().String(), Text: string(text)}, nil
}

// checkedGate is what bonded gate check says of a good one.
type checkedGate struct {
	File     string        `json:"file"`
	Name     string        `json:"name"`
	Describe string        `json:"describe,omitempty"`
	Digest   string        `json:"digest"`
	Enter    []checkedRule `json:"enter"`
	Stay     []checkedRule `json:"stay"`
}

type checkedRule struct {
	Rule string `json:"rule"`
	Says string `json:"says"`
}

func (p *program) gateCheck() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a gate's file: syntax, names, types and cost",
		Long: `Check a gate's file without a server, and list its rules as a reader of a
decision will see them. Faults are named with line and column, all at once.`,
		Example: "  bonded gate check ./strict.yaml\n  bonded gate check ./strict.yaml --data ./users.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := readData(files)
			if err != nil {
				return err
			}
			g, _, err := gatefile.Read(args[0], data...)
			if errors.Is(err, policy.ErrGateInvalid) {
				return &failure{code: exitUsage, what: err.Error(), next: "repair it; bonded gate show production --shipped is one that works", cause: err}
			}
			if err != nil {
				return err
			}
			c := checkedGate{File: args[0], Name: g.Name(), Describe: g.Describe(), Digest: g.Digest().String(), Enter: checkedRules(g, policy.Enter), Stay: checkedRules(g, policy.Stay)}
			return show(p, c, func(pg *page, c checkedGate) {
				pg.line(pg.good.Render("OK"), "  gate ", pg.bold.Render(c.Name), "  ", pg.faint.Render(short(c.Digest)))
				if c.Describe != "" {
					pg.wrap("    ", "    ", c.Describe)
				}
				pg.rules("to come in", c.Enter)
				pg.rules("to stay", c.Stay)
			})
		},
	}
	p.dataFlag(cmd, &files)
	return cmd
}

// dataFlag is how data is given to a gate that is read from a file.
func (p *program) dataFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVar(files, "data", nil, "`FILE` of data that rules name as data.NAME; may be repeated")
	p.must(cmd.MarkFlagFilename("data", "yaml", "yml"))
}

func checkedRules(g *policy.Gate, c policy.Clause) []checkedRule {
	rules := []checkedRule{}
	for _, r := range g.Rules(c) {
		rules = append(rules, checkedRule{r.Name, r.Says})
	}
	return rules
}

func (pg *page) rules(title string, rules []checkedRule) {
	if len(rules) == 0 {
		return
	}
	width := 0
	for _, r := range rules {
		width = max(width, len(r.Rule))
	}
	pg.line()
	pg.line(title)
	for _, r := range rules {
		pg.wrap("  "+r.Rule+strings.Repeat(" ", width-len(r.Rule)+2), strings.Repeat(" ", width+4), r.Says)
	}
}

// testedGate is what came of one suite.
type testedGate struct {
	Suite  string       `json:"suite"`
	Gate   string       `json:"gate"`
	Cases  int          `json:"cases"`
	Failed []failedCase `json:"failed"`
	// Coverage is how often each rule said what.
	Coverage []policytest.Coverage `json:"coverage"`
}

type failedCase struct {
	Case     string   `json:"case"`
	Problems []string `json:"problems"`
	Sentence string   `json:"sentence"` // what the gate said
}

func (p *program) gateTest() *cobra.Command {
	var (
		file    string
		files   []string
		covered bool
	)
	cmd := &cobra.Command{
		Use:   "test [SUITE]...",
		Short: "Test gates against suites of cases",
		Long: `Run suites of test cases against the gates they name: shipped ones, or that of
--gate. Without a suite, the shipped gates are tested against what they
promise; with --gate alone, the suites of the shipped gate of the same name
are run on it, which shows what a changed gate changes.

Rules that no case makes object are named: without them the cases would pass
as well. Exits with 1 when a case fails.`,
		Example: "  bonded gate test\n  bonded gate test --coverage\n  bonded gate test ./strict.gate.test --gate ./strict.yaml\n  bonded gate test --gate ./production.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.runGateTest(cmd.Context(), file, files, args, covered)
		},
	}
	cmd.Flags().StringVar(&file, "gate", "", "`FILE` of the gate to test")
	cmd.Flags().BoolVar(&covered, "coverage", false, "list how often each rule said what")
	p.must(cmd.MarkFlagFilename("gate", "yaml", "yml"))
	p.dataFlag(cmd, &files)
	return cmd
}

func (p *program) runGateTest(ctx context.Context, file string, files, suites []string, covered bool) error {
	var own *policy.Gate
	data, err := readData(files)
	if err != nil {
		return err
	}
	if file != "" {
		if own, _, err = gateOf(file, data...); err != nil {
			return err
		}
	}
	all, err := readSuites(suites, own)
	if err != nil {
		return err
	}
	results := []testedGate{}
	for _, s := range all {
		r, err := runSuite(ctx, s, own)
		if err != nil {
			return err
		}
		if len(r.Failed) > 0 {
			p.outcome = exitDenied
		}
		results = append(results, r)
	}
	return show(p, results, func(pg *page, results []testedGate) {
		pg.tested(results)
		if covered {
			pg.covered(results)
		} else {
			pg.untried(results)
		}
	})
}

// readSuites reads the files, or takes from the corpus those about own, or all.
func readSuites(files []string, own *policy.Gate) ([]*policytest.Suite, error) {
	var all []*policytest.Suite
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("reading suite: %w", err)
		}
		s, err := policytest.Parse(f, text)
		if err != nil {
			if _, notGate := policy.Parse(f, text); notGate == nil {
				return nil, usage("bonded gate test --gate "+word(f), "%s is a gate, and not a suite of cases for one", f)
			}
			return nil, err
		}
		all = append(all, s)
	}
	if len(files) > 0 {
		return all, nil
	}
	corpus, err := policytest.Corpus()
	if err != nil {
		return nil, err
	}
	for _, s := range corpus {
		if own == nil || s.Gate == own.Name() {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return nil, usage("bonded gate test SUITE --gate FILE", "no shipped suite is about a gate named %q", own.Name())
	}
	return all, nil
}

func runSuite(ctx context.Context, s *policytest.Suite, own *policy.Gate) (testedGate, error) {
	g := own
	if g == nil || s.Gate != own.Name() {
		var err error
		if g, err = policy.ShippedGate(s.Gate); err != nil {
			return testedGate{}, usage("name its file with --gate", "suite %s is about gate %q, which is not shipped", s.File, s.Gate)
		}
	}
	r := testedGate{Suite: s.File, Gate: s.Gate, Cases: len(s.Cases), Failed: []failedCase{}}
	results, err := s.Run(ctx, g)
	if err != nil {
		return r, err
	}
	r.Coverage = policytest.Covered(g, results)
	for _, c := range results {
		if len(c.Problems) > 0 {
			r.Failed = append(r.Failed, failedCase{c.Case, c.Problems, policy.Sentence(&c.Decision)})
		}
	}
	return r, nil
}

func (pg *page) tested(results []testedGate) {
	var rows [][]string
	for _, r := range results {
		state := pg.good.Render("ok")
		if len(r.Failed) > 0 {
			state = pg.bad.Render("FAILED")
		}
		rows = append(rows, []string{r.Gate, state, count(r.Cases), count(len(r.Failed)), r.Suite})
	}
	pg.table(0, []column{{title: "GATE", keep: true}, {title: "STATE"}, {title: "CASES", right: true}, {title: "FAILED", right: true}, {title: "SUITE"}}, rows)
	for _, r := range results {
		for _, c := range r.Failed {
			pg.line()
			pg.line(pg.bad.Render("✗"), " ", r.Gate, ": ", c.Case)
			for _, problem := range c.Problems {
				pg.wrap("    ", "    ", problem)
			}
			pg.wrap("    ", "    ", "it says: "+c.Sentence)
		}
	}
}

// covered lists how often each rule said what.
func (pg *page) covered(results []testedGate) {
	var rows [][]string
	for _, r := range results {
		for _, c := range r.Coverage {
			rows = append(rows, []string{r.Gate, c.Clause, c.Rule, count(c.Allow), count(c.Deny), count(c.CannotTell)})
		}
	}
	pg.line()
	pg.table(0, []column{{title: "GATE"}, {title: "CLAUSE"}, {title: "RULE", keep: true}, {title: "ALLOWS", right: true}, {title: "DENIES", right: true}, {title: "CANNOT TELL", right: true}}, rows)
}

// untried names the rules that no case makes object.
func (pg *page) untried(results []testedGate) {
	for _, r := range results {
		var names []string
		for _, c := range r.Coverage {
			if c.Untried() {
				names = append(names, c.Clause+" "+c.Rule)
			}
		}
		if len(names) > 0 {
			pg.line()
			pg.wrap("", "  ", r.Gate+": no case makes these object: "+strings.Join(names, ", "))
		}
	}
}
