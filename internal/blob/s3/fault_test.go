package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/blobtest"
	"github.com/bonded-dev/bonded/internal/blob/s3"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
)

// transport makes requests that a test may interfere with.
type transport func(r *http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// send is what happens without interference.
func send(r *http.Request) (*http.Response, error) { return http.DefaultTransport.RoundTrip(r) }

var errNetwork = errors.New("the network is down")

// faults fails one request of a run, or all from one on.
type faults struct {
	at    int  // the request, the first being 1
	after bool // it reaches the server, only the answer is lost
	dead  bool // so are all after it: the process is gone

	mu    sync.Mutex
	count int
}

func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.count++
	n := f.count
	f.mu.Unlock()
	switch {
	case n < f.at || f.at == 0, n > f.at && !f.dead:
		return send(r)
	case n == f.at && f.after:
		resp, err := send(r)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return nil, err
		}
		resp.Body.Close()
	case r.Body != nil:
		r.Body.Close()
	}
	return nil, errNetwork
}

// story is what happens in the tests of this file: a small blob is put, and
// one is uploaded that needs a join, with a piece that is gathered, a piece
// that is copied, and bytes to cut.
type story struct {
	small, large []byte
	acked        []oci.Digest
	id           blob.UploadID // of the last upload of the large one
	kept         int64         // of it, says the store
	uploads      int
}

func newStory() *story {
	return &story{small: blobtest.Bytes(100, 1), large: blobtest.Bytes(10*mib+100, 2)}
}

func (st *story) run(ctx context.Context, cfg s3.Config) error {
	s, err := s3.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if err := s.Put(ctx, oci.FromBytes(st.small), st.small); err != nil {
		return err
	}
	st.acked = append(st.acked, oci.FromBytes(st.small))
	u := s.Uploads()
	at, err := u.Size(ctx, st.id)
	if errors.Is(err, blob.ErrUploadUnknown) {
		st.uploads++
		st.id, st.kept = blobtest.ID(st.uploads), 0
		at, err = 0, u.Begin(ctx, st.id)
	}
	if err != nil {
		return err
	}
	sent := append(bytes.Clone(st.large), "more"...)
	for _, end := range []int{2 * mib, len(sent)} {
		if at >= int64(end) {
			continue
		}
		n, err := u.Append(ctx, st.id, at, bytes.NewReader(sent[at:end]), nil)
		at += n
		st.kept = at
		if err != nil {
			return err
		}
	}
	if err := u.Commit(ctx, st.id, int64(len(st.large)), oci.FromBytes(st.large)); err != nil {
		return err
	}
	st.acked = append(st.acked, oci.FromBytes(st.large))
	return nil
}

// check says what is wrong with what the story left, as another process sees it.
func (st *story) check(ctx context.Context, cfg s3.Config) error {
	s, err := s3.Open(ctx, cfg)
	if err != nil {
		return err
	}
	found := map[oci.Digest]bool{}
	err = s.Walk(ctx, func(d oci.Digest, size int64) error {
		b, err := readBlob(ctx, s, d)
		if err != nil || int64(len(b)) != size {
			return fmt.Errorf("reading %s of %d bytes: %d bytes, %v", d, size, len(b), err)
		}
		found[d] = true
		return blob.Verify(d, b)
	})
	if err != nil {
		return err
	}
	for _, d := range st.acked {
		if !found[d] {
			return fmt.Errorf("acknowledged %s is not there", d)
		}
	}
	size, err := s.Uploads().Size(ctx, st.id)
	if !found[oci.FromBytes(st.large)] && st.kept > 0 && (err != nil || size < st.kept) {
		return fmt.Errorf("upload has %d bytes, %v, and Append said %d", size, err, st.kept)
	}
	return nil
}

// TestFaults fails each request of the story, before and after it reached the
// server, alone and with all that follow.
func TestFaults(t *testing.T) {
	testparts.S3(t) // skips all at once
	t.Parallel()
	for _, test := range []struct {
		name        string
		after, dead bool
	}{
		{"request lost", false, false},
		{"answer lost", true, false},
		{"killed", false, true}, // which is all the same to the server as after the request before
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			good := config(t)
			for at := 1; ; at++ {
				cfg, f, st := good, &faults{at: at, after: test.after, dead: test.dead}, newStory()
				cfg.Prefix = fmt.Sprintf("%s%d/", good.Prefix, at)
				cfg.Transport, cfg.Retries = f, 1
				err := st.run(t.Context(), cfg)
				if err != nil && !errors.Is(err, errNetwork) {
					t.Errorf("request %d: %v", at, err)
				}
				cfg.Transport, cfg.Retries = nil, 0
				if err := st.check(t.Context(), cfg); err != nil {
					t.Errorf("request %d: %v", at, err)
				}
				if err := st.run(t.Context(), cfg); err != nil {
					t.Errorf("request %d, then: %v", at, err)
				}
				if err := st.check(t.Context(), cfg); err != nil {
					t.Errorf("request %d, then: %v", at, err)
				}
				if err := empty(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
				if f.count < at {
					return
				}
			}
		})
	}
}

