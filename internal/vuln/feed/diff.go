package feed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
)

// maxReasons bounds the examples of records that could not be read.
const maxReasons = 10

// head is a vuln.Head in less memory: a feed may have a quarter of a million.
type head struct {
	digest    [sha256.Size]byte
	known     int64 // microseconds
	format    int32
	inForce   bool
	withdrawn bool
	seen      bool // in the feed as it is now, and readable
	spoiled   bool // in the feed as it is now, and not readable
}

type heads map[string]*head

// heads reads what the store has of the feed.
func (r *run) heads(ctx context.Context, feed string) (heads, error) {
	all := heads{}
	err := r.opts.Stager.Heads(ctx, feed, func(h vuln.Head) error {
		v := &head{known: h.Known.UnixMicro(), format: int32(h.Format), inForce: h.InForce, withdrawn: h.Withdrawn}
		if _, err := hex.Decode(v.digest[:], []byte(h.Digest.Hex())); err != nil || h.Digest.Algorithm() != oci.SHA256 {
			return fmt.Errorf("digest %s of %s is no SHA-256", h.Digest, h.ID)
		}
		all[h.ID] = v
		return nil
	})
	if err != nil {
		return nil, &storeError{fmt.Errorf("reading what is known of feed %s: %w", feed, err)}
	}
	return all, nil
}

// outdated reports whether an older engine packed some row in force.
func (all heads) outdated() bool {
	for _, h := range all {
		if h.inForce && h.format < vuln.PackFormat {
			return true
		}
	}
	return false
}

// diff compares a feed with what is in force and stages the difference.
type diff struct {
	*run
	feed  string
	old   heads
	res   *FeedResult
	batch vuln.Batch
	seen  map[string]bool // ids that are not in old
	// fresh holds the digests of rows that were staged.
	fresh map[string][sha256.Size]byte
}

// read goes through the documents.
func (d *diff) read(ctx context.Context, docs documents) error {
	d.fresh = map[string][sha256.Size]byte{}
	total, done := int64(docs.count()), int64(0)
	err := docs.each(ctx, func(name string, raw []byte) error {
		if done++; done%256 == 0 {
			d.opts.Progress(Progress{Feed: d.feed, Step: "read", Done: done, Total: total})
		}
		if done > int64(d.opts.Limits.Records) {
			return fmt.Errorf("more than %d records", d.opts.Limits.Records)
		}
		id, ok := strings.CutSuffix(name, ".json")
		if !ok {
			return nil
		}
		if err := d.document(ctx, id, raw); err != nil {
			if errors.As(err, new(*storeError)) {
				return err
			}
			d.skip(id, err)
		}
		return nil
	})
	d.opts.Progress(Progress{Feed: d.feed, Step: "read", Done: done, Total: total})
	return err
}

func (d *diff) skip(id string, err error) {
	d.res.Skipped++
	if h := d.old[id]; h != nil && !h.seen {
		h.spoiled = true
	}
	if len(d.res.Reasons) < maxReasons {
		if len(id) > vuln.MaxIDLen {
			id = id[:vuln.MaxIDLen]
		}
		d.res.Reasons = append(d.res.Reasons, fmt.Sprintf("%s: %v", strings.Trim(oci.Quote(id), `"`), err))
	}
}

// document takes one record; an error that is no storeError skips it.
func (d *diff) document(ctx context.Context, id string, raw []byte) error {
	if raw == nil {
		return fmt.Errorf("larger than %d MiB", vuln.MaxRaw>>20)
	}
	h := d.old[id]
	if d.seen[id] || h != nil && h.seen {
		return errors.New("in the feed twice")
	}
	sum := sha256.Sum256(raw)
	if h != nil && h.inForce && h.digest == sum && h.format >= vuln.PackFormat {
		h.seen = true
		return nil
	}
	rec, err := vuln.ParseRecord(raw)
	if err != nil {
		return err
	}
	if rec.ID != id {
		return fmt.Errorf("the record calls itself %s", oci.Quote(rec.ID))
	}
	row := vuln.Row{
		Feed: d.feed, ID: id, Modified: rec.Modified, Withdrawn: rec.Withdrawn, Known: d.at,
		Digest: oci.FromBytes(raw), Format: vuln.PackFormat,
	}
	if h != nil {
		row.Known = time.UnixMicro(h.known).UTC()
		if err := d.carry(ctx, rec); err != nil {
			return err
		}
	}
	if row.Packed = rec.Pack(); len(row.Packed) > vuln.MaxPacked {
		return fmt.Errorf("takes %d bytes packed, more than %d MiB", len(row.Packed), vuln.MaxPacked>>20)
	}
	d.count(h, rec)
	d.fresh[id] = sum
	if h == nil {
		d.seen[id] = true
	} else {
		h.seen = true
	}
	return d.stage(ctx, h, row)
}

