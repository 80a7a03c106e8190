package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// provedEvent is the answer of bonded audit prove.
type provedEvent struct {
	File   string          `json:"file,omitempty"` // where the proof was written
	Seq    int64           `json:"seq"`
	Event  json.RawMessage `json:"event"`
	Origin string          `json:"origin"`
	Key    string          `json:"key"`
	Size   int64           `json:"size"` // entries of the head that has it
	Proof  string          `json:"proof,omitempty"`
}

func (p *program) auditProve() *cobra.Command {
	var (
		f     auditFlags
		check string
		file  string
	)
	cmd := &cobra.Command{
		Use:   "prove {SEQ|EVENT}",
		Short: "Prove that an event is in the log, to somebody without the server",
		Long: `Write a file that proves one event: its bytes, the way from there to the head of
the log, and the head as the log and its witnesses signed it. Whoever has the
key of the log checks it with --check, without a network. An event is named by
its number, by its ID, or by the hash of its leaf; looking for an ID reads the
log from its end.

The file is of the form c2sp.org/tlog-proof@v1, with the event as extra data.`,
		Example: `  bonded audit prove 18204
  bonded audit prove 5f0c2a… --file event.tlog-proof
  bonded audit prove --check event.tlog-proof --key log.key`,
		Args: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return p.checkProof(check, f.key)
			}
			return p.prove(cmd.Context(), f, args[0], file)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.key, "key", "", "`KEY` of the log, NAME+ID+KEY, or a file with it (default: what follows from the server's TUF root)")
	flags.StringVar(&f.checksum, "root-checksum", "", checksumHelp)
	flags.StringVar(&check, "check", "", "check the proof in this `FILE`")
	flags.StringVarP(&file, "file", "f", "", "`FILE` to write (default: event-SEQ.tlog-proof)")
	p.must(cmd.MarkFlagFilename("check", "tlog-proof"))
	cmd.MarkFlagsMutuallyExclusive("check", "file")
	return cmd
}

// prove writes the proof of an event.
func (p *program) prove(ctx context.Context, f auditFlags, what, file string) error {
	a, err := p.openAudit(ctx, f)
	if err != nil {
		return err
	}
	seq, err := p.findEvent(ctx, a, what)
	if err != nil {
		return err
	}
	proof, err := audit.Prove(ctx, a.src, a.seen.Origin, a.verifier, seq)
	switch {
	case errors.Is(err, tlog.ErrNotFound):
		return usage("bonded audit log", "there is no event %d in the log of %s", seq, a.seen.Origin)
	case errors.Is(err, tlog.ErrProof), errors.Is(err, tlog.ErrSignature):
		return &failure{code: exitDenied, what: fmt.Sprintf("the log does not prove its event %d: %v", seq, err), next: "bonded audit verify", cause: err}
	case err != nil:
		return a.unread(err)
	}
	if a.first {
		if err := a.remember(p, proof.Checkpoint); err != nil {
			return err
		}
	}
	c, err := proof.Verify(a.seen.Origin, a.verifier)
	if err != nil {
		return err
	}
	if file == "" {
		file = "event-" + strconv.FormatInt(seq, 10) + ".tlog-proof"
	}
	if err := os.WriteFile(file, proof.Encode(), 0o644); err != nil {
		return fmt.Errorf("writing the proof: %w", err)
	}
	out := provedEvent{File: file, Seq: seq, Event: proof.Event, Origin: a.seen.Origin, Key: a.seen.Key, Size: c.Size, Proof: string(proof.Encode())}
	return show(p, out, func(pg *page, e provedEvent) {
		pg.line(pg.good.Render("PROVED"), "  event ", count(seq), " of ", count(e.Size), " in ", e.File)
		pg.wrap("  ", "  ", string(e.Event))
		pg.line("to check it anywhere: bonded audit prove --check ", e.File, " --key KEY, with the key")
		pg.line("  ", e.Key)
	})
}

