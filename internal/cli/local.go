package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/gatefile"
	"github.com/bonded-dev/bonded/internal/pki"
	"github.com/bonded-dev/bonded/internal/policy"
)

func (p *program) config() *cobra.Command {
	return group("config", "The configuration of a server", "  bonded config check /etc/bonded.yaml\n  bonded config show",
		p.configCheck(), p.configShow(), p.configSchema())
}

// checkedConfig is the answer of bonded config check.
type checkedConfig struct {
	File  string   `json:"file"`
	OK    bool     `json:"ok"`
	Zones []string `json:"zones"` // in force
	Gates []string `json:"gates"` // read from files
}

func (p *program) configCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file and the gates it names",
		Long: `Check a configuration file, as a server would on its start: syntax, unknown
keys, values, fields that contradict each other, and the gates that it names.
The environment is left out. Faults are named with line and column.`,
		Example: "  bonded config check /etc/bonded.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := config.Load(config.Source{File: args[0], Env: []string{"HOME=" + p.vars["HOME"]}})
			if errors.Is(err, config.ErrInvalid) {
				return &failure{code: exitUsage, what: err.Error(), next: "bonded config schema describes every field", cause: err}
			}
			if err != nil {
				return err
			}
			checked := checkedConfig{File: args[0], OK: true, Zones: []string{}, Gates: []string{}}
			if err := checkGates(c, &checked); err != nil {
				return err
			}
			return show(p, checked, func(pg *page, c checkedConfig) {
				pg.line(pg.good.Render("OK"), "  ", c.File)
				if len(c.Zones) > 0 {
					pg.line("  zones  ", list(c.Zones))
				} else {
					pg.line("  zones  the shipped ones")
				}
				if len(c.Gates) > 0 {
					pg.line("  gates  ", list(c.Gates))
				}
			})
		},
	}
}

// checkGates reads every gate that is named, and finds one for every zone.
func checkGates(c *config.Config, out *checkedConfig) error {
	var files []string
	for _, file := range c.GateData {
		files = append(files, string(file))
	}
	data, err := readData(files)
	if err != nil {
		return err
	}
	for name, file := range c.Gates {
		if _, _, err := gatefile.Read(string(file), data...); errors.Is(err, policy.ErrGateInvalid) {
			return &failure{code: exitUsage, what: err.Error(), next: "bonded gate check " + string(file), cause: err}
		} else if err != nil {
			return fmt.Errorf("gate %s: %w", name, err)
		}
		out.Gates = append(out.Gates, name)
	}
	slices.Sort(out.Gates)
	for _, z := range c.Zones {
		gate := z.Gate
		if gate == "" {
			gate = z.Name
		}
		if _, ok := c.Gates[gate]; !ok && !slices.Contains(policy.Shipped(), gate) {
			return usage("name its file under gates, or take a shipped one: "+list(policy.Shipped()), "zone %s has gate %q, which is neither shipped nor named in gates", z.Name, gate)
		}
		out.Zones = append(out.Zones, z.Name)
	}
	return nil
}

func (p *program) configShow() *cobra.Command {
	var (
		f     dataFlags
		names bool
	)
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration in force here, with all defaults",
		Example: `  bonded config show
  bonded config show --config /etc/bonded.yaml -o json
  bonded config show --variables`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if names {
				return show(p, config.Variables(), func(pg *page, names []string) {
					for _, n := range names {
						pg.line(n)
					}
				})
			}
			c, err := p.loadConfig(f)
			if err != nil {
				return err
			}
			if p.output != outputText {
				return p.encode(c)
			}
			b, err := yaml.Marshal(c)
			if err != nil {
				return fmt.Errorf("encoding the configuration: %v", err)
			}
			_, err = p.io.Out.Write(b)
			return written(err)
		},
	}
	f.add(p, cmd)
	cmd.Flags().BoolVar(&names, "variables", false, "print the names of the environment variables instead")
	return cmd
}

func (p *program) configSchema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON schema of the configuration file, for editors",
		Example: "  bonded config schema > bonded.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := p.io.Out.Write(config.Schema())
			return written(err)
		},
	}
}

// trustedCA is the answer of bonded trust ca.
type trustedCA struct {
	CA          string `json:"ca"` // PEM
	Fingerprint string `json:"fingerprint"`
}

func (p *program) trustCA() *cobra.Command {
	var (
		f           dataFlags
		fingerprint bool
	)
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Print the certificate of the server's own authority, in PEM",
		Long: `Print the certificate of the authority that the server on this machine made
for itself; where there is none, the one that the current login trusts.
Clients need it: docker and podman read /etc/docker/certs.d/HOST:PORT/ca.crt
and /etc/containers/certs.d/HOST:PORT/ca.crt.`,
		Example: "  bonded trust ca > ca.crt\n  bonded trust ca --fingerprint",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := p.findCA(f)
			if err != nil {
				return err
			}
			block, _ := pem.Decode([]byte(text))
			if block == nil {
				return usage("bonded init", "what is kept as the authority's certificate is no PEM")
			}
			sum := sha256.Sum256(block.Bytes)
			ca := trustedCA{CA: text, Fingerprint: hex.EncodeToString(sum[:])}
			if p.output != outputText {
				return p.encode(ca)
			}
			out := strings.TrimRight(ca.CA, "\n") + "\n"
			if fingerprint {
				out = ca.Fingerprint + "\n"
			}
			_, err = io.WriteString(p.io.Out, out)
			return written(err)
		},
	}
	f.add(p, cmd)
	cmd.Flags().BoolVar(&fingerprint, "fingerprint", false, "print its SHA-256 alone, to compare")
	return cmd
}