// TestRetries loses each answer once, and the second attempt of the request is
// as good.
func TestRetries(t *testing.T) {
	good := config(t)
	t.Parallel()
	for at := 1; ; at++ {
		cfg, f, st := good, &faults{at: at, after: true}, newStory()
		cfg.Prefix = fmt.Sprintf("%s%d/", good.Prefix, at)
		cfg.Transport, cfg.Retries = f, 3
		err := st.run(t.Context(), cfg)
		// Only Begin cannot tell its own first attempt from another's.
		if err != nil && !strings.HasPrefix(err.Error(), "beginning upload") {
			t.Errorf("request %d: %v", at, err)
		}
		if err := st.check(t.Context(), cfg); err != nil {
			t.Errorf("request %d: %v", at, err)
		}
		if err := empty(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if f.count < at {
			return
		}
	}
}

// TestEarlyAnswer has a transport that goes on reading the body of a request
// after the server has answered it, as net/http does with a server that sees
// from the headers alone that it will refuse.
func TestEarlyAnswer(t *testing.T) {
	good := config(t)
	data, id := blobtest.Bytes(mib, 1), blobtest.ID(1)
	var unread io.Reader
	refused := 0
	cfg := good
	cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if unread != nil {
			_, _ = io.Copy(io.Discard, unread) // the request that it was of is over
			unread = nil
		}
		if r.Method != http.MethodPut || r.ContentLength < mib {
			return send(r)
		}
		refused++
		// The part is there, as if an attempt before had made it.
		if _, err := open(t, good).Uploads().Append(r.Context(), id, 0, bytes.NewReader(data), nil); err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, r.Body, mib/2); err != nil {
			return nil, err
		}
		unread = r.Body
		return answer(r, http.StatusPreconditionFailed, "<Error><Code>PreconditionFailed</Code></Error>"), nil
	})
	u := open(t, cfg).Uploads()
	if err := u.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	n, err := u.Append(t.Context(), id, 0, bytes.NewReader(data), nil)
	if n != mib || err != nil || refused != 1 {
		t.Errorf("Append = %d, %v, after %d answers that came early", n, err, refused)
	}
}

// late keeps the first request that makes a part, fails it, and lets it arrive
// when the test says so.
type late struct {
	unconditional bool // the server has no conditional writes
	first         *http.Request
	body          []byte
}

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.unconditional && r.Header.Get("If-None-Match") != "" {
		if r.Body != nil {
			r.Body.Close()
		}
		return answer(r, http.StatusNotImplemented, "<Error><Code>NotImplemented</Code></Error>"), nil
	}
	if l.first == nil && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/uploads/") && !strings.HasSuffix(r.URL.Path, "/open") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		l.first, l.body = r.Clone(context.WithoutCancel(r.Context())), body
		return nil, errNetwork
	}
	return send(r)
}

