package registry_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/authz/authztest"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/registry"
	"github.com/bonded-dev/bonded/internal/repo"
)

// as sends a request and returns the answer with its body read.
func (w *world) as(who, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+who)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(b)
}

func (w *world) must(status int, who, method, path string, body io.Reader, header ...string) *http.Response {
	w.t.Helper()
	res, b := w.as(who, method, path, body, header...)
	if res.StatusCode != status {
		w.t.Fatalf("%s %s: %s, want %d: %s", method, path, res.Status, status, b)
	}
	return res
}

func (w *world) blob(who, name string, content []byte) oci.Digest {
	w.t.Helper()
	d := oci.FromBytes(content)
	w.must(http.StatusCreated, who, "POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), bytes.NewReader(content))
	return d
}

func (w *world) image(who, name, tag string, layer []byte) oci.Digest {
	w.t.Helper()
	config := w.blob(who, name, []byte("{}"))
	m := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		oci.MediaTypeManifest, oci.MediaTypeConfig, config, w.blob(who, name, layer), len(layer))
	w.must(http.StatusCreated, who, "PUT", "/v2/"+name+"/manifests/"+tag, strings.NewReader(m), "Content-Type", oci.MediaTypeManifest)
	return oci.FromBytes([]byte(m))
}

// raw sends bytes as they are and returns the connection.
func (w *world) raw(s string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, s); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func answerOn(t *testing.T, c net.Conn) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res, string(b)
}

