package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/lifecycle"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// ahead is how far into the future a document may be dated: all that are older
// than one that was taken are refused from then on.
const ahead = 48 * time.Hour

// form is a format that is one document.
type form struct {
	// file matches the name that its publisher gives it. Where there are several
	// in a folder, the last by name counts: dates are written so.
	file string
	// folder, in place of file, is that of a publication of many: PRODUCT.json, of
	// which some are of use. They are read as one object, by name.
	folder string
	limit  int64 // bytes
	take   func(r io.Reader, kept []byte) (*taken, error)
	// join adds a document to what is known of faults; nil where it says nothing of them.
	join func(content []byte, known *threat.Known) error
	// pack writes what a folder holds as one text, where the format is many files.
	pack func(ctx context.Context, dir string, out io.Writer, limit int64) error
	// beside is where a snapshot names it.
	beside func(*evidence.Snapshot) *oci.Digest
}

// forms are the formats that are one document.
var forms = map[string]form{
	vuln.KEV: {
		file: "known_exploited_vulnerabilities.json", limit: 64 << 20, take: taking(threat.ParseKEV, threat.ReadExploits),
		join: func(content []byte, known *threat.Known) (err error) {
			known.Exploits, err = threat.ReadExploits(content)
			return err
		},
		beside: func(s *evidence.Snapshot) *oci.Digest { return &s.Exploited },
	},
	vuln.EPSS: {
		file: "epss_scores-*.csv*", limit: 256 << 20, take: taking(threat.ParseEPSS, threat.ReadScores),
		join: func(content []byte, known *threat.Known) (err error) {
			known.Scores, err = threat.ReadScores(content)
			return err
		},
		beside: func(s *evidence.Snapshot) *oci.Digest { return &s.Scores },
	},
	vuln.EndOfLife: {
		folder: "endoflife", limit: 64 << 20, take: taking(threat.ParseEnds, threat.ReadEnds),
		join: func(content []byte, known *threat.Known) (err error) {
			known.Ends, err = lifecycle.Read(content)
			return err
		},
		beside: func(s *evidence.Snapshot) *oci.Digest { return &s.Lifecycles },
	},
}

