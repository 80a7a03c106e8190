package threat

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Limits of the scores: the real file has 360 000 rows in 10 MB, 2.6 MB packed.
const (
	maxScores    = 5_000_000
	maxScoreText = 512 << 20 // bytes, unpacked
	maxScoreLine = 1 << 10
)

// unit is what scores are kept in: they are published with five decimals.
const unit = 100_000

// Score is how likely a fault is to be exploited within 30 days.
type Score struct {
	EPSS       float64 // above 0 and at most 1
	Percentile float64 // how much of all that is scored is not above it
}

type scored struct {
	n                number
	epss, percentile uint32 // in units
}

func (s *scored) score() Score {
	return Score{float64(s.epss) / unit, float64(s.percentile) / unit}
}

// Scores are those of all faults that are scored. The nil one is empty.
type Scores struct{ all []scored } // by number, each once

// ParseEPSS reads a daily file of FIRST's scores, epss_scores-DATE.csv, packed by
// gzip or not. A row that cannot be read is skipped. Errors match ErrInvalid, or
// are those of r.
func ParseEPSS(r io.Reader) (*Scores, Published, error) {
	var p Published
	in := bufio.NewReader(r)
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, p, fmt.Errorf("reading scores: %w: %v", ErrInvalid, err)
		}
		in = bufio.NewReader(z)
	}
	limited := &io.LimitedReader{R: in, N: maxScoreText}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, maxScoreLine), maxScoreLine)
	x, err := readScores(lines, &p)
	switch {
	case err != nil:
	case lines.Err() != nil && isDamage(lines.Err()):
		err = fmt.Errorf("reading scores: %w: %v", ErrInvalid, lines.Err())
	case lines.Err() != nil:
		err = fmt.Errorf("reading scores: %w", lines.Err())
	case limited.N == 0:
		err = fmt.Errorf("reading scores: %w: more than %d bytes", ErrInvalid, maxScoreText)
	case len(x.all) == 0:
		err = fmt.Errorf("reading scores: %w: it scores nothing", ErrInvalid)
	}
	if err != nil {
		return nil, p, err
	}
	return x, p, nil
}

// isDamage tells an error about the text from one of where it comes from.
func isDamage(err error) bool {
	return errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, bufio.ErrTooLong) || strings.HasPrefix(err.Error(), "flate:")
}

func readScores(lines *bufio.Scanner, p *Published) (*Scores, error) {
	x := &Scores{}
	header := false
	for i := 1; lines.Scan(); i++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		switch {
		case !header && strings.HasPrefix(line, "#"):
			p.At = scoreDate(line)
			continue
		case !header && line == "cve,epss,percentile":
			header = true
			continue
		case !header:
			return nil, fmt.Errorf("reading scores: %w: line %d is %s, want the header cve,epss,percentile", ErrInvalid, i, oci.Quote(line))
		case len(x.all) == maxScores:
			return nil, fmt.Errorf("reading scores: %w: more than %d rows", ErrInvalid, maxScores)
		case line == "":
			continue
		}
		s, why := parseScore(line)
		if why != "" {
			p.skip("line %d: %s", i, why)
			continue
		}
		x.all = append(x.all, s)
	}
	slices.SortFunc(x.all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(b.epss, a.epss), cmp.Compare(b.percentile, a.percentile))
	})
	x.all = slices.CompactFunc(x.all, func(a, b scored) bool { return a.n == b.n }) // of several the worst
	return x, nil
}

// scoreDate reads "#model_version:v2025.03.14,score_date:2026-08-16T00:00:00Z",
// whose zone is written "+0000" in older files.
func scoreDate(line string) time.Time {
	_, text, _ := strings.Cut(line, "score_date:")
	text, _, _ = strings.Cut(text, ",")
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05-0700", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// parseScore reads "CVE-2021-44228,0.94358,0.99961"; why is "" when it could.
func parseScore(line string) (s scored, why string) {
	id, rest, _ := strings.Cut(line, ",")
	epss, percentile, _ := strings.Cut(rest, ",")
	n, ok := numberOf(id)
	if !ok {
		return s, oci.Quote(id) + " is no CVE id"
	}
	e, ok1 := share(epss)
	p, ok2 := share(percentile)
	if !ok1 || !ok2 {
		return s, fmt.Sprintf("%s has score %s and percentile %s, want numbers from 0 to 1", id, oci.Quote(epss), oci.Quote(percentile))
	}
	return scored{n, max(e, 1), p}, "" // what is scored is above nothing
}

func share(text string) (uint32, bool) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= 1) {
		return 0, false
	}
	return uint32(math.Round(v * unit)), true
}

