// Package cli is the bonded command: it reads arguments, asks a server or the
// engine, and says the answer to people or to programs.
//
// Run takes everything it touches: environment, streams, clock and the parts of
// the program that only main knows. One answer has one value, which -o json and
// -o yaml print as it is and which text renders; exit codes come from one table.
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// Env is what the command runs in.
type Env struct {
	// Vars are "KEY=VALUE", as os.Environ gives them.
	Vars []string
	// Version is that of the build.
	Version string
	Clock   func() time.Time
	// After is time.After, for waiting between two questions to a server.
	After func(time.Duration) <-chan time.Time
	// Hostname names this machine. Optional: without it tokens are labelled by
	// user alone.
	Hostname string
	// Rand is a cryptographic source of randomness, for the ids of requests.
	Rand io.Reader
	Deps
}

// Stdio are the streams of the command.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
	// Width is that of the terminal Out writes to, in columns; 0 when Out is no
	// terminal.
	Width int
	// InTerminal and ErrTerminal say whether a person is at the other end.
	InTerminal, ErrTerminal bool
}

// Deps are the parts of the program that commands need beside a server to ask.
// A nil one makes its command answer that this build cannot do it.
type Deps struct {
	// Serve runs a server until ctx ends, then stops it gracefully.
	Serve func(ctx context.Context, c *config.Config, o ServeOptions) error
	// Init makes what a server needs on its first start: data folder, authority,
	// database and a code for the first administrator. It changes nothing of
	// what is there.
	Init func(ctx context.Context, c *config.Config, log *slog.Logger) (*Started, error)
	// Rotate replaces keys of the server on this machine, which may run.
	Rotate func(ctx context.Context, c *config.Config, r RotateRequest) (*Rotated, error)
	// Scan analyses and judges an artifact without a server.
	Scan func(ctx context.Context, r ScanRequest) (*ScanResult, error)
	// Verify verifies what refers to an artifact, without a server.
	Verify func(ctx context.Context, r VerifyRequest) (*Verified, error)
	// Fsck recomputes what must be true of stored state.
	Fsck func(ctx context.Context, c *config.Config, r FsckRequest) (*fsck.Report, error)
	// Audit verifies the audit log of a server's data, where no server runs on it.
	Audit func(ctx context.Context, c *config.Config, r AuditRequest) (*api.AuditCheck, error)
}

// ServeOptions are what a server gets beside its configuration.
type ServeOptions struct {
	Dev     bool
	Version string
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Tracing *telemetry.Tracing
	// Ready is called once, when requests are answered.
	Ready func(Started)
}

// Started is what people are told about a server that starts.
type Started struct {
	URL   string `json:"url"`   // how to reach it
	Data  string `json:"data"`  // its folder
	Fresh bool   `json:"fresh"` // this is the first start on that folder
	// CA is the PEM certificate of the server's own authority, "" when it has
	// another certificate or none.
	CA          string `json:"ca,omitempty"`
	Fingerprint string `json:"ca_fingerprint,omitempty"` // SHA-256 of CA in hex
	// Enrol is the code for the first administrator while there is none.
	Enrol *api.Invite `json:"enrol,omitempty"`
	// Admin is the administrator of a development server, and Reader one there who
	// may pull what a gate let in, and no more.
	Admin  *api.Enrolled     `json:"admin,omitempty"`
	Reader *api.Enrolled     `json:"reader,omitempty"`
	Logs   []api.LogState    `json:"logs,omitempty"`  // what witnesses are told of
	Notes  map[string]string `json:"notes,omitempty"` // what is off or weaker than it could be
}

// ScanRequest says what to scan.
type ScanRequest struct {
	// Target is the path of an OCI layout, of a tar of one or of docker save, or
	// a reference to a registry.
	Target string
	Gate   *policy.Gate
	// Shipped: the gate comes with the program, and so do those of the zones after.
	Shipped bool
	// Advisories is a folder in the layout of osv.dev; "" for none.
	Advisories string
	// Step is told what is being done. Optional.
	Step func(what string)
	// Bytes is told how much of the artifact has been read, by several at once.
	// Optional.
	Bytes func(done, total int64)
}

// ScanResult is what a scan found.
type ScanResult struct {
	Target    string        `json:"target"`
	Inventory api.Inventory `json:"inventory"` // its Repository is empty: it stands in none
	Findings  api.Findings  `json:"findings"`
	Decision  api.Decision  `json:"decision"` // as if it stood in the gate's zone
	// Next is what the shipped gates of the zones say that lead on from there.
	Next []api.Decision `json:"next,omitempty"`
}

// AuditRequest says what an audit log is held against.
type AuditRequest struct {
	// Heads are heads that were seen, SIZE:ROOT or signed checkpoints. Optional.
	Heads []string
	// Progress is told how many entries of how many were looked at. Optional.
	Progress func(done, total int64)
}

