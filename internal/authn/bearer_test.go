package authn

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
)

// ask asks the token endpoint.
func ask(a *Accounts, method, target, name, secret, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(form))
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if name != "" || secret != "" {
		r.SetBasicAuth(name, secret)
	}
	w := httptest.NewRecorder()
	a.ServeToken(w, r)
	return w
}

func (h *house) token(name, secret string, scopes ...string) granted {
	h.t.Helper()
	w := ask(h.Accounts, "GET", "/token?service=bonded&"+url.Values{"scope": scopes}.Encode(), name, secret, "")
	if w.Code != 200 {
		h.t.Fatalf("%d %s", w.Code, w.Body)
	}
	var g granted
	if err := json.Unmarshal(w.Body.Bytes(), &g); err != nil {
		h.t.Fatal(err)
	}
	return g
}

func with(a *Accounts, authorization ...string) (authz.Principal, error) {
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header["Authorization"] = authorization
	return a.Authenticate(r)
}

func TestTokenFlow(t *testing.T) {
	h := newHouse(t)
	secret := h.enrol("ann", "developer=dev/**", "reader=catalog/**")
	for _, test := range []struct {
		name   string
		scopes []string
		want   string
	}{
		{"nothing", nil, ""},
		{"all of it", []string{"repository:dev/app:pull,push,delete"}, "repository:dev/app:pull,push,delete"},
		{"a star", []string{"repository:dev/app:*"}, "repository:dev/app:pull,push,delete"},
		{"less than asked", []string{"repository:catalog/base:pull,push"}, "repository:catalog/base:pull"},
		{"several", []string{"repository:dev/a:pull repository:dev/b:push", "repository:catalog/c:pull"}, "repository:dev/a:pull repository:dev/b:push repository:catalog/c:pull"},
		{"none of it", []string{"repository:production/app:pull,push"}, ""},
		{"open to all", []string{"repository:sandbox/x:pull,push"}, "repository:sandbox/x:pull"},
		{"the catalog", []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"everything", []string{"bonded:api:*"}, "bonded:api:*"},
		{"nonsense", []string{"repository", "repository:", "repository:dev/app", "repository:DEV:pull", "x:y:z", ":::", "repository:dev/app:"}, ""},
		{"a class", []string{"repository(plugin):dev/app:pull"}, "repository:dev/app:pull"},
	} {
		g := h.token("ann", secret, test.scopes...)
		if g.Scope != test.want || g.Token != g.Access || g.ExpiresIn != 600 || !g.IssuedAt.Equal(h.Now()) || g.Refresh != "" {
			t.Errorf("%s: %+v", test.name, g)
		}
		if _, err := with(h.Accounts, "Bearer "+g.Token); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	p, err := with(h.Accounts, "bearer "+h.token("ann", secret, "repository:dev/app:pull,push").Token)
	if err != nil {
		t.Fatal(err)
	}
	app := oci.MustRepository("dev/app")
	want := []authz.Scope{{Repository: app, Verbs: []authz.Verb{authz.Pull, authz.PullFromQuarantine, authz.Push, authz.Attach}}}
	if diff := cmp.Diff(want, p.Scope, cmp.Comparer(func(a, b oci.Repository) bool { return a == b })); diff != "" || p.Subject != "ann" || !p.At.Equal(h.Now()) {
		t.Errorf("%+v: %s", p, diff)
	}
	if _, err := authz.Check(p, authz.PullFromQuarantine, app, nil); err == nil {
		t.Error("a token gave what its account has not")
	}
	if p, err := with(h.Accounts, "Bearer "+h.token("ann", secret).Token); err != nil || p.Scope == nil {
		t.Errorf("a token for nothing is one for everything: %+v %v", p, err)
	}
	if p, err := with(h.Accounts, "Bearer "+h.token("ann", secret, "bonded:api:*").Token); err != nil || p.Scope != nil {
		t.Errorf("%+v %v", p, err)
	}
}

func TestTokensForNobody(t *testing.T) {
	h := newHouse(t)
	for _, g := range []granted{h.token("", "", "repository:sandbox/x:pull,push", "repository:dev/app:pull", "bonded:api:*")} {
		p, err := with(h.Accounts, "Bearer "+g.Token)
		if g.Scope != "repository:sandbox/x:pull" || err != nil || !p.IsAnonymous() {
			t.Errorf("%+v: %+v %v", g, p, err)
		}
	}
	// Some clients send empty credentials where they have none.
	empty := "Basic " + base64.StdEncoding.EncodeToString([]byte(":"))
	if p, err := with(h.Accounts, empty); err != nil || !p.IsAnonymous() {
		t.Error(p, err)
	}
	if p, err := with(h.Accounts); err != nil || !p.IsAnonymous() {
		t.Error(p, err)
	}
}

func TestForms(t *testing.T) {
	h := newHouse(t)
	secret := h.enrol("ann", "reader=dev/**")
	form := func(kv ...string) string {
		v := url.Values{}
		for i := 0; i < len(kv); i += 2 {
			v.Add(kv[i], kv[i+1])
		}
		return v.Encode()
	}
	w := ask(h.Accounts, "POST", "/token", "", "", form("grant_type", "password", "username", "ann", "password", secret, "access_type", "offline", "scope", "repository:dev/a:pull repository:dev/b:pull"))
	var g granted
	if err := json.Unmarshal(w.Body.Bytes(), &g); err != nil || w.Code != 200 || g.Scope != "repository:dev/a:pull repository:dev/b:pull" || g.Refresh == "" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error(w.Header())
	}
	w = ask(h.Accounts, "POST", "/token", "", "", form("grant_type", "refresh_token", "refresh_token", g.Refresh, "scope", "repository:dev/c:pull"))
	if err := json.Unmarshal(w.Body.Bytes(), &g); err != nil || g.Scope != "repository:dev/c:pull" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if p, err := with(h.Accounts, "Bearer "+g.Token); err != nil || p.Subject != "ann" {
		t.Error(p, err)
	}
	if w := ask(h.Accounts, "POST", "/token", "ann", secret, form("scope", "repository:dev/c:pull")); w.Code != 200 {
		t.Error(w.Code, w.Body)
	}
	for _, test := range []struct {
		method, form string
		status       int
		code         string
	}{
		{"POST", form("grant_type", "password", "username", "ann", "password", "wrong"), 401, "invalid_grant"},
		{"POST", form("grant_type", "password", "username", "bob", "password", secret), 401, "invalid_grant"},
		{"POST", form("grant_type", "refresh_token", "refresh_token", "wrong"), 401, "invalid_grant"},
		{"POST", form("grant_type", "refresh_token", "refresh_token", "bnd_aaaaaaaaaaaa_"+strings.Repeat("a", randLen)), 401, "invalid_grant"},
		{"POST", form("grant_type", "refresh_token"), 400, "invalid_request"},
		{"POST", form("grant_type", "magic"), 400, "unsupported_grant_type"},
		{"POST", "%zz", 400, "invalid_request"},
		{"POST", form("x", strings.Repeat("x", maxForm)), 400, "invalid_request"},
		{"PUT", "", 405, "invalid_request"},
	} {
		w := ask(h.Accounts, test.method, "/token", "", "", test.form)
		var e tokenError
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != test.status || e.Error != test.code || len(e.Errors) != 1 || e.Errors[0].Message == "" {
			t.Errorf("%s %.60s: %d %s", test.method, test.form, w.Code, w.Body)
		}
	}
	w = ask(h.Accounts, "GET", "/token", "ann", "wrong", "")
	if w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" || !strings.Contains(w.Body.String(), "UNAUTHORIZED") {
		t.Error(w.Code, w.Body)
	}
	h.db.fail["Token"] = errors.New("database is down")
	w = ask(h.Accounts, "GET", "/token", "ann", secret[:len(secret)-1]+"a", "")
	if w.Code != 500 || strings.Contains(w.Body.String(), "down") || !strings.Contains(h.log.String(), "down") {
		t.Error(w.Code, w.Body, h.log)
	}
	delete(h.db.fail, "Token")
	for range 50 {
		w = ask(h.Accounts, "GET", "/token", "ann", "wrong", "")
	}
	if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "TOOMANYREQUESTS") {
		t.Error(w.Code, w.Header(), w.Body)
	}
}

