package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts/httpscript"
)

// TestScripts plays testdata/*.txtar. Beside what all scripts know there is
//
//	all WORD        everything answers with one of the errors of answers
//	asked CALL…     the last thing that was asked of others
func TestScripts(t *testing.T) {
	httpscript.Run(t, "testdata", *update, func(t *testing.T) *httpscript.World {
		a, f := newAPI(t)
		s := httptest.NewServer(a)
		t.Cleanup(s.Close)
		return &httpscript.World{URL: s.URL, Hide: []string{"Cache-Control", "Content-Length"}, As: func(name string, r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+name)
		}, Commands: map[string]func([]string){
			"all": func(args []string) {
				err, ok := answers[args[0]]
				if !ok {
					t.Fatal(args)
				}
				f.err = err
			},
			"asked": func(args []string) {
				if want, got := strings.Join(args, " "), f.calls[len(f.calls)-1]; got != want {
					t.Errorf("asked %q, want %q", got, want)
				}
			},
		}}
	})
}

func TestNothingIsCached(t *testing.T) {
	a, _ := newAPI(t)
	for _, path := range []string{"/api/v1/zones", "/api/v1/nothing", "/api/v1/openapi.json"} {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, w.Header())
		}
	}
}

// No endpoint but those that say so answers who is nobody, and those that need
// a verb on the server refuse who has it elsewhere.
func TestWhoIsLetIn(t *testing.T) {
	a, f := newAPI(t)
	ask := func(e endpoint, who string) int {
		body := "{}"
		if e.path == "/enrol" {
			body = `{"code":"x"}`
		}
		path := root + wildcard.ReplaceAllString(e.path, "x")
		for i, p := range e.query {
			if p.required {
				path += map[bool]string{true: "?", false: "&"}[i == 0] + p.name + "=dev/app"
			}
		}
		r := httptest.NewRequest(e.method, path, strings.NewReader(body))
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+who)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		return w.Code
	}
	for _, e := range endpoints {
		if e.access == public {
			if ask(e, "made-up") == 401 && e.path != "/enrol" {
				t.Errorf("%s %s looks at credentials", e.method, e.path)
			}
			continue
		}
		for _, who := range []string{"nobody", "made-up"} {
			// A promotion is first read: what it names decides who may ask for it.
			if got := ask(e, who); got != 401 && e.path != "/promote" {
				t.Errorf("%s %s as %s: %d", e.method, e.path, who, got)
			}
		}
		if e.needs != "" && ask(e, "zoe") != 403 {
			t.Errorf("%s %s by who is administrator elsewhere: %d", e.method, e.path, ask(e, "zoe"))
		}
		if e.needs != "" && ask(e, "narrow") != 401 {
			t.Errorf("%s %s with a token for something else: %d", e.method, e.path, ask(e, "narrow"))
		}
	}
	if len(f.calls) != 0 {
		// zoe and narrow may know of zones and the like.
		for _, c := range f.calls {
			if !strings.HasPrefix(c, "see ") {
				t.Error("asked for somebody who may not:", c)
			}
		}
	}
}

func TestUpdateIsAStream(t *testing.T) {
	a, f := newAPI(t)
	f.feeds = []api.FeedProgress{{Feed: "osv/Go", Records: 1, Total: 2}, {Feed: "osv/Go", Records: 2, Total: 2}}
	f.wait = make(chan struct{})
	s := httptest.NewServer(a)
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/api/v1/feeds/update", strings.NewReader(`{"force":["osv/Go"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer root"}, "Content-Type": {"application/json"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for i := range 2 { // they come while the update goes on
		var p api.FeedProgress
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), &p) != nil || p.Records != i+1 {
			t.Fatalf("%d: %s", i, lines.Bytes())
		}
	}
	close(f.wait)
	var last api.FeedProgress
	if !lines.Scan() || json.Unmarshal(lines.Bytes(), &last) != nil || lines.Scan() {
		t.Fatalf("%s", lines.Bytes())
	}
	want := api.FeedProgress{Done: &api.Snapshot{Seq: 3, Advisories: 7}, Feeds: []api.Feed{{Name: "osv/Go", Records: 7}}}
	if diff := cmp.Diff(want, last); diff != "" || res.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%v %s", res.Header, diff)
	}
}

// A client that goes away ends the update.
func TestUpdateEndsWithItsClient(t *testing.T) {
	a, f := newAPI(t)
	f.feeds, f.wait, f.ended = []api.FeedProgress{{Records: 1}}, make(chan struct{}), make(chan error, 1)
	s := httptest.NewServer(a)
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL+"/api/v1/feeds/update", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer root"}, "Content-Type": {"application/json"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Every row of the table is for something that can happen, and is no fault.
func TestTable(t *testing.T) {
	codes := map[string]bool{"denied": true, "not-found": true, "invalid": true, "unauthorized": true, "not-permitted": true, "conflict": true, "unavailable": true}
	for _, r := range table {
		a := (&call{p: people["ann"]}).answerTo(r.is)
		if !codes[r.code] || a.status != r.status || a.Message == "" || (r.status == 503) != (a.retry > 0) {
			t.Errorf("%v: %+v", r.is, a)
		}
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"dev/app:1.0", someDigest, "dev/app@" + someDigest, "sha256:x", "sha512/x:1", "a:b:c", "dev/app:1@sha256:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := reference(s)
		if err != nil {
			if a := (&call{}).answerTo(err); a.status != 400 && a.status != 500 {
				t.Errorf("%q: %v is %d", s, err, a.status)
			} else if a.status == 500 {
				t.Errorf("%q: %v is in no row", s, err)
			}
			return
		}
		again, err := reference(ref.String())
		if ref.Repository.IsZero() {
			again, err = reference(ref.Digest.String())
		}
		if err != nil || again != ref {
			t.Errorf("%q is %s, which is %s, %v", s, ref, again, err)
		}
		if ref.Repository.IsZero() && ref.Digest.IsZero() || ref.Tag == "" && ref.Digest.IsZero() {
			t.Errorf("%q names nothing: %+v", s, ref)
		}
		if ref.Tag != "" && oci.CheckTag(ref.Tag) != nil {
			t.Errorf("%q: %+v", s, ref)
		}
	})
}
