package vuln

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// The packed form of a record, PackFormat 1. Numbers are unsigned varints.
//
//	record  = format:byte flags:byte rating id:str summary:str
//	          published:num withdrawn:num         seconds since 1970 + 1, 0 when not told
//	          ids ids                             aliases, upstream
//	          ignored:num count:num { entry }
//	rating  = level:byte [ score:byte vector:str ]   level's bits: 0-2 rank + 1 or 0, 6 vendor, 7 has a vector; score in tenths
//	ids     = count:num { id:str }
//	entry   = length:3 bytes, little-endian, body  length of body in bytes
//	body    = ecosystem:str name:str flags:byte [ rating ] [ since:num ] ranges [ count:num { version:str } ]
//	ranges  = fixed:str                           flag simple: from the beginning until fixed
//	        | count:num { flags:byte count:num { kind:byte version:str } }
//	str     = 0 distance:num                      the literal that begins distance bytes before this str
//	        | length+1:num bytes
//
// A distance keeps repeated names and versions short while an entry can still
// be read without what is before it.
const flagMalicious = 1 // of the record

const (
	flagRating   = 1 << iota // of an entry: it has its own rating
	flagVersions             // it lists single versions
	flagSimple               // its one range is introduced "0", fixed
	flagSince                // it has not always said so
)

const (
	flagSemver = 1 << iota // of a range
	flagUnordered
)

// entryHead is the length of an entry's length: enough for MaxPacked.
const entryHead = 3

const (
	levelVendor = 1 << 6
	levelVector = 1 << 7
)

// errPacked is the cause of every error about packed records.
var errPacked = errors.New("packed record is damaged")

// levels by Rank.
var levels = [...]evidence.Severity{evidence.Unknown, evidence.Negligible, evidence.Low, evidence.Medium, evidence.High, evidence.Critical}

// packer writes one record.
type packer struct {
	b    []byte
	seen map[string]int // position of a literal
}

// Pack writes the record in the form that rows and the index hold. The same
// record always packs to the same bytes.
func (r *Record) Pack() []byte {
	p := packer{b: make([]byte, 0, 256), seen: map[string]int{}}
	var flags byte
	if r.Malicious {
		flags |= flagMalicious
	}
	p.b = append(p.b, PackFormat, flags)
	p.rating(r.Rating)
	p.str(r.ID)
	p.str(r.Summary)
	p.time(r.Published)
	p.time(r.Withdrawn)
	p.strs(r.Aliases)
	p.strs(r.Upstream)
	p.num(r.Ignored)
	p.num(len(r.Affected))
	for i := range r.Affected {
		p.entry(&r.Affected[i])
	}
	return p.b
}

func (p *packer) num(n int) { p.b = binary.AppendUvarint(p.b, uint64(n)) }

// time keeps seconds from 1970 to 2106.
func (p *packer) time(t time.Time) {
	s := t.Unix()
	if t.IsZero() || s < 0 || s >= math.MaxUint32 {
		s = -1
	}
	if !t.IsZero() && s < 0 {
		s = 0 // outside, but told: a withdrawal of the year 1 is one
	}
	p.num(int(s + 1))
}

func (p *packer) str(s string) {
	at := len(p.b)
	if prev, ok := p.seen[s]; ok && len(s) > 2 {
		p.b = append(p.b, 0)
		p.num(at - prev)
		return
	}
	p.seen[s] = at
	p.num(len(s) + 1)
	p.b = append(p.b, s...)
}

func (p *packer) strs(list []string) {
	p.num(len(list))
	for _, s := range list {
		p.str(s)
	}
}

func (p *packer) rating(r Rating) {
	level := byte(0)
	if r.rated() {
		level = byte(r.Level.Rank()) + 1
	}
	if r.Vendor {
		level |= levelVendor
	}
	if r.Vector == "" {
		p.b = append(p.b, level)
		return
	}
	p.b = append(p.b, level|levelVector, byte(math.Round(r.Score*10)))
	p.str(r.Vector)
}

func (p *packer) entry(a *Affected) {
	start := len(p.b)
	p.b = append(p.b, 0, 0, 0)
	p.str(a.Ecosystem)
	p.str(a.Name)
	flags := byte(0)
	simple := len(a.Ranges) == 1 && a.Ranges[0].simple()
	if a.Rating != (Rating{}) {
		flags |= flagRating
	}
	if len(a.Versions) > 0 {
		flags |= flagVersions
	}
	if simple {
		flags |= flagSimple
	}
	if !a.Since.IsZero() {
		flags |= flagSince
	}
	p.b = append(p.b, flags)
	if flags&flagRating != 0 {
		p.rating(a.Rating)
	}
	if flags&flagSince != 0 {
		p.time(a.Since)
	}
	if simple {
		p.str(a.Ranges[0].Events[1].Version)
	} else {
		p.ranges(a.Ranges)
	}
	if len(a.Versions) > 0 {
		p.strs(a.Versions)
	}
	n := len(p.b) - start - entryHead
	p.b[start], p.b[start+1], p.b[start+2] = byte(n), byte(n>>8), byte(n>>16)
}