func (l *late) arrive(t *testing.T) int {
	t.Helper()
	l.first.Body = io.NopCloser(bytes.NewReader(l.body))
	resp, err := send(l.first)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestLateRequest has a request, given up on long ago, arrive when other bytes
// were sent in its place: it must never be in a blob.
func TestLateRequest(t *testing.T) {
	testparts.S3(t) // skips all at once
	for name, unconditional := range map[string]bool{"conditional": false, "unconditional": true} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			l := &late{unconditional: unconditional}
			cfg.Transport, cfg.Retries = l, 1
			s := open(t, cfg)
			u, id := s.Uploads(), blobtest.ID(1)
			if err := u.Begin(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if n, err := u.Append(t.Context(), id, 0, strings.NewReader("first"), nil); !errors.Is(err, errNetwork) || n != 0 {
				t.Fatalf("Append without a network = %d, %v", n, err)
			}
			if n, err := u.Append(t.Context(), id, 0, strings.NewReader("other"), nil); err != nil || n != 5 {
				t.Fatalf("Append = %d, %v", n, err)
			}
			if status := l.arrive(t); (status == http.StatusOK) != unconditional {
				t.Errorf("the late request is answered with %d", status)
			}
			d := oci.FromBytes([]byte("other"))
			err := u.Commit(t.Context(), id, 5, d)
			if (err != nil) != unconditional {
				t.Errorf("Commit: %v", err)
			}
			if b, err := readBlob(t.Context(), s, d); !unconditional && (err != nil || string(b) != "other") {
				t.Errorf("the blob is %q, %v", b, err)
			} else if unconditional && !errors.Is(err, blob.ErrNotFound) {
				t.Errorf("a blob of other bytes is visible: %q, %v", b, err)
			}
			if unconditional {
				p := make([]byte, 5)
				if n, err := u.ReadAt(t.Context(), id, p, 0); err == nil {
					t.Errorf("ReadAt gives %q, which is not what was written", p[:n])
				}
			}
		})
	}
}

// TestPartTaken has a second writer, against the rules.
func TestPartTaken(t *testing.T) {
	cfg := config(t)
	here, there := open(t, cfg).Uploads(), open(t, cfg).Uploads()
	id := blobtest.ID(1)
	if err := here.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		n, err := here.Append(t.Context(), id, 0, pr, nil)
		if n != 0 {
			err = fmt.Errorf("kept %d bytes, %w", n, err)
		}
		done <- err
	}()
	if _, err := pw.Write([]byte("mine")); err != nil { // Append has listed by now
		t.Fatal(err)
	}
	if _, err := there.Append(t.Context(), id, 0, strings.NewReader("yours"), nil); err != nil {
		t.Fatal(err)
	}
	if err := pw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, blob.ErrOffset) || strings.HasPrefix(err.Error(), "kept") {
		t.Errorf("the slower of two writers is told %v", err)
	}
	if size, err := here.Size(t.Context(), id); size != 5 || err != nil {
		t.Errorf("Size = %d, %v", size, err)
	}
}

// TestBrokenDownload breaks the connection in every answer with content.
func TestBrokenDownload(t *testing.T) {
	cfg := config(t)
	data := blobtest.Bytes(300_000, 1)
	d := oci.FromBytes(data)
	if err := open(t, cfg).Put(t.Context(), d, data); err != nil {
		t.Fatal(err)
	}
	limit, answers := int64(100_000), 0
	cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
		resp, err := send(r)
		if err == nil && r.Method == http.MethodGet && r.Header.Get("Range") != "" {
			answers++
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(resp.Body, limit), broken{}), resp.Body}
		}
		return resp, err
	})
	s := open(t, cfg)
	if b, err := readBlob(t.Context(), s, d); err != nil || !bytes.Equal(b, data) || answers != 3 {
		t.Errorf("read %d bytes in %d answers, %v", len(b), answers, err)
	}
	c, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := make([]byte, 250_000)
	if n, err := c.ReadAt(p, 50_000); err != nil || !bytes.Equal(p[:n], data[50_000:]) {
		t.Errorf("ReadAt = %d, %v", n, err)
	}
	limit = 0
	if _, err := c.Read(p); !errors.Is(err, errNetwork) {
		t.Errorf("Read from a server that sends nothing: %v", err)
	}
	if _, err := c.ReadAt(p, 0); !errors.Is(err, errNetwork) {
		t.Errorf("ReadAt from a server that sends nothing: %v", err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errNetwork }

// answer is what a server says.
func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}
}

