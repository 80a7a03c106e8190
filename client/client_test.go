package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
)

// server answers with what it was told, and notes what it was asked.
type server struct {
	*httptest.Server
	asked   []string
	answers []answer // for the next requests; the last stays
}

type answer struct {
	status int
	body   string
	retry  string
}

func start(t *testing.T, answers ...answer) (*server, *Client) {
	t.Helper()
	s := &server{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	c, err := New(Options{URL: s.URL, Name: "ann", Secret: "bnd_x"})
	if err != nil {
		t.Fatal(err)
	}
	c.rand = func() float64 { return 0 }
	return s, c
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	name, secret, _ := r.BasicAuth()
	if name+":"+secret != "ann:bnd_x" {
		http.Error(w, "who?", http.StatusUnauthorized)
		return
	}
	s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	if a.retry != "" {
		w.Header().Set("Retry-After", a.retry)
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

// Every method asks what it should, and reads what it gets.
func TestMethods(t *testing.T) {
	const one = "sha256:6a1fbcf213fb20645f14ade9b6f8d83703ee68a74e1e024cafd0ae191b88447f"
	for _, test := range []struct {
		call   func(context.Context, *Client) (any, error)
		want   string
		status int
		body   string
	}{
		{func(ctx context.Context, c *Client) (any, error) { return c.Why(ctx, WhyQuery{Ref: "dev/app:1"}) }, "GET /api/v1/why?ref=dev%2Fapp%3A1", 200, `{"repository":"dev/app","digest":"","kind":"","state":"","held":true}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.Why(ctx, WhyQuery{Ref: one, Zone: "dev", Hypothetical: "production"})
		}, "GET /api/v1/why?hypothetical=production&ref=sha256%3A6a1fbcf213fb20645f14ade9b6f8d83703ee68a74e1e024cafd0ae191b88447f&zone=dev", 200, `{"repository":"","digest":"","kind":"","state":"","held":false}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Inventory(ctx, "dev/app") }, "GET /api/v1/inventory?ref=dev%2Fapp", 200, `{"repository":"","digest":"","kind":"","state":"","coverage":"full","layers":null,"packages":null,"searched":""}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Findings(ctx, "dev/app") }, "GET /api/v1/findings?ref=dev%2Fapp", 200, `{"repository":"","digest":"","kind":"","state":"","snapshot":{"seq":0,"digest":"","advisories":0},"findings":null}`},
		{func(ctx context.Context, c *Client) (any, error) {
			b, err := c.SBOM(ctx, "dev/app", "spdx")
			return json.RawMessage(b), err
		}, "GET /api/v1/sbom?format=spdx&ref=dev%2Fapp", 200, `{"spdxVersion":"SPDX-2.3"}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.Affected(ctx, AffectedQuery{ID: "CVE-1", After: "x", Limit: 5})
		}, "GET /api/v1/affected?after=x&id=CVE-1&limit=5", 200, `{"query":"CVE-1","ids":null,"images":null,"snapshot":{"seq":1,"digest":"","advisories":0}}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.Promote(ctx, api.PromoteRequest{Reference: "dev/app:1", To: "staging", DryRun: true})
		}, `POST /api/v1/promote {"reference":"dev/app:1","to":"staging","dry_run":true}`, 200, `{"from":"a","to":"b","digest":"","decision":{"repository":"","digest":"","zone":"","clause":"","outcome":"deny","reasons":null,"decided_at":"0001-01-01T00:00:00Z","inputs":{"gate":"","engine":""}}}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Zones(ctx) }, "GET /api/v1/zones", 200, `[{"name":"dev","admitted":1,"waiting":2}]`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Gates(ctx) }, "GET /api/v1/gates", 200, `[{"name":"dev","digest":"","text":""}]`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Gate(ctx, "a/../b") }, "GET /api/v1/gates/a%2F..%2Fb", 200, `{"name":"dev","digest":"","text":""}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Feeds(ctx) }, "GET /api/v1/feeds", 200, `[]`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Health(ctx) }, "GET /api/v1/health", 200, `{"version":"v0","checks":null,"notes":null}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.VerifyAudit(ctx) }, "POST /api/v1/audit/verify", 200, `{"ok":true,"state":"ok","entries":3,"head":"ff","at":"2026-11-22T09:00:00Z","checks":null}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.Enrol(ctx, api.EnrolRequest{Code: "KX4P-9QTM", Label: "laptop"})
		}, `POST /api/v1/enrol {"code":"KX4P-9QTM","label":"laptop"}`, 200, `{"name":"ann","secret":"bnd_y","expires":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Self(ctx) }, "GET /api/v1/self", 200, `{"name":"ann","human":true,"grants":null,"created":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Principal(ctx, "a@b") }, "GET /api/v1/principals/a@b", 200, `{"name":"a@b","human":true,"grants":null,"created":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.Invite(ctx, api.InviteRequest{Name: "bob", Grants: []string{"reader"}})
		}, `POST /api/v1/principals {"name":"bob","human":false,"grants":["reader"]}`, 201, `{"name":"bob","code":"KX4P-9QTM","expires":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.Grant(ctx, "bob", api.GrantRequest{Add: []string{"admin"}})
		}, `POST /api/v1/principals/bob/grants {"add":["admin"]}`, 200, `{"name":"bob","human":false,"grants":["admin"],"created":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Disable(ctx, "bob") }, "POST /api/v1/principals/bob/disable", 200, `{"name":"bob","human":false,"grants":null,"created":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) { return c.Enable(ctx, "bob") }, "POST /api/v1/principals/bob/enable", 200, `{"name":"bob","human":false,"grants":null,"created":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) {
			return c.NewToken(ctx, api.TokenRequest{Label: "ci"})
		}, `POST /api/v1/tokens {"label":"ci"}`, 201, `{"name":"ann","secret":"bnd_z","expires":"2026-11-22T09:00:00Z"}`},
		{func(ctx context.Context, c *Client) (any, error) { return nil, c.Revoke(ctx, "abc") }, "DELETE /api/v1/tokens/abc", 204, ``},
	} {
		s, c := start(t, answer{status: test.status, body: test.body})
		got, err := test.call(t.Context(), c)
		if err != nil || !slices.Equal(s.asked, []string{test.want}) {
			t.Errorf("asked %q, want %q: %v", s.asked, test.want, err)
			continue
		}
		if b, err := json.Marshal(got); err != nil || test.body != "" && string(b) != test.body {
			t.Errorf("%s: got %s, want %s (%v)", test.want, b, test.body, err)
		}
	}
}