func (p *packer) ranges(list []Range) {
	p.num(len(list))
	for i := range list {
		p.b = append(p.b, list[i].flags())
		p.num(len(list[i].Events))
		for _, e := range list[i].Events {
			p.b = append(p.b, byte(e.Kind))
			p.str(e.Version)
		}
	}
}

// simple reports whether the range is "introduced 0, fixed X" and no more.
func (r *Range) simple() bool {
	return len(r.Events) == 2 && r.Events[0] == (Event{Introduced, "0"}) && r.Events[1].Kind == Fixed && r.flags() == 0
}

func (r *Range) flags() (f byte) {
	if r.Semver {
		f |= flagSemver
	}
	if r.Unordered {
		f |= flagUnordered
	}
	return f
}

// cursor reads a packed record. Its first error stays; reads after it return
// nothing. rec is the whole record, as distances point back into it.
type cursor struct {
	rec []byte
	at  int
	err error
}

func (c *cursor) fail() { c.err = errPacked }

func (c *cursor) byte() byte {
	if c.err != nil || c.at >= len(c.rec) {
		c.fail()
		return 0
	}
	b := c.rec[c.at]
	c.at++
	return b
}

// num reads a number of at most limit.
func (c *cursor) num(limit int) int {
	if c.err != nil {
		return 0
	}
	v, n := binary.Uvarint(c.rec[c.at:])
	if n <= 0 || v > uint64(limit) {
		c.fail()
		return 0
	}
	c.at += n
	return int(v)
}

// str returns a part of the record, which must not be written to.
func (c *cursor) str() []byte {
	start := c.at
	n := c.num(len(c.rec))
	if c.err != nil {
		return nil
	}
	if n > 0 {
		return c.take(n - 1)
	}
	distance := c.num(start)
	if c.err != nil || distance == 0 {
		c.fail()
		return nil
	}
	back := cursor{rec: c.rec, at: start - distance}
	n = back.num(len(c.rec))
	if n == 0 { // a distance never leads to another
		c.fail()
		return nil
	}
	s := back.take(n - 1)
	if back.err != nil {
		c.fail()
	}
	return s
}

func (c *cursor) take(n int) []byte {
	if c.err != nil || n > len(c.rec)-c.at {
		c.fail()
		return nil
	}
	s := c.rec[c.at : c.at+n : c.at+n]
	c.at += n
	return s
}

func (c *cursor) time() time.Time {
	if s := c.num(math.MaxUint32); s > 0 {
		return time.Unix(int64(s-1), 0).UTC()
	}
	return time.Time{}
}

func (c *cursor) strs(limit int) []string {
	var out []string
	for range c.num(limit) {
		s := c.str()
		if c.err != nil {
			return nil
		}
		out = append(out, string(s))
	}
	return out
}

func (c *cursor) rating() Rating {
	b := c.byte()
	var r Rating
	if rank := int(b & 7); rank > len(levels) {
		c.fail()
	} else if rank > 0 {
		r.Level = levels[rank-1]
	}
	r.Vendor = b&levelVendor != 0
	if b&levelVector != 0 {
		r.Score = float64(c.byte()) / 10
		r.Vector = string(c.str())
	}
	return r
}

func (c *cursor) skipRating() {
	if c.byte()&levelVector != 0 {
		c.byte()
		c.str()
	}
}

// header is what precedes the entries of a packed record. It allocates nothing
// until one of its methods is called.
type header struct {
	rec                  []byte
	malicious            bool
	ratingAt             int
	id, summary          []byte
	published, withdrawn time.Time
	aliasesAt            int
	ignored, entries     int
}

func (c *cursor) header() header {
	h := header{rec: c.rec}
	if c.byte() != PackFormat {
		c.fail()
	}
	h.malicious = c.byte()&flagMalicious != 0
	h.ratingAt = c.at
	c.skipRating()
	h.id, h.summary = c.str(), c.str()
	h.published, h.withdrawn = c.time(), c.time()
	h.aliasesAt = c.at
	for range 2 {
		for range c.num(maxIDs) {
			c.str()
		}
	}
	h.ignored, h.entries = c.num(maxAffected), c.num(maxAffected)
	return h
}

func (h *header) rating() Rating {
	c := cursor{rec: h.rec, at: h.ratingAt}
	return c.rating()
}

// ids calls fn with every alias and every upstream id.
func (h *header) ids(fn func(id []byte)) {
	c := cursor{rec: h.rec, at: h.aliasesAt}
	for range 2 {
		for range c.num(maxIDs) {
			fn(c.str())
		}
	}
}

func (h *header) lists() (aliases, upstream []string) {
	c := cursor{rec: h.rec, at: h.aliasesAt}
	return c.strs(maxIDs), c.strs(maxIDs)
}

