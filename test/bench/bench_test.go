package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
)

func constant(v float64, err error) func(context.Context, *bench) (reading, error) {
	return func(context.Context, *bench) (reading, error) { return reading{value: v, detail: "so"}, err }
}

func TestOutcomes(t *testing.T) {
	list := []bar{
		{name: "at-the-limit", limit: 1, measure: constant(1, nil)},
		{name: "above", limit: 1, unit: "MB", measure: constant(1.01, nil)},
		{name: "no-peer", limit: 1, measure: constant(0, absent("%s is not set", "X"))},
		{name: "fails", limit: 1, measure: constant(0, errors.New("it broke | here"))},
		{name: "not-chosen", limit: 1, measure: constant(9, nil)},
	}
	var out bytes.Buffer
	results := measure(t.Context(), &out, &bench{}, list, regexp.MustCompile("^[^n]|^no-peer"))
	var got []outcome
	for _, r := range results {
		got = append(got, r.outcome)
	}
	want := []outcome{met, missed, notSeen, broken}
	if len(got) != len(want) {
		t.Fatalf("outcomes %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%s: %s, want %s", results[i].bar.name, outcomeNames[got[i]], outcomeNames[want[i]])
		}
	}
	if err := verdictOf(results); err == nil || !strings.Contains(err.Error(), "above, fails") {
		t.Errorf("verdict %v, want one that names above and fails", err)
	}
	if err := verdictOf(results[:1]); err != nil {
		t.Errorf("verdict %v where all was met", err)
	}
	page := markdown(results, "a machine")
	for _, want := range []string{"| above |  | 1.00 MB | 1.01 MB | MISSED | so |", "| no-peer |  | 1.00 | – | not seen | X is not set |", `it broke \| here`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	got, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got.peak < 1<<20 {
		t.Errorf("a peak of %d bytes", got.peak)
	}
	if _, err := usageOf(1 << 30); err == nil {
		t.Error("a process that is not there was read")
	}
}

func TestCPUSeconds(t *testing.T) {
	stat := "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 20 10 20 0 1 0 55"
	got, err := cpuSeconds([]byte(stat))
	if err != nil || got != 2.3 {
		t.Errorf("%v, %v; want 2.3", got, err)
	}
	for _, bad := range []string{"", "7 (x", "7 (x) S 1 2"} {
		if _, err := cpuSeconds([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// fake is a registry that keeps what it is sent and insists on the token.
type fake struct {
	mu    sync.Mutex
	kept  map[string][]byte
	calls int
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if r.Header.Get("Authorization") != "Bearer t-a/b" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodPost:
		w.Header().Set("Location", "/v2/a/b/blobs/uploads/1?state=x")
		w.WriteHeader(http.StatusAccepted)
	case r.Method == http.MethodPut && r.URL.Query().Get("state") == "x":
		f.kept["/v2/a/b/blobs/"+r.URL.Query().Get("digest")] = body
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut:
		f.kept[r.URL.Path] = body
		w.WriteHeader(http.StatusCreated)
	case f.kept[r.URL.Path] == nil:
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Write(f.kept[r.URL.Path])
	}
}

func TestPushAndPull(t *testing.T) {
	server := &fake{kept: map[string][]byte{}}
	web := httptest.NewServer(server)
	defer web.Close()
	r := &registry{url: web.URL, client: web.Client(), token: func(name string) (string, error) { return "t-" + name, nil }}
	img, err := randomImage(1, 2, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.push(t.Context(), "a/b", "1", img); err != nil {
		t.Fatal(err)
	}
	if err := r.pull(t.Context(), "a/b", "1", img); err != nil {
		t.Fatal(err)
	}
	if server.calls != 3*2+1+1+3 {
		t.Errorf("%d requests", server.calls)
	}
	for path, body := range server.kept {
		if strings.Contains(path, "/blobs/") && !strings.HasSuffix(path, digest(body)) {
			t.Errorf("%s holds %s", path, digest(body))
		}
	}
	if err := r.pull(t.Context(), "a/b", "2", img); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("pulling what is not there: %v", err)
	}
	delete(server.kept, "/v2/a/b/blobs/"+img.blobs[1].digest)
	server.kept["/v2/a/b/blobs/"+img.blobs[1].digest] = img.blobs[1].data[:10]
	if err := r.pull(t.Context(), "a/b", "1", img); err == nil || !strings.Contains(err.Error(), "10 bytes came") {
		t.Errorf("pulling a blob cut short: %v", err)
	}
	other, err := randomImage(2, 2, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if other.manifest.digest == img.manifest.digest {
		t.Error("two seeds give one image")
	}
}

func TestPeersThatAreAbsent(t *testing.T) {
	b := &bench{dir: t.TempDir(), env: func(string) string { return "" }}
	if _, err := distribution(t.Context(), b); !errors.Is(err, errNotSeen) {
		t.Errorf("%v, want not seen", err)
	}
	if _, err := zot(t.Context(), b); !errors.Is(err, errNotSeen) {
		t.Errorf("%v, want not seen", err)
	}
}

// TestPeersTakeTheLoad runs where the environment names a peer, which is
// when the peers are worked on: the bars start them anyway.
func TestPeersTakeTheLoad(t *testing.T) {
	b := &bench{dir: t.TempDir(), env: os.Getenv}
	for name, start := range map[string]func(context.Context, *bench) (*registry, error){"distribution": distribution, "zot": zot} {
		r, err := start(t.Context(), b)
		if errors.Is(err, errNotSeen) {
			t.Logf("%s: %v", name, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		img, err := randomImage(3, 2, 4<<20)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := usageOf(r.pid)
		if err := errors.Join(r.push(t.Context(), "a/b", "1", img), r.pull(t.Context(), "a/b", "1", img)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		after, _ := usageOf(r.pid)
		t.Logf("%s: %+v", name, after.since(before))
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}
}
