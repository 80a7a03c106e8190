package analyze

import (
	"io"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Searcher looks for secrets in the content of files. It is safe for concurrent
// use.
type Searcher interface {
	// Info has a name, a version and a limit, and no more.
	Info() Info
	// Layer begins the search through one layer.
	Layer() Search
	// Text searches one short text. Path is kept as it is.
	Text(path, text string) []inventory.Secret
}

// Search is the search through one layer, file by file. What it finds is a pure
// function of the paths and contents in their order. It may panic on foreign
// bytes, that is caught.
type Search interface {
	// File searches a file that begins with head and goes on with rest. Secrets
	// come in order. why is not empty where it was not searched to its end; the
	// error is that of rest.
	File(path string, head []byte, rest io.Reader) (found []inventory.Secret, why Reason, err error)
}

// Reasons of gaps of the search.
const (
	notSearched   = "nobody looked for secrets"
	sparseFile    = "a sparse file"
	moreSecrets   = "more secrets than are kept"
	unsearchedEnd = "the layer was not read as a whole, or could be read differently"
)

// Limits of what is kept.
const (
	maxSecrets      = 1000 // of one layer
	maxImageSecrets = 5000
)

// finder keeps what a search finds in one layer. Without a Searcher it is nil.
type finder struct {
	name    string
	search  Search
	secrets []inventory.Secret
	gaps    inventory.Gaps
}

func newFinder(s Searcher) *finder {
	if s == nil {
		return nil
	}
	return &finder{name: s.Info().Name, search: s.Layer()}
}

// wants reports whether a file is searched, and notes it where it should be and
// cannot.
func (f *finder) wants(e *layer.Entry) bool {
	switch {
	case f == nil || e.Size == 0:
		return false
	case e.Sparse:
		f.gap(e.Path, sparseFile)
		return false
	}
	return true
}

func (f *finder) gap(path string, why Reason) {
	f.gaps.Add(inventory.CoveragePartial, inventory.Gap{Extractor: f.name, Path: path, Reason: string(why)})
}

// file searches a file. The error is that of rest.
func (f *finder) file(path string, head []byte, rest io.Reader) error {
	type outcome struct {
		found []inventory.Secret
		why   Reason
		err   error
	}
	o, panicked := guarded(func() (outcome, error) {
		found, why, err := f.search.File(path, head, rest)
		return outcome{found, why, err}, nil
	})
	if panicked != nil {
		o.why = ErrUnreadable
	}
	if len(f.secrets)+len(o.found) > maxSecrets {
		o.found, o.why = o.found[:maxSecrets-len(f.secrets)], moreSecrets
	}
	f.secrets = append(f.secrets, o.found...)
	if o.why != "" {
		f.gap(path, o.why)
	}
	return o.err
}

// whole searches a file that is held already.
func (f *finder) whole(file *File) error {
	if file.Size == 0 {
		return nil
	}
	head := make([]byte, min(file.Size, headSize))
	r := file.Reader()
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	return f.file(file.Path, head, r)
}

// streamed searches a file that nobody else wants whole. That the stream ends
// inside it the walk notices, too.
func (f *finder) streamed(e *layer.Entry, c *capture) {
	if c.err == nil {
		_ = f.file(e.Path, c.buf, e.Body) // the walk meets its error again
	}
}

// result adds what was found to the facts. What an OS package brought is known
// to all the world, but for what is below /etc, where people write.
func (f *finder) result(l *inventory.Layer, walked inventory.CoverageState, claimed func(path string) bool) {
	if f == nil {
		l.Searched = inventory.Coverage{State: inventory.CoverageNone, Gaps: []inventory.Gap{{Reason: notSearched}}}
		return
	}
	if walked != inventory.CoverageFull {
		f.gaps.Add(walked, inventory.Gap{Extractor: f.name, Reason: unsearchedEnd})
	}
	l.Searched = f.gaps.Coverage()
	for _, s := range f.secrets {
		if strings.HasPrefix(s.Path, "etc/") || !claimed(s.Path) {
			l.Secrets = append(l.Secrets, s)
		}
	}
	slices.SortFunc(l.Secrets, inventory.CompareSecrets)
	l.Secrets = slices.Compact(l.Secrets)
}

// secrets adds those of layer i to the image.
func (s *stack) secrets(im *inventory.Image, i int, c *inventory.LayerCoverage) {
	l := &s.layers[i]
	c.Searched = l.Searched
	if c.Searched.State == "" {
		c.Searched = inventory.Coverage{State: inventory.CoverageNone, Gaps: l.Coverage.Gaps}
	}
	for k, secret := range l.Secrets {
		if len(im.Secrets) >= maxImageSecrets {
			c.Searched = c.Searched.Add(inventory.CoveragePartial, inventory.Gap{Path: l.Secrets[k].Path, Reason: moreSecrets})
			return
		}
		path := s.real(i, secret.Path)
		found := inventory.LocatedSecret{Secret: secret, Layer: i, Removed: !s.visible(i, path)}
		found.Path = path
		im.Secrets = append(im.Secrets, found)
	}
}

// configured finds secrets in the configuration of an image: in the environment
// it gives, and in what its history and labels tell of the build.
func configured(s Searcher, c *oci.ImageConfig) []inventory.LocatedSecret {
	if s == nil || c == nil {
		return nil
	}
	var all []inventory.LocatedSecret
	search := func(where string, n int, text string) {
		for _, found := range s.Text(inventory.Configuration+where, text) {
			found.Line = n + 1
			all = append(all, inventory.LocatedSecret{Secret: found, Layer: inventory.NoLayer})
		}
	}
	for n, text := range c.Config.Env {
		search("Env", n, text)
	}
	for n, text := range c.Config.Entrypoint {
		search("Entrypoint", n, text)
	}
	for n, text := range c.Config.Cmd {
		search("Cmd", n, text)
	}
	for n, step := range c.History {
		search("History", n, step.CreatedBy)
	}
	labels := make([]string, 0, len(c.Config.Labels))
	for k, v := range c.Config.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	for n, text := range labels {
		search("Labels", n, text)
	}
	return all[:min(len(all), maxSecrets)]
}