// findCA returns the authority's certificate of the server meant.
func (p *program) findCA(f dataFlags) (string, error) {
	cfg, err := p.loadConfig(f)
	if err != nil {
		return "", err
	}
	b, err := pki.ReadCA(caDir(string(cfg.Data)))
	if err == nil {
		return string(b), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if f.data == "" && f.file == "" {
		if ls, err := p.readLogins(); err == nil {
			if l, ok := ls.find(p.server); ok && l.CA != "" {
				return l.CA, nil
			}
		}
	}
	return "", usage("bonded init, or --data FOLDER", "there is no authority in %s, and no login trusts one", caDir(string(cfg.Data)))
}

func (p *program) fsck() *cobra.Command {
	var (
		f       dataFlags
		content bool
	)
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Recompute what must be true of the data, and name what is not",
		Long: `Recompute what must be true of a server's data: every blob is there and whole,
every manifest names what is there, nothing can be pulled without a decision,
the audit log is dense. Nothing is changed: data of an older version, which a
server would bring up to date on its start, is not looked at.

Exits with 1 when something is wrong.`,
		Example: "  bonded fsck\n  bonded fsck --data /srv/bonded --content",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.env.Fsck == nil {
				return absent("check data")
			}
			cfg, err := p.loadConfig(f)
			if err == nil {
				err = haveData(cfg)
			}
			if err != nil {
				return err
			}
			steps := p.steps()
			r, err := p.env.Fsck(cmd.Context(), cfg, FsckRequest{Content: content, Progress: func(done int) {
				if done%1000 == 0 {
					steps.step("looked at " + many(done, "blob", "blobs"))
				}
			}})
			steps.done()
			if err != nil {
				return err
			}
			if !r.OK() {
				p.outcome = exitDenied
			}
			return show(p, r, func(pg *page, r *fsck.Report) { pg.fsck(r) })
		},
	}
	f.add(p, cmd)
	cmd.Flags().BoolVar(&content, "content", false, "read and hash every blob too")
	return cmd
}

// haveData wants a server's data to be where c says: of a mistyped folder an
// empty one would be made, and nothing found wrong with it.
func haveData(c *config.Config) error {
	if c.Database.Postgres != nil {
		return nil
	}
	file := filepath.Join(string(c.Data), "bonded.db")
	if s := c.Database.SQLite; s != nil && s.Path != "" {
		file = string(s.Path)
	}
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return usage("bonded fsck --data FOLDER, or --config FILE", "no server has its data there: there is no %s", file)
	}
	return err
}

func (pg *page) fsck(r *fsck.Report) {
	looked := fmt.Sprintf("%s (%s), %s, %s, %s, %s", many(r.Blobs, "blob", "blobs"), bytesOf(r.Bytes), many(r.Manifests, "manifest", "manifests"),
		many(r.Placements, "placement", "placements"), many(r.Tags, "tag", "tags"), many(r.Entries, "audit entry", "audit entries"))
	if r.OK() {
		pg.wrap(pg.good.Render("OK")+"  ", "    ", looked)
	} else {
		pg.wrap(pg.bad.Render("WRONG")+"  ", "    ", many(len(r.Problems)+r.More, "problem", "problems")+" in "+looked)
		pg.line()
		for _, x := range r.Problems {
			pg.wrap("  "+pg.bad.Render("✗")+" "+x.Check+"  ", "      ", x.Subject+": "+x.Text)
		}
		pg.more(2, r.More, "repair these first")
	}
	if r.Orphans > 0 {
		pg.line("  ", many(r.Orphans, "blob", "blobs"), " that nothing names: harmless, what an interrupted push leaves")
	}
}

// builtVersion is the answer of bonded version.
type builtVersion struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print which build this is",
		Example: "  bonded version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := builtVersion{p.env.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return show(p, v, func(pg *page, v builtVersion) {
				pg.line("bonded ", v.Version, "  ", v.Go, "  ", v.Platform)
			})
		},
	}
}

func (p *program) health() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "How the server is, and what it could do better",
		Long: `Ask the server how it is: each of its checks, and what is off or weaker than
it could be.

Exits with 5 when a check is not ok.`,
		Example: "  bonded health",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			h, err := c.Health(cmd.Context())
			if err != nil {
				return err
			}
			for _, state := range h.Checks {
				if state != "ok" {
					p.outcome = exitUnavailable
				}
			}
			return show(p, h, func(pg *page, h *api.Health) { pg.health(h) })
		},
	}
}

func (pg *page) health(h *api.Health) {
	pg.line("bonded ", h.Version)
	for _, name := range sorted(h.Checks) {
		mark := pg.good.Render("✓")
		if h.Checks[name] != "ok" {
			mark = pg.bad.Render("✗")
		}
		pg.wrap(fmt.Sprintf("  %s %-20s  ", mark, name), strings.Repeat(" ", 26), h.Checks[name])
	}
	for _, name := range sorted(h.Notes) {
		pg.wrap(fmt.Sprintf("  – %-20s  ", name), strings.Repeat(" ", 26), h.Notes[name])
	}
}

// sorted returns the keys of m in byte order.
func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
