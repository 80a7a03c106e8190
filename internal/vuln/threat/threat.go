// Package threat holds what is known of faults beyond the advisories: which are
// exploited, as CISA's KEV catalog says, and how likely each is to be, as FIRST's
// EPSS does. Both are read as their publishers write them, and kept as one
// document each, whose digest is over what it says alone: the same content
// published anew is the same document.
//
// Both are immutable once read, and safe for concurrent use.
package threat

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/lifecycle"
	"github.com/bonded-dev/bonded/internal/oci"
)

// ErrInvalid matches errors about text that is not what its format says.
var ErrInvalid = errors.New("not in its publisher's format")

// Published is what a document's text says beside its content.
type Published struct {
	At      time.Time // when it was published, as it says itself; zero when it does not
	Skipped int       // entries that could not be read
	Reasons []string  // why, the first 10
}

// maxReasons bounds Published.Reasons.
const maxReasons = 10

func (p *Published) skip(format string, args ...any) {
	p.Skipped++
	if len(p.Reasons) < maxReasons {
		p.Reasons = append(p.Reasons, fmt.Sprintf(format, args...))
	}
}

// number is a CVE id: its year above, the rest below. It orders ids as people do.
type number uint64

// numberBits are those of what follows the year, of which there are nine digits
// at most.
const numberBits = 32

// numberOf reads "CVE-2021-44228".
func numberOf(id string) (number, bool) {
	rest, ok := strings.CutPrefix(id, "CVE-")
	year, seq, dash := strings.Cut(rest, "-")
	if !ok || !dash || len(year) != 4 || len(seq) < 4 || len(seq) > 9 || len(seq) > 4 && seq[0] == '0' {
		return 0, false
	}
	y, err1 := strconv.ParseUint(year, 10, 16)
	n, err2 := strconv.ParseUint(seq, 10, numberBits)
	return number(y<<numberBits | n), err1 == nil && err2 == nil && !strings.ContainsAny(rest, "+_")
}

func (n number) String() string {
	return fmt.Sprintf("CVE-%04d-%04d", uint64(n>>numberBits), uint32(n))
}

// Known is all that is known beside the advisories at one moment. Any part may be
// nil: it was never loaded.
type Known struct {
	Exploits *Exploits
	Scores   *Scores
	Ends     *lifecycle.Data // of no fault, but of releases
}

// Facts are what is known of one fault.
type Facts struct {
	Exploited, Due   time.Time // zero when it is not known to be exploited
	Ransomware       bool
	EPSS, Percentile float64 // 0 when it was not scored
}

// Of returns what is known of a fault, by all CVEs that it goes by: of several the
// worst.
func (k Known) Of(ids ...string) (f Facts) {
	for _, id := range ids {
		n, ok := numberOf(id)
		if !ok {
			continue
		}
		if e, ok := k.Exploits.find(n); ok {
			f.Exploited, f.Due = sooner(f.Exploited, e.Since), sooner(f.Due, e.Due)
			f.Ransomware = f.Ransomware || e.Ransomware
		}
		if s, ok := k.Scores.find(n); ok && s.EPSS > f.EPSS {
			f.EPSS, f.Percentile = s.EPSS, s.Percentile
		}
	}
	return f
}

// sooner is the earlier of two times, of which the zero one does not count.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Attention says which changes matter to whom.
type Attention struct {
	// All: every change of a score matters, whatever it crosses.
	All bool
	// Thresholds are the scores that are compared with, in any order.
	Thresholds []float64
}

// Changed returns the CVEs of which k says what matters otherwise than before
// did, sorted: those that are exploited or no more, or whose entry reads
// otherwise, and those whose score is on the other side of a threshold.
func (k Known) Changed(before Known, a Attention) []string {
	all := append(k.Exploits.changed(before.Exploits), k.Scores.changed(before.Scores, a)...)
	slices.Sort(all)
	all = slices.Compact(all)
	ids := make([]string, len(all))
	for i, n := range all {
		ids[i] = n.String()
	}
	return ids
}

// Document is what a feed gave, as it is kept.
type Document struct {
	Digest  oci.Digest
	Content []byte
}

func document(content []byte) Document { return Document{oci.FromBytes(content), content} }

// Ends is when releases end, as a document.
type Ends struct{ *lifecycle.Data }

// ParseEnds is lifecycle.Parse.
func ParseEnds(r io.Reader) (Ends, Published, error) {
	d, skipped, err := lifecycle.Parse(r)
	p := Published{Skipped: len(skipped), Reasons: skipped[:min(len(skipped), maxReasons)]}
	return Ends{d}, p, err
}

// ReadEnds reads what Document has written.
func ReadEnds(content []byte) (Ends, error) {
	d, err := lifecycle.Read(content)
	return Ends{d}, err
}

// Document is it as it is kept.
func (e Ends) Document() Document { return document(e.Content()) }

// Change counts what differs from before.
func (e Ends) Change(before Ends) (c Change) {
	c.New, c.Changed, c.Gone = e.Differs(before.Data)
	return c
}