func TestEveryAnswerSaysWhatItIs(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for _, path := range []string{"/v2/", "/v2/nothing", "/v2/dev/app/tags/list", "/elsewhere"} {
		res, _ := w.as("alice", "GET", path, nil)
		if got := res.Header.Get("Docker-Distribution-Api-Version"); got != "registry/2.0" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// A body that ends before its Content-Length: what came is kept, and the client
// goes on with the rest.
func TestTruncatedBodyIsKept(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for _, truncated := range []string{"PATCH", "PUT"} {
		content := []byte(truncated + " first half, second half")
		d := oci.FromBytes(content)
		loc := w.must(202, "alice", "POST", "/v2/dev/app/blobs/uploads/", nil).Header.Get("Location")
		path := loc
		if truncated == "PUT" {
			path += "?digest=" + d.String()
		}
		c := w.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Length: %d\r\n\r\n%s", truncated, path, len(content), content[:10]))
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		res, body := answerOn(t, c)
		if res.StatusCode != 400 || res.Header.Get("Range") != "0-9" || !strings.Contains(body, "BLOB_UPLOAD_INVALID") || res.Header.Get("Location") != loc {
			t.Errorf("%s: %s %s %q", truncated, res.Status, res.Header, body)
		}
		w.must(201, "alice", "PUT", loc+"?digest="+d.String(), bytes.NewReader(content[10:]), "Content-Range", fmt.Sprintf("10-%d", len(content)-1))
		if _, got := w.as("alice", "GET", "/v2/dev/app/blobs/"+d.String(), nil); got != string(content) {
			t.Errorf("%s: got %q", truncated, got)
		}
	}
}

// A chunked body says its length in Content-Range alone; more or less is wrong.
func TestContentRangeLies(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for _, test := range []struct{ span, kept string }{{"0-4", "0-4"}, {"0-99", "0-8"}} {
		loc := w.must(202, "alice", "POST", "/v2/dev/app/blobs/uploads/", nil).Header.Get("Location")
		res, body := w.as("alice", "PATCH", loc, struct{ io.Reader }{strings.NewReader("nine byte")}, "Content-Range", test.span)
		if res.StatusCode != 400 || !strings.Contains(body, "SIZE_INVALID") || res.Header.Get("Range") != test.kept {
			t.Errorf("%s: %s %v %s", test.span, res.Status, res.Header, body)
		}
	}
}

func TestTooLarge(t *testing.T) {
	w := newWorld(t)
	w.serve()
	big := bytes.Repeat([]byte("x"), 1<<20+1) // the world's limit is one byte less
	loc := w.must(202, "alice", "POST", "/v2/dev/app/blobs/uploads/", nil).Header.Get("Location")
	if res, body := w.as("alice", "PATCH", loc, bytes.NewReader(big)); res.StatusCode != 413 || !strings.Contains(body, "SIZE_INVALID") {
		t.Error(res.Status, body)
	}
	w.must(404, "alice", "GET", loc, nil)
	huge := bytes.Repeat([]byte(" "), oci.MaxManifest+1)
	for _, body := range []io.Reader{bytes.NewReader(huge), struct{ io.Reader }{bytes.NewReader(huge)}} {
		if res, text := w.as("alice", "PUT", "/v2/dev/app/manifests/1", body); res.StatusCode != 413 || !strings.Contains(text, "SIZE_INVALID") {
			t.Error(res.Status, text)
		}
	}
}

func TestFullDisk(t *testing.T) {
	w := newWorld(t)
	w.serve()
	content := bytes.Repeat([]byte("y"), 1<<20)
	status := 0
	for i := range 70 { // the world has room for 64
		content[0], content[1] = byte(i), 1
		res, _ := w.as("alice", "POST", "/v2/dev/app/blobs/uploads/?digest="+oci.FromBytes(content).String(), bytes.NewReader(content))
		if status = res.StatusCode; status != 201 {
			break
		}
	}
	if status != http.StatusInsufficientStorage {
		t.Errorf("status %d, want 507", status)
	}
	content[0] = 0
	if _, got := w.as("alice", "GET", "/v2/dev/app/blobs/"+oci.FromBytes(content).String(), nil); got != string(content) {
		t.Error("what was stored before is not intact")
	}
}

// Of many requests that write to one upload, one at a time is let in.
func TestConcurrentChunks(t *testing.T) {
	w := newWorld(t)
	w.serve()
	loc := w.must(202, "alice", "POST", "/v2/dev/app/blobs/uploads/", nil).Header.Get("Location")
	first, release := io.Pipe()
	started, done := make(chan struct{}), make(chan int)
	go func() {
		res, _ := w.as("alice", "PATCH", loc, io.TeeReader(first, signal(started)))
		done <- res.StatusCode
	}()
	io.WriteString(release, "held ")
	<-started
	for w.must(204, "alice", "GET", loc, nil).Header.Get("Range") != "0-4" { // until it has arrived
	}
	var wg sync.WaitGroup
	for range 100 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			res, body := w.as("alice", "PATCH", loc, strings.NewReader("more"))
			if res.StatusCode != 429 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "TOOMANYREQUESTS") {
				t.Error(res.Status, body)
			}
		}()
	}
	wg.Wait()
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	if status := <-done; status != 202 {
		t.Error("the first request got", status)
	}
	w.must(201, "alice", "PUT", loc+"?digest="+oci.FromBytes([]byte("held ")).String(), nil)
}

type signal chan struct{}

func (s signal) Write(p []byte) (int, error) {
	select {
	case <-s:
	default:
		close(s)
	}
	return len(p), nil
}

// A client that sends nothing for Idle is cut off, and what it sent is kept.
func TestIdleUploadIsCutOff(t *testing.T) {
	w := newWorld(t)
	o := w.opts
	o.Idle = 50 * time.Millisecond
	w.reg = registry.New(o)
	w.serve()
	loc := w.must(202, "alice", "POST", "/v2/dev/app/blobs/uploads/", nil).Header.Get("Location")
	c := w.raw("PATCH " + loc + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\nContent-Length: 1000\r\n\r\nslow")
	res, body := answerOn(t, c)
	if res.StatusCode != http.StatusRequestTimeout || res.Header.Get("Range") != "0-3" {
		t.Error(res.Status, res.Header, body)
	}
}

// The deadline of a body must not outlive it: net/http would take it for a
// client that went away, and cancel the handler.
func TestIdleEndsWithTheBody(t *testing.T) {
	w := newWorld(t)
	o := w.opts
	o.Idle = 20 * time.Millisecond
	w.reg = registry.New(o)
	finished := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.reg.ServeHTTP(rw, r)
		select {
		case <-r.Context().Done():
			finished <- context.Cause(r.Context())
		case <-time.After(100 * time.Millisecond):
			finished <- nil
		}
	}))
	defer s.Close()
	w.url = s.URL
	w.blob("alice", "dev/app", []byte("short"))
	if err := <-finished; err != nil {
		t.Error("the request was cancelled:", err)
	}
}

