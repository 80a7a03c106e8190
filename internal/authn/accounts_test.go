package authn

import (
	"context"
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

var client = netip.MustParseAddr("192.0.2.7")

func (h *house) basic(from, name, secret string) (authz.Principal, error) {
	return h.Accounts.secret(h.t.Context(), netip.MustParseAddr(from), name, secret)
}

func TestEnrol(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	inv, err := h.Invite(ctx, admin(t), api.InviteRequest{Name: "ann", Human: true, Grants: []string{"developer=dev/**"}})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^[2-9A-HJ-NP-Z]{4}-[2-9A-HJ-NP-Z]{4}$`).MatchString(inv.Code) || inv.Expires.Sub(h.Now()) != 15*time.Minute {
		t.Errorf("%+v", inv)
	}
	spoken := strings.ToLower(strings.ReplaceAll(inv.Code, "-", " "))
	out, err := h.Enrol(ctx, api.EnrolRequest{Code: spoken, Label: "laptop"}, client)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^bnd_[a-z2-9]{12}_[a-z2-9]{52}$`).MatchString(out.Secret) || out.Expires.Sub(h.Now()) != api.TokenTTL {
		t.Errorf("%+v", out)
	}
	if _, err := h.Enrol(ctx, api.EnrolRequest{Code: inv.Code}, client); !errors.Is(err, authz.ErrUnauthenticated) {
		t.Errorf("a code was good twice: %v", err)
	}
	p, err := h.basic("192.0.2.7", "ann", out.Secret)
	if err != nil {
		t.Fatal(err)
	}
	want := authz.Principal{Issuer: "bonded", Subject: "ann", Method: "token", At: h.Now(), Grants: []authz.Grant{{Role: "developer", Pattern: "dev/**"}},
		Claims: map[string]string{"token": out.Secret[4:16], "human": "true"}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"principal.made", "code.made", "principal.enrolled"}, h.kinds()); diff != "" {
		t.Error(diff)
	}
	for _, e := range h.db.events {
		if e.Details["account"] != "ann" || strings.Contains(string(e.Bytes()), out.Secret) || strings.Contains(string(e.Bytes()), inv.Code) {
			t.Errorf("%s", e.Bytes())
		}
	}
	got, err := h.Account(ctx, "ann")
	if err != nil || len(got.Tokens) != 1 || got.Tokens[0].Label != "laptop" || got.Tokens[0].Used.IsZero() || got.Tokens[0].Scope != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestFirstCode: of several codes for the first administrator the last is good, and
