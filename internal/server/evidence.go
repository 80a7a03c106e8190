package server

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/verify"
)

// keptPredicate is how large a predicate is kept for gates to read, in bytes.
const keptPredicate = 64 << 10

// maxAnchorFile is the largest file of an anchor that is read, in bytes.
const maxAnchorFile = 4 << 20

// anchors are the roots of trust of a server: its own, and those of the
// configuration, whose files are read again when they change.
type anchors struct {
	configured []config.Anchor
	reader     *attest.Reader
	own        func() []byte // trusted_root.json of the server; nil while it has none
	clock      clock
	log        *slog.Logger

	mu  sync.Mutex // held while they are read
	now atomic.Pointer[assess.Trusted]
	end func() // set by start
}

// newAnchors reads the anchors of a configuration. Files that cannot be read at
// the start are an error: somebody has misspelt one.
func newAnchors(c *config.Config, own func() []byte, clock clock, log *slog.Logger) (*anchors, error) {
	builders, err := buildersOf(c)
	if err != nil {
		return nil, err
	}
	a := &anchors{configured: c.Anchors, reader: attest.NewReader(builders, keptPredicate), own: own, clock: clock, log: log}
	for _, one := range c.Anchors {
		if _, err := readAnchor(one); err != nil {
			return nil, fmt.Errorf("reading anchor %s: %w", one.Name, err)
		}
	}
	_, err = a.reload()
	return a, err
}

// buildersOf is the table of builders of a configuration.
func buildersOf(c *config.Config) (attest.Builders, error) {
	if len(c.Builders) == 0 {
		var rows attest.Builders
		for _, a := range c.Anchors {
			if kind := verify.Kind(a.Type); kind == verify.KindSigstore || kind == verify.KindGitHub {
				for _, row := range attest.Shipped() {
					row.Signer.Anchor = a.Name
					rows = append(rows, row)
				}
			}
		}
		return rows, nil
	}
	var rows attest.Builders
	for _, b := range c.Builders {
		id, who, err := b.Patterns()
		if err != nil {
			return nil, fmt.Errorf("reading builder %q: %w", b.ID, err)
		}
		rows = append(rows, attest.Builder{ID: id, Signer: who, Self: b.Self, Level: b.Level})
	}
	return rows, nil
}

// trusted is what evidence is verified by now.
func (a *anchors) trusted() *assess.Trusted { return a.now.Load() }

// digest names that, as decisions name it.
func (a *anchors) digest() string { return a.trusted().Digest }

// reload reads all anchors again and reports whether they are others than before.
// One whose file is gone or broken answers that it cannot tell, until it is mended.
func (a *anchors) reload() (changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	own := verify.Anchor{Name: config.OwnAnchor, Kind: verify.KindSigstore}
	if root := a.own(); root != nil {
		own.Roots = [][]byte{root}
	} else {
		own.Unavailable = "this server has no keys of its own yet"
	}
	all := []verify.Anchor{own}
	for _, c := range a.configured {
		one, err := readAnchor(c)
		if err == nil {
			_, err = verify.NewAnchors(one)
		}
		if err != nil {
			one = verify.Anchor{Name: c.Name, Kind: verify.Kind(c.Type), Unavailable: err.Error()}
		}
		all = append(all, one)
	}
	set, err := verify.NewAnchors(all...)
	if err != nil {
		return false, fmt.Errorf("reading anchors: %w", err)
	}
	sum := sha256.Sum256([]byte(set.Digest() + "\n" + a.reader.Policy()))
	next := &assess.Trusted{Digest: hex.EncodeToString(sum[:])}
	if before := a.now.Load(); before != nil && before.Digest == next.Digest {
		return false, nil
	}
	for _, one := range all {
		next.Anchors = append(next.Anchors, policy.Anchor{Name: one.Name, Away: one.Unavailable})
		if one.Unavailable != "" {
			a.log.Warn("an anchor cannot be asked: what it would verify is in doubt", "anchor", one.Name, "why", one.Unavailable)
		}
	}
	next.Verifier = verify.New(verify.Options{Anchors: set, Statements: a.reader, Policy: a.reader.Policy(), Clock: a.clock, Log: a.log})
	return a.now.Swap(next) != nil, nil
}

// kinds are those of the anchors, by name.
func (a *anchors) kinds() map[string]verify.Kind {
	kinds := map[string]verify.Kind{config.OwnAnchor: verify.KindSigstore}
	for _, c := range a.configured {
		kinds[c.Name] = verify.Kind(c.Type)
	}
	return kinds
}

