package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Bounds of a comparison.
const (
	rowsAtOnce = 1000 // that are read together
	maxDiffs   = 4096 // differences that are looked into
	maxRows    = 100  // of them, that are told
)

// comparison holds rows, read ahead in order, against entries of the log.
type comparison struct {
	parts  chan []Entry
	cancel context.CancelFunc
	err    error // of the reader; read once parts is closed
	now    []Entry
	ended  bool
	diffs  []diff
	more   int64
}

// diff is a number under which the row is not the entry.
type diff struct {
	seq   int64
	row   *Entry // nil when there is none
	entry []byte
}

// compare begins to read the rows up to a number, from the smallest there is.
func compare(ctx context.Context, rows Rows, to int64) *comparison {
	ctx, cancel := context.WithCancel(ctx)
	c := &comparison{parts: make(chan []Entry, 2), cancel: cancel}
	go func() {
		defer close(c.parts)
		for after := int64(math.MinInt64); after < to; {
			part, err := rows.Entries(ctx, after, rowsAtOnce)
			if err != nil || len(part) == 0 {
				c.err = err
				return
			}
			after = part[len(part)-1].Seq
			part = slices.DeleteFunc(part, func(e Entry) bool { return e.Seq > to })
			select {
			case c.parts <- part:
			case <-ctx.Done():
				c.err = errStopped
				return
			}
		}
	}()
	return c
}

// stop ends the reader and waits for it.
func (c *comparison) stop() {
	c.cancel()
	for range c.parts { // until it has ended
	}
}

// peek returns the next row, nil after the last.
func (c *comparison) peek() (*Entry, error) {
	for len(c.now) == 0 && !c.ended {
		part, ok := <-c.parts
		if !ok {
			c.ended = true
			return nil, c.err
		}
		c.now = part
	}
	if c.ended {
		return nil, c.err
	}
	return &c.now[0], nil
}

// entry takes the next entry of the log.
func (c *comparison) entry(seq int64, data []byte) error {
	row, err := c.peek()
	if err != nil {
		return err
	}
	for row != nil && row.Seq < seq { // below the first number: no entry has it
		c.differ(diff{seq: row.Seq, row: row})
		c.now = c.now[1:]
		if row, err = c.peek(); err != nil {
			return err
		}
	}
	if row == nil || row.Seq > seq {
		c.differ(diff{seq: seq, entry: bytes.Clone(data)})
		return nil
	}
	c.now = c.now[1:]
	if !bytes.Equal(row.Bytes, data) || row.Columns != columnsOf(data) {
		c.differ(diff{seq: seq, row: row, entry: bytes.Clone(data)})
	}
	return nil
}

func (c *comparison) differ(d diff) {
	if len(c.diffs) == maxDiffs {
		c.more++
		return
	}
	c.diffs = append(c.diffs, d)
}

// rest reads what is left. Rows beyond the entries are none of its business.
func (c *comparison) rest() error {
	for range c.parts {
	}
	return c.err
}

// found names what differs.
func (c *comparison) found() (rows []api.AuditRow, more int) {
	entries, held := map[tlog.Hash]int64{}, map[tlog.Hash]int64{}
	for _, d := range c.diffs {
		if d.entry != nil {
			entries[tlog.LeafHash(d.entry)] = d.seq
		}
		if d.row != nil {
			held[d.row.Leaf()] = d.seq
		}
	}
	for _, d := range c.diffs {
		if len(rows) == maxRows {
			break
		}
		rows = append(rows, api.AuditRow{Seq: d.seq, Text: d.text(entries, held)})
	}
	return rows, len(c.diffs) - len(rows) + int(c.more)
}

// text says what became of a row. entries are the numbers that events have in
// the log, held those of the rows that hold them.
func (d diff) text(entries, held map[tlog.Hash]int64) string {
	if d.entry == nil {
		return fmt.Sprintf("row %d was put in: numbers begin with 1", d.seq)
	}
	want := describe(d.entry)
	elsewhere, moved := held[tlog.LeafHash(d.entry)]
	switch {
	case d.row == nil && moved:
		return fmt.Sprintf("row %d is missing: %s, which is now in row %d", d.seq, want, elsewhere)
	case d.row == nil:
		return fmt.Sprintf("row %d was dropped: %s", d.seq, want)
	case bytes.Equal(d.row.Bytes, d.entry):
		return fmt.Sprintf("row %d was edited: %s; the columns it is found by say %s, and its event %s", d.seq, want, d.row.Columns.words(), columnsOf(d.entry).words())
	}
	from, known := entries[d.row.Leaf()]
	switch {
	case known:
		return fmt.Sprintf("row %d was reordered: the log has %s there, and the row has event %d", d.seq, want, from)
	case moved:
		return fmt.Sprintf("row %d was put in: it has %s, which is in no entry; the log has %s there, which is now in row %d", d.seq, describe(d.row.Bytes), want, elsewhere)
	}
	return fmt.Sprintf("row %d was edited: the log has %s there; %s", d.seq, want, changed(d.entry, d.row.Bytes))
}

// describe names an event for people.
func describe(b []byte) string {
	var e Event
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Sprintf("%d bytes that are no event", len(b))
	}
	about := ""
	if e.Repository != "" {
		about = " " + e.Repository
	}
	return fmt.Sprintf("%s%s by %s at %s (event %s)", e.Kind, about, e.Principal, e.At.Format(time.RFC3339), e.ID)
}

// changed names the first thing in which two events differ.
func changed(entry, row []byte) string {
	var want, got map[string]any
	if json.Unmarshal(entry, &want) != nil || json.Unmarshal(row, &got) != nil {
		return "the row is no event"
	}
	for _, key := range []string{"id", "at", "kind", "principal", "method", "repository", "digest", "details"} {
		if a, b := fmt.Sprint(want[key]), fmt.Sprint(got[key]); a != b {
			return fmt.Sprintf("its %s is %.200q, and the row says %.200q", key, a, b)
		}
	}
	return "they differ in their bytes"
}

// words say what columns have, for people.
func (f Filter) words() string {
	return fmt.Sprintf("kind %q, principal %q, repository %q, digest %q", f.Kind, f.Principal, f.Repository, f.Digest)
}

// columnsOf returns what an event is to be found by. Events as this program
// encodes them are read in place: it is done for each row of a log.
func columnsOf(event []byte) Filter {
	var f Filter
	rest := event
	for _, field := range []struct {
		key      string
		to       *string
		optional bool
	}{
		{`{"id":`, nil, false}, {`,"at":`, nil, false}, {`,"kind":`, &f.Kind, false}, {`,"principal":`, &f.Principal, false},
		{`,"method":`, nil, false}, {`,"repository":`, &f.Repository, true}, {`,"digest":`, &f.Digest, true},
	} {
		after, ok := bytes.CutPrefix(rest, []byte(field.key))
		if !ok && field.optional {
			continue
		}
		end := -1
		if ok && len(after) > 0 && after[0] == '"' {
			end = bytes.IndexAny(after[1:], `"\`)
		}
		if end < 0 || after[1+end] == '\\' {
			return columnsSlowly(event)
		}
		if field.to != nil {
			*field.to = string(after[1 : 1+end])
		}
		rest = after[end+2:]
	}
	return f
}

func columnsSlowly(event []byte) Filter {
	var e Event
	if err := json.Unmarshal(event, &e); err != nil {
		return Filter{Kind: "\x00"} // no row has this
	}
	return Filter{Repository: e.Repository, Digest: e.Digest, Principal: e.Principal, Kind: e.Kind}
}
