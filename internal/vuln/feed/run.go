package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
	"github.com/bonded-dev/bonded/internal/vuln/vexset"
)

// origin is where archives come from.
type origin interface {
	// feeds returns the folders of the source, in order; "" alone stands for a
	// folder of loose files.
	feeds(ctx context.Context) ([]string, error)
	// open returns the documents of a feed, nil when nothing has changed since
	// the state was recorded.
	open(ctx context.Context, folder string, state *vuln.FeedState) (documents, error)
	// document returns what a source of one document holds, nil likewise.
	document(ctx context.Context, f form, state *vuln.FeedState) (*text, error)
}

// documents are the files of one feed.
type documents interface {
	// count is the number of records that each will yield, 0 when unknown.
	count() int
	// each calls fn with the name and the content of every record until fn
	// fails, and returns fn's error. The content is valid until fn returns;
	// it is nil for a record that is too large. Other errors mean that the
	// feed is damaged as a whole.
	each(ctx context.Context, fn func(name string, raw []byte) error) error
	// validators are to be recorded when the feed was taken.
	validators() (etag, lastModified string)
	io.Closer
}

// run is one load.
type run struct {
	*Loader
	src    Source
	at     time.Time
	loadID vuln.LoadID // zero until something is staged
	states map[string]vuln.FeedState
	// advisories says that some were looked at, or dropped.
	advisories bool
	// documents come into force with the load.
	documents []threat.Document
}

func (r *run) load(ctx context.Context) (Result, error) {
	var result Result
	from, err := r.origin()
	if err != nil {
		return result, err
	}
	if r.src.document() {
		return r.loadDocument(ctx, from)
	}
	if r.states, err = readStates(ctx, r.opts.Reader); err != nil {
		return result, err
	}
	r.advisories = true
	folders, err := from.feeds(ctx)
	if err != nil {
		return result, err
	}
	chosen, missing := choose(folders, r.src.Ecosystems)
	for _, folder := range chosen {
		res, err := r.feed(ctx, from, folder)
		if err != nil {
			return result, err
		}
		result.Feeds = append(result.Feeds, res)
	}
	for _, eco := range missing {
		result.Feeds = append(result.Feeds, r.refuse(r.src.Name+"/"+eco, FeedResult{}, fmt.Errorf("ecosystem %s is not published at %s", oci.Quote(eco), r.src.display())))
	}
	if len(r.src.Ecosystems) == 0 && !r.src.Partial {
		for _, name := range r.vanished(folders) {
			result.Feeds = append(result.Feeds, r.refuse(name, FeedResult{}, fmt.Errorf("no longer published at %s", r.src.display())))
		}
	}
	return r.commit(ctx, result)
}