// FsckRequest says how thorough a check is.
type FsckRequest struct {
	// Content: read and hash every blob too.
	Content bool
	// Progress is told how many blobs were looked at. Optional.
	Progress func(done int)
}

// Run runs one command line (without the program's name) and returns the exit
// code.
func Run(ctx context.Context, env Env, io Stdio, args []string) int {
	p := &program{env: env, io: io, vars: variables(env.Vars)}
	root := p.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return int(p.outcome)
	}
	if !p.started {
		err = p.misused(cmd, err)
	}
	return int(p.fail(ctx, err))
}

// program is one run of the command.
type program struct {
	env  Env
	io   Stdio
	vars map[string]string

	// Flags of every command.
	output  string
	noColor bool
	server  string

	// started: the command line was understood, so that an error is not about it.
	started bool
	// outcome is what a command that was carried out exits with.
	outcome exitCode
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "bonded",
		Short: "A registry that lets nothing be pulled that no gate has let in",
		Long: `Bonded holds container images, knows what is inside them, decides which zone
each may stand in, and answers for every decision.

Start here:
  bonded serve --dev         a server to try things with, on this machine alone
  bonded login URL           enrol at a server that runs somewhere
  bonded why REFERENCE       why an image can, or cannot, be pulled

Exit codes: 0 allowed or done, 1 denied, 2 usage, 3 held or cannot tell, 4 not
permitted, 5 unavailable, 6 internal.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return p.checkOutput() },
	}
	root.SetIn(p.io.In)
	root.SetOut(p.io.Out)
	root.SetErr(p.io.Err)
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", defaultWidth)))
	flags := root.PersistentFlags()
	flags.StringVarP(&p.output, "output", "o", outputText, "print the answer in this `FORMAT`: text, json or yaml")
	flags.BoolVar(&p.noColor, "no-color", false, "print no colour (as NO_COLOR does)")
	flags.StringVar(&p.server, "server", "", "which login to use, by its `HOST` (default: the last one; see bonded whoami)")
	p.must(root.RegisterFlagCompletionFunc("output", fixed(outputText, outputJSON, outputYAML)))
	p.must(root.RegisterFlagCompletionFunc("server", p.completeServers))
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, make := range g.commands {
			cmd := make(p)
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
	root.SetHelpCommandGroupID(groupHere)
	root.SetCompletionCommandGroupID(groupHere)
	p.watch(root)
	return root
}

// Groups of the overview.
const (
	groupAsk   = "ask"
	groupAct   = "act"
	groupServe = "serve"
	groupHere  = "here"
)

// groups is the overview that bonded help prints.
var groups = []struct {
	id, title string
	commands  []func(*program) *cobra.Command
}{
	{groupAsk, "Ask about artifacts:", []func(*program) *cobra.Command{
		(*program).listCommand, (*program).why, (*program).findings, (*program).inventory, (*program).sbom, (*program).affected, (*program).bases, (*program).descendants, (*program).vex, (*program).epoch, (*program).scan, (*program).verify,
	}},
	{groupAct, "Act, and look after a server:", []func(*program) *cobra.Command{
		(*program).promote, (*program).approve, (*program).hold, (*program).resume, (*program).rollback, (*program).zone, (*program).gate, (*program).feed, (*program).audit, (*program).custody, (*program).revoke, (*program).waiver, (*program).principal, (*program).token, (*program).health,
	}},
	{groupServe, "Run a server:", []func(*program) *cobra.Command{
		(*program).serve, (*program).initCommand, (*program).config, (*program).trust, (*program).fsck, (*program).witness,
	}},
	{groupHere, "This command:", []func(*program) *cobra.Command{
		(*program).loginCommand, (*program).logout, (*program).whoami, (*program).version,
	}},
}

// must reports a mistake in the tables above, which every test would meet.
func (p *program) must(err error) {
	if err != nil {
		panic("cli: " + err.Error())
	}
}

// watch has cmd and all below it say what arguments they want, and note that
// they were started.
func (p *program) watch(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			p.started = true
			return run(cmd, args)
		}
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			if err == nil {
				return nil
			}
			if near := nearest(cmd, args); near != "" {
				return usage("did you mean: "+near, "%v", err)
			}
			if _, wanted, ok := strings.Cut(cmd.Use, " "); ok {
				return fmt.Errorf("%s wants %s, and got %s", cmd.CommandPath(), wanted, many(len(args), "argument", "arguments"))
			}
			return err
		}
	}
	for _, sub := range cmd.Commands() {
		p.watch(sub)
	}
}

// nearest is the command that args[0] probably means, "" when there is none.
func nearest(cmd *cobra.Command, args []string) string {
	if len(args) == 0 || !cmd.HasSubCommands() {
		return ""
	}
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return cmd.CommandPath() + " " + near[0]
	}
	return ""
}

// group is a command that only holds others.
func group(use, short, example string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Example: example, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(subs...)
	return cmd
}
