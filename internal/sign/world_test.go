package sign_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/sign/signtest"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/verify"
)

// clock runs from now on, and can be set forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// world is a database in which things are judged, and who signs it.
type world struct {
	testing.TB
	*sign.Flow
	d      *db.DB
	i      *signtest.Instance
	clock  *clock
	zones  repo.Zones
	blobs  *mem.Store
	change func(*sign.Options)
	// reasons are those of what is judged from now on.
	reasons []api.Reason

	mu       sync.Mutex // guards the rest
	recorded []audit.Event
	tampered func([]byte) []byte // changes what is read of a decision; nil does not
	lives    int                 // commits until the process is dead, where it is to die
	mortal   bool
}

// watched is a transaction whose events are seen.
type watched struct {
	*db.Tx
	w      *world
	events []audit.Event
}

func (tx *watched) Append(ctx context.Context, e audit.Event) error {
	tx.events = append(tx.events, e)
	return tx.Tx.Append(ctx, e)
}

func (tx *watched) Payload(ctx context.Context, id int64) ([]byte, *api.Decision, error) {
	b, d, err := tx.Tx.Payload(ctx, id)
	if tx.w.tampered != nil {
		b = tx.w.tampered(b)
	}
	return b, d, err
}

func (w *world) txs(run func(context.Context, func(*db.Tx) error) error) func(context.Context, func(sign.Tx) error) error {
	return func(ctx context.Context, fn func(sign.Tx) error) error {
		if w.dead(false) {
			return errDead
		}
		var seen *watched
		err := run(ctx, func(tx *db.Tx) error {
			seen = &watched{Tx: tx, w: w}
			return fn(seen)
		})
		if err == nil && seen != nil {
			w.mu.Lock()
			w.recorded = append(w.recorded, seen.events...)
			w.mu.Unlock()
			if len(seen.events) > 0 && w.dead(true) {
				return errDead
			}
		}
		return err
	}
}

// dieAfter lets the process that begins now die after n commits.
func (w *world) dieAfter(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lives, w.mortal = n, true
}

// dies reports whether it did, and lets the next one live.
func (w *world) dies() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	dead := w.mortal && w.lives <= 0
	w.mortal = false
	return dead
}

// dead reports whether the process is dead, after one more commit where there
// was one.
func (w *world) dead(committed bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if committed {
		w.lives--
	}
	return w.mortal && w.lives <= 0
}

func (w *world) recordedEvents() []audit.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.recorded)
}

var app = oci.MustRepository("production/app")

func newWorld(t testing.TB, o db.Options, change func(*sign.Options)) *world {
	w := &world{TB: t, clock: new(clock), change: change}
	o.Clock = w.clock.now
	w.d = dbtest.Open(t, o)
	w.i = signtest.New(t, w.clock.now)
	w.zones = repo.Zones{"production": {Name: "production", Gate: "production"}, "staging": {Name: "staging", Gate: "production"}, "sandbox": {Name: "sandbox", Sandbox: true}}
	w.blobs = mem.New(mem.Options{Now: w.clock.now})
	w.Flow = w.flow()
	return w
}

