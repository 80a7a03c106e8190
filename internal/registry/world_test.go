package registry_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/promote"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/registry"
	"github.com/bonded-dev/bonded/internal/repo"
)

// The people of the tests. narrow has a token that was made for one thing.
var people = map[string]authz.Principal{
	"alice":   authztest.Person("alice", "developer=dev/**"),
	"bob":     authztest.Person("bob", "reader=dev/**"),
	"carol":   authztest.Person("carol", "operator=**"),
	"sec":     authztest.Person("sec", "security=dev/**"),
	"mallory": authztest.Person("mallory"),
	"narrow": func() authz.Principal {
		p := authztest.Person("alice", "developer=dev/**")
		p.Scope = []authz.Scope{{Repository: oci.MustRepository("dev/app"), Verbs: []authz.Verb{authz.Pull}}}
		return p
	}(),
	"catalog": func() authz.Principal {
		p := authztest.Person("alice", "developer=dev/**")
		p.Scope = []authz.Scope{{Verbs: []authz.Verb{authz.Pull}}}
		return p
	}(),
}

// auth takes "Bearer NAME" for the person of that name.
type auth struct{}

func (auth) Authenticate(r *http.Request) (authz.Principal, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch p, known := people[name]; {
	case !ok:
		return authz.Anonymous, nil
	case known:
		return p, nil
	case name == "hasty":
		return authz.Principal{}, &authz.Throttled{After: 90 * time.Second}
	}
	return authz.Principal{}, fmt.Errorf("%w: no such token; log in again", authz.ErrUnauthenticated)
}

func (auth) Challenge(_ *http.Request, cause error, scope string) string {
	s := `Bearer realm="/token"`
	if scope != "" {
		s += fmt.Sprintf(",scope=%q", scope)
	}
	if cause != nil {
		s += `,error="yes"`
	}
	return s
}

// open lets everybody do what they like in the sandbox.
func open(r oci.Repository, v authz.Verb) bool {
	return r.Zone() == "sandbox" && (v == authz.Pull || v == authz.Push || v == authz.Attach || v == authz.Delete)
}

// clock is a clock that stands until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// counter is a source of random bytes that are not.
type counter struct {
	mu sync.Mutex
	n  byte
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	for i := range p {
		p[i] = c.n
	}
	return len(p), nil
}

// nothing analyses nothing.
type nothing struct{}

func (nothing) Follow(context.Context, func(context.Context, []byte, int64) (int, error), func()) push.Following {
	return nothing{}
}
func (nothing) Grow(int64)               {}
func (nothing) Finish(int64, oci.Digest) {}
func (nothing) Abort()                   {}

// world is a registry with all it stands on.
type world struct {
	*memory
	*clock
	t       testing.TB
	blobs   *mem.Store
	uploads blob.Uploads
	flow    *push.Flow
	reg     *registry.Registry
	url     string
	log     *strings.Builder
	opts    registry.Options
	// What gates say of what is admitted already, and why.
	outcome api.Outcome
	why     string
}

// Enter makes a world a push.Entry.
func (w *world) Enter(_ context.Context, r oci.Repository, d oci.Digest) (api.Outcome, string, error) {
	if at, ok := w.view().at(r, d); !ok || at.State != repo.Admitted {
		w.t.Errorf("a gate was asked about a tag of what is %s", at.State)
	}
	return w.outcome, w.why, nil
}

func newWorld(t testing.TB) *world {
	c := &clock{t: time.Date(2025, 11, 22, 9, 0, 0, 0, time.UTC)}
	w := &world{t: t, clock: c, memory: newMemory(t, c.Now), blobs: mem.New(mem.Options{Now: c.Now, Limit: 64 << 20}), log: &strings.Builder{}, outcome: api.Allow}
	w.uploads = w.blobs.Uploads()
	w.start()
	return w
}

// start makes the flows and the registry, as a restarted process would.
func (w *world) start() {
	zones := repo.DefaultZones()
	zones["sandbox"] = repo.Zone{Name: "sandbox", Sandbox: true}
	random := &counter{n: byte(len(w.memory.sessions))}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.flow = push.New(push.Options{
		Zones: zones, Blobs: w.blobs, Uploads: w.uploads, Sessions: w.memory, Analysis: nothing{}, Entry: w, Clock: w.Now, Rand: random, Log: log,
		Update: func(ctx context.Context, fn func(push.Tx) error) error {
			return w.update(ctx, func(x *tx) error { return fn(x) })
		},
		Limits: push.Limits{Blob: 1 << 20},
	})
	remove := promote.New(promote.Options{
		Zones: zones, JudgeJob: push.JobJudge, Clock: w.Now, Rand: random,
		Update: func(ctx context.Context, fn func(promote.Tx) error) error {
			return w.update(ctx, func(x *tx) error { return fn(x) })
		},
	})
	sight := func(p authz.Principal) repo.Sight { return zones.Sight(p, open) }
	w.opts = registry.Options{Auth: auth{}, Open: open, Sight: sight, Reader: reader{w.memory}, Blobs: w.blobs, Push: w.flow, Remove: remove, Clock: w.Now, Log: log}
	w.reg = registry.New(w.opts)
}

// serve makes the registry answer at w.url.
func (w *world) serve() *httptest.Server {
	s := httptest.NewServer(w.reg)
	w.t.Cleanup(s.Close)
	w.url = s.URL
	return s
}

// judge does what a decision would: it moves a placement to a state and, when
// that is admitted, the pending tags with it.
func (w *world) judge(ref string, state repo.State, sentence string, stay time.Time) {
	w.t.Helper()
	at, err := oci.ParseReference(ref)
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.update(context.Background(), func(x *tx) error {
		k := placeKey{at.Repository, at.Digest}
		p, ok := x.s.placements[k]
		if !ok {
			return fmt.Errorf("no placement %s", ref)
		}
		p.State, p.Sentence, p.StayUntil, p.Version = state, sentence, stay, p.Version+1
		x.s.placements[k] = p
		if state == repo.Admitted {
			for pk := range maps.Clone(x.s.pending) {
				if pk.r == at.Repository && x.s.pending[pk] == at.Digest {
					x.s.tags[pk.tagKey] = at.Digest
					delete(x.s.pending, pk)
				}
			}
		}
		x.s.events = append(x.s.events, audit.Event{ID: "test"})
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}