func TestPages(t *testing.T) {
	s, c := start(t, answer{200, `{"items":[{"name":"a"},{"name":"b"}],"next":"b"}`, ""}, answer{200, `{"items":[{"name":"c"}]}`, ""})
	var names []string
	for a, err := range c.Principals(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, a.Name)
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) || !slices.Equal(s.asked, []string{"GET /api/v1/principals", "GET /api/v1/principals?after=b"}) {
		t.Errorf("%q %q", names, s.asked)
	}
	s, c = start(t, answer{200, `{"items":[{"seq":6},{"seq":7}],"next":"7"}`, ""})
	var seqs []int64
	for e, err := range c.Events(t.Context(), EventQuery{Oldest: true, After: 5, Limit: 4}) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, e.Seq)
	}
	if !slices.Equal(seqs, []int64{6, 7, 6, 7}) || !slices.Equal(s.asked, []string{"GET /api/v1/audit?after=5&limit=4&order=oldest", "GET /api/v1/audit?after=7&limit=2&order=oldest"}) {
		t.Errorf("%v %q", seqs, s.asked)
	}
	s, c = start(t, answer{200, `{"items":[]}`, ""})
	for range c.Events(t.Context(), EventQuery{Repository: "dev/app", Kind: "x", Principal: "ann", Digest: "d"}) {
		t.Error("an event")
	}
	if !slices.Equal(s.asked, []string{"GET /api/v1/audit?digest=d&kind=x&principal=ann&repository=dev%2Fapp"}) {
		t.Errorf("%q", s.asked)
	}
	_, c = start(t, answer{500, "", ""})
	n := 0
	for _, err := range c.Principals(t.Context()) {
		if n++; err == nil || n > 1 {
			t.Error(n, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		want   Error
		exit   int
	}{
		{403, `{"code":"denied","message":"no","next":"rebuild"}`, Error{Code: "denied", Message: "no", Next: "rebuild"}, 1},
		{404, `{"code":"not-found","message":"no such thing"}`, Error{Code: "not-found", Message: "no such thing"}, 2},
		{400, `{"code":"invalid","message":"what"}`, Error{Code: "invalid", Message: "what"}, 2},
		{401, `{"code":"unauthorized","message":"who"}`, Error{Code: "unauthorized", Message: "who"}, 4},
		{403, `{"code":"not-permitted","message":"you"}`, Error{Code: "not-permitted", Message: "you"}, 4},
		{409, `{"code":"conflict","message":"late"}`, Error{Code: "conflict", Message: "late"}, 5},
		{507, `{"code":"unavailable","message":"full"}`, Error{Code: "unavailable", Message: "full"}, 5},
		{500, `{"code":"internal","message":"oh"}`, Error{Code: "internal", Message: "oh"}, 6},
		{502, `<html>`, Error{Code: "unavailable"}, 5},
		{401, ``, Error{Code: "unauthorized"}, 4},
		{403, `{}`, Error{Code: "not-permitted"}, 4},
		{404, `404`, Error{Code: "not-found"}, 2},
		{418, ``, Error{Code: "invalid"}, 2},
		{500, ``, Error{Code: "internal"}, 6},
		{304, ``, Error{Code: "internal"}, 6},
	} {
		_, c := start(t, answer{status: test.status, body: test.body})
		_, err := c.Zones(t.Context())
		var got *Error
		if !errors.As(err, &got) || got.Code != test.want.Code || got.Status != test.status || got.ExitCode() != test.exit || errors.Unwrap(err) != nil {
			t.Errorf("%d %s: %v", test.status, test.body, err)
			continue
		}
		if test.want.Message != "" && (got.Message != test.want.Message || got.Next != test.want.Next) || got.Message == "" {
			t.Errorf("%d %s: %+v", test.status, test.body, got)
		}
	}
	e := &Error{Message: "a", Next: "b"}
	if e.Error() != "a; b" {
		t.Error(e)
	}
	_, c := start(t, answer{status: 200, body: "[{"})
	if _, err := c.Zones(t.Context()); err == nil {
		t.Error("half an answer is none")
	}
}

// A busy server is asked again, after as long as it says.
func TestRetries(t *testing.T) {
	busy := answer{503, `{"code":"unavailable","message":"busy"}`, "7"}
	for _, test := range []struct {
		answers []answer
		want    []time.Duration
		ok      bool
	}{
		{[]answer{busy, {429, "", ""}, {200, "[]", ""}}, []time.Duration{7 * time.Second, time.Second}, true},
		{[]answer{busy}, []time.Duration{7 * time.Second, 7 * time.Second, 7 * time.Second}, false},
		{[]answer{{503, "", "100000"}, {200, "[]", ""}}, []time.Duration{500 * time.Millisecond}, true},
		{[]answer{{503, "", "3600"}, {200, "[]", ""}}, []time.Duration{maxPause}, true},
		{[]answer{{503, "", "Tue, 01 Jan"}, {200, "[]", ""}}, []time.Duration{500 * time.Millisecond}, true},
		{[]answer{{500, "", "1"}, {200, "[]", ""}}, nil, false},
	} {
		s, c := start(t, test.answers...)
		var waited []time.Duration
		c.pause = func(d time.Duration) <-chan time.Time {
			waited = append(waited, d)
			ch := make(chan time.Time, 1)
			ch <- time.Time{}
			return ch
		}
		_, err := c.Promote(t.Context(), api.PromoteRequest{Reference: "dev/app"})
		var e *Error
		if test.ok && errors.As(err, &e) || !test.ok && !errors.As(err, &e) || !slices.Equal(waited, test.want) {
			t.Errorf("%+v: waited %v, %v", test.answers, waited, err)
		}
		for _, a := range s.asked {
			if a != s.asked[0] {
				t.Errorf("asked something else again: %q", s.asked)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, c := start(t, busy)
	c.pause = func(time.Duration) <-chan time.Time { cancel(); return nil }
	if _, err := c.Zones(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	c.rand = func() float64 { return 0.999 }
	if d := c.delay(4*time.Second, 1); d < 4*time.Second || d > 5*time.Second {
		t.Error(d)
	}
}

func TestUpdateFeeds(t *testing.T) {
	collect := func(c *Client) (got []api.FeedProgress, last error) {
		for p, err := range c.UpdateFeeds(t.Context(), api.FeedUpdate{Force: []string{"x"}}) {
			if err != nil {
				last = err
			} else {
				got = append(got, p)
			}
		}
		return got, last
	}
	s, c := start(t, answer{200, `{"feed":"a","records":1,"total":2}` + "\n" + `{"records":0,"total":0,"done":{"seq":3,"digest":"d","advisories":7}}` + "\n" + "after the end", ""})
	got, err := collect(c)
	want := []api.FeedProgress{{Feed: "a", Records: 1, Total: 2}, {Done: &api.Snapshot{Seq: 3, Digest: "d", Advisories: 7}}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || s.asked[0] != `POST /api/v1/feeds/update {"force":["x"]}` {
		t.Error(err, diff, s.asked)
	}
	for body, want := range map[string]string{
		`{"records":1,"total":2}` + "\n" + `{"records":0,"total":0,"error":{"code":"conflict","message":"another update runs"}}`: "another update runs",
		`{"records":1,"total":2}`: "ended before", "nonsense": "reading progress", strings.Repeat("x", maxLine+1): "token too long",
	} {
		_, c := start(t, answer{200, body, ""})
		if _, err := collect(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v", body, err)
		}
	}
	_, c = start(t, answer{403, `{"code":"not-permitted","message":"you"}`, ""})
	var e *Error
	if _, err := collect(c); !errors.As(err, &e) || e.Code != "not-permitted" {
		t.Error(err)
	}
}

func TestLoadFeed(t *testing.T) {
	load := func(c *Client, force bool) (last api.FeedProgress, err error) {
		for p, e := range c.LoadFeed(t.Context(), io.LimitReader(strings.NewReader("a tar and more"), 5), force) {
			last, err = p, e
		}
		return last, err
	}
	s, c := start(t, answer{200, `{"records":0,"total":0,"done":{"seq":3,"digest":"d","advisories":7}}`, ""})
	if p, err := load(c, true); err != nil || p.Done == nil || s.asked[0] != `POST /api/v1/feeds/load?force=true a tar` {
		t.Error(p, err, s.asked)
	}
	s, c = start(t, answer{503, "", "1"}, answer{200, "{}", ""})
	var e *Error
	if _, err := load(c, false); !errors.As(err, &e) || len(s.asked) != 1 {
		t.Errorf("a server that is busy: %v, asked %v", err, s.asked)
	}
	_, c = start(t, answer{200, `{"seq":4,"digest":"d","advisories":7}`, ""})
	if got, err := c.DropFeed(t.Context(), "loaded"); err != nil || got.Seq != 4 {
		t.Error(got, err)
	}
}

func TestNew(t *testing.T) {
	for _, o := range []Options{
		{URL: "localhost:5000"}, {URL: ""}, {URL: "ftp://x"}, {URL: "https://"}, {URL: "https://x?y"}, {URL: "https://a:b@x"}, {URL: "https://x", Name: "ann"}, {URL: "https://x", Secret: "s"},
		{URL: "http://registry.example", Name: "ann", Secret: "s"}, {URL: "https://x", CA: x509.NewCertPool(), HTTPClient: http.DefaultClient}, {URL: "https://%zz"},
	} {
		if _, err := New(o); err == nil || strings.Contains(err.Error(), "a:b") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []Options{
		{URL: "http://localhost:5000", Name: "ann", Secret: "s"}, {URL: "http://[::1]:5000/", Name: "ann", Secret: "s"}, {URL: "http://registry.example"},
		{URL: "http://registry.example", Name: "ann", Secret: "s", Cleartext: true}, {URL: "https://registry.example/behind/a/path"},
	} {
		if _, err := New(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestBehindAPath(t *testing.T) {
	s, _ := start(t, answer{200, "[]", ""})
	c, err := New(Options{URL: s.URL + "/registry/", Name: "ann", Secret: "bnd_x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Zones(t.Context()); err != nil || s.asked[0] != "GET /registry/api/v1/zones" {
		t.Error(s.asked, err)
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "[]") }))
	defer s.Close()
	s.Config.ErrorLog = nil
	strange, err := New(Options{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := strange.Zones(t.Context()); !errors.As(err, &e) || e.Code != "unavailable" || !strings.Contains(e.Next, "CA") {
		t.Errorf("%v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	c, err := New(Options{URL: s.URL, CA: pool})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Zones(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	s, c := start(t, answer{200, "", ""})
	s.Close()
	_, err := c.Zones(t.Context())
	var e *Error
	var op *url.Error
	if !errors.As(err, &e) || e.ExitCode() != 5 || e.Next == "" || !errors.As(err, &op) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Zones(ctx); !errors.Is(err, context.Canceled) || errors.As(err, &e) && e.Status != 0 {
		t.Errorf("%v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other, _ := start(t, answer{200, "[]", ""})
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	c, err := New(Options{URL: s.URL, Name: "ann", Secret: "bnd_x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Zones(t.Context()); err == nil || len(other.asked) > 0 {
		t.Error(err, other.asked)
	}
}

// TestWrongScheme: who mistakes http for https, or the other way round, is told.
func TestWrongScheme(t *testing.T) {
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain, secure := httptest.NewServer(nothing), httptest.NewTLSServer(nothing)
	defer plain.Close()
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	for url, want := range map[string]string{
		strings.Replace(plain.URL, "http:", "https:", 1):  "write http://",
		strings.Replace(secure.URL, "https:", "http:", 1): "write https://",
	} {
		c, err := New(Options{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Zones(t.Context())
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Next, want) {
			t.Errorf("%s: %v, want a next step with %q", url, err, want)
		}
	}
}