// carry tells the record since when it says what it says.
func (d *diff) carry(ctx context.Context, rec *vuln.Record) error {
	versions, err := d.opts.Reader.History(ctx, rec.ID)
	if err != nil {
		return &storeError{fmt.Errorf("reading the history of %s: %w", rec.ID, err)}
	}
	for _, v := range slices.Backward(versions) {
		if v.Feed != d.feed {
			continue
		}
		// A version that only an older engine could read tells nothing:
		// deadlines then count from when the record was first known.
		if before, err := vuln.Unpack(v.Packed); err == nil {
			rec.Carry(before, d.at)
		}
		return nil
	}
	return nil
}

func (d *diff) count(h *head, rec *vuln.Record) {
	d.res.Ignored += rec.Ignored
	switch {
	case h == nil || !h.inForce:
		d.res.New++
	case !rec.Withdrawn.IsZero() && !h.withdrawn:
		d.res.Withdrawn++
	default:
		d.res.Changed++
	}
}

// stage adds a row that comes into force, and ends the one it replaces.
func (d *diff) stage(ctx context.Context, h *head, row vuln.Row) error {
	if h != nil && h.inForce {
		d.batch.Close = append(d.batch.Close, row.ID)
	}
	d.batch.Insert = append(d.batch.Insert, row)
	return d.flush(ctx, vuln.MaxBatch-2) // a changed record is an id and a row
}

// flush stages the batch when it has more than limit ids and rows.
func (d *diff) flush(ctx context.Context, limit int) error {
	if len(d.batch.Close)+len(d.batch.Insert) <= limit {
		return nil
	}
	if err := d.begin(ctx); err != nil {
		return err
	}
	d.batch.Feed = d.feed
	for i := range d.batch.Insert {
		d.batch.Insert[i].From = d.loadID.Seq
	}
	if err := d.opts.Stager.Stage(ctx, d.loadID, d.batch); err != nil {
		return &storeError{fmt.Errorf("staging %d rows of feed %s: %w", len(d.batch.Insert), d.feed, err)}
	}
	clear(d.batch.Insert)
	d.batch.Close, d.batch.Insert = d.batch.Close[:0], d.batch.Insert[:0]
	return nil
}

// finish decides whether the feed is taken as it was read, ends what is gone,
// and writes the new state.
func (d *diff) finish(ctx context.Context, state *vuln.FeedState) error {
	gone, err := d.missing(state)
	if err != nil {
		return err
	}
	for _, id := range gone {
		d.batch.Close = append(d.batch.Close, id)
		if err := d.flush(ctx, vuln.MaxBatch-2); err != nil {
			return err
		}
	}
	if err := d.flush(ctx, 0); err != nil {
		return err
	}
	d.res.Gone = len(gone)
	state.Digest, state.Records = d.digest(gone)
	state.Skipped, state.Reasons = d.res.Skipped, d.res.Reasons
	d.res.Records = state.Records
	if d.res.New+d.res.Changed+d.res.Withdrawn+d.res.Gone > 0 {
		state.Seq = d.loadID.Seq
	}
	return nil
}

// missing returns the ids in force that are no longer in the feed, sorted. Its
// error matches ErrHeld when so much is missing, unreadable or withdrawn at
// once that the feed is not believed. A tenth counts as much.
func (d *diff) missing(state *vuln.FeedState) ([]string, error) {
	var gone []string
	last, lost, spoiled := 0, d.res.Withdrawn, 0
	for id, h := range d.old {
		if !h.inForce {
			continue
		}
		if !h.withdrawn {
			last++
		}
		switch {
		case h.seen:
		case h.spoiled:
			spoiled++
			lost++
		default:
			gone = append(gone, id)
			if !h.withdrawn {
				lost++
			}
		}
	}
	slices.Sort(gone)
	if lost > 0 && lost*10 >= last && !d.src.AcceptLoss {
		return nil, fmt.Errorf("%w: of %d records in force since %s, %d are gone, %d cannot be read and %d are withdrawn at once; the last good state stays. If this is right, load %s again and accept the loss",
			ErrHeld, last, state.LoadedAt.UTC().Format(time.RFC3339), len(gone), spoiled, d.res.Withdrawn, d.feed)
	}
	return gone, nil
}

// digest returns the digest and the number of the rows that are in force once
// the load is: vuln.FeedState.Digest.
func (d *diff) digest(gone []string) (oci.Digest, int) {
	dropped := make(map[string]bool, len(gone))
	for _, id := range gone {
		dropped[id] = true
	}
	ids := make([]string, 0, len(d.old)+len(d.seen))
	for id, h := range d.old {
		if (h.inForce || h.seen) && !dropped[id] {
			ids = append(ids, id)
		}
	}
	for id := range d.seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	sum := sha256.New()
	for _, id := range ids {
		raw, ok := d.fresh[id]
		if !ok {
			raw = d.old[id].digest
		}
		fmt.Fprintf(sum, "%s\x00sha256:%x\n", id, raw)
	}
	return oci.SHA256.FromHash(sum), len(ids)
}
