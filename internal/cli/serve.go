package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// dataFlags say which server on this machine is meant.
type dataFlags struct{ data, file string }

func (f *dataFlags) add(p *program, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data", "", "`FOLDER` that holds everything (default: $XDG_DATA_HOME/bonded, or ~/.local/share/bonded)")
	cmd.Flags().StringVar(&f.file, "config", "", "configuration `FILE` (default: $"+config.EnvFile+", or none)")
	p.must(cmd.MarkFlagDirname("data"))
	p.must(cmd.MarkFlagFilename("config", "yaml", "yml"))
}

// loadConfig reads the configuration of a server on this machine; change is
// for further flags.
func (p *program) loadConfig(f dataFlags, change ...func(*config.Config)) (*config.Config, error) {
	file := f.file
	if file == "" {
		file = p.vars[config.EnvFile]
	}
	c, err := config.Load(config.Source{File: file, Env: p.env.Vars, Override: func(c *config.Config) {
		if f.data != "" {
			c.Data = config.Path(f.data)
		}
		for _, fn := range change {
			fn(c)
		}
	}})
	if errors.Is(err, config.ErrInvalid) {
		next := "bonded config schema describes every field"
		if file != "" {
			next = "bonded config check " + file
		}
		return nil, &failure{code: exitUsage, what: err.Error(), next: next, cause: err}
	}
	if err != nil {
		return nil, err
	}
	data, err := filepath.Abs(string(c.Data)) // who reads it later may stand in another folder
	if err != nil {
		return nil, fmt.Errorf("finding the data folder: %w", err)
	}
	c.Data = config.Path(data)
	return c, nil
}

// serveFlags are the flags of bonded serve.
type serveFlags struct {
	dataFlags
	listen string
	dev    bool
	feeds  []string
}

// devListen is where a development server listens when nobody says.
const devListen = "127.0.0.1:5000"

func (p *program) serve() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server until it is told to stop (SIGINT, SIGTERM). It needs no
configuration: metadata is in SQLite and content in files below the data
folder, and TLS comes from an authority of its own, made on the first start.

--dev is for trying things: on loopback and in plain HTTP, with the tokens of
an administrator and of a reader printed, and with a zone named sandbox where
anyone may push and pull and nothing is judged. It logs warnings only, unless
the log level is set. Without --data it forgets everything when it stops.`,
		Example: `  bonded serve --dev
  bonded serve
  bonded serve --config /etc/bonded.yaml
  bonded serve --data ./state --listen 127.0.0.1:8443 --feed ./osv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.env.Serve == nil {
				return absent("run a server")
			}
			return p.runServe(cmd.Context(), f)
		},
	}
	f.add(p, cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "`ADDRESS` to listen on, host:port (default: :8443, with --dev "+devListen+")")
	flags.BoolVar(&f.dev, "dev", false, "try things: loopback, plain HTTP, a sandbox; nothing is kept without --data")
	flags.StringArrayVar(&f.feeds, "feed", nil, "take advisories from this `FOLDER` and from no configured feed; repeat it for more")
	p.must(cmd.MarkFlagDirname("feed"))
	return cmd
}

func (p *program) runServe(ctx context.Context, f serveFlags) error {
	if f.dev && f.listen != "" && !config.LoopbackAddress(f.listen) {
		return usage("--listen 127.0.0.1:PORT, or leave --dev out", "a development server answers anyone over plain HTTP, so it listens on loopback only, not on %s", f.listen)
	}
	if err := checkFeeds(f.feeds); err != nil {
		return err
	}
	name := "" // of a server that is gone tomorrow
	if f.dev && f.data == "" {
		dir, err := os.MkdirTemp("", "bonded-dev-")
		if err != nil {
			return fmt.Errorf("making a folder for the development server: %w", err)
		}
		defer os.RemoveAll(dir)
		f.data, name = dir, filepath.Base(dir)
	}
	cfg, err := p.loadConfig(f.dataFlags, f.override)
	if err != nil {
		return err
	}
	if cfg.Trust.Origin == "" && cfg.Trust.Dir == "" {
		cfg.Trust.Origin = name // what clients have seen of the one before says nothing of it
	}
	if f.dev && f.file == "" && p.vars[config.EnvFile] == "" && p.vars[envLogLevel] == "" {
		cfg.Log.Level = "warn" // who tries things reads what is announced
	}
	log, err := telemetry.NewLogger(p.io.Err, telemetry.LogOptions{Level: cfg.Log.Level, Format: cfg.Log.Format, Terminal: p.io.ErrTerminal})
	if err != nil {
		return err
	}
	tracing, err := telemetry.StartTracing(ctx, telemetry.TraceOptions{Endpoint: cfg.Trace.Endpoint, Sample: cfg.Trace.Sample, Version: p.env.Version, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := tracing.Stop(last); err != nil {
			log.WarnContext(last, "stopping traces", "error", err)
		}
	}()
	return p.env.Serve(ctx, cfg, ServeOptions{
		Dev: f.dev, Version: p.env.Version, Log: log, Metrics: telemetry.NewRegistry(p.env.Version), Tracing: tracing,
		Ready: func(s Started) {
			if err := p.announce(s, f.dev); err != nil {
				log.WarnContext(ctx, "announcing the server", "error", err)
			}
		},
	})
}

// envLogLevel is the variable that sets log.level.
const envLogLevel = "BONDED_LOG_LEVEL"

// checkFeeds wants the folders of --feed to be there: one that is mistyped would
// be a server without advisories. Those of a configuration may be mounted later.
func checkFeeds(dirs []string) error {
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
		}
		if err != nil {
			return &failure{code: exitUsage, what: "reading --feed: " + err.Error(), next: "name a folder that holds ECOSYSTEM/all.zip, ECOSYSTEM/ID.json or ID.json", cause: err}
		}
	}
	return nil
}

