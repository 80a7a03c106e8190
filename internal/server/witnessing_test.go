package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// neighbour is a server that is reached at an address that stays, also when it
// is started again.
type neighbour struct {
	*world
	url    string
	at     atomic.Pointer[http.Handler]
	config func(*config.Config) // what it is told besides
}

func newNeighbour(t *testing.T, origin string, change func(*config.Config)) *neighbour {
	n := &neighbour{config: change}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := n.at.Load(); h != nil {
			(*h).ServeHTTP(w, r)
			return
		}
		http.Error(w, "down", http.StatusServiceUnavailable)
	}))
	t.Cleanup(srv.Close)
	n.url = srv.URL
	n.world = &world{T: t, dir: t.TempDir(), feed: t.TempDir(), change: func(o *Options) {
		o.Config.Trust.Origin = origin
		n.config(o.Config)
	}}
	n.opened = func(s *Server) {
		mux := http.NewServeMux()
		mux.HandleFunc(pathWitness+"/", func(w http.ResponseWriter, r *http.Request) { s.trust.serveWitness(w, r) })
		var h http.Handler = mux
		n.at.Store(&h)
	}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

// again starts it with more in its configuration.
func (n *neighbour) again(change func(*config.Config)) {
	n.Helper()
	before := n.config
	n.config = func(c *config.Config) { before(c); change(c) }
	n.stop()
	n.start()
}

// witnessKey makes its key as a witness.
func (n *neighbour) witnessKey() string {
	n.Helper()
	c := n.options().Config
	c.URL = n.transport.url
	if _, err := (parts{"test"}).rotate(n.Context(), c, cli.RotateRequest{Slots: []string{string(trust.Witness)}}); err != nil {
		n.Fatal(err)
	}
	if err := n.trust.keeper.refresh(n.Context()); err != nil {
		n.Fatal(err)
	}
	s, err := tlog.NewCosigner(n.trust.instance.Origin()+witnessSuffix, n.trust.instance.Key(trust.Witness).Signer, time.Now)
	if err != nil {
		n.Fatal(err)
	}
	return fmt.Sprint(s)
}

// logs are the keys of its logs that can be witnessed.
func (n *neighbour) logs() []string {
	n.Helper()
	b, err := n.trust.instance.LogKeys()
	if err != nil {
		n.Fatal(err)
	}
	all, err := trust.ParseLogKeys(b)
	if err != nil {
		n.Fatal(err)
	}
	var keys []string
	for _, l := range all.Logs {
		keys = append(keys, l.Key)
	}
	return keys
}

// TestWitnessesOfEachOther: two servers witness each other; what one shows
// another history of, or an older one, the other does not cosign, also after it
// was started again.
func TestWitnessesOfEachOther(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { witnessEachOther(t, func(*config.Config) {}) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		witnessEachOther(t, func(c *config.Config) { c.Database.Postgres = &config.Postgres{URL: url} })
	})
}

func witnessEachOther(t *testing.T, engine func(*config.Config)) {
	a, b := newNeighbour(t, "a.example", engine), newNeighbour(t, "b.example", func(*config.Config) {})
	keyA, keyB := a.witnessKey(), b.witnessKey()
	ofA, ofB := a.logs(), b.logs()
	a.again(func(c *config.Config) { c.Trust.Witness.Of = ofB })
	b.again(func(c *config.Config) {
		c.Trust.Witness.Of = ofA
		c.Trust.Witnesses = []config.Witness{{URL: a.url + pathWitness, Key: keyA}}
	})
	a.again(func(c *config.Config) { c.Trust.Witnesses = []config.Witness{{URL: b.url + pathWitness, Key: keyB}} })

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*neighbour{a, b} {
		n.logged(key, signature(t, key, "first"), "first")
		signed, err := n.trust.log("rekor").Checkpoint(t.Context())
		if err != nil || !strings.Contains(string(signed), ".example/witness ") {
			t.Fatalf("%s is not cosigned: %v\n%s", n.trust.instance.Origin(), err, signed)
		}
		if by := n.trust.protection(); by != "1 of 1 witnesses" {
			t.Errorf("protected by %q", by)
		}
	}
	state, err := a.trust.Trust(t.Context())
	if err != nil || state.Witness == nil || state.Witness.Key != keyA || len(state.Witness.Of) != 2 || state.Witness.Of[0].Size == 0 {
		t.Errorf("%v, %+v", err, state.Witness)
	}
	for _, text := range []string{"more", "and more"} {
		b.logged(key, signature(t, key, text), text)
	}
	a.again(func(*config.Config) {})
	forge(t, b, a, keyA, 1, "an older history")
	forge(t, b, a, keyA, 40, "another history")
	b.logged(key, signature(t, key, "second"), "second")
}

// forge has the key of a log sign another one, which its witness refuses.
func forge(t *testing.T, n, at *neighbour, key string, entries int, what string) {
	t.Helper()
	v, err := tlog.ParseVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	witnesses, err := tlog.NewWitnesses(tlog.WitnessesOptions{
		Witnesses: []tlog.WitnessAt{{URL: at.url + pathWitness, Verifier: v}}, Quorum: 1, Client: http.DefaultClient, Clock: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := n.trust.log("rekor")
	o := tlogtest.Options(t, &tlogtest.Memory{}, mem.New(mem.Options{}))
	o.Origin, o.Signer, o.Verifier = l.o.Origin, l.now.Load().signer, l.verifier()
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Witnesses = witnesses
	forged, err := tlog.Open(t.Context(), o)
	if err == nil {
		_, err = forged.Append(t.Context(), tlogtest.Entries(0, entries), o.Store.Append)
	}
	if !errors.Is(err, tlog.ErrUnwitnessed) && !errors.Is(err, tlog.ErrBehind) && !errors.Is(err, tlog.ErrFork) {
		t.Errorf("%s of %d entries: %v", what, entries, err)
	}
}

// TestNoWitness: a server that is none says so; one without a key for it, or that
// would witness itself, does not start.
func TestNoWitness(t *testing.T) {
	n := newNeighbour(t, "a.example", func(*config.Config) {})
	res, err := http.Post(n.url+pathWitness+"/add-checkpoint", "text/plain", strings.NewReader("old 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("it answers %s", res.Status)
	}
	own := n.logs()
	n.stop()
	start := func(of []string) error {
		before := n.config
		defer func() { n.config = before }()
		n.config = func(c *config.Config) { before(c); c.Trust.Witness.Of = of }
		s, err := New(t.Context(), n.options())
		if err == nil {
			err = errors.New("it starts")
			err = errors.Join(err, s.close())
		}
		return err
	}
	if err := start([]string{fmt.Sprint(tlogtest.Verifier(t))}); !strings.Contains(err.Error(), "bonded trust rotate witness") {
		t.Errorf("without a key: %v", err)
	}
	n.start()
	n.witnessKey()
	n.stop()
	if err := start(own[:1]); !strings.Contains(err.Error(), "is a log of this server") {
		t.Errorf("its own log: %v", err)
	}
	n.start()
}
