package feed

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// site publishes feeds as osv.dev does, and can be made to misbehave.
type site struct {
	*bench
	*httptest.Server
	files map[string][]byte // by path
	// before, when set, may answer request n itself and says whether it did.
	before func(w http.ResponseWriter, r *http.Request, n int) bool

	mu   sync.Mutex
	seen []string // "path status range" of each request, in order of arrival
}

func newSite(t *testing.T) *site {
	s := &site{bench: newBench(t), files: map[string][]byte{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Server.Close)
	s.opts.Client = s.Server.Client()
	s.loader = NewLoader(s.opts)
	s.source.Location = s.Server.URL + "/osv"
	return s
}

// arrive notes a request and returns its number.
func (s *site) arrive() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, "")
	return len(s.seen) - 1
}

func (s *site) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	n := s.arrive()
	rec := &recorder{ResponseWriter: w, status: func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen[n] = strings.TrimSpace(fmt.Sprintf("%s %d %s", r.URL.Path, status, r.Header.Get("Range")))
	}}
	if s.before != nil && s.before(rec, r, n) {
		return
	}
	b, ok := s.files[r.URL.Path]
	if !ok {
		http.NotFound(rec, r)
		return
	}
	rec.Header().Set("ETag", etag(b))
	http.ServeContent(rec, r, "", time.Time{}, strings.NewReader(string(b)))
}

func etag(b []byte) string { return fmt.Sprintf(`"%d-%d"`, len(b), sum(b)) }

func sum(b []byte) (n uint32) {
	for _, c := range b {
		n = n*31 + uint32(c)
	}
	return n
}

// recorder tells the status of an answer before it is sent.
type recorder struct {
	http.ResponseWriter
	status func(int)
}

func (r *recorder) WriteHeader(status int) {
	r.status(status)
	r.ResponseWriter.WriteHeader(status)
}

// breakOff sends the beginning of an answer and then breaks the connection.
func breakOff(w http.ResponseWriter, status int, part []byte) {
	w.WriteHeader(status)
	w.Write(part)
	w.(*recorder).ResponseWriter.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func (s *site) publish(ecosystem string, files map[string]string) {
	s.Helper()
	s.files["/osv/"+ecosystem+"/all.zip"] = zipped(s, files)
	var names []string
	for path := range maps.Keys(s.files) {
		if eco, ok := strings.CutSuffix(strings.TrimPrefix(path, "/osv/"), "/all.zip"); ok {
			names = append(names, eco)
		}
	}
	s.files["/osv/ecosystems.txt"] = []byte(strings.Join(slices.Sorted(slices.Values(names)), "\r\n") + "\n\nGIT\n")
}

func TestRemote(t *testing.T) {
	s := newSite(t)
	files := records(30)
	s.publish("PyPI", files)
	s.publish("Rocky Linux", records(2))
	s.want("first", summary(s.load()), []string{
		"osv/PyPI: 30 records, 30 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
		"osv/Rocky Linux: 2 records, 2 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped",
	})
	files["P-001.json"] = record("P-001", "3")
	s.publish("PyPI", files)
	s.want("second", summary(s.load()), []string{
		"osv/PyPI: 30 records, 0 new, 1 changed, 0 withdrawn, 0 gone, 0 skipped",
		"osv/Rocky Linux: 2 records, 0 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped, unchanged",
	})
	s.want("requests", s.requests(), []string{
		"/osv/ecosystems.txt 200", "/osv/PyPI/all.zip 200", "/osv/Rocky Linux/all.zip 200",
		"/osv/ecosystems.txt 200", "/osv/PyPI/all.zip 200", "/osv/Rocky Linux/all.zip 304",
	})
	if state := s.state("osv/PyPI"); state.Source != s.source.Location || state.ETag == "" {
		t.Errorf("state %+v", state)
	}
}

// A connection that breaks is resumed where it broke.
func TestResume(t *testing.T) {
	s := newSite(t)
	s.publish("PyPI", records(400))
	all := s.files["/osv/PyPI/all.zip"]
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n != 1 && n != 2 {
			return false
		}
		w.Header().Set("ETag", etag(all))
		if n == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(all)))
			breakOff(w, http.StatusOK, all[:1000])
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 1000-%d/%d", len(all)-1, len(all)))
		w.Header().Set("Content-Length", fmt.Sprint(len(all)-1000))
		breakOff(w, http.StatusPartialContent, all[1000:5000])
		return true
	}
	s.want("load", summary(s.load()), []string{"osv/PyPI: 400 records, 400 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped"})
	s.want("requests", s.requests(), []string{
		"/osv/ecosystems.txt 200", "/osv/PyPI/all.zip 200", "/osv/PyPI/all.zip 206 bytes=1000-", "/osv/PyPI/all.zip 206 bytes=5000-",
	})
}

// What has changed between two attempts is fetched from its beginning.
func TestResumeOfAnotherFile(t *testing.T) {
	s := newSite(t)
	s.publish("PyPI", records(400))
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n != 1 {
			return false
		}
		all := s.files["/osv/PyPI/all.zip"]
		w.Header().Set("ETag", etag(all))
		w.Header().Set("Content-Length", fmt.Sprint(len(all)))
		s.publish("PyPI", records(410))
		breakOff(w, http.StatusOK, all[:5000])
		return true
	}
	s.want("load", summary(s.load()), []string{"osv/PyPI: 410 records, 410 new, 0 changed, 0 withdrawn, 0 gone, 0 skipped"})
	s.want("last request", s.requests()[2], "/osv/PyPI/all.zip 200 bytes=5000-")
}