// Before the decision nobody without quarantine rights pulls, however many try.
func TestNoWindowBeforeTheDecision(t *testing.T) {
	w := newWorld(t)
	w.serve()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	d := oci.FromBytes([]byte(`not yet`))
	paths := make(chan string, 1)
	paths <- d.String()
	for range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				p := <-paths
				paths <- p
				if res, body := w.as("bob", "GET", "/v2/dev/app/manifests/"+p, nil); res.StatusCode != 404 {
					t.Errorf("%s %s", res.Status, body)
					return
				}
			}
		}()
	}
	pushed := w.image("alice", "dev/app", "1", []byte("layer"))
	<-paths
	paths <- pushed.String()
	for range 20 {
		w.image("alice", "dev/app", "1", []byte("layer"))
	}
	close(stop)
	wg.Wait()
	w.judge("dev/app@"+pushed.String(), repo.Admitted, "", time.Time{})
	w.must(200, "bob", "GET", "/v2/dev/app/manifests/"+pushed.String(), nil)
}

func TestHundredThousandTags(t *testing.T) {
	w := newWorld(t)
	w.serve()
	d := w.image("alice", "dev/app", "first", []byte("layer"))
	w.judge("dev/app@"+d.String(), repo.Admitted, "", time.Time{})
	const n = 100_000
	for i := range n - 1 {
		w.state.tags[tagKey{oci.MustRepository("dev/app"), fmt.Sprintf("v%06d", i)}] = d
	}
	seen, pages, last := 0, 0, ""
	for path := "/v2/dev/app/tags/list?n=50000"; path != ""; pages++ { // more than a page may have
		res, body := w.as("bob", "GET", path, nil)
		if res.StatusCode != 200 {
			t.Fatal(res.Status, body)
		}
		for _, tag := range strings.Split(strings.TrimSuffix(strings.SplitAfter(body, `"tags":["`)[1], `"]}`), `","`) {
			if tag <= last {
				t.Fatalf("%q after %q", tag, last)
			}
			last = tag
			seen++
		}
		link := res.Header.Get("Link")
		if path = ""; link != "" {
			path = link[1:strings.Index(link, ">")]
		}
	}
	if seen != n || pages != 11 {
		t.Errorf("%d tags on %d pages", seen, pages)
	}
}

// A page of referrers is no larger than clients read.
func TestReferrersPageBySize(t *testing.T) {
	w := newWorld(t)
	w.serve()
	subject := oci.FromBytes([]byte("subject"))
	r := oci.MustRepository("dev/app")
	for i := range 5 {
		raw := fmt.Appendf(nil, "%d", i)
		d := oci.FromBytes(raw)
		w.state.manifests[d] = &repo.Manifest{Digest: d, MediaType: oci.MediaTypeManifest, ArtifactType: "a/b", Subject: subject, Raw: raw,
			Annotations: map[string]string{"large": strings.Repeat("x", 3<<20)}}
		w.state.placements[placeKey{r, d}] = repo.Placement{Repository: r, Digest: d, State: repo.Attached}
	}
	pages := 0
	for path := "/v2/dev/app/referrers/" + subject.String() + "?artifactType=a/b"; path != ""; pages++ {
		res, body := w.as("bob", "GET", path, nil)
		if res.StatusCode != 200 || len(body) > oci.MaxManifest || strings.Count(body, "a/b") != 1 || res.Header.Get("OCI-Filters-Applied") != "artifactType" {
			t.Fatal(res.Status, len(body))
		}
		link := res.Header.Get("Link")
		if path = ""; link != "" {
			path = link[1:strings.Index(link, ">")]
		}
	}
	if pages != 5 {
		t.Errorf("%d pages", pages)
	}
}

