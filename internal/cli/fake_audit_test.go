package cli_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// fakeOrigin is the name of the fake server's audit log.
const fakeOrigin = "bonded.example/audit"

// fakeAudit is a log with a witness, both of which always sign the same.
type fakeAudit struct {
	mu      sync.Mutex // guards what follows
	log     *tlog.Log
	signed  []byte   // shown instead of what the log has; nil for that
	name    string   // of the key that signs
	keys    []string // all that ever signed, the one in use last
	witness string
	rows    []api.AuditRow
}

// newFakeAudit is the log of some events.
func newFakeAudit(events []api.Event) *fakeAudit {
	f := &fakeAudit{name: "audit"}
	f.fill(events)
	return f
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// fill begins the log anew, with these events.
func (f *fakeAudit) fill(events []api.Event) {
	ctx := context.Background()
	signer := must(tlog.NewEd25519Signer(fakeOrigin, tlogtest.Key(f.name)))
	store := &tlogtest.Memory{}
	o := tlog.Options{
		Origin: fakeOrigin, Store: store, Blobs: mem.New(mem.Options{}), Signer: signer, Verifier: must(tlog.ParseVerifier(fmt.Sprint(signer))),
		Clock: func() time.Time { return now },
	}
	if err := tlog.Create(ctx, o); err != nil {
		panic(err)
	}
	f.log = must(tlog.Open(ctx, o))
	if key := fmt.Sprint(signer); !slices.Contains(f.keys, key) {
		f.keys = append(f.keys, key)
	}
	var entries []tlog.Entry
	for i, e := range events {
		in := audit.Event{ID: e.ID, At: e.At, Kind: e.Kind, Principal: e.Principal, Method: e.Method, Repository: e.Repository, Digest: e.Digest, Details: e.Details}
		entry := must(tlog.Plain(in.Bytes()))
		events[i].Hash = fmt.Sprintf("%x", entry.Leaf[:])
		entries = append(entries, entry)
	}
	must(f.log.Append(ctx, entries, store.Append))
	cosigner := must(tlog.NewCosigner("witness.example", tlogtest.Key("witness"), func() time.Time { return now }))
	f.witness = fmt.Sprint(cosigner)
	signed := must(f.log.Checkpoint(ctx))
	n := must(note.Open(signed, note.VerifierList(o.Verifier)))
	f.signed = must(note.Sign(n, cosigner))
}

// unsign takes the signature of the witness away.
func (f *fakeAudit) unsign() { f.signed = must(f.log.Checkpoint(context.Background())) }

func (f *fakeAudit) Checkpoint(context.Context) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.signed, nil
}

func (f *fakeAudit) Tile(ctx context.Context, t tlog.Tile) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Tile(ctx, t)
}

// audits answers about the audit log.
func (f *fakeServer) audits(mux *http.ServeMux, handle handler) {
	tiles := http.StripPrefix("/audit/log", tlog.NewHandler(tlog.HandlerOptions{Source: f.audit}))
	mux.HandleFunc("/audit/log/", func(w http.ResponseWriter, r *http.Request) {
		if name, secret, _ := r.BasicAuth(); f.secrets[name] != secret {
			f.misused("%s without credentials", r.URL)
		}
		tiles.ServeHTTP(w, r)
	})
	handle("POST /api/v1/audit/verify", func(*http.Request) (any, *api.Error) {
		c := &api.AuditCheck{At: now, Rows: f.audit.rows, Checks: []api.AuditPart{
			{Name: "tree", State: api.AuditOK}, {Name: "history", State: api.AuditNone, Text: "no head was seen before"}, {Name: "rows", State: api.AuditOK, Text: "every one of 3 rows of the database is the entry of its number"},
		}}
		if len(c.Rows) > 0 {
			c.Checks[2] = api.AuditPart{Name: "rows", State: api.AuditWrong, Text: "1 rows of the database are not what the log has; the first: " + c.Rows[0].Text, Next: "compare with a backup"}
		}
		audit.Conclude(c)
		return c, nil
	})
}