// Formats returns the formats that a source may have, sorted.
func Formats() []string {
	names := []string{vuln.OSV, vuln.VEX}
	for name := range forms {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// beside returns where a snapshot names what is of the format.
func beside(s *evidence.Snapshot, format string) *oci.Digest {
	f, ok := forms[format]
	if !ok {
		return new(oci.Digest) // a newer program's
	}
	return f.beside(s)
}

// document reports whether the source is one document.
func (s *Source) document() bool { return s.Format != "" && s.Format != vuln.OSV }

// taken is a document that was read, held against the one before.
type taken struct {
	threat.Document
	threat.Published
	threat.Change
	entries, before int
}

// content is what a document says.
type content[T any] interface {
	Document() threat.Document
	Len() int
	Change(before T) threat.Change
}

// taking reads a document by parse, and the one before, where there is one, by read.
func taking[T content[T]](parse func(io.Reader) (T, threat.Published, error), read func([]byte) (T, error)) func(io.Reader, []byte) (*taken, error) {
	return func(r io.Reader, kept []byte) (*taken, error) {
		var before T
		n := 0
		if kept != nil {
			var err error
			if before, err = read(kept); err != nil {
				return nil, &storeError{err}
			}
			n = before.Len()
		}
		now, p, err := parse(r)
		if err != nil {
			return nil, err
		}
		return &taken{Document: now.Document(), Published: p, Change: now.Change(before), entries: now.Len(), before: n}, nil
	}
}

// loadDocument loads a source that is one document.
func (r *run) loadDocument(ctx context.Context, from origin) (Result, error) {
	var result Result
	f, ok := formOf(r.src.Format, r.opts.ReadVEX)
	if !ok {
		return result, fmt.Errorf("no format %s, want one of %v", oci.Quote(r.src.Format), Formats())
	}
	var err error
	if r.states, err = readStates(ctx, r.opts.Reader); err != nil {
		return result, err
	}
	start, name := r.opts.Now(), r.src.Name
	res, err := r.takeDocument(ctx, from, f)
	if err != nil {
		if ctx.Err() != nil {
			return result, context.Cause(ctx)
		}
		if errors.As(err, new(*storeError)) {
			return result, err
		}
		res = r.refuse(name, res, err)
	}
	res.Duration = r.opts.Now().Sub(start)
	r.opts.Log.LogAttrs(ctx, slog.LevelInfo, "feed loaded", slog.String("feed", name), slog.Int("entries", res.Records),
		slog.Int("new", res.New), slog.Int("changed", res.Changed), slog.Int("gone", res.Gone), slog.Int("skipped", res.Skipped), slog.Any("problem", res.Err))
	result.Feeds = []FeedResult{res}
	return r.commit(ctx, result)
}

// takeDocument reads the document and stages it where it is another.
func (r *run) takeDocument(ctx context.Context, from origin, f form) (FeedResult, error) {
	res := FeedResult{Name: r.src.Name}
	state := r.states[r.src.Name]
	known := state
	if state.Source != r.src.display() || state.Format != r.src.Format || state.Records == 0 {
		known.ETag, known.LastModified = "", "" // read it whatever it says
	}
	if state.Format != r.src.Format {
		state = vuln.FeedState{} // it was something else
	}
	in, err := from.document(ctx, f, &known)
	if err != nil {
		return res, err
	}
	state.Name, state.Format, state.Source = r.src.Name, r.src.Format, r.src.display()
	state.CheckedAt, state.Problem, state.Held = r.at, "", false
	if in == nil {
		res.Records, res.Skipped, res.Reasons, res.Unchanged = state.Records, state.Skipped, state.Reasons, true
		r.states[r.src.Name] = state
		return res, nil
	}
	defer in.Close()
	var kept []byte
	if state.Records > 0 {
		if kept, err = r.opts.Reader.Document(ctx, state.Digest); err != nil {
			return res, &storeError{err}
		}
	}
	got, err := f.take(&meter{ctx: ctx, r: in, fn: func(n int64) {
		r.opts.Progress(Progress{Feed: r.src.Name, Step: "fetch", Done: n, Total: in.size})
	}}, kept)
	if err != nil {
		return res, err
	}
	res.Skipped, res.Reasons = got.Skipped, got.Reasons
	if err := r.believe(&state, got); err != nil {
		return res, err
	}
	res.Records, res.New, res.Changed, res.Gone = got.entries, got.New, got.Changed, got.Gone
	r.opts.Progress(Progress{Feed: r.src.Name, Step: "read", Done: int64(res.Records), Total: int64(res.Records)})
	if state.Records == 0 || got.Digest != state.Digest {
		if err := r.begin(ctx); err != nil {
			return res, err
		}
		state.Seq = r.loadID.Seq
		r.documents = append(r.documents, got.Document)
	}
	state.Digest, state.Records, state.Skipped, state.Reasons = got.Digest, got.entries, got.Skipped, got.Reasons
	state.ETag, state.LastModified = in.etag, in.lastModified
	state.LoadedAt, state.Dated = r.at, cmp.Or(got.At.UTC().Truncate(time.Microsecond), r.at)
	r.states[r.src.Name] = state
	return res, nil
}

// believe returns an error, which matches ErrHeld, about a document that lost too
// much, or is older than the one before.
func (r *run) believe(state *vuln.FeedState, got *taken) error {
	if got.At.After(r.at.Add(ahead)) {
		return fmt.Errorf("it says that it was published at %s, which is not yet", got.At.UTC().Format(time.RFC3339))
	}
	if r.src.AcceptLoss || state.Records == 0 {
		return nil
	}
	if lost := got.Gone; lost > 0 && lost*10 >= got.before {
		return fmt.Errorf("%w: of %d entries in force since %s, %d are gone, and %d of the new ones cannot be read; the last good state stays. If this is right, load %s again and accept the loss",
			ErrHeld, got.before, state.LoadedAt.UTC().Format(time.RFC3339), lost, got.Skipped, r.src.Name)
	}
	if !got.At.IsZero() && got.At.Before(state.Dated.Truncate(time.Second)) && got.Digest != state.Digest {
		return fmt.Errorf("%w: it was published at %s, and the one in force at %s; the newer one stays. If this is right, load %s again and accept the loss",
			ErrHeld, got.At.UTC().Format(time.RFC3339), state.Dated.UTC().Format(time.RFC3339), r.src.Name)
	}
	return nil
}

// text is a document as its publisher wrote it.
type text struct {
	io.ReadCloser
	size               int64
	etag, lastModified string // to be recorded when it was taken
}

// document fetches the document into a temporary file, which is gone when it is
// closed, or this process ends.
func (r *remote) document(ctx context.Context, form form, state *vuln.FeedState) (*text, error) {
	if form.folder != "" {
		return r.products(ctx, form)
	}
	file, err := os.CreateTemp(r.opts.Temp, "feed-*")
	if err != nil {
		return nil, fmt.Errorf("making room for the document: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("making room for the document: %w", err)
	}
	f := fetch{remote: r, url: r.base.String(), limit: form.limit, to: &disk{file}, etag: state.ETag, lastModified: state.LastModified}
	fresh, err := f.run(ctx)
	if err == nil && fresh {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil || !fresh {
		file.Close()
		if err != nil {
			err = fmt.Errorf("fetching the document: %w", err)
		}
		return nil, err
	}
	return &text{file, f.done, f.got.Get("ETag"), f.got.Get("Last-Modified")}, nil
}

// document opens the file that the source is, or that is in its folder. Its
// validator is its digest, as that of an archive.
func (l *local) document(ctx context.Context, form form, state *vuln.FeedState) (*text, error) {
	if form.pack != nil {
		return l.packed(ctx, form, state)
	}
	path, err := form.find(l.root)
	if err != nil {
		return nil, err
	}
	if form.folder != "" {
		return form.products(path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the document: %w", err)
	}
	t, err := l.digested(ctx, file, form, state)
	if t == nil {
		file.Close()
	}
	return t, err
}

func (l *local) digested(ctx context.Context, file *os.File, form form, state *vuln.FeedState) (*text, error) {
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("opening the document: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", file.Name())
	case info.Size() > form.limit:
		return nil, fmt.Errorf("%s has %d bytes, more than %d", file.Name(), info.Size(), form.limit)
	}
	h := sha256.New()
	if _, err := io.Copy(h, &meter{ctx: ctx, r: file, fn: func(int64) {}}); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	etag := oci.SHA256.FromHash(h).String()
	if etag == state.ETag {
		return nil, nil
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	return &text{ReadCloser: file, size: info.Size(), etag: etag}, nil
}

// find returns the file that a path is, or that the folder there has.
func (f *form) find(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("looking for the document: %w", err)
	}
	if f.folder != "" {
		for _, dir := range []string{path, filepath.Join(path, f.folder)} {
			if _, err := os.Stat(filepath.Join(dir, productList)); err == nil {
				return dir, nil
			}
		}
		return "", fmt.Errorf("folder %s holds no %s, nor does its %s", path, productList, f.folder)
	}
	if !info.IsDir() {
		return path, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", fmt.Errorf("looking for the document: %w", err)
	}
	for _, e := range slices.Backward(entries) {
		if f.is(e.Name()) {
			return filepath.Join(path, e.Name()), nil
		}
	}
	return "", fmt.Errorf("folder %s holds no %s", path, f.file)
}

// read reads the file at path, and adds what it says of faults to known.
func (f *form) read(path string, known *threat.Known) (*taken, error) {
	var file io.ReadCloser
	var err error
	if f.folder != "" {
		file, err = f.products(path)
	} else {
		file, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	got, err := f.take(io.LimitReader(file, f.limit), nil)
	if err == nil && f.join != nil {
		err = f.join(got.Content, known)
	}
	return got, err
}

// is reports whether a file of that name is of the form.
func (f *form) is(name string) bool {
	ok, err := filepath.Match(f.file, name)
	return ok && err == nil
}

// isDocument reports whether a file of that name is one of the forms, and so no
// advisory.
func isDocument(name string) bool {
	for _, f := range forms {
		if f.is(name) {
			return true
		}
	}
	return false
}

// FormatsIn returns the formats of which a folder holds something, sorted.
func FormatsIn(ctx context.Context, dir string) ([]string, error) {
	folders, err := (&local{root: dir}).folders(ctx)
	if err != nil {
		return nil, err
	}
	var formats []string
	if len(folders) > 0 {
		formats = append(formats, vuln.OSV)
	}
	var named []string
	for format, f := range forms {
		if _, err := f.find(dir); err == nil {
			formats = append(formats, format)
		}
		named = append(named, cmp.Or(f.file, f.folder+"/"+productList))
	}
	if slices.Sort(formats); len(formats) > 0 {
		return formats, nil
	}
	slices.Sort(named)
	return nil, fmt.Errorf("folder %s holds no ECOSYSTEM/%s, no ECOSYSTEM/ID.json, no ID.json, and none of %s", dir, archiveName, strings.Join(named, ", "))
}
