package authn

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// memory is a Store and a TokenStore that polices the contract. fail breaks the
// named method; reads counts calls.
type memory struct {
	t        testing.TB
	mu       sync.Mutex
	accounts map[string]Account
	codes    map[[32]byte]Code
	tokens   map[string]Token
	keys     []Key
	looks    int // at the keys
	events   []audit.Event
	fail     map[string]error
	reads    int
}

func newMemory(t testing.TB) *memory {
	return &memory{t: t, accounts: map[string]Account{}, codes: map[[32]byte]Code{}, tokens: map[string]Token{}, fail: map[string]error{}}
}

func (m *memory) begin(ctx context.Context, method string) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := m.fail[method]; err != nil {
		return nil, err
	}
	m.mu.Lock()
	return m.mu.Unlock, nil
}

func (m *memory) append(e audit.Event) {
	if e.ID == "" || e.Kind == "" || e.Principal == "" || e.At.IsZero() || e.Details["account"] == "" && e.Details["key"] == "" {
		m.t.Errorf("event %+v", e)
	}
	m.events = append(m.events, e)
}

func (m *memory) Account(ctx context.Context, name string) (Account, error) {
	done, err := m.begin(ctx, "Account")
	if err != nil {
		return Account{}, err
	}
	defer done()
	m.reads++
	a, ok := m.accounts[name]
	if !ok {
		return a, repo.ErrNotFound
	}
	return a, nil
}

func (m *memory) Accounts(ctx context.Context, after string, limit int) ([]Account, error) {
	done, err := m.begin(ctx, "Accounts")
	if err != nil {
		return nil, err
	}
	defer done()
	var out []Account
	for _, name := range slices.Sorted(maps.Keys(m.accounts)) {
		if name > after && len(out) < limit {
			out = append(out, m.accounts[name])
		}
	}
	return out, nil
}

func (m *memory) PutAccount(ctx context.Context, a Account, e audit.Event) error {
	done, err := m.begin(ctx, "PutAccount")
	if err != nil {
		return err
	}
	defer done()
	if a.Name == "" || a.Created.IsZero() {
		m.t.Errorf("PutAccount(%+v)", a)
	}
	m.accounts[a.Name] = a
	m.append(e)
	return nil
}

func (m *memory) PutCode(ctx context.Context, c Code, e audit.Event) error {
	done, err := m.begin(ctx, "PutCode")
	if err != nil {
		return err
	}
	defer done()
	if _, ok := m.accounts[c.Account]; !ok {
		return repo.ErrNotFound
	}
	if c.First && len(m.tokens) > 0 {
		return repo.ErrConflict
	}
	if c.First {
		clear(m.codes)
	}
	m.codes[c.Hash] = c
	m.append(e)
	return nil
}

func (m *memory) RedeemCode(ctx context.Context, hash [32]byte, now time.Time, t Token, e audit.Event) (Account, error) {
	done, err := m.begin(ctx, "RedeemCode")
	if err != nil {
		return Account{}, err
	}
	defer done()
	c, ok := m.codes[hash]
	if !ok || !now.Before(c.Expires) || !m.accounts[c.Account].Disabled.IsZero() {
		return Account{}, repo.ErrNotFound
	}
	delete(m.codes, hash)
	t.Account = c.Account
	m.put(t)
	m.append(e.With("account", c.Account))
	return m.accounts[c.Account], nil
}

func (m *memory) put(t Token) {
	if _, ok := m.tokens[t.ID]; ok || t.ID == "" || t.Hash == [32]byte{} || t.Account == "" || !t.Expires.After(t.Created) {
		m.t.Errorf("token %+v", t)
	}
	m.tokens[t.ID] = t
}

func (m *memory) Token(ctx context.Context, id string) (Token, error) {
	done, err := m.begin(ctx, "Token")
	if err != nil {
		return Token{}, err
	}
	defer done()
	m.reads++
	t, ok := m.tokens[id]
	if !ok {
		return t, repo.ErrNotFound
	}
	return t, nil
}

func (m *memory) Tokens(ctx context.Context, account string) ([]Token, error) {
	done, err := m.begin(ctx, "Tokens")
	if err != nil {
		return nil, err
	}
	defer done()
	var out []Token
	for _, id := range slices.Sorted(maps.Keys(m.tokens)) {
		if m.tokens[id].Account == account {
			out = append(out, m.tokens[id])
		}
	}
	return out, nil
}

