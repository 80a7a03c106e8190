package feed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

const (
	maxList      = 1 << 20 // bytes of ecosystems.txt
	maxRedirects = 5
	firstPause   = time.Second     // before the second attempt; doubles, with jitter of a half
	longestPause = 2 * time.Minute // a server that asks for more is asked another day
)

// notFollowed is a redirect that the next attempt would meet again.
type notFollowed struct{ error }

// remote is an https address.
type remote struct {
	*run
	base   *url.URL
	client *http.Client
}

func newRemote(r *run) (*remote, error) {
	base, err := url.Parse(r.src.Location)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("address %s is no URL", oci.Quote(r.src.display()))
	}
	if r.opts.Client == nil {
		return nil, errors.New("no client to fetch with")
	}
	client := *r.opts.Client
	client.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" {
			return &notFollowed{fmt.Errorf("redirected to %s, which is not https", oci.Quote(req.URL.Redacted()))}
		}
		if len(via) > maxRedirects {
			return &notFollowed{fmt.Errorf("redirected more than %d times", maxRedirects)}
		}
		return nil
	}
	return &remote{run: r, base: base, client: &client}, nil
}

// feeds reads the list of ecosystems.
func (r *remote) feeds(ctx context.Context) ([]string, error) {
	var buf bytes.Buffer
	f := fetch{remote: r, url: r.base.JoinPath(listName).String(), limit: maxList, to: &memory{&buf}}
	if _, err := f.run(ctx); err != nil {
		return nil, fmt.Errorf("fetching the list of ecosystems: %w", err)
	}
	var names []string
	lines := bufio.NewScanner(&buf)
	for lines.Scan() {
		names = append(names, strings.TrimSpace(lines.Text()))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the list of ecosystems: %w", err)
	}
	if names = usable(names); len(names) == 0 {
		return nil, fmt.Errorf("the list of ecosystems at %s names none", r.src.display())
	}
	return names, nil
}

// open fetches the archive into a temporary file, which is gone when the
// documents are closed, or this process ends.
func (r *remote) open(ctx context.Context, folder string, state *vuln.FeedState) (documents, error) {
	file, err := os.CreateTemp(r.opts.Temp, "feed-*.zip")
	if err != nil {
		return nil, fmt.Errorf("making room for the archive: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("making room for the archive: %w", err)
	}
	name := r.src.Name + "/" + folder
	f := fetch{
		remote: r, url: r.base.JoinPath(folder, archiveName).String(), limit: r.opts.Limits.Archive, to: &disk{file},
		etag: state.ETag, lastModified: state.LastModified,
		progress: func(done, total int64) {
			r.opts.Progress(Progress{Feed: name, Step: "fetch", Done: done, Total: total})
		},
	}
	a, err := f.archive(ctx, file)
	if err != nil || a == nil {
		file.Close()
		return nil, err
	}
	return a, nil
}

func (f *fetch) archive(ctx context.Context, file *os.File) (documents, error) {
	fresh, err := f.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching the archive: %w", err)
	}
	if !fresh {
		return nil, nil
	}
	a, err := openArchive(file, f.done, f.opts.Limits)
	if err != nil {
		return nil, err
	}
	a.etag, a.lastModified, a.close = f.got.Get("ETag"), f.got.Get("Last-Modified"), file.Close
	return a, nil
}

// sink takes what is fetched, and can begin anew.
type sink interface {
	io.Writer
	Reset() error
}

type memory struct{ *bytes.Buffer }

func (m *memory) Reset() error { m.Buffer.Reset(); return nil }

type disk struct{ *os.File }

func (d *disk) Reset() error {
	if err := d.Truncate(0); err != nil {
		return err
	}
	_, err := d.Seek(0, io.SeekStart)
	return err
}

// fetch is one resource, however many attempts it takes.
type fetch struct {
	*remote
	url                string
	limit              int64
	to                 sink
	etag, lastModified string // of what is there already
	progress           func(done, total int64)

	got  http.Header // of the answer whose bytes are being kept
	done int64       // bytes kept
}

// retryable is an error that another attempt may not meet.
type retryable struct {
	error
	after time.Duration // what the server asks for; 0 when it does not
}

func (e *retryable) Unwrap() error { return e.error }

// run fetches the resource, resuming where a connection broke, and reports
// whether there was anything new.
func (f *fetch) run(ctx context.Context) (bool, error) {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		before := f.done
		fresh, err := f.attempt(ctx)
		var again *retryable
		if err == nil || ctx.Err() != nil || !errors.As(err, &again) {
			return fresh, err
		}
		if f.done >= before+1<<20 {
			attempt, pause = 0, firstPause // a download that is resumed gets on
		}
		if attempt >= f.opts.Limits.Attempts {
			return false, fmt.Errorf("%w (%d attempts)", err, attempt)
		}
		wait := max(again.after, time.Duration(float64(pause)*(0.5+f.opts.Rand.Float64())))
		if again.after > longestPause {
			return false, fmt.Errorf("%w; it asks to be left alone for %s", err, again.after.Round(time.Second))
		}
		if err := f.opts.Wait(ctx, wait); err != nil {
			return false, err
		}
		pause = min(2*pause, longestPause/2)
	}
}