// entry is the cheap part of an entry: what it is about, and where its rest
// begins and ends.
type entry struct {
	ecosystem, name []byte
	body, end       int // positions in the record: of the flags, and after the entry
}

func (c *cursor) entry() entry {
	head := c.take(entryHead)
	if c.err != nil {
		return entry{}
	}
	end := c.at + (int(head[0]) | int(head[1])<<8 | int(head[2])<<16)
	if end > len(c.rec) {
		c.fail()
		return entry{}
	}
	e := entry{ecosystem: c.str(), name: c.str(), body: c.at, end: end}
	if c.at > end {
		c.fail()
	}
	c.at = end
	return e
}

// affected reads the rest of an entry at the cursor.
func (c *cursor) affected(a *Affected) {
	flags := c.byte()
	if flags&flagRating != 0 {
		a.Rating = c.rating()
	}
	if flags&flagSince != 0 {
		a.Since = c.time()
	}
	if flags&flagSimple != 0 {
		a.Ranges = []Range{{Events: []Event{{Introduced, "0"}, {Fixed, string(c.str())}}}}
	} else {
		for range c.num(maxRanges) {
			if c.err != nil {
				return
			}
			a.Ranges = append(a.Ranges, c.rng())
		}
	}
	if flags&flagVersions != 0 {
		a.Versions = c.strs(maxVersions)
	}
}

// evaluate says whether the version has the fault according to the rest of an
// entry at the cursor, without building it.
func (c *cursor) evaluate(cmp *comparer) answer {
	flags := c.byte()
	if flags&flagRating != 0 {
		c.skipRating()
	}
	if flags&flagSince != 0 {
		c.time()
	}
	result := no
	if flags&flagSimple != 0 {
		switch sign, ok := cmp.compare(c.str(), false); {
		case !ok:
			result = unsure
		case sign < 0:
			result = yes
		}
	} else {
		for range c.num(maxRanges) {
			result = result.or(c.evaluateRange(cmp))
		}
	}
	if flags&flagVersions != 0 && result != yes {
		result = result.or(c.evaluateVersions(cmp))
	}
	if c.err != nil {
		return unsure
	}
	return result
}

func (c *cursor) evaluateRange(cmp *comparer) answer {
	flags := c.byte()
	n := c.num(4 * maxEvents)
	events := func(yield func(EventKind, []byte) bool) {
		going := true
		for range n {
			kind, v := EventKind(c.byte()), c.str()
			going = going && c.err == nil && yield(kind, v)
		}
	}
	semver := flags&flagSemver != 0
	a := inRange(events, func(v []byte) (int, bool) { return cmp.compare(v, semver) })
	if flags&flagUnordered != 0 {
		return unsure
	}
	return a
}

// evaluateVersions says no for a version that cannot be read, as a list is
// exact text, but a package without a version may be any of them.
func (c *cursor) evaluateVersions(cmp *comparer) answer {
	result := no
	for range c.num(maxVersions) {
		if v := c.str(); c.err == nil && cmp.is(v) {
			result = yes
		}
	}
	if result == no && cmp.version == "" {
		return unsure
	}
	return result
}

func (c *cursor) rng() Range {
	flags := c.byte()
	r := Range{Semver: flags&flagSemver != 0, Unordered: flags&flagUnordered != 0}
	for range c.num(4 * maxEvents) { // an event of OSV can say four things
		if c.err != nil {
			break
		}
		kind := EventKind(c.byte())
		if kind > Limit {
			c.fail()
		}
		r.Events = append(r.Events, Event{kind, string(c.str())})
	}
	return r
}

// Unpack reads what Pack wrote. Modified is not packed; rows have it.
func Unpack(packed []byte) (*Record, error) {
	c := cursor{rec: packed}
	h := c.header()
	if c.err != nil {
		return nil, fmt.Errorf("unpacking record of %d bytes: %w", len(packed), c.err)
	}
	r := &Record{
		ID: string(h.id), Summary: string(h.summary), Malicious: h.malicious, Rating: h.rating(),
		Published: h.published, Withdrawn: h.withdrawn, Ignored: h.ignored,
	}
	r.Aliases, r.Upstream = h.lists()
	for range h.entries {
		e := c.entry()
		if c.err != nil {
			break
		}
		a := Affected{Ecosystem: string(e.ecosystem), Name: string(e.name)}
		body := cursor{rec: packed[:e.end], at: e.body}
		body.affected(&a)
		if body.err != nil || body.at != e.end {
			c.fail()
			break
		}
		r.Affected = append(r.Affected, a)
	}
	if c.err == nil && c.at != len(packed) {
		c.fail()
	}
	if c.err != nil {
		return nil, fmt.Errorf("unpacking record %q of %d bytes: %w", h.id, len(packed), c.err)
	}
	return r, nil
}