// readAnchor reads the files of an anchor.
func readAnchor(c config.Anchor) (verify.Anchor, error) {
	a := verify.Anchor{Name: c.Name, Kind: verify.Kind(c.Type), Log: c.Log, Timestamp: c.Timestamp}
	var root, crls []byte
	for _, f := range []struct {
		path config.Path
		to   *[]byte
	}{{c.TrustedRootFile, &root}, {c.KeyFile, &a.Keys}, {c.CAFile, &a.CAs}, {c.TSAFile, &a.TSAs}, {c.CRLFile, &crls}} {
		if f.path == "" {
			continue
		}
		var err error
		if *f.to, err = readSmall(string(f.path)); err != nil {
			return a, err
		}
	}
	if c.TrustedRoot != "" {
		shipped, ok := verify.FindShipped(c.TrustedRoot)
		if !ok {
			return a, fmt.Errorf("no trusted root %q comes with this program", c.TrustedRoot)
		}
		root = shipped.Document
	}
	if root != nil {
		a.Roots = [][]byte{root}
	}
	a.CRLs = splitPEM(crls)
	return a, nil
}

// readSmall reads a file of an anchor.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAnchorFile+1))
	if err == nil && len(b) > maxAnchorFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxAnchorFile)
	}
	return b, err
}

// splitPEM returns the blocks of a PEM file, each by itself; what is no PEM, as
// it is.
func splitPEM(raw []byte) [][]byte {
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	var out [][]byte
	for rest := raw; ; {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		out, rest = append(out, pem.EncodeToMemory(block)), after
	}
	if out == nil {
		return [][]byte{raw}
	}
	return out
}

// anchorsEvery is how often the files of anchors are looked at.
const anchorsEvery = 5 * time.Second

// start looks at the files of the anchors again and again, and calls changed when
// they are others. It is called once, and so is stop.
func (a *anchors) start(changed func(context.Context) error) {
	ctx, end := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.end = func() { end(); <-done }
	go func() {
		defer close(done)
		tick := time.NewTicker(anchorsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := a.follow(ctx, changed); err != nil && ctx.Err() == nil {
				a.log.WarnContext(ctx, "reading anchors again", "error", err)
			}
		}
	}()
}

// stop ends that, also where it was never begun.
func (a *anchors) stop() {
	if a != nil && a.end != nil {
		a.end()
	}
}

// follow looks once.
func (a *anchors) follow(ctx context.Context, changed func(context.Context) error) error {
	before := a.digest()
	news, err := a.reload()
	if err != nil || !news {
		return err
	}
	a.log.InfoContext(ctx, "other anchors are in force", "anchors", a.digest(), "before", before)
	return changed(ctx)
}

// staleRoot is the age at which a root that came with the program is said to be
// old: instances change their keys about once in half a year.
const staleRoot = 180 * 24 * time.Hour

// states say by what each anchor verifies, and of when that is.
func (a *anchors) states() []api.AnchorState {
	away := map[string]string{}
	for _, one := range a.trusted().Anchors {
		away[one.Name] = one.Away
	}
	all := []api.AnchorState{{Name: config.OwnAnchor, Type: string(verify.KindSigstore), From: "this server", Problem: away[config.OwnAnchor]}}
	for _, c := range a.configured {
		st := api.AnchorState{Name: c.Name, Type: c.Type, Problem: away[c.Name]}
		if r, ok := verify.FindShipped(c.TrustedRoot); ok {
			st.From, st.AsOf = "the program ("+r.Name+")", &r.AsOf
		} else {
			st.From = string(cmp.Or(c.TrustedRootFile, c.KeyFile, c.CAFile))
			if info, err := os.Stat(st.From); err == nil {
				at := info.ModTime().UTC()
				st.AsOf = &at
			}
		}
		all = append(all, st)
	}
	return all
}

// notes says which anchors verify by a root that is as old as the program.
func (a *anchors) notes(notes map[string]string) {
	for _, c := range a.configured {
		r, ok := verify.FindShipped(c.TrustedRoot)
		if age := a.clock().Sub(r.AsOf); ok && age > staleRoot {
			notes["anchor "+c.Name] = fmt.Sprintf("verifies by the root that came with the program, of %s, %d days ago: bonded trust refresh FILE --instance %s, and trusted_root_file", r.AsOf.Format(time.DateOnly), age/(24*time.Hour), r.Name)
		}
	}
}

// problem says which anchors cannot be asked, "" when all can.
func (a *anchors) problem() string {
	var all []string
	for _, one := range a.trusted().Anchors {
		if one.Away != "" {
			all = append(all, one.Name+" cannot be asked: "+one.Away)
		}
	}
	return strings.Join(all, "; ")
}

// ownRoot is trusted_root.json of this server; nil where it has no keys, or is
// only inspected.
func (s *Server) ownRoot() []byte {
	if s.trust == nil || s.trust.instance == nil {
		return nil
	}
	root, err := s.trust.instance.TrustedRoot()
	if err != nil {
		s.log.Warn("making the server's own trusted root", "error", err)
		return nil
	}
	return root
}
