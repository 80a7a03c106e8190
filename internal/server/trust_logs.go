package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/ct"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// openLog is a log with the key it was opened with.
type openLog struct {
	*tlog.Log
	name  string // in the database, and for people
	key   trust.Key
	known []note.Verifier // of all its keys, the one in use last
	o     tlog.Options
}

// logSpecs are the logs of an instance: their names in the database, their
// keys, and what is put behind the origin of the instance for theirs.
var logSpecs = []struct {
	name   string
	slot   trust.Slot
	suffix string
}{
	{"rekor", trust.LogRekor, ""},
	{"ct", trust.LogCT, "/ct"},
	{logAudit, trust.LogAudit, auditSuffix},
}

// The audit log.
const (
	logAudit    = "audit"
	auditSuffix = "/audit"
)

// begunName is a file in the trust folder that says that the logs were begun. A
// database without them is then not a new one, but a wrong one.
const begunName = "logs"

// unlogged refuses to make keys for a database that has logs: they are signed
// by keys that are not there.
func (s *Server) unlogged(ctx context.Context, dir string) error {
	for _, spec := range logSpecs {
		h, err := s.db.TileLog(spec.name).Head(ctx)
		if errors.Is(err, tlog.ErrNoLog) {
			continue
		}
		if err != nil {
			return err
		}
		return fmt.Errorf("the database has the log %s of %d entries, and there are no keys in %s: restore that folder from a backup, or name it by trust.dir; new keys would be another instance, which nobody trusts", h.Origin, h.Size, dir)
	}
	return nil
}