// attempt makes one request.
func (f *fetch) attempt(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := f.opts.Limits.Stall
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no byte came for %s", stall)) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return false, fmt.Errorf("making a request: %w", err)
	}
	f.condition(req)
	resp, err := f.client.Do(req)
	if err != nil {
		return false, f.broken(ctx, err)
	}
	defer resp.Body.Close()
	fresh, err := f.accept(resp)
	if err != nil || !fresh {
		return false, err
	}
	total := resp.ContentLength
	if total >= 0 {
		total += f.done
	}
	if total > f.limit {
		return false, fmt.Errorf("%s has %d bytes, more than %d", req.URL.Redacted(), total, f.limit)
	}
	body := &meter{ctx: ctx, r: resp.Body, tick: func() { watch.Reset(stall) }, fn: func(n int64) {
		if f.progress != nil {
			f.progress(f.done+n, max(total, 0))
		}
	}}
	n, err := io.Copy(f.to, io.LimitReader(body, f.limit-f.done+1))
	f.done += n
	switch {
	case f.done > f.limit:
		return false, fmt.Errorf("%s has more than %d bytes", req.URL.Redacted(), f.limit)
	case err != nil && ctx.Err() == nil && isWriteError(err):
		return false, fmt.Errorf("keeping what is fetched: %w", err)
	case err != nil:
		return false, f.broken(ctx, err)
	case total >= 0 && f.done < total:
		return false, &retryable{error: io.ErrUnexpectedEOF}
	}
	return true, nil
}

// isWriteError tells an error of the sink, a file, from one of the connection.
func isWriteError(err error) bool {
	var p *os.PathError
	return errors.As(err, &p)
}

// condition asks for news only, or for the rest of what was begun: the server
// answers with all of it when it is not the same any more.
func (f *fetch) condition(req *http.Request) {
	req.Header.Set("Accept-Encoding", "identity") // lengths and ranges are of the file
	if f.done > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.done))
		req.Header.Set("If-Range", f.got.Get("ETag"))
		return
	}
	if f.etag != "" {
		req.Header.Set("If-None-Match", f.etag)
	} else if f.lastModified != "" {
		req.Header.Set("If-Modified-Since", f.lastModified)
	}
}

// accept looks at status and headers, and reports whether a body follows that
// belongs at f.done.
func (f *fetch) accept(resp *http.Response) (bool, error) {
	switch {
	case resp.StatusCode == http.StatusNotModified && f.done == 0 && (f.etag != "" || f.lastModified != ""):
		return false, nil
	case resp.StatusCode == http.StatusPartialContent && f.done > 0 && continues(resp.Header.Get("Content-Range"), f.done):
		return true, nil
	case resp.StatusCode == http.StatusOK:
		f.got = resp.Header
		return true, f.restart()
	}
	err := fmt.Errorf("%s answers %s", resp.Request.URL.Redacted(), resp.Status)
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false, &retryable{error: err, after: f.retryAfter(resp.Header.Get("Retry-After"))}
	case http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return false, errors.Join(&retryable{error: err}, f.restart())
	}
	return false, err
}

func (f *fetch) restart() error {
	f.done = 0
	if err := f.to.Reset(); err != nil {
		return fmt.Errorf("keeping what is fetched: %w", err)
	}
	return nil
}

// continues reports whether a Content-Range begins at offset.
func continues(contentRange string, offset int64) bool {
	rest, ok := strings.CutPrefix(contentRange, "bytes ")
	first, _, ok2 := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return ok && ok2 && err == nil && n == offset
}

// retryAfter reads "120" and "Fri, 31 Dec 1999 23:59:59 GMT" (RFC 9110, 10.2.3).
func (f *fetch) retryAfter(v string) time.Duration {
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(f.opts.Now()))
	}
	return 0
}

// broken is a connection that could not be made or ended early. What cannot be
// resumed safely begins anew: without a strong ETag nobody can tell whether
// the rest belongs to the beginning.
func (f *fetch) broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err // without the URL, which may carry credentials
	}
	if errors.As(err, new(*notFollowed)) {
		return err
	}
	if f.got == nil || !strings.HasPrefix(f.got.Get("ETag"), `"`) {
		if err := f.restart(); err != nil {
			return err
		}
	}
	return &retryable{error: err}
}
