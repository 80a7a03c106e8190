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
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/durable"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/ct"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// openLog is a log with its keys.
type openLog struct {
	*tlog.Log
	name string // in the database, and for people
	slot trust.Slot
	o    tlog.Options // as it was opened; the keys are those of now
	now  atomic.Pointer[logKeys]
}

// logKeys are the keys of a log as of one rotation.
type logKeys struct {
	key      trust.Key       // the one in use
	known    []note.Verifier // of all, the one in use last
	signer   note.Signer
	verifier note.Verifier
	heads    tlog.HeadStore // nil where there is none
}

// verifier checks what the log signs now.
func (l *openLog) verifier() note.Verifier { return l.now.Load().verifier }

// logSpecs are the logs of an instance: their names in the database, their
// keys, and what is put behind the origin of the instance for theirs.
var logSpecs = []struct {
	name   string
	slot   trust.Slot
	suffix string
}{
	{logSigned, trust.LogRekor, ""},
	{"ct", trust.LogCT, "/ct"},
	{logAudit, trust.LogAudit, auditSuffix},
}

// logSigned is the transparency log of signatures.
const logSigned = "rekor"

// The audit log.
const (
	logAudit    = "audit"
	auditSuffix = trust.AuditSuffix
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
	t.heads = heads
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
		k, err := s.logKeys(o.Origin, spec.slot)
		if err != nil {
			return fmt.Errorf("opening the log %s: %w", o.Origin, err)
		}
		o.Signer, o.Verifier, o.Heads = k.signer, k.verifier, k.heads
		l := &openLog{name: spec.name, slot: spec.slot, o: o}
		l.now.Store(k)
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

// logKeys returns the keys that the instance has for a log.
func (s *Server) logKeys(origin string, slot trust.Slot) (*logKeys, error) {
	t := s.trust
	k := &logKeys{key: t.instance.Key(slot)}
	var err error
	if slot == trust.LogCT {
		k.signer, err = tlog.NewRFC6962Signer(origin, k.key.Signer, s.clock)
	} else {
		k.signer, err = tlog.NewEd25519Signer(origin, k.key.Signer)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range t.instance.Logs(slot) {
		v, err := verifierOf(origin, p.SPKI)
		if err != nil {
			return nil, err
		}
		k.known = append(k.known, v)
	}
	k.verifier = k.known[len(k.known)-1]
	if t.heads != nil {
		k.heads = heirs{t.heads, k.known, k.signer}
	}
	return k, nil
}

// rekey gives the logs the keys that the instance has by now. Those who answer
// with the ID of a key know it before anything is signed by it.
func (s *Server) rekey(ctx context.Context) error {
	t := s.trust
	for _, l := range t.logs {
		k, err := s.logKeys(l.o.Origin, l.slot)
		if err != nil {
			return err
		}
		before := l.now.Load().key
		if k.key.ID() == before.ID() {
			continue
		}
		switch l.slot {
		case trust.LogRekor:
			id, err := trust.CheckpointKeyID(l.o.Origin, k.key.SPKI)
			if err != nil {
				return err
			}
			t.rekor.Rekey(id)
		case trust.LogCT:
			if err := t.ct.Rekey(k.key.Signer); err != nil {
				return err
			}
		}
		if err := l.Rekey(ctx, k.signer, k.verifier, k.heads); err != nil {
			return err
		}
		l.now.Store(k)
		signed, err := l.Checkpoint(ctx)
		if err == nil {
			err = s.recordRekey(ctx, l, before.ID(), k.key.ID(), signed)
		}
		if err != nil {
			return err
		}
		s.log.InfoContext(ctx, "the log goes on with another key", "log", l.o.Origin, "key", k.key.ID())
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

// inherit returns a checkpoint with the signature of the key in use, where one
// before it has signed it. What none of them has signed comes back as it is.
func inherit(signed []byte, origin string, known []note.Verifier, signer note.Signer) ([]byte, error) {
	both, err := tlog.Countersign(signed, origin, known, signer)
	if errors.Is(err, tlog.ErrSignature) {
		return signed, nil
	}
	return both, err
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
	if err := durable.WriteFile(name, []byte(strings.Join(begun, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("noting that the logs were begun: %w", err)
	}
	return nil
}

// wireLogs puts the faces before the logs.
func (s *Server) wireLogs() (err error) {
	t := s.trust
	for _, l := range t.logs {
		switch l.slot {
		case trust.LogCT:
			t.ct, err = ct.New(ct.Options{Adder: l, Source: l, Key: l.now.Load().key.Signer, Authorities: t.authorities, Clock: s.clock})
		case trust.LogRekor:
			t.rekor, err = t.newRekor(l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *trusted) newRekor(l *openLog) (*rekor.Log, error) {
	o := rekor.Options{Adder: l, Source: l}
	for _, p := range t.instance.Logs(trust.LogRekor) {
		id, err := trust.CheckpointKeyID(l.o.Origin, p.SPKI)
		if err != nil {
			return nil, err
		}
		o.Older, o.ID = append(o.Older, id), id
	}
	return rekor.New(o), nil
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
func (s *Server) startLogs(ctx context.Context) error {
	t := s.trust
	for _, l := range t.logs {
		if err := s.succeed(ctx, l); err != nil {
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
func (s *Server) succeed(ctx context.Context, l *openLog) error {
	h, err := l.o.Store.Head(ctx)
	if err != nil {
		return err
	}
	k := l.now.Load()
	signed, err := inherit(h.Published, l.o.Origin, k.known, k.signer)
	if err != nil || bytes.Equal(signed, h.Published) {
		return err
	}
	if err := l.o.Store.Publish(ctx, h.PublishedSize, signed); err != nil {
		return err
	}
	keys := s.trust.instance.Logs(l.slot)
	if len(keys) < 2 {
		return nil
	}
	return s.recordRekey(ctx, l, keys[len(keys)-2].ID(), keys[len(keys)-1].ID(), signed)
}