// flow is another process on the same database.
func (w *world) flow() *sign.Flow {
	w.Helper()
	database := sign.DB{Update: w.txs(w.d.Update), View: w.txs(w.d.View)}
	o := sign.Options{
		DB: database, Signer: w.i.Signer(sign.Record{DB: database}, w.clock.now), URL: signtest.URL, Zones: w.zones, Blobs: w.blobs,
		Clock: w.clock.now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
	}
	if w.change != nil {
		w.change(&o)
	}
	f, err := sign.New(o)
	if err != nil {
		w.Fatal(err)
	}
	return f
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

var gate = oci.FromBytes([]byte("the text of a gate"))

// judge records a decision, as assess does, and puts it in force where the
// image is.
func (w *world) judge(r oci.Repository, d oci.Digest, outcome api.Outcome) int64 {
	w.Helper()
	var id int64
	err := w.d.Update(w.Context(), func(tx *db.Tx) error {
		placed, err := tx.Lookup(w.Context(), r, repo.Selector{Digest: d}, repo.Viewer{Quarantine: true})
		if err != nil {
			return err
		}
		decision := &api.Decision{
			Repository: r.String(), Digest: d.String(), Zone: strings.Split(r.String(), "/")[0], Clause: "enter", Outcome: outcome, Reasons: w.reasons, DecidedAt: w.clock.now().UTC().Truncate(time.Microsecond),
			Inputs: api.Inputs{Gate: gate.String(), Engine: "test", Inventory: gate.String(), Snapshot: gate.String()},
		}
		if id, err = tx.PutDecision(w.Context(), decision, 1); err != nil {
			return err
		}
		at := placed.Placement
		at.State, at.Decision = repo.Admitted, id
		return tx.Place(w.Context(), &at)
	})
	w.must(err)
	return id
}

// image puts an image into a repository.
func (w *world) image(r oci.Repository, name string) oci.Digest {
	w.Helper()
	raw := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"name":%q}`, oci.MediaTypeManifest, name))
	d := oci.FromBytes(raw)
	w.must(w.d.Update(w.Context(), func(tx *db.Tx) error {
		if err := tx.PutManifest(w.Context(), &repo.Manifest{Digest: d, MediaType: oci.MediaTypeManifest, Kind: oci.KindImage, Raw: raw}); err != nil {
			return err
		}
		return tx.Place(w.Context(), &repo.Placement{Repository: r, Digest: d, Kind: oci.KindImage, State: repo.Held, BroughtBy: "alice", BroughtAt: w.clock.now()})
	}))
	return d
}

// decided is an image with a decision.
func (w *world) decided(name string) int64 {
	return w.judge(app, w.image(app, name), api.Allow)
}

// checked verifies a proof with the trusted root alone, and returns what the
// batch says.
func (w *world) checked(p *api.Proof) sign.Predicate {
	w.Helper()
	root, err := w.i.TrustedRoot()
	w.must(err)
	predicate, err := check(p, root)
	w.must(err)
	return predicate
}

// keep is a verify.Statements that keeps the predicate of a batch.
type keep struct{ predicate sign.Predicate }

func (k *keep) Read(payload []byte, _ *evidence.Signature) (*evidence.Statement, error) {
	doc, err := attest.Parse(payload)
	if err != nil {
		return nil, err
	}
	if doc.Type != seal.TypeBatch {
		return nil, errors.New("no batch")
	}
	st, err := doc.Statement(0)
	if err == nil {
		err = json.Unmarshal(st.Predicate, &k.predicate)
	}
	return nil, err
}

// check is how a stranger checks a proof, written from docs/format/batch.md.
func check(p *api.Proof, root []byte) (sign.Predicate, error) {
	var path []sign.Hash
	for _, text := range p.Path {
		var h sign.Hash
		if n, err := hex.Decode(h[:], []byte(text)); err != nil || n != len(h) {
			return sign.Predicate{}, errors.Join(err, io.ErrUnexpectedEOF)
		}
		path = append(path, h)
	}
	// The subject is the root, which the path is checked against.
	var envelope struct {
		Dsse struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(p.Batch.Bundle, &envelope); err != nil {
		return sign.Predicate{}, err
	}
	var said keep
	if _, err := said.Read(envelope.Dsse.Payload, nil); err != nil {
		return sign.Predicate{}, err
	}
	subject, err := oci.ParseDigest("sha256:" + said.predicate.Decisions.Root)
	if err != nil {
		return sign.Predicate{}, err
	}
	said = keep{}
	sig, err := verify.Offline(verify.Anchor{Name: "bonded", Kind: verify.KindSigstore, Roots: [][]byte{root}}, p.Batch.Bundle, subject, &said)
	if err != nil {
		return sign.Predicate{}, err
	}
	if sig.Identity.Subject != signtest.URL+"/server" || sig.Identity.Issuer != signtest.URL+trust.PathOIDC {
		return sign.Predicate{}, fmt.Errorf("signed by %s", sig.Identity)
	}
	var tree sign.Hash
	if _, err := hex.Decode(tree[:], []byte(said.predicate.Decisions.Root)); err != nil {
		return sign.Predicate{}, err
	}
	return said.predicate, sign.CheckPath(path, said.predicate.Decisions.Count, p.Index, sign.PayloadHash(p.Payload), tree)
}

// events returns the kinds of the audit events about what is signed, in order.
func (w *world) events() []string {
	w.Helper()
	var kinds []string
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.recorded {
		kinds = append(kinds, strings.TrimPrefix(e.Kind, "statement.")+" "+e.Details["kind"])
	}
	return kinds
}