// vanished returns the feeds of this source that were loaded once and are no
// longer among its folders: what was loaded stays in force, and grows old. What
// has nothing in force, as after Loader.Drop, is not missed.
func (r *run) vanished(folders []string) []string {
	var names []string
	for name, state := range r.states {
		if state.Records == 0 {
			continue
		}
		if folder, ok := strings.CutPrefix(name, r.src.Name+"/"); ok && !slices.Contains(folders, folder) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func readStates(ctx context.Context, reader vuln.Reader) (map[string]vuln.FeedState, error) {
	list, err := reader.Feeds(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the states of the feeds: %w", err)
	}
	states := make(map[string]vuln.FeedState, len(list))
	for _, s := range list {
		states[s.Name] = s
	}
	return states, nil
}

// choose returns the folders to load, and what was asked for but is not there.
// A source without folders is one feed whatever is asked for.
func choose(folders, ecosystems []string) (chosen, missing []string) {
	if len(ecosystems) == 0 || slices.Equal(folders, []string{""}) {
		return folders, nil
	}
	for _, e := range ecosystems {
		if slices.Contains(folders, e) {
			chosen = append(chosen, e)
		} else {
			missing = append(missing, e)
		}
	}
	return chosen, missing
}

// feed loads one folder. Its error is fatal for the load.
func (r *run) feed(ctx context.Context, from origin, folder string) (FeedResult, error) {
	start := r.opts.Now()
	name := r.src.Name
	covers := slices.Sorted(slices.Values(r.src.Ecosystems))
	if folder != "" {
		name += "/" + folder
		covers = []string{vuln.BaseEcosystem(folder)}
	}
	res, err := r.take(ctx, from, folder, name, covers)
	if err != nil {
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		var fatal *storeError
		if errors.As(err, &fatal) {
			return res, err
		}
		if r.loadID.Seq > 0 {
			if err := r.opts.Stager.Unstage(ctx, r.loadID, name); err != nil {
				return res, fmt.Errorf("taking back what was staged of feed %s: %w", name, err)
			}
		}
		res = r.refuse(name, res, err)
	}
	res.Duration = r.opts.Now().Sub(start)
	r.opts.Log.LogAttrs(ctx, slog.LevelInfo, "feed of advisories loaded",
		slog.String("feed", name), slog.Int("records", res.Records), slog.Int("new", res.New), slog.Int("changed", res.Changed),
		slog.Int("withdrawn", res.Withdrawn), slog.Int("gone", res.Gone), slog.Int("skipped", res.Skipped), slog.Any("problem", res.Err))
	return res, nil
}

// take reads a feed and stages what is different.
func (r *run) take(ctx context.Context, from origin, folder, name string, covers []string) (FeedResult, error) {
	res := FeedResult{Name: name}
	state := r.states[name]
	old, err := r.heads(ctx, name)
	if err != nil {
		return res, err
	}
	known := state
	if !r.current[name] && old.outdated() || state.Source != r.src.display() {
		known.ETag, known.LastModified = "", "" // read it again whatever it says
	}
	docs, err := from.open(ctx, folder, &known)
	if err != nil {
		return res, err
	}
	state.Name, state.Source, state.Ecosystems = name, r.src.display(), covers
	state.CheckedAt, state.Problem, state.Held = r.at, "", false
	if docs == nil {
		res.Records, res.Skipped, res.Reasons, res.Unchanged = state.Records, state.Skipped, state.Reasons, true
		r.states[name] = state
		return res, nil
	}
	defer docs.Close()
	d := diff{run: r, feed: name, old: old, res: &res, seen: map[string]bool{}}
	if err := d.read(ctx, docs); err != nil {
		return res, err
	}
	if err := d.finish(ctx, &state); err != nil {
		return res, err
	}
	state.ETag, state.LastModified = docs.validators()
	state.LoadedAt = r.at
	r.states[name] = state
	r.current[name] = true
	return res, nil
}

// refuse records why a feed was not taken.
func (r *run) refuse(name string, res FeedResult, err error) FeedResult {
	state := r.states[name]
	state.Name, state.CheckedAt = name, r.at
	if r.src.document() {
		state.Format = r.src.Format
	}
	if state.Source == "" {
		state.Source = r.src.display()
	}
	state.Problem, state.Held = err.Error(), errors.Is(err, ErrHeld)
	r.states[name] = state
	return FeedResult{Name: name, Records: state.Records, Skipped: res.Skipped, Reasons: res.Reasons, Err: fmt.Errorf("feed %s: %w", name, err)}
}

// begin opens the load in the store, with the first row that changes.
func (r *run) begin(ctx context.Context) error {
	if r.loadID.Seq > 0 {
		return nil
	}
	load, err := r.opts.Stager.Begin(ctx, r.opts.Token())
	if err != nil {
		return &storeError{fmt.Errorf("beginning a load: %w", err)}
	}
	r.loadID = load
	return nil
}

// abandon removes what was staged, also when ctx has ended.
func (r *run) abandon(ctx context.Context) {
	if r.loadID.Seq == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := r.opts.Stager.Abandon(ctx, r.loadID); err != nil {
		// Nothing staged is visible, and the next load removes it.
		r.opts.Log.LogAttrs(ctx, slog.LevelWarn, "load of advisories left behind", slog.Int64("seq", r.loadID.Seq), slog.Any("error", err))
	}
}

// storeError is an error of our own stores: no feed's fault.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// commit puts in force what was staged, and records the states.
func (r *run) commit(ctx context.Context, result Result) (Result, error) {
	c := Change{Results: result.Feeds}
	touched := false
	for i := range result.Feeds {
		f := &result.Feeds[i]
		c.Feeds = append(c.Feeds, r.states[f.Name])
		touched = touched || f.Err == nil && f.New+f.Changed+f.Withdrawn+f.Gone > 0
	}
	current, err := r.opts.Reader.Current(ctx)
	if err != nil {
		return result, fmt.Errorf("reading the current snapshot: %w", err)
	}
	result.Snapshot = current
	next := r.snapshot(&current)
	c.Documents = r.documents
	if touched || current.Seq > 0 && (next.Digest != current.Digest || !slices.Equal(next.Ecosystems, current.Ecosystems) || otherBeside(&next, &current)) {
		if err := r.begin(ctx); err != nil {
			return result, err
		}
		next.Seq = r.loadID.Seq
		c.Load, c.Snapshot = r.loadID, next
		result.Snapshot, result.Changed = next, true
	} else {
		r.abandon(ctx) // feeds that were staged and refused
	}
	if err := r.opts.Commit(ctx, c); err != nil {
		return result, fmt.Errorf("committing the load: %w", err)
	}
	return result, nil
}

// otherBeside reports whether two snapshots name other documents.
func otherBeside(a, b *evidence.Snapshot) bool {
	return a.Exploited != b.Exploited || a.Scores != b.Scores || a.Lifecycles != b.Lifecycles || a.VEX != b.VEX
}

// snapshot sums up the states of all feeds, those of other sources included.
// Equal records give an equal digest, whatever order they came in. It is of the
// time of current where the advisories are those of it.
func (r *run) snapshot(current *evidence.Snapshot) evidence.Snapshot {
	states := make([]vuln.FeedState, 0, len(r.states))
	for _, s := range r.states {
		if s.Records > 0 {
			states = append(states, s)
		}
	}
	slices.SortFunc(states, func(a, b vuln.FeedState) int { return cmp.Compare(a.Name, b.Name) })
	s := evidence.Snapshot{At: r.at}
	h := sha256.New()
	newest, says := map[string]time.Time{}, vexset.List{}
	for _, f := range states {
		if f.Format == vuln.VEX {
			says[f.Name] = f.Digest
			continue
		}
		if f.Format != "" {
			if at, ok := newest[f.Format]; !ok || f.Dated.After(at) {
				newest[f.Format] = f.Dated
				*beside(&s, f.Format) = f.Digest
			}
			continue
		}
		fmt.Fprintf(h, "%s\x00%s\n", f.Name, f.Digest)
		s.Advisories += f.Records
		s.Ecosystems = append(s.Ecosystems, f.Ecosystems...)
	}
	list := says.Document()
	if s.VEX = list.Digest; s.VEX != current.VEX && !s.VEX.IsZero() {
		r.documents = append([]threat.Document{list}, r.documents...)
	}
	s.Digest = oci.SHA256.FromHash(h)
	slices.Sort(s.Ecosystems)
	s.Ecosystems = slices.Compact(s.Ecosystems)
	if s.Advisories == 0 && current.Digest.IsZero() {
		s.Digest = oci.Digest{} // none were ever loaded
	}
	if !r.advisories && s.Digest == current.Digest {
		s.At = current.At
	}
	return s
}