// A fault of ours is no 404, is logged, and tells the client nothing of itself.
func TestFaultsOfTheServer(t *testing.T) {
	w := newWorld(t)
	w.serve()
	d := w.image("alice", "dev/app", "1", []byte("layer"))
	layer := oci.FromBytes([]byte("layer")).String()
	w.judge("dev/app@"+d.String(), repo.Admitted, "", time.Time{})
	for _, test := range []struct{ method, verb, path string }{
		{"Lookup", "GET", "/v2/dev/app/manifests/1"},
		{"Tags", "GET", "/v2/dev/app/tags/list"},
		{"Referrers", "GET", "/v2/dev/app/referrers/" + layer},
		{"BlobAccess", "GET", "/v2/dev/app/blobs/" + layer},
		{"BlobAccess", "HEAD", "/v2/dev/app/blobs/" + layer},
		{"Repositories", "GET", "/v2/_catalog"},
		{"Lookup", "DELETE", "/v2/dev/app/manifests/1"},
		{"Unlease", "DELETE", "/v2/dev/app/blobs/" + layer},
		{"Append", "POST", "/v2/dev/app/blobs/uploads/?digest=" + oci.FromBytes(nil).String()},
	} {
		w.log.Reset()
		w.fail[test.method] = errors.New("disk on fire")
		res, body := w.as("carol", test.verb, test.path, nil)
		if res.StatusCode != 500 || strings.Contains(body, "fire") || !strings.Contains(w.log.String(), "fire") {
			t.Errorf("%s: %s %s, logged %s", test.method, res.Status, body, w.log)
		}
		w.fail[test.method] = context.DeadlineExceeded
		if res, body := w.as("carol", test.verb, test.path, nil); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s %s", test.method, res.Status, body)
		}
		delete(w.fail, test.method)
	}
}

// Content that the database knows and the store lost is no 404.
func TestLostContent(t *testing.T) {
	w := newWorld(t)
	w.serve()
	d := w.image("alice", "dev/app", "1", []byte("layer"))
	w.judge("dev/app@"+d.String(), repo.Admitted, "", time.Time{})
	layer := oci.FromBytes([]byte("layer"))
	if err := w.blobs.Delete(t.Context(), layer); err != nil {
		t.Fatal(err)
	}
	res, _ := w.as("bob", "GET", "/v2/dev/app/blobs/"+layer.String(), nil)
	if res.StatusCode != 500 || res.Header.Get("ETag") != "" || !strings.Contains(w.log.String(), "fsck") {
		t.Errorf("%s %v %s", res.Status, res.Header, w.log)
	}
}

// Nobody is left to read an answer, and nothing went wrong that is worth a line.
func TestClientWentAway(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req := httptest.NewRequestWithContext(ctx, "GET", "/v2/dev/app/tags/list", nil)
	req.Header.Set("Authorization", "Bearer alice")
	rec := httptest.NewRecorder()
	w.reg.ServeHTTP(rec, req)
	if rec.Body.Len() > 0 || w.log.Len() > 0 {
		t.Errorf("answered %q, logged %q", rec.Body, w.log)
	}
}

// fileStore serves a file, as blob/disk does.
type fileStore struct {
	blob.Store
	path string
}

type osFile = os.File

type fileContent struct {
	*osFile
	size int64
}

func (f fileContent) Size() int64         { return f.size }
func (f fileContent) File() io.ReadSeeker { return f.osFile }

func (s fileStore) Open(context.Context, oci.Digest) (blob.Content, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return fileContent{f, info.Size()}, nil
}

// sendfileSpy stands for the connection's ResponseWriter.
type sendfileSpy struct {
	*httptest.ResponseRecorder
	file bool
}

func (s *sendfileSpy) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		_, s.file = l.R.(*os.File)
	}
	return io.Copy(s.ResponseRecorder, r)
}