// override puts the flags over a configuration.
func (f *serveFlags) override(c *config.Config) {
	if f.dev {
		if !config.LoopbackAddress(c.Listen) {
			c.Listen = devListen
		}
		c.TLS = config.TLS{Off: true}
		c.URL = ""
		if isDefault(c.Feeds) {
			never := config.Duration(0)
			c.Feeds[0].Interval = &never // trying things loads nothing unasked
		}
	}
	if f.listen != "" {
		c.Listen = f.listen
	}
	if len(f.feeds) == 0 {
		return
	}
	c.Feeds = nil
	for i, dir := range f.feeds {
		name := "local"
		if i > 0 {
			name = fmt.Sprintf("local-%d", i+1)
		}
		c.Feeds = append(c.Feeds, config.Feed{Name: name, Dir: config.Path(dir)})
	}
}

func isDefault(feeds []config.Feed) bool {
	def := config.Default().Feeds
	return len(feeds) == 1 && feeds[0].Name == def[0].Name && feeds[0].URL == def[0].URL && feeds[0].Interval == nil
}

// announce tells people where the server is and how they get in.
func (p *program) announce(s Started, dev bool) error {
	if err := leaveCode(s); err != nil {
		return err
	}
	return show(p, s, func(pg *page, s Started) {
		head := pg.bold.Render("Bonded "+p.env.Version) + "  data " + p.tilde(s.Data)
		if s.Fresh {
			head += "  (new: this is the first start)"
		}
		pg.line(head)
		cert := ""
		switch {
		case s.CA != "":
			cert = "certificate: own CA (bonded trust ca > ca.crt)"
		case dev:
			cert = "plain HTTP, this machine only"
		}
		pg.fact("registry and API", strings.TrimSpace(s.URL+"   "+pg.faint.Render(cert)))
		if s.Fingerprint != "" {
			pg.fact("CA fingerprint", s.Fingerprint)
		}
		if s.Enrol != nil {
			pg.fact("first administrator", "bonded login "+s.URL+" --code "+pg.bold.Render(s.Enrol.Code))
			pg.fact("", fmt.Sprintf("valid for %s, shown once", pg.validity(s.Enrol.Expires)))
		}
		if s.Admin != nil {
			pg.fact("administrator", s.Admin.Name+", token "+pg.bold.Render(s.Admin.Secret))
			if s.Reader != nil {
				pg.fact("who may only pull", s.Reader.Name+", token "+pg.bold.Render(s.Reader.Secret))
			}
			pg.fact("in another shell", "export "+envURL+"="+s.URL+" "+envToken+"="+s.Admin.Name+":"+s.Admin.Secret)
		}
		if dev {
			pg.fact("anyone may push to", strings.TrimPrefix(s.URL, "http://")+"/"+config.SandboxZone+"/…, where nothing is judged")
		}
		names := make([]string, 0, len(s.Notes))
		for n := range s.Notes {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			pg.fact(n, s.Notes[n])
		}
	})
}

// fact writes one aligned line of the announcement.
func (pg *page) fact(name, text string) {
	pg.line(fmt.Sprintf("  %-21s  %s", name, text))
}

// tilde shortens a path below the home folder, for eyes.
func (p *program) tilde(path string) string {
	home := p.vars["HOME"]
	if rel, err := filepath.Rel(home, path); home != "" && err == nil && !strings.HasPrefix(rel, "..") {
		return filepath.Join("~", rel)
	}
	return path
}

func (p *program) initCommand() *cobra.Command {
	var (
		f                   dataFlags
		offline, passphrase string
	)
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make what a server needs, without starting it",
		Long: `Make the data folder, the certificate authority, the keys to sign with and the
database of a server, and print a code for the first administrator. bonded serve
does the same on its first start; what is there already is not changed.

--offline-keys writes the keys that sign other keys where they belong: on a disk
that is taken away. They are needed again to replace keys (bonded trust rotate).`,
		Example: `  bonded init
  bonded init --offline-keys /media/usb/keys.json --passphrase-file secret
  bonded init --config /etc/bonded.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.env.Init == nil {
				return absent("make a data folder")
			}
			cfg, err := p.loadConfig(f, func(c *config.Config) {
				if offline != "" {
					c.Trust.OfflineKeys = config.Path(offline)
				}
				if passphrase != "" {
					c.Trust.PassphraseFile = config.Path(passphrase)
				}
			})
			if err != nil {
				return err
			}
			log, err := telemetry.NewLogger(p.io.Err, telemetry.LogOptions{Level: "warn", Format: cfg.Log.Format, Terminal: p.io.ErrTerminal})
			if err != nil {
				return err
			}
			s, err := p.env.Init(cmd.Context(), cfg, log)
			if err != nil {
				return err
			}
			return p.announce(*s, false)
		},
	}
	f.add(p, cmd)
	cmd.Flags().StringVar(&offline, "offline-keys", "", "`FILE` for the keys that sign other keys (default: in the data folder, to be moved away)")
	cmd.Flags().StringVar(&passphrase, "passphrase-file", "", "`FILE` with a passphrase to encrypt them with")
	return cmd
}