// findEvent finds the number of an event.
func (p *program) findEvent(ctx context.Context, a *auditSource, what string) (int64, error) {
	if seq, err := strconv.ParseInt(what, 10, 62); err == nil {
		if seq < 1 {
			return 0, usage("bonded audit log", "events are numbered from 1")
		}
		return seq, nil
	}
	signed, err := a.src.Checkpoint(ctx)
	if err != nil {
		return 0, a.unread(err)
	}
	c, err := tlog.OpenCheckpoint(signed, a.seen.Origin, a.verifier)
	if err != nil {
		return 0, &failure{code: exitDenied, what: fmt.Sprintf("the head of the log is not signed by its key: %v", err), next: "bonded audit verify", cause: err}
	}
	steps := p.steps()
	defer steps.done()
	steps.step("looking for the event from the end of " + many(c.Size, "entry", "entries"))
	seq, err := audit.Find(ctx, a.src, c.Size, what)
	if errors.Is(err, tlog.ErrNotFound) {
		return 0, usage("bonded audit log -o json has IDs and numbers", "no event of the log has the ID or the leaf %s", what)
	}
	if err != nil {
		return 0, a.unread(err)
	}
	return seq, nil
}

// checkProof checks a proof without a server.
func (p *program) checkProof(file, key string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("reading the proof: %w", err)
	}
	proof, err := audit.ParseProof(b)
	if err != nil {
		return &failure{code: exitUsage, what: fmt.Sprintf("reading %s: %v", file, err), next: "bonded audit prove writes such files", cause: err}
	}
	keys := []string{key}
	if key == "" {
		if keys, err = p.rememberedKeys(); err != nil {
			return err
		}
	}
	v, c, err := provedBy(proof, keys)
	if v == nil {
		return err
	}
	if err != nil {
		return &failure{code: exitDenied, what: fmt.Sprintf("%s proves nothing: %v", file, err), next: "ask for the proof again, and for the key on another way", cause: err}
	}
	var e audit.Event
	if err := json.Unmarshal(proof.Event, &e); err != nil {
		return &failure{code: exitDenied, what: fmt.Sprintf("%s proves %d bytes that are no event: %v", file, len(proof.Event), err), cause: err}
	}
	out := provedEvent{Seq: proof.Index + 1, Event: proof.Event, Origin: c.Origin, Key: fmt.Sprint(v), Size: c.Size}
	return show(p, out, func(pg *page, out provedEvent) {
		pg.line(pg.good.Render("OK"), "  event ", count(out.Seq), " of ", count(out.Size), " in ", out.Origin)
		pg.line("  ", moment(e.At.In(time.UTC)), "  ", pg.bold.Render(e.Kind), "  ", strings.TrimSpace(e.Repository+" "+short(e.Digest)), "  by ", e.Principal)
	})
}

// provedBy checks a proof by keys of a log, of which one must have signed. There
// is no verifier where a key cannot be read.
func provedBy(proof *audit.Proof, keys []string) (v note.Verifier, c tlog.Checkpoint, err error) {
	for _, key := range keys {
		if v, err = readVerifier(key); err != nil {
			return nil, c, err
		}
		if c, err = proof.Verify(v.Name(), v); !errors.Is(err, tlog.ErrSignature) {
			break
		}
	}
	return v, c, err
}

// rememberedKeys are the keys of the log of the server that is meant, if that was
// seen before: the one in use first.
func (p *program) rememberedKeys() ([]string, error) {
	ls, err := p.readLogins()
	if err != nil {
		return nil, err
	}
	if l, ok := ls.find(p.server); ok {
		if b, err := os.ReadFile(filepath.Join(p.trustDir(l), auditFile)); err == nil {
			if seen, err := audit.ParseSeen(b); err == nil {
				return append([]string{seen.Key}, seen.Former...), nil
			}
		}
	}
	return nil, usage("--key KEY", "no key of a log is known here")
}
