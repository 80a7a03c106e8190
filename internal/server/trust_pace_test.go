package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/bonded-dev/bonded/api"
)

// paced is a service behind a pace.
type paced struct {
	*testing.T
	*pace
	now     time.Time
	handler http.Handler
	served  int
}

func newPaced(t *testing.T, minute int) *paced {
	w := &paced{T: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	w.pace = newPace(minute, func() time.Time { return w.now }, prometheus.NewRegistry())
	w.handler = w.wrap("rekor", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.served++ }))
	return w
}

func (w *paced) ask(method, from string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/api/v2/log/entries", nil)
	r.RemoteAddr = from
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

func (w *paced) wants(what, from string, status int) {
	w.Helper()
	if rec := w.ask(http.MethodPost, from); rec.Code != status {
		w.Errorf("%s: %d, want %d", what, rec.Code, status)
	}
}

func TestPace(t *testing.T) {
	w := newPaced(t, 6)
	const from = "192.0.2.1:1000"
	for range 6 {
		w.wants("within its allowance", from, http.StatusOK)
	}
	rec := w.ask(http.MethodPost, from)
	var body struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil || rec.Code != 429 || body.Code != 429 || rec.Header().Get("Retry-After") != "10" || !strings.Contains(body.Message, "trust.requests") {
		t.Errorf("one too many: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	w.wants("from another port", "192.0.2.1:2000", 429)
	w.wants("the same, mapped into IPv6", "[::ffff:192.0.2.1]:1000", 429)
	w.wants("another address", "192.0.2.2:1000", http.StatusOK)
	if rec := w.ask(http.MethodGet, from); rec.Code != http.StatusOK {
		t.Errorf("reading: %d", rec.Code)
	}
	w.now = w.now.Add(10 * time.Second)
	w.wants("when it was told to", from, http.StatusOK)
	w.wants("and once more", from, 429)
	for n := range 6 {
		w.wants("one network of IPv6", fmt.Sprintf("[2001:db8::%d]:1000", n), http.StatusOK)
	}
	w.wants("one network of IPv6", "[2001:db8::ffff]:1000", 429)
	w.wants("another one", "[2001:db8:0:1::1]:1000", http.StatusOK)
	if n := testutil.ToFloat64(w.refused.WithLabelValues("rekor")); n != 5 {
		t.Errorf("%v refusals are counted, want 5", n)
	}
}

func TestPaceOff(t *testing.T) {
	w := newPaced(t, 0)
	for range 1000 {
		w.wants("without a bound", "192.0.2.1:1", http.StatusOK)
	}
}

// TestPaceOfMany: more addresses than are told apart share one allowance, and
// neither take memory nor the allowance of those that were there before.
func TestPaceOfMany(t *testing.T) {
	w := newPaced(t, 2)
	from := func(n int) string { return fmt.Sprintf("10.%d.%d.%d:1", n>>16, n>>8&255, n&255) }
	for n := range maxPaced {
		w.wants("one of many", from(n), http.StatusOK)
	}
	w.wants("further ones", from(maxPaced), http.StatusOK)
	w.wants("further ones", from(maxPaced+1), http.StatusOK)
	w.wants("further ones, together", from(maxPaced+2), 429)
	w.wants("an earlier one", from(7), http.StatusOK)
	if len(w.known) > maxPaced+1 {
		t.Errorf("%d addresses are known", len(w.known))
	}
	w.now = w.now.Add(time.Hour)
	w.wants("later", from(maxPaced+2), http.StatusOK)
	if len(w.known) > 2 {
		t.Errorf("%d addresses are known after an hour", len(w.known))
	}
}

// TestPaceBehindProxies: a server that knows its proxy gives each client behind
// it an allowance of its own, and one that does not gives all of them one.
func TestPaceBehindProxies(t *testing.T) {
	for proxies, want := range map[string]int{"127.0.0.1": http.StatusBadRequest, "192.0.2.1": http.StatusTooManyRequests} {
		w := newWorld(t, func(o *Options) {
			o.Config.Trust.Requests = 1
			o.Config.Proxies = []string{proxies}
		})
		ask := func(client string) int {
			res, _ := w.request(api.Enrolled{}, http.MethodPost, "/rekor/api/v2/log/entries", []byte("{}"), "Content-Type", "application/json", "X-Forwarded-For", client)
			return res.StatusCode
		}
		if status := ask("198.51.100.1"); status != http.StatusBadRequest {
			t.Errorf("proxies %s: the first client: %d", proxies, status)
		}
		if status := ask("198.51.100.2"); status != want {
			t.Errorf("proxies %s: the second client: %d, want %d", proxies, status, want)
		}
		if status := ask("203.0.113.1, 198.51.100.1"); status != http.StatusTooManyRequests {
			t.Errorf("proxies %s: the first client, which says more: %d", proxies, status)
		}
	}
}
