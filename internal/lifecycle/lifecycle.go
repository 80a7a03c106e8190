// Package lifecycle tells how long the releases in an image are maintained: its
// operating system and its runtimes and frameworks, by what endoflife.date says.
//
// A package of a distribution counts as maintained for as long as the distribution
// is, whatever became of its upstream; one that somebody else has built for it
// (PostgreSQL's own, NodeSource's) counts by itself.
package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrInvalid matches errors about text that is not what its format says.
var ErrInvalid = errors.New("not in the format of endoflife.date")

// Limits of what is read: the products that are used have 1200 cycles in 300 kB.
const (
	maxText   = 64 << 20 // bytes
	maxCycles = 20_000
	maxName   = 100 // bytes of a name
)

// Data says of releases when they end. It is immutable. The nil one is empty.
type Data struct{ by map[release]end }

type release struct{ product, cycle string }

// end is when a release ends: a day after which nobody maintains it, "yes" for a
// day that nobody tells, "-" for none.
type end struct{ eol, extended string }

const never, sometime = "-", "yes"

// cycle is one entry of a product, as far as it is used.
type cycle struct {
	Cycle    any `json:"cycle"`
	EOL      any `json:"eol"`
	Extended any `json:"extendedSupport"`
}

// Parse reads products of the API of endoflife.date, v0, as one object: by name the
// list that PRODUCT.json is. It returns why entries were skipped. Errors match
// ErrInvalid, or are those of r.
func Parse(r io.Reader) (*Data, []string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading ends of life: %w", err)
	}
	var products map[string][]cycle
	if len(raw) > maxText {
		err = fmt.Errorf("more than %d bytes", maxText)
	} else {
		err = json.Unmarshal(raw, &products)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading ends of life: %w: %v", ErrInvalid, err)
	}
	d := &Data{by: map[release]end{}}
	var skipped []string
	for _, product := range slices.Sorted(maps.Keys(products)) {
		for _, c := range products[product] {
			name, eol, extended := fmt.Sprint(c.Cycle), day(c.EOL), day(c.Extended)
			if !word(product) || !word(name) || eol == "" {
				skipped = append(skipped, fmt.Sprintf("%.100q %.100q: eol %.100q is neither a day nor true or false", product, name, fmt.Sprint(c.EOL)))
				continue
			}
			if extended == "" || extended == sometime {
				extended = never
			}
			d.by[release{product, name}] = end{eol, extended}
		}
	}
	if n := len(d.by); n == 0 || n > maxCycles {
		return nil, skipped, fmt.Errorf("reading ends of life: %w: it has %d releases, want 1 to %d", ErrInvalid, n, maxCycles)
	}
	return d, skipped, nil
}

// word reports whether a name can be one field of a line.
func word(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// day reads a day, true or false; "" for anything else.
func day(v any) string {
	switch v := v.(type) {
	case nil:
		return never
	case bool:
		if v {
			return sometime
		}
		return never
	case string:
		if _, err := time.Parse(time.DateOnly, v); err == nil {
			return v
		}
	}
	return ""
}

// form begins the document.
const form = "bonded lifecycles v1\n"

// Content is the data as it is kept: a line for each release, in order.
func (d *Data) Content() []byte {
	var b bytes.Buffer
	b.WriteString(form)
	for _, r := range slices.SortedFunc(maps.Keys(d.by), func(x, y release) int {
		return strings.Compare(x.product+"\x00"+x.cycle, y.product+"\x00"+y.cycle)
	}) {
		fmt.Fprintln(&b, r.product, r.cycle, d.by[r].eol, d.by[r].extended)
	}
	return b.Bytes()
}

// Read reads what Content has written.
func Read(content []byte) (*Data, error) {
	text, ok := strings.CutPrefix(string(content), form)
	if !ok {
		return nil, fmt.Errorf("reading kept ends of life: they do not begin with %q", form)
	}
	d := &Data{by: map[release]end{}}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 4 || moment(f[2]).IsZero() && f[2] != never && f[2] != sometime {
			return nil, fmt.Errorf("reading kept ends of life: a line is %.200q", line)
		}
		d.by[release{f[0], f[1]}] = end{f[2], f[3]}
	}
	return d, nil
}

// moment is the first one after a day; zero for what is none.
func moment(day string) time.Time {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return time.Time{}
	}
	return t.AddDate(0, 0, 1)
}

// Len is the number of releases.
func (d *Data) Len() int {
	if d == nil {
		return 0
	}
	return len(d.by)
}

// Differs counts what came, is other than before, and went.
func (d *Data) Differs(before *Data) (came, changed, gone int) {
	for r, e := range d.by {
		switch had, ok := before.find(r); {
		case !ok:
			came++
		case had != e:
			changed++
		}
	}
	if before != nil {
		for r := range before.by {
			if _, ok := d.by[r]; !ok {
				gone++
			}
		}
	}
	return came, changed, gone
}

func (d *Data) find(r release) (e end, ok bool) {
	if d != nil {
		e, ok = d.by[r]
	}
	return e, ok
}

// Release is one that an image has, and when it ends.
type Release struct {
	What           string // "os" or "runtime"
	Product, Cycle string // as endoflife.date calls them
	Version        string // as the image says
	Ends           time.Time
	Extended       time.Time
	Ended          bool
}

// OfSystem returns the release of an operating system, by ID and VERSION_ID of
// os-release; false where the data does not tell of it.
func (d *Data) OfSystem(id, version string) (Release, bool) {
	product := systems[id]
	if product == "" || version == "" {
		return Release{}, false
	}
	return d.release("os", product, version)
}

// OfPackage returns the release that a package is, by the type of its purl, its
// full name (with the namespace) and its version; false where it is none that the
// data tells of.
func (d *Data) OfPackage(typ, name, version string) (Release, bool) {
	product := runtimeOf(typ, name, version)
	if product == "" {
		return Release{}, false
	}
	return d.release("runtime", product, upstream(version))
}

// release finds the release that a version belongs to: the longest that its parts
// begin with.
func (d *Data) release(what, product, version string) (Release, bool) {
	for name := version; name != ""; {
		if e, ok := d.find(release{product, name}); ok {
			return Release{
				What: what, Product: product, Cycle: name, Version: version,
				Ends: moment(e.eol), Extended: moment(e.extended), Ended: e.eol == sometime,
			}, true
		}
		name = name[:max(0, strings.LastIndexByte(name, '.'))]
	}
	return Release{}, false
}

// upstream is the version without what a packager has put around it:
// "1:16.4-1.pgdg120+1" is 16.4, "v1.22.3" is 1.22.3.
func upstream(version string) string {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	version = strings.TrimPrefix(strings.TrimPrefix(version, "go"), "v")
	if i := strings.IndexFunc(version, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }); i >= 0 {
		version = version[:i]
	}
	return version
}