// there is none once somebody has enrolled.
func TestFirstCode(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	first := func() (*api.Invite, error) {
		return h.InviteFirst(ctx, admin(t), api.InviteRequest{Name: "administrator", Human: true, Grants: []string{"admin"}})
	}
	old, err := first()
	if err != nil {
		t.Fatal(err)
	}
	inv, err := first()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Enrol(ctx, api.EnrolRequest{Code: old.Code}, client); !errors.Is(err, authz.ErrUnauthenticated) {
		t.Errorf("two codes are good: %v", err)
	}
	if out, err := h.Enrol(ctx, api.EnrolRequest{Code: inv.Code}, client); err != nil || out.Name != "administrator" {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := first(); !errors.Is(err, repo.ErrConflict) {
		t.Errorf("another, after somebody has enrolled: %v", err)
	}
}

func TestCodesExpire(t *testing.T) {
	h := newHouse(t)
	inv, err := h.Invite(t.Context(), admin(t), api.InviteRequest{Name: "ann", TTL: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	h.add(time.Hour)
	if _, err := h.Enrol(t.Context(), api.EnrolRequest{Code: inv.Code}, client); !errors.Is(err, authz.ErrUnauthenticated) {
		t.Error(err)
	}
}

func TestInviteRefuses(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		req  api.InviteRequest
		want error
	}{
		{api.InviteRequest{Name: ""}, authz.ErrInvalid},
		{api.InviteRequest{Name: "Ann"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "../etc"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "a:b"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "аnn"}, authz.ErrInvalid}, // Cyrillic
		{api.InviteRequest{Name: strings.Repeat("a", 65)}, authz.ErrInvalid},
		{api.InviteRequest{Name: "anonymous"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "judge"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "ann", Grants: []string{"king"}}, authz.ErrGrantInvalid},
		{api.InviteRequest{Name: "ann", Grants: slices.Repeat([]string{"reader"}, 101)}, authz.ErrGrantInvalid},
		{api.InviteRequest{Name: "ann", TTL: "soon"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "ann", TTL: "-1h"}, authz.ErrInvalid},
		{api.InviteRequest{Name: "ann", TTL: "1000h"}, authz.ErrInvalid},
	} {
		if _, err := h.Invite(t.Context(), admin(t), test.req); !errors.Is(err, test.want) {
			t.Errorf("%+v: %v", test.req, err)
		}
	}
	if len(h.db.events) > 0 {
		t.Error(h.kinds())
	}
}

// Nothing is changed without an act of administer.
func TestOnlyAdministratorsManage(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	h.enrol("ann", "admin=dev/**")
	n := len(h.db.events)
	p := authz.Principal{Issuer: "bonded", Subject: "ann", Method: "token", Grants: []authz.Grant{{Role: "admin", Pattern: "dev/**"}}}
	act, err := authz.Check(p, authz.Administer, oci.MustRepository("dev/app"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, invite := h.Invite(ctx, act, api.InviteRequest{Name: "bob"})
	_, grant := h.Grant(ctx, act, "ann", api.GrantRequest{Add: []string{"admin"}})
	_, disable := h.Disable(ctx, act, "ann", true)
	for _, err := range []error{invite, grant, disable} {
		if !errors.Is(err, authz.ErrNotPermitted) {
			t.Error(err)
		}
	}
	if len(h.db.events) != n {
		t.Error(h.kinds())
	}
}

func TestGrantAndDisable(t *testing.T) {
	h, ctx, act := newHouse(t), t.Context(), admin(t)
	secret := h.enrol("ann", "reader=dev/**")
	got, err := h.Grant(ctx, act, "ann", api.GrantRequest{Add: []string{"developer=dev/**", "reader=dev/**"}, Remove: []string{"security"}})
	if err != nil || !slices.Equal(got.Grants, []string{"reader=dev/**", "developer=dev/**"}) {
		t.Fatal(got, err)
	}
	n := len(h.db.events)
	if _, err := h.Grant(ctx, act, "ann", api.GrantRequest{Add: []string{"reader=dev/**"}}); err != nil || len(h.db.events) != n {
		t.Errorf("nothing changed, and yet: %v %v", h.kinds()[n:], err)
	}
	if got, err = h.Grant(ctx, act, "ann", api.GrantRequest{Remove: []string{"reader=dev/**"}}); err != nil || !slices.Equal(got.Grants, []string{"developer=dev/**"}) {
		t.Fatal(got, err)
	}
	if _, err := h.basic("192.0.2.7", "ann", secret); err != nil {
		t.Fatal(err)
	}
	if got, err = h.Disable(ctx, act, "ann", true); err != nil || got.Disabled.IsZero() {
		t.Fatal(got, err)
	}
	if _, err := h.basic("192.0.2.7", "ann", secret); !errors.Is(err, authz.ErrUnauthenticated) || !strings.Contains(err.Error(), "disabled") {
		t.Error(err)
	}
	if _, err := h.Invite(ctx, act, api.InviteRequest{Name: "ann"}); !errors.Is(err, repo.ErrConflict) {
		t.Error(err)
	}
	if _, err := h.Disable(ctx, act, "ann", false); err != nil {
		t.Fatal(err)
	}
	if _, err := h.basic("192.0.2.7", "ann", secret); err != nil {
		t.Error(err)
	}
	for _, call := range []func() error{
		func() error { _, err := h.Grant(ctx, act, "eve", api.GrantRequest{}); return err },
		func() error { _, err := h.Disable(ctx, act, "eve", true); return err },
		func() error { _, err := h.Account(ctx, "eve"); return err },
	} {
		if err := call(); !errors.Is(err, repo.ErrNotFound) || !strings.Contains(err.Error(), `"eve"`) {
			t.Error(err)
		}
	}
	h.enrol("bob", "reader")
	page, err := h.Accounts.Accounts(ctx, "ann", 10)
	if err != nil || len(page) != 1 || page[0].Name != "bob" || page[0].Tokens != nil {
		t.Error(page, err)
	}
}

// An administrator cannot lock everybody out by locking itself out.
func TestAnAdministratorStays(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	p, err := h.basic("192.0.2.7", "root", h.enrol("root", "admin", "reader"))
	if err != nil {
		t.Fatal(err)
	}
	act, err := authz.Check(p, authz.Administer, oci.Repository{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, disable := h.Disable(ctx, act, "root", true)
	_, grant := h.Grant(ctx, act, "root", api.GrantRequest{Remove: []string{"admin"}})
	_, invite := h.Invite(ctx, act, api.InviteRequest{Name: "root", Grants: []string{"reader"}})
	for _, err := range []error{disable, grant, invite} {
		if !errors.Is(err, repo.ErrConflict) {
			t.Error(err)
		}
	}
	if _, err := h.Grant(ctx, act, "root", api.GrantRequest{Remove: []string{"reader"}}); err != nil {
		t.Error(err)
	}
}

func TestNewToken(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	p, err := h.basic("192.0.2.7", "ann", h.enrol("ann", "developer=dev/**"))
	if err != nil {
		t.Fatal(err)
	}
	h.add(24 * time.Hour)
	ci, err := h.NewToken(ctx, p, api.TokenRequest{Label: "ci", Scope: []string{"publisher=dev/app"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := h.Now().Add(api.TokenTTL - 24*time.Hour); !ci.Expires.Equal(want) {
		t.Errorf("outlives the token it was made with: %s, want %s", ci.Expires, want)
	}
	if !slices.Equal(ci.Beyond, []string{"publisher=dev/app"}) {
		t.Errorf("a publisher's token of a developer is not told to give less: %q", ci.Beyond)
	}
	whole, err := h.NewToken(ctx, p, api.TokenRequest{Label: "ci", Scope: []string{"reader=dev/*"}})
	if err != nil || whole.Beyond != nil {
		t.Errorf("a reader's token of a developer: %+v, %v", whole, err)
	}
	narrow, err := h.basic("192.0.2.7", "ann", ci.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]bool{"dev/app": true, "dev/other": false} {
		if _, err := authz.Check(narrow, authz.Push, oci.MustRepository(repository), nil); (err == nil) != want {
			t.Errorf("push to %s: %v", repository, err)
		}
	}
	if _, err := authz.Check(narrow, authz.Acquire, oci.MustRepository("dev/app"), nil); err == nil {
		t.Error("a token gave what its account has not")
	}
	if _, err := h.NewToken(ctx, narrow, api.TokenRequest{Scope: []string{"developer=dev/**"}}); !errors.Is(err, authz.ErrNotPermitted) {
		t.Errorf("a narrow token made a wider one: %v", err)
	}
	same, err := h.NewToken(ctx, narrow, api.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := h.basic("192.0.2.7", "ann", same.Secret); err != nil || len(again.Within) != 1 {
		t.Errorf("a narrow token made one that is not: %+v %v", again, err)
	}
	scoped := p
	scoped.Scope = []authz.Scope{}
	for _, p := range []authz.Principal{authz.Anonymous, scoped, authz.Internal("x")} {
		if _, err := h.NewToken(ctx, p, api.TokenRequest{}); !errors.Is(err, authz.ErrNotPermitted) {
			t.Errorf("%s: %v", p.Name(), err)
		}
	}
	for _, req := range []api.TokenRequest{{Label: strings.Repeat("x", 201)}, {Scope: []string{"king"}}, {TTL: "1s"}} {
		if _, err := h.NewToken(ctx, p, req); !errors.Is(err, authz.ErrGrantInvalid) && !errors.Is(err, authz.ErrInvalid) {
			t.Errorf("%+v: %v", req, err)
		}
	}
	for range maxTokens {
		_, err = h.NewToken(ctx, p, api.TokenRequest{})
	}
	if !errors.Is(err, repo.ErrConflict) {
		t.Errorf("no end of tokens: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	ann, err := h.basic("192.0.2.7", "ann", h.enrol("ann", "reader"))
	if err != nil {
		t.Fatal(err)
	}
	bob, err := h.basic("192.0.2.7", "bob", h.enrol("bob", "reader"))
	if err != nil {
		t.Fatal(err)
	}
	ci, err := h.NewToken(ctx, ann, api.TokenRequest{Scope: []string{"reader=dev/**"}})
	if err != nil {
		t.Fatal(err)
	}
	narrow, err := h.basic("192.0.2.7", "ann", ci.Secret)
	if err != nil {
		t.Fatal(err)
	}
	own, id := ann.Claims[claimToken], narrow.Claims[claimToken]
	scoped := ann
	scoped.Scope = []authz.Scope{}
	for name, err := range map[string]error{
		"another's": h.Revoke(ctx, bob, own), "its account's, being narrower": h.Revoke(ctx, narrow, own), "with a scoped token": h.Revoke(ctx, scoped, own),
		"as nobody": h.Revoke(ctx, authz.Anonymous, own), "none": h.Revoke(ctx, ann, "nothing"),
	} {
		if !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.Revoke(ctx, narrow, id); err != nil {
		t.Error(err)
	}
	if _, err := h.basic("192.0.2.7", "ann", ci.Secret); !errors.Is(err, authz.ErrUnauthenticated) || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
	if err := h.Revoke(ctx, authz.Internal("server"), own); err != nil {
		t.Error(err)
	}
	if e := h.db.events[len(h.db.events)-1]; e.Kind != "token.revoked" || e.Details["token"] != own || e.Details["account"] != "ann" {
		t.Errorf("%+v", e)
	}
}

// What the store cannot tell is no "wrong password", and is not counted as one.
func TestStoreFaults(t *testing.T) {
	h, ctx := newHouse(t), t.Context()
	secret := h.enrol("ann", "reader")
	down := errors.New("database is down")
	for _, method := range []string{"Token", "Account"} {
		h.db.fail[method] = down
		for range 200 {
			if _, err := h.basic("192.0.2.7", "ann", secret); err == nil || errors.Is(err, authz.ErrUnauthenticated) || errors.Is(err, repo.ErrNotFound) {
				t.Fatalf("%s: %v", method, err)
			}
		}
		delete(h.db.fail, method)
	}
	h.db.fail["TouchToken"] = down
	if _, err := h.basic("192.0.2.7", "ann", secret); err != nil || !strings.Contains(h.log.String(), "down") {
		t.Error(err, h.log)
	}
	h.db.fail["RedeemCode"] = down
	if _, err := h.Enrol(ctx, api.EnrolRequest{Code: "x"}, client); !errors.Is(err, down) {
		t.Error(err)
	}
	h.db.fail["Keys"] = down
	if _, err := New(ctx, h.o); !errors.Is(err, down) {
		t.Error(err)
	}
	delete(h.db.accounts, "ann")
	clear(h.db.fail)
	h.changed()
	if _, err := h.basic("192.0.2.7", "ann", secret); err == nil || errors.Is(err, repo.ErrNotFound) || errors.Is(err, authz.ErrUnauthenticated) {
		t.Errorf("a token without an account: %v", err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.Accounts.secret(gone, client, "bob", secret); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestThrottling(t *testing.T) {
	h := newHouse(t)
	secret := h.enrol("ann", "reader")
	guess := func(from string) error {
		_, err := h.basic(from, "ann", "bnd_aaaaaaaaaaaa_"+strings.Repeat("a", randLen))
		return err
	}
	var throttled *authz.Throttled
	for i := range perAddress.burst {
		if err := guess("192.0.2.66"); errors.As(err, &throttled) {
			t.Fatalf("after %d", i)
		}
	}
	if err := guess("192.0.2.66"); !errors.As(err, &throttled) || throttled.After <= 0 || throttled.After > perAddress.every {
		t.Fatalf("%v", err)
	}
	if _, err := h.basic("192.0.2.66", "ann", secret); !errors.As(err, &throttled) {
		t.Errorf("looked at, although throttled: %v", err)
	}
	if err := guess("::ffff:192.0.2.66"); !errors.As(err, &throttled) {
		t.Errorf("another form of the address: %v", err)
	}
	// Many addresses guess at one account: they are stopped together, its owner is not.
	blocked := 0
	for i := range 200 {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i), 1}).String()
		for range 3 {
			if errors.As(guess(from), &throttled) {
				blocked++
			}
		}
	}
	if blocked < 300 {
		t.Errorf("only %d of 600 guesses were stopped", blocked)
	}
	if _, err := h.basic("192.0.2.8", "ann", secret); err != nil {
		t.Errorf("the owner is locked out: %v", err)
	}
	h.add(2 * perAddress.every)
	if _, err := h.basic("192.0.2.66", "ann", secret); err != nil {
		t.Errorf("still throttled: %v", err)
	}
	// What is known to be good is let in whatever else goes on.
	for range 100 {
		_ = guess("192.0.2.8") // at first it is wrong, and then too often
	}
	if _, err := h.basic("192.0.2.8", "ann", secret); err != nil {
		t.Error(err)
	}
}

func TestCodesAreThrottledTogether(t *testing.T) {
	h := newHouse(t)
	var throttled *authz.Throttled
	for i := range 2 * allCodes.burst {
		_, err := h.Enrol(t.Context(), api.EnrolRequest{Code: "AAAA-AAAA"}, netip.AddrFrom4([4]byte{10, 0, byte(i), 1}))
		if (i >= allCodes.burst) != errors.As(err, &throttled) {
			t.Fatalf("attempt %d: %v", i, err)
		}
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[int, int](3)
	for i := range 3 {
		l.put(i, i)
	}
	l.get(0)
	l.put(1, 10)
	l.put(3, 3) // 2 was not asked for longest
	for k, want := range map[int]bool{0: true, 1: true, 2: false, 3: true} {
		if v, ok := l.get(k); ok != want || k == 1 && v != 10 {
			t.Errorf("%d: %d %v", k, v, ok)
		}
	}
	if len(l.items) != 3 || l.order.Len() != 3 {
		t.Error(len(l.items), l.order.Len())
	}
}