// openLogs opens the logs, and begins them where the instance was made just now.
func (s *Server) openLogs(ctx context.Context) error {
	heads, err := headStore(s.config)
	if err != nil {
		return err
	}
	t := s.trust
	for _, spec := range logSpecs {
		o := tlog.Options{
			Origin: t.instance.Origin() + spec.suffix, Store: s.db.TileLog(spec.name), Blobs: s.content.blobs,
			Clock: s.clock, Logger: s.log, Registerer: s.metrics,
		}
		switch spec.slot {
		case trust.LogCT:
			o.Layout = tlog.StaticCT // a witness cosigns Ed25519 alone, and this log has ECDSA
		case trust.LogAudit:
			o.Witnesses, err = s.witnesses()
		default:
			o.Index, o.Dedupe = true, true
			o.Witnesses, err = s.witnesses()
		}
		if err != nil {
			return err
		}
		l := &openLog{name: spec.name, key: t.instance.Key(spec.slot), o: o}
		if err := s.sign(l, heads); err != nil {
			return fmt.Errorf("opening the log %s: %w", o.Origin, err)
		}
		t.logs = append(t.logs, l)
	}
	if err := t.begin(ctx); err != nil {
		return err
	}
	for _, l := range t.logs {
		if l.Log, err = tlog.Open(ctx, l.o); errors.Is(err, tlog.ErrNoLog) {
			return fmt.Errorf("%w: the keys in %s belong to logs that are in another database, or were lost with this one: restore the newest backup of the database; a log that is lost is given up by bonded trust recover", err, t.dir)
		}
		if errors.Is(err, tlog.ErrBehind) {
			return fmt.Errorf("%w; or go on from what this database has, under new keys: bonded trust recover", err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sign gives a log its signer, its verifier and its head store.
func (s *Server) sign(l *openLog, heads tlog.HeadStore) (err error) {
	origin := l.o.Origin
	if l.key.Slot == trust.LogCT {
		l.o.Signer, err = tlog.NewRFC6962Signer(origin, l.key.Signer, s.clock)
	} else {
		l.o.Signer, err = tlog.NewEd25519Signer(origin, l.key.Signer)
	}
	if err != nil {
		return err
	}
	for _, p := range s.trust.instance.Logs(l.key.Slot) {
		v, err := verifierOf(origin, p.SPKI)
		if err != nil {
			return err
		}
		l.known = append(l.known, v)
	}
	l.o.Verifier = l.known[len(l.known)-1]
	if heads != nil {
		l.o.Heads = heirs{heads, l.known, l.o.Signer}
	}
	return nil
}

// verifierOf checks checkpoints by a key (SPKI).
func verifierOf(origin string, spki []byte) (note.Verifier, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("reading the key of a log: %w", err)
	}
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return tlog.Ed25519Verifier(origin, k)
	case *ecdsa.PublicKey:
		return tlog.RFC6962Verifier(origin, k)
	}
	return nil, fmt.Errorf("the key of a log is %T", pub)
}

// heirs is a head store of a log whose key was replaced: what keys before
// signed is as good as if the one in use had.
type heirs struct {
	tlog.HeadStore
	known  []note.Verifier
	signer note.Signer // of the last of known
}

// Load returns the head, signed by the key in use.
func (h heirs) Load(ctx context.Context, origin string) ([]byte, error) {
	b, err := h.HeadStore.Load(ctx, origin)
	if err != nil || b == nil {
		return b, err
	}
	return inherit(b, origin, h.known, h.signer)
}

// inherit returns a checkpoint as the key in use signs it, where one before it
// has signed it. What none of them has signed comes back as it is.
func inherit(signed []byte, origin string, known []note.Verifier, signer note.Signer) ([]byte, error) {
	for i, v := range known {
		c, err := tlog.OpenCheckpoint(signed, origin, v)
		if err != nil {
			continue
		}
		if i == len(known)-1 {
			return signed, nil
		}
		return note.Sign(&note.Note{Text: c.Text()}, signer)
	}
	return signed, nil
}

func headStore(c *config.Config) (tlog.HeadStore, error) {
	if c.Trust.HeadStore == "" {
		return nil, nil
	}
	return tlog.NewHeadFolder(string(c.Trust.HeadStore), nil)
}

// witnesses are those of one log: what each has seen of it is remembered.
func (s *Server) witnesses() (*tlog.Witnesses, error) {
	t := &s.config.Trust
	if len(t.Witnesses) == 0 {
		return nil, nil
	}
	o := tlog.WitnessesOptions{Quorum: t.NeededWitnesses(), Client: &http.Client{}, Clock: s.clock, Logger: s.log}
	for i, w := range t.Witnesses {
		v, err := tlog.ParseVerifier(w.Key)
		if err != nil {
			return nil, fmt.Errorf("reading trust.witnesses[%d].key: %w", i, err)
		}
		o.Witnesses = append(o.Witnesses, tlog.WitnessAt{URL: w.URL, Verifier: v})
	}
	return tlog.NewWitnesses(o)
}

// begin begins the logs, once in the life of an instance. Nobody has had
// anything of them before the file that says so is there: until then it may be
// repeated.
func (t *trusted) begin(ctx context.Context) error {
	name := filepath.Join(t.dir, begunName)
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading which logs were begun: %w", err)
	}
	begun := strings.Fields(string(text))
	before := len(begun)
	for _, l := range t.logs {
		if slices.Contains(begun, l.o.Origin) {
			continue
		}
		if err := tlog.Create(ctx, l.o); err != nil && !errors.Is(err, tlog.ErrExists) {
			return err
		}
		begun = append(begun, l.o.Origin)
	}
	if len(begun) == before {
		return nil
	}
	if err := writeDurable(name, []byte(strings.Join(begun, "\n")+"\n")); err != nil {
		return fmt.Errorf("noting that the logs were begun: %w", err)
	}
	return nil
}

// writeDurable writes a small file that is there as a whole or not at all.
func writeDurable(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// wireLogs puts the faces before the logs.
func (s *Server) wireLogs() (err error) {
	t := s.trust
	for _, l := range t.logs {
		if l.key.Slot == trust.LogAudit {
			continue
		}
		if l.key.Slot == trust.LogCT {
			t.ct, err = ct.New(ct.Options{Adder: l, Source: l, Key: l.key.Signer, Authorities: t.authorities, Clock: s.clock})
			if err != nil {
				return err
			}
			continue
		}
		id, err := trust.CheckpointKeyID(l.o.Origin, l.key.SPKI)
		if err != nil {
			return err
		}
		t.rekor = rekor.New(rekor.Options{Adder: l, Source: l, ID: id})
	}
	return nil
}

// authorities are all certificates that ever signed certificates, and those
// above them.
func (t *trusted) authorities() []*x509.Certificate {
	var all []*x509.Certificate
	for _, chain := range t.instance.Authorities() {
		all = append(all, chain.Certs...)
	}
	return all
}

// startLogs lets the logs take entries.
func (t *trusted) startLogs(ctx context.Context) error {
	for _, l := range t.logs {
		if err := l.succeed(ctx); err != nil {
			return fmt.Errorf("starting the log %s: %w", l.o.Origin, err)
		}
		l.Start()
	}
	t.sign.keeper.Start()
	return nil
}

// close ends what signs and what looks after the keys, and the logs once what
// waits is done.
func (t *trusted) close(ctx context.Context) error {
	errs := []error{t.sign.keeper.Stop(ctx), t.keeper.Stop(ctx)}
	for _, l := range t.logs {
		errs = append(errs, l.Stop(ctx))
	}
	return errors.Join(errs...)
}

// succeed signs what is published with the key in use, where one before it
// did: clients look the key of a checkpoint up by the ID that goes with an entry.
func (l *openLog) succeed(ctx context.Context) error {
	h, err := l.o.Store.Head(ctx)
	if err != nil {
		return err
	}
	signed, err := inherit(h.Published, l.o.Origin, l.known, l.o.Signer)
	if err != nil || bytes.Equal(signed, h.Published) {
		return err
	}
	return l.o.Store.Publish(ctx, h.PublishedSize, signed)
}
