package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/telemetry"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/witness"
)

func (p *program) witness() *cobra.Command {
	return group("witness", "Watch over the logs of servers, from another machine",
		"  bonded witness key --name witness.example\n  bonded witness serve --name witness.example --log KEY", p.witnessKey(), p.witnessServe())
}

// witnessFlags say which witness is meant.
type witnessFlags struct{ dir, name string }

func (f *witnessFlags) add(p *program, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "`FOLDER` of its key and of what it has seen (default: $XDG_STATE_HOME/bonded/witness, or ~/.local/state/bonded/witness)")
	cmd.Flags().StringVar(&f.name, "name", "", "its `NAME`, which is part of its key: a host name is good (default: the name of this machine)")
	p.must(cmd.MarkFlagDirname("dir"))
}

// open opens the folder of a witness, which is made where there is none.
func (f *witnessFlags) open(p *program) (*witness.Folder, note.Signer, error) {
	dir, name := f.dir, f.name
	if dir == "" {
		dir = filepath.Join(p.stateDir(), "witness")
	}
	if name == "" {
		name = p.env.Hostname
	}
	if name == "" {
		return nil, nil, usage("--name NAME", "a witness needs a name, and this machine has none")
	}
	w, err := witness.Open(witness.Options{Dir: dir, Clock: p.env.Clock, Rand: p.env.Rand})
	if err != nil {
		return nil, nil, err
	}
	s, err := w.Signer(name)
	if err != nil {
		return nil, nil, errors.Join(&failure{code: exitUsage, what: err.Error(), next: "--name NAME", cause: err}, w.Close())
	}
	return w, s, nil
}

// stateDir is where this user's programs keep what they have seen.
func (p *program) stateDir() string {
	if dir := p.vars[envConfigDir]; dir != "" {
		return dir
	}
	if dir := p.vars["XDG_STATE_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "bonded")
	}
	return filepath.Join(p.vars["HOME"], ".local", "state", "bonded")
}

// witnessKey is the answer of bonded witness key.
type witnessKey struct {
	Key string `json:"key"` // NAME+ID+KEY
}

func (p *program) witnessKey() *cobra.Command {
	var f witnessFlags
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Print the key of this witness, for the servers that are to ask it",
		Long: `Print the public key of this witness, NAME+ID+KEY, and make the key where there
is none. Servers name it in trust.witnesses, and whoever verifies their logs
counts its signatures.`,
		Example: "  bonded witness key --name witness.example",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w, s, err := f.open(p)
			if err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return fmt.Errorf("closing the folder of the witness: %w", err)
			}
			return show(p, witnessKey{fmt.Sprint(s)}, func(pg *page, k witnessKey) { pg.line(k.Key) })
		},
	}
	f.add(p, cmd)
	return cmd
}

// witnessServeFlags are those of bonded witness serve.
type witnessServeFlags struct {
	witnessFlags
	listen, cert, key string
	logs              []string
}

func (p *program) witnessServe() *cobra.Command {
	var f witnessServeFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Cosign logs, each while it goes on from what it was",
		Long: `Run a witness (c2sp.org/tlog-witness) until it is told to stop. It has a key and
a small folder of its own, and needs no database. For each log it signs heads
that go on from all it has signed before, and nothing else: a log that was
edited, cut or shown differently to others gets no signature.

--log names a log by its key, NAME+ID+KEY, which bonded audit verify prints for
the audit log; a key that was replaced can stay beside its successor. What a
witness answers is signed, so it may be asked without TLS.`,
		Example: `  bonded witness serve --name witness.example --log audit.key
  bonded witness serve --tls-cert tls.crt --tls-key tls.key --log KEY --log KEY`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runWitness(cmd.Context(), f) },
	}
	f.add(p, cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8444", "`ADDRESS` to listen on")
	flags.StringArrayVar(&f.logs, "log", nil, "`KEY` of a log that is witnessed: NAME+ID+KEY, or a file with it; may be repeated")
	flags.StringVar(&f.cert, "tls-cert", "", "certificate `FILE`, for TLS")
	flags.StringVar(&f.key, "tls-key", "", "key `FILE` of the certificate")
	cmd.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	p.must(cmd.MarkFlagRequired("log"))
	return cmd
}

// Limits of the connections of a witness: a question is a few hundred bytes.
const (
	witnessTimeout = 10 * time.Second
	witnessDrain   = 5 * time.Second
)

func (p *program) runWitness(ctx context.Context, f witnessServeFlags) (err error) {
	logs := map[string][]note.Verifier{}
	for _, text := range f.logs {
		v, err := readVerifier(text)
		if err != nil {
			return err
		}
		logs[v.Name()] = append(logs[v.Name()], v)
	}
	w, signer, err := f.open(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", f.listen, err)
	}
	log, err := telemetry.NewLogger(p.io.Err, telemetry.LogOptions{Level: "info", Terminal: p.io.ErrTerminal})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/add-checkpoint", tlog.NewWitness(tlog.WitnessOptions{Signer: signer, Logs: logs, Store: w, Logger: log}))
	server := &http.Server{Handler: mux, ReadTimeout: witnessTimeout, WriteTimeout: witnessTimeout, IdleTimeout: time.Minute}
	scheme := "http"
	if f.cert != "" {
		scheme = "https"
	}
	pg := p.page()
	pg.line("witness  ", fmt.Sprint(signer))
	pg.line("  asked at  ", scheme+"://"+l.Addr().String())
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		pg.line("  log       ", name)
	}
	if _, err := fmt.Fprint(p.io.Out, pg.String()); err != nil {
		return errors.Join(written(err), l.Close())
	}
	return serveUntil(ctx, server, l, f)
}

// serveUntil answers until ctx ends.
func serveUntil(ctx context.Context, server *http.Server, l net.Listener, f witnessServeFlags) error {
	failed := make(chan error, 1)
	go func() {
		if f.cert != "" {
			failed <- server.ServeTLS(l, f.cert, f.key)
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("answering: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), witnessDrain)
	defer cancel()
	return server.Shutdown(ctx)
}

// readVerifier reads the key of a log or of a witness, or the file that has it.
func readVerifier(text string) (note.Verifier, error) {
	key := text
	if !strings.Contains(key, "+") {
		b, err := os.ReadFile(text)
		if err != nil {
			return nil, fmt.Errorf("reading the key %s: %w", text, err)
		}
		key = strings.TrimSpace(string(b))
	}
	v, err := tlog.ParseVerifier(key)
	if err != nil {
		return nil, &failure{code: exitUsage, what: err.Error(), next: "a key is NAME+ID+KEY, as bonded audit verify and bonded witness key print it", cause: err}
	}
	return v, nil
}