// TestCompletedBefore has a server that forgets a join once it is complete, so
// that completing it again, for want of an answer, says that there is none.
func TestCompletedBefore(t *testing.T) {
	for name, reached := range map[string]bool{"completed": true, "not completed": false} {
		t.Run(name, func(t *testing.T) {
			good := config(t)
			cfg, st := good, newStory()
			cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
				if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") {
					return send(r)
				}
				if reached {
					resp, err := send(r)
					if err != nil {
						return nil, err
					}
					resp.Body.Close()
				} else {
					r.Body.Close()
				}
				return answer(r, http.StatusNotFound, "<Error><Code>NoSuchUpload</Code></Error>"), nil
			})
			if err := st.run(t.Context(), cfg); (err == nil) != reached {
				t.Error(err)
			}
			if err := st.check(t.Context(), good); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSmallReads follows an upload in small steps and counts requests.
func TestSmallReads(t *testing.T) {
	cfg := config(t)
	var gets atomic.Int64
	cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodGet && r.Header.Get("Range") != "" {
			gets.Add(1)
		}
		return send(r)
	})
	u, id := open(t, cfg).Uploads(), blobtest.ID(1)
	if err := u.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	data := blobtest.Bytes(9*mib+5, 1)
	if _, err := u.Append(t.Context(), id, 0, bytes.NewReader(data), nil); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	const step = 3000
	for at := 0; at < len(got); at += step {
		p := got[at:min(at+step, len(got))]
		if n, err := u.ReadAt(t.Context(), id, p, int64(at)); n != len(p) || err != nil {
			t.Fatalf("ReadAt(%d at %d) = %d, %v", len(p), at, n, err)
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("other bytes were read than were written")
	}
	if n := gets.Load(); n > 19 { // 16 blocks of the first part, 3 of the second
		t.Errorf("%d requests for %d bytes", n, len(data))
	}
}

func TestFullServer(t *testing.T) {
	cfg := config(t)
	full := false
	cfg.Retries = 1
	cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if !full || r.Method != http.MethodPut {
			return send(r)
		}
		r.Body.Close()
		return answer(r, http.StatusInsufficientStorage, ""), nil
	})
	s := open(t, cfg)
	u, id := s.Uploads(), blobtest.ID(1)
	if err := u.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	full = true
	b := []byte("b")
	if err := s.Put(t.Context(), oci.FromBytes(b), b); !errors.Is(err, blob.ErrNoSpace) {
		t.Errorf("Put on a full server: %v", err)
	}
	if n, err := u.Append(t.Context(), id, 0, bytes.NewReader(b), nil); n != 0 || !errors.Is(err, blob.ErrNoSpace) {
		t.Errorf("Append on a full server = %d, %v", n, err)
	}
}

// TestCancelKilled ends the process at each request of Cancel: the upload is
// whole or unknown, and in either case Walk names it as long as there is
// something to remove.
func TestCancelKilled(t *testing.T) {
	good := config(t)
	for at := 1; ; at++ {
		cfg, f := good, &faults{dead: true}
		cfg.Transport, cfg.Retries = f, 1
		s := open(t, cfg)
		u, id := s.Uploads(), blobtest.ID(at)
		if err := u.Begin(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		for n := range int64(3) {
			if _, err := u.Append(t.Context(), id, n, strings.NewReader("x"), nil); err != nil {
				t.Fatal(err)
			}
		}
		f.at = f.count + at
		err := u.Cancel(t.Context(), id)
		left := open(t, good).Uploads()
		size, serr := left.Size(t.Context(), id)
		if !errors.Is(serr, blob.ErrUploadUnknown) && (size != 3 || serr != nil) {
			t.Errorf("killed at request %d of Cancel: Size = %d, %v", at, size, serr)
		}
		named := 0
		werr := left.Walk(t.Context(), func(id blob.UploadID, n int64, _ time.Time) error {
			if named++; n != size {
				t.Errorf("killed at request %d of Cancel: Walk says %d bytes, Size %d", at, n, size)
			}
			return left.Cancel(t.Context(), id)
		})
		if want := err != nil; werr != nil || named > 1 || (named == 1) != want {
			t.Errorf("killed at request %d of Cancel (%v): Walk names %d, %v", at, err, named, werr)
		}
		if err == nil {
			return
		}
	}
}

// TestSweep leaves a join that a process did not live to finish.
func TestSweep(t *testing.T) {
	good := config(t)
	cfg, st := good, newStory()
	var dead atomic.Bool
	cfg.Retries = 1
	cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if dead.Load() || r.Header.Get("X-Amz-Copy-Source") != "" {
			dead.Store(true)
			return nil, errNetwork
		}
		return send(r)
	})
	if err := st.run(t.Context(), cfg); !errors.Is(err, errNetwork) {
		t.Fatal(err)
	}
	s := open(t, good)
	now := time.Now()
	for _, test := range []struct {
		before time.Time
		want   int
	}{{now.Add(-time.Hour), 0}, {now.Add(time.Hour), 1}, {now.Add(time.Hour), 0}} {
		if n, err := s.Sweep(t.Context(), test.before); n != test.want || err != nil {
			t.Errorf("Sweep of what is from before %v = %d, %v, want %d", test.before, n, err, test.want)
		}
	}
	if err := st.check(t.Context(), good); err != nil {
		t.Error(err)
	}
}