func TestBlobsGoOutBySendfile(t *testing.T) {
	w := newWorld(t)
	w.serve()
	layer := []byte("a layer that lies in a file")
	d := w.blob("alice", "dev/app", layer)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, layer, 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.opts
	o.Blobs = fileStore{w.blobs, path}
	for _, observe := range []func(registry.Op, int, time.Duration){nil, func(op registry.Op, status int, _ time.Duration) {
		if op != registry.BlobGet || status != 200 && status != 206 {
			t.Error("observed", op, status)
		}
	}} {
		o.Observe = observe
		for _, span := range []string{"", "bytes=2-6"} {
			req := httptest.NewRequestWithContext(t.Context(), "GET", "/v2/dev/app/blobs/"+d.String(), nil)
			req.Header.Set("Authorization", "Bearer alice")
			if span != "" {
				req.Header.Set("Range", span)
			}
			spy := &sendfileSpy{ResponseRecorder: httptest.NewRecorder()}
			registry.New(o).ServeHTTP(spy, req)
			if !spy.file || spy.Code/100 != 2 {
				t.Errorf("status %d, a file reached the connection: %v", spy.Code, spy.file)
			}
		}
	}
}

func TestMultipleRanges(t *testing.T) {
	w := newWorld(t)
	w.serve()
	d := w.blob("alice", "dev/app", []byte("0123456789"))
	res, body := w.as("alice", "GET", "/v2/dev/app/blobs/"+d.String(), nil, "Range", "bytes=0-1,8-9")
	if res.StatusCode != 206 || !strings.HasPrefix(res.Header.Get("Content-Type"), "multipart/byteranges") ||
		!strings.Contains(body, "bytes 0-1/10\r\nContent-Type: application/octet-stream\r\n\r\n01\r\n") || !strings.Contains(body, "89") {
		t.Error(res.Status, res.Header, body)
	}
}

// fixed is a reader that always finds the same manifest.
type fixed struct {
	repo.Reader
	m *repo.Placed
}

func (f fixed) Lookup(context.Context, oci.Repository, repo.Selector, repo.Viewer) (*repo.Placed, error) {
	return f.m, nil
}

type always struct{ authz.Principal }

func (a always) Authenticate(*http.Request) (authz.Principal, error) { return a.Principal, nil }
func (always) Challenge(*http.Request, error, string) string         { return "" }

// discarded takes an answer for nobody.
type discarded struct{ h http.Header }

func (d discarded) Header() http.Header       { return d.h }
func (discarded) Write(p []byte) (int, error) { return len(p), nil }
func (discarded) WriteHeader(int)             {}

// BenchmarkManifestGet is the handler alone: a pull by digest of what is
// admitted, under the grants of an account and the scope of a token.
func BenchmarkManifestGet(b *testing.B) {
	raw := bytes.Repeat([]byte("m"), 2000)
	d, r := oci.FromBytes(raw), oci.MustRepository("production/payments/api")
	p := authztest.Person("alice", "developer=dev/**", "reader=production/payments/*", "reader=catalog/**")
	p.Scope = []authz.Scope{{Repository: r, Verbs: []authz.Verb{authz.Pull, authz.PullFromQuarantine}}}
	sight := func(p authz.Principal) repo.Sight { return repo.DefaultZones().Sight(p, nil) }
	reg := registry.New(registry.Options{Auth: always{p}, Sight: sight, Clock: time.Now, Reader: fixed{m: &repo.Placed{
		Placement: repo.Placement{Repository: r, Digest: d, State: repo.Admitted},
		Manifest:  repo.Manifest{Digest: d, MediaType: oci.MediaTypeManifest, Raw: raw},
	}}})
	req := httptest.NewRequestWithContext(b.Context(), "GET", "/v2/"+r.String()+"/manifests/"+d.String(), nil)
	w := discarded{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.h)
		reg.ServeHTTP(w, req)
	}
	if w.h.Get("Docker-Content-Digest") != d.String() {
		b.Fatal(w.h)
	}
}