// scoresForm begins the document of scores.
const scoresForm = "bonded scores v1\n"

// Document is the scores as they are kept: of each CVE, in order, how far it is
// from the one before, its score and its percentile, as varints in units.
func (x *Scores) Document() Document {
	b := make([]byte, 0, len(scoresForm)+7*len(x.all))
	b = append(b, scoresForm...)
	var last number
	for i := range x.all {
		s := &x.all[i]
		b = binary.AppendUvarint(b, uint64(s.n-last))
		b = binary.AppendUvarint(b, uint64(s.epss))
		b = binary.AppendUvarint(b, uint64(s.percentile))
		last = s.n
	}
	return document(b)
}

// ReadScores reads what Document has written.
func ReadScores(content []byte) (*Scores, error) {
	rest, ok := strings.CutPrefix(string(content), scoresForm)
	if !ok {
		return nil, fmt.Errorf("reading kept scores: they do not begin with %q", scoresForm)
	}
	b := []byte(rest)
	x := &Scores{all: make([]scored, 0, min(len(b)/3, maxScores))}
	var last uint64
	for len(b) > 0 {
		var v [3]uint64
		for i := range v {
			n, size := binary.Uvarint(b)
			if size <= 0 {
				return nil, errors.New("reading kept scores: they end early")
			}
			v[i], b = n, b[size:]
		}
		next := last + v[0]
		if next <= last || v[1] == 0 || v[1] > unit || v[2] > unit || len(x.all) == maxScores {
			return nil, fmt.Errorf("reading kept scores: row %d is out of order, or of bounds", len(x.all)+1)
		}
		x.all = append(x.all, scored{number(next), uint32(v[1]), uint32(v[2])})
		last = next
	}
	return x, nil
}

// Find returns the score of a CVE.
func (x *Scores) Find(id string) (Score, bool) {
	n, ok := numberOf(id)
	if !ok {
		return Score{}, false
	}
	return x.find(n)
}

func (x *Scores) find(n number) (Score, bool) {
	if x == nil {
		return Score{}, false
	}
	i := sort.Search(len(x.all), func(i int) bool { return x.all[i].n >= n })
	if i == len(x.all) || x.all[i].n != n {
		return Score{}, false
	}
	return x.all[i].score(), true
}

// Len is the number of CVEs.
func (x *Scores) Len() int {
	if x == nil {
		return 0
	}
	return len(x.all)
}

// Change counts what differs from earlier scores.
func (x *Scores) Change(before *Scores) Change {
	var c Change
	x.merge(before, func(_ number, was, is *scored) {
		switch {
		case was == nil:
			c.New++
		case is == nil:
			c.Gone++
		case *was != *is:
			c.Changed++
		}
	})
	return c
}

// merge calls fn for each CVE that either scores, with nil where it does not.
func (x *Scores) merge(before *Scores, fn func(n number, was, is *scored)) {
	var old, now []scored
	if before != nil {
		old = before.all
	}
	if x != nil {
		now = x.all
	}
	for len(old) > 0 || len(now) > 0 {
		switch {
		case len(now) == 0 || len(old) > 0 && old[0].n < now[0].n:
			fn(old[0].n, &old[0], nil)
			old = old[1:]
		case len(old) == 0 || now[0].n < old[0].n:
			fn(now[0].n, nil, &now[0])
			now = now[1:]
		default:
			fn(now[0].n, &old[0], &now[0])
			old, now = old[1:], now[1:]
		}
	}
}

// changed returns the CVEs whose score changed in a way that matters.
func (x *Scores) changed(before *Scores, a Attention) (all []number) {
	if x == before || !a.All && len(a.Thresholds) == 0 {
		return nil
	}
	at := slices.Sorted(slices.Values(a.Thresholds))
	band := func(s *scored) int { // how many thresholds it has reached
		if s == nil {
			return 0
		}
		epss := s.score().EPSS
		return sort.Search(len(at), func(i int) bool { return at[i] > epss })
	}
	x.merge(before, func(n number, was, is *scored) {
		if a.All && (was == nil || is == nil || *was != *is) || band(was) != band(is) {
			all = append(all, n)
		}
	})
	return all
}