func (m *memory) PutToken(ctx context.Context, t Token, e audit.Event) error {
	done, err := m.begin(ctx, "PutToken")
	if err != nil {
		return err
	}
	defer done()
	m.put(t)
	m.append(e)
	return nil
}

func (m *memory) RevokeToken(ctx context.Context, id string, at time.Time, e audit.Event) error {
	done, err := m.begin(ctx, "RevokeToken")
	if err != nil {
		return err
	}
	defer done()
	t, ok := m.tokens[id]
	if !ok {
		return repo.ErrNotFound
	}
	t.Revoked = at
	m.tokens[id] = t
	m.append(e)
	return nil
}

func (m *memory) TouchToken(ctx context.Context, id string, at time.Time) error {
	done, err := m.begin(ctx, "TouchToken")
	if err != nil {
		return err
	}
	defer done()
	t := m.tokens[id]
	t.Used = at
	m.tokens[id] = t
	return nil
}

func (m *memory) Keys(ctx context.Context) ([]Key, error) {
	done, err := m.begin(ctx, "Keys")
	if err != nil {
		return nil, err
	}
	defer done()
	m.looks++
	return slices.Clone(m.keys), nil
}

func (m *memory) PutKey(ctx context.Context, k Key, newest string, ended []string, e audit.Event) error {
	done, err := m.begin(ctx, "PutKey")
	if err != nil {
		return err
	}
	defer done()
	last := Key{}
	if len(m.keys) > 0 {
		last = m.keys[len(m.keys)-1]
	}
	if last.ID != newest {
		return repo.ErrConflict
	}
	if k.ID == "" || len(k.Value) != keyLen || !k.Made.After(last.Made) {
		m.t.Errorf("PutKey(%+v) after %+v", k, last)
	}
	m.keys = append(slices.DeleteFunc(m.keys, func(k Key) bool { return slices.Contains(ended, k.ID) }), k)
	m.append(e)
	return nil
}

// clock stands until it is moved.
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

// counter is a source of bytes that repeats after a long time.
type counter struct {
	mu sync.Mutex
	n  uint32
}

func (c *counter) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range p {
		c.n = c.n*1664525 + 1013904223
		p[i] = byte(c.n >> 24)
	}
	return len(p), nil
}

// house is Accounts with what they stand on.
type house struct {
	*Accounts
	*clock
	db  *memory
	t   testing.TB
	log *bytes.Buffer
}

func newHouse(t testing.TB) *house {
	h := &house{t: t, db: newMemory(t), clock: &clock{t: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}, log: &bytes.Buffer{}}
	h.Accounts = h.process(1)
	h.db.events = nil // of the first key
	return h
}

// process is another process on the same database.
func (h *house) process(seed uint32) *Accounts {
	h.t.Helper()
	a, err := New(h.t.Context(), Options{
		Store: h.db, Tokens: h.db, Clock: h.Now, Rand: &counter{n: seed}, Log: slog.New(slog.NewTextHandler(h.log, nil)), Reserved: []string{"judge"},
		Open: func(r oci.Repository, v authz.Verb) bool { return r.Zone() == "sandbox" && v == authz.Pull },
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// admin is an act of the server itself.
func admin(t testing.TB) authz.Act {
	t.Helper()
	act, err := authz.Check(authz.Internal("setup"), authz.Administer, oci.Repository{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return act
}

// enrol makes an account with a secret.
func (h *house) enrol(name string, grants ...string) string {
	h.t.Helper()
	inv, err := h.Invite(h.t.Context(), admin(h.t), api.InviteRequest{Name: name, Grants: grants, Human: true})
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := h.Enrol(h.t.Context(), api.EnrolRequest{Code: inv.Code, Label: "laptop"}, client)
	if err != nil {
		h.t.Fatal(err)
	}
	if out.Name != name {
		h.t.Fatalf("enrolled as %s", out.Name)
	}
	return out.Secret
}

// kinds are those of all events, in order.
func (h *house) kinds() []string {
	var out []string
	for _, e := range h.db.events {
		out = append(out, e.Kind)
	}
	return out
}