func TestRetries(t *testing.T) {
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, n int) bool // of requests for the archive, from 0
		want   string                                  // part of the error, "" when it is loaded in the end
		waits  []string
	}{
		{"busy for a while", func(w http.ResponseWriter, n int) bool {
			if n < 2 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n < 2
		}, "", []string{"1.2s", "1.9s"}},
		{"tells when to come back", func(w http.ResponseWriter, n int) bool {
			if n == 0 {
				w.Header().Set("Retry-After", "42")
				w.WriteHeader(http.StatusTooManyRequests)
			}
			return n == 0
		}, "", []string{"42s"}},
		{"tells the hour to come back", func(w http.ResponseWriter, n int) bool {
			if n == 0 {
				w.Header().Set("Retry-After", "Sun, 22 Nov 2026 05:01:30 GMT")
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return n == 0
		}, "", []string{"1m30s"}},
		{"wants to be left alone", func(w http.ResponseWriter, n int) bool {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		}, "asks to be left alone for 1h0m0s", nil},
		{"down", func(w http.ResponseWriter, n int) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}, "502 Bad Gateway (5 attempts)", []string{"1.2s", "1.9s", "4s", "7.4s"}},
		{"forbidden", func(w http.ResponseWriter, n int) bool {
			w.WriteHeader(http.StatusForbidden)
			return true
		}, "403 Forbidden", nil},
		{"redirects to http", func(w http.ResponseWriter, n int) bool {
			w.Header().Set("Location", "http://elsewhere.example/all.zip")
			w.WriteHeader(http.StatusFound)
			return true
		}, "which is not https", nil},
		{"redirects in a circle", func(w http.ResponseWriter, n int) bool {
			w.Header().Set("Location", "/osv/PyPI/all.zip")
			w.WriteHeader(http.StatusFound)
			return true
		}, "redirected more than 5 times", nil},
		{"too large", func(w http.ResponseWriter, n int) bool {
			w.Header().Set("Content-Length", "1000000000000")
			breakOff(w, http.StatusOK, []byte("PK"))
			return true
		}, "has 1000000000000 bytes, more than 2147483648", nil},
		{"not modified since never", func(w http.ResponseWriter, n int) bool {
			w.WriteHeader(http.StatusNotModified)
			return true
		}, "304 Not Modified", nil},
		{"a part nobody asked for", func(w http.ResponseWriter, n int) bool {
			if n == 0 {
				w.Header().Set("Content-Range", "bytes 5-9/100")
				w.WriteHeader(http.StatusPartialContent)
			}
			return n == 0
		}, "", []string{"1.2s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.publish("PyPI", records(3))
			s.before = func(w http.ResponseWriter, r *http.Request, n int) bool { return n > 0 && tt.answer(w, n-1) }
			r := s.load()
			s.want("waits", s.waits, tt.waits)
			switch err := r.Err(); {
			case tt.want == "" && err != nil:
				t.Errorf("not loaded: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// More than the limit is not kept, whatever length the server tells.
func TestEndlessBody(t *testing.T) {
	s := newSite(t)
	s.opts.Limits.Archive = 64 << 10
	s.loader = NewLoader(s.opts)
	s.publish("PyPI", records(3))
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 0 {
			return false
		}
		for range 100 {
			if _, err := w.Write(make([]byte, 4<<10)); err != nil {
				break
			}
		}
		return true
	}
	r := s.load()
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "has more than 65536 bytes") {
		t.Errorf("error %v", err)
	}
}

// A server that sends nothing any more is given up, and asked again.
func TestStall(t *testing.T) {
	s := newSite(t)
	s.opts.Limits.Stall = 500 * time.Millisecond
	s.loader = NewLoader(s.opts)
	s.publish("PyPI", records(3))
	s.before = func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n != 1 {
			return false
		}
		<-r.Context().Done()
		return true
	}
	r := s.load()
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	if len(s.waits) == 0 { // more on a machine that stalls by itself
		t.Error("the request was not given up")
	}
}

func TestLists(t *testing.T) {
	for name, tt := range map[string]struct{ list, want string }{
		"empty":     {"", "names none"},
		"unusable":  {"GIT\n[EMPTY]\n../..\n.hidden\nslash/ed\n", "names none"},
		"long line": {strings.Repeat("x", 100_000), "token too long"},
	} {
		s := newSite(t)
		s.files["/osv/ecosystems.txt"] = []byte(tt.list)
		if _, err := s.loader.Load(t.Context(), s.source); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", name, err, tt.want)
		}
	}
}

func TestDisplayHidesCredentials(t *testing.T) {
	for in, want := range map[string]string{
		"https://me:secret@feeds.example/osv": "https://feeds.example/osv",
		"https://feeds.example/a@b":           "https://feeds.example/a@b",
		"/srv/osv@home":                       "/srv/osv@home",
	} {
		if got := (&Source{Location: in}).display(); got != want {
			t.Errorf("display of %s is %s, want %s", in, got, want)
		}
	}
}