func TestBearersThatAreNoGood(t *testing.T) {
	h := newHouse(t)
	good := h.token("ann", h.enrol("ann", "reader")).Token
	id := h.db.events[2].Details["token"]
	now := h.Now()
	key, err := h.keys.newest(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	forged, unknown := key, key
	forged.Value, unknown.ID = []byte(strings.Repeat("k", keyLen)), "of nobody"
	signWith := func(k Key, s signer, at time.Time) string {
		token, err := s.sign(k, "1", "ann", id, nil, at)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	sign := func(s signer, at time.Time) string { return signWith(key, s, at) }
	elsewhere := h.signer
	elsewhere.service = "elsewhere"
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	for name, token := range map[string]string{
		"empty": "", "nonsense": "x", "three dots": "...", "expired": sign(h.signer, now.Add(-10*time.Minute)), "from the future": sign(h.signer, now.Add(2*time.Minute)),
		"another key": signWith(forged, h.signer, now), "a key nobody knows": signWith(unknown, h.signer, now), "another service": sign(elsewhere, now), "unsigned": none + "." + parts[1] + ".", "signature of another": none + "." + parts[1] + "." + parts[2],
		"cut": good[:len(good)-2], "a secret": "bnd_aaaaaaaaaaaa_" + strings.Repeat("a", randLen),
	} {
		if p, err := with(h.Accounts, "Bearer "+token); !errors.Is(err, authz.ErrUnauthenticated) || !strings.Contains(err.Error(), "token endpoint") {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	for name, headers := range map[string][]string{
		"two": {"Bearer " + good, "Bearer " + good}, "another kind": {"Digest x"}, "no base64": {"Basic %"}, "no colon": {"Basic YQ=="}, "bare": {good},
	} {
		if p, err := with(h.Accounts, headers...); !errors.Is(err, authz.ErrUnauthenticated) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	if _, err := with(h.Accounts, "Bearer "+sign(h.signer, now.Add(30*time.Second))); err != nil {
		t.Errorf("clocks differ a little: %v", err)
	}
	if _, err := with(h.Accounts, "Bearer "+good); err != nil {
		t.Error(err)
	}
	h.add(10 * time.Minute)
	if _, err := with(h.Accounts, "Bearer "+good); err == nil {
		t.Error("an expired token was remembered")
	}
	h.add(-time.Hour)
	if _, err := with(h.Accounts, "Bearer "+good); err == nil {
		t.Error("the clock was set back, and a token from the future is good")
	}
}

// What ends a token ends it at once here, and within Fresh in other processes.
func TestRevocationWorksAtOnce(t *testing.T) {
	for name, end := range map[string]func(h *house, p authz.Principal) error{
		"token revoked": func(h *house, p authz.Principal) error { return h.Revoke(t.Context(), p, p.Claims[claimToken]) },
		"account disabled": func(h *house, _ authz.Principal) error {
			_, err := h.Disable(t.Context(), admin(t), "ann", true)
			return err
		},
		"grants taken": func(h *house, _ authz.Principal) error {
			_, err := h.Grant(t.Context(), admin(t), "ann", api.GrantRequest{Remove: []string{"developer=dev/**"}})
			return err
		},
	} {
		h := newHouse(t)
		other := h.process(77)
		secret := h.enrol("ann", "developer=dev/**")
		bearer := "Bearer " + h.token("ann", secret, "repository:dev/app:pull,push").Token
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:"+secret))
		pushes := func(a *Accounts, credentials string) bool {
			p, err := with(a, credentials)
			if err == nil {
				_, err = authz.Check(p, authz.Push, oci.MustRepository("dev/app"), nil)
			}
			if err != nil && !errors.Is(err, authz.ErrUnauthenticated) && !errors.Is(err, authz.ErrNotPermitted) {
				t.Error(err)
			}
			return err == nil
		}
		for _, a := range []*Accounts{h.Accounts, other} {
			if !pushes(a, bearer) || !pushes(a, basic) {
				t.Fatalf("%s: not good before", name)
			}
		}
		p, err := with(h.Accounts, basic)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(h, p); err != nil {
			t.Fatal(err)
		}
		if pushes(h.Accounts, bearer) || pushes(h.Accounts, basic) {
			t.Errorf("%s: still good in the process that did it", name)
		}
		if !pushes(other, bearer) {
			t.Errorf("%s: the other process asked again too early for this test to mean anything", name)
		}
		h.add(Fresh)
		if pushes(other, bearer) || pushes(other, basic) {
			t.Errorf("%s: still good in another process", name)
		}
	}
}

// A stream of requests with one token asks the database once in Fresh.
func TestWhatIsKnownIsNotAskedAgain(t *testing.T) {
	h := newHouse(t)
	bearer := "Bearer " + h.token("ann", h.enrol("ann", "reader")).Token
	h.db.reads = 0
	for range 100 {
		h.add(Fresh / 50)
		if _, err := with(h.Accounts, bearer); err != nil {
			t.Fatal(err)
		}
	}
	if h.db.reads > 6 {
		t.Errorf("%d reads", h.db.reads)
	}
	h.add(-6 * time.Second)
	before := h.db.reads
	if _, err := with(h.Accounts, bearer); err != nil || h.db.reads == before {
		t.Error("what was looked up in the future of a clock that was set back counts as fresh", err)
	}
}

func TestChallenge(t *testing.T) {
	h := newHouse(t)
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Host = `registry.example:8443"evil`
	if got, want := h.Challenge(r, nil, ""), `Bearer realm="http://registry.example:8443evil/token",service="bonded"`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	r.Host, r.TLS = "registry.example", &tls.ConnectionState{}
	if got, want := h.Challenge(r, authz.ErrUnauthenticated, "repository:a/b:pull"), `Bearer realm="https://registry.example/token",service="bonded",scope="repository:a/b:pull",error="invalid_token"`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	h.o.URL = "https://public.example/"
	if got, want := h.Challenge(r, &authz.Refusal{}, "a"), `Bearer realm="https://public.example/token",service="bonded",scope="a",error="insufficient_scope"`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"repository:dev/app:pull,push", "repository(plugin):a:b:*", "registry:catalog:* bonded:api:*", ":::", "repository:host:5000/a:pull"} {
		f.Add(s)
	}
	p := authz.Principal{Issuer: "bonded", Subject: "ann", Method: "token", Grants: []authz.Grant{{Role: "reader", Pattern: "dev/**"}}}
	f.Fuzz(func(t *testing.T, s string) {
		asked := parseScopes([]string{s})
		if len(asked) > maxScopes {
			t.Errorf("%d scopes", len(asked))
		}
		for _, r := range asked {
			if r.Name == "" || len(r.Actions) == 0 || strings.ContainsAny(r.String(), " \t\n") {
				t.Errorf("%q: %+v", s, r)
			}
		}
		access := grantable(p, nil, asked)
		for _, r := range access {
			if r.Type == "repository" && (len(r.Actions) != 1 || r.Actions[0] != "pull" || !strings.HasPrefix(r.Name, "dev/")) {
				t.Errorf("%q gave %+v", s, r)
			}
		}
		// A token says the same when it comes back.
		b, err := json.Marshal(access)
		if err != nil {
			t.Fatal(err)
		}
		var back []resource
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(scopeOf(access), scopeOf(back), cmp.Comparer(func(a, b oci.Repository) bool { return a == b })); diff != "" {
			t.Errorf("%q: %s", s, diff)
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	h := newHouse(f)
	secret := h.enrol("ann", "reader")
	good := "Bearer " + h.token("ann", secret).Token
	for _, s := range []string{good, "Basic YW5uOng=", "Basic", "bearer  x", "Bearer a.b.c", "Bearer eyJhbGciOiJub25lIn0.e30."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := with(h.Accounts, s)
		var throttled *authz.Throttled
		if err == nil && !p.IsAnonymous() && s != good && strings.TrimSpace(strings.TrimPrefix(strings.ToLower(s), "bearer")) != strings.ToLower(good[7:]) {
			t.Errorf("%q is %+v", s, p)
		}
		if err != nil && !errors.Is(err, authz.ErrUnauthenticated) && !errors.As(err, &throttled) {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func BenchmarkBearer(b *testing.B) {
	h := newHouse(b)
	r := httptest.NewRequest("GET", "/v2/", nil)
	r.Header = http.Header{"Authorization": {"Bearer " + h.token("ann", h.enrol("ann", "reader"), "repository:dev/app:pull").Token}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}
