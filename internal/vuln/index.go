package vuln

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/lifecycle"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// chunkSize is the size of the pieces that packed records are kept in.
const chunkSize = 512 << 10

// Index holds the records in force under one snapshot, packed, with what is
// needed to find them by package, id and alias. It is immutable and safe for
// concurrent use; about 300 bytes per record.
type Index struct {
	snapshot evidence.Snapshot
	covered  map[string]bool // snapshot.Ecosystems

	chunks   [][]byte
	recs     []recRef
	feeds    []feedRef         // of all records, in the order in which they were added
	keys     map[string]uint32 // ecosystem NUL name, canonical, to a position in starts
	starts   []uint32          // where a key's postings begin; one more than keys
	postings []posting
	releases map[string]uint32 // canonical ecosystems, with release, that entries name; the least recRef.from of those

	seed    maphash.Seed
	ids     []idRef // ids, aliases and upstream ids of all records, by hash
	ratings []idRef // CVEs, of the records that rate exactly one, by hash

	memo *memo

	threats threat.Known // joined to findings
}

// recRef says where a packed record is.
type recRef struct {
	chunk, off, size uint32
	from             uint32 // sequence number of the snapshot that it came into force with
	known            int64  // microseconds since 1970
}

// feedRef says that the records from rec on, up to those of the next, are of
// the feed.
type feedRef struct {
	name string
	rec  uint32
}

// posting is one entry of one record.
type posting struct {
	rec uint32
	off uint32 // of the entry's body within the record
}

// idRef says that the record has an id with this hash, which must be compared.
type idRef struct{ hash, rec uint32 }

// Builder makes an Index from rows. It is used by one goroutine, once.
type Builder struct {
	x       *Index
	pending []keyed
	scratch []byte
}

type keyed struct {
	key uint32
	posting
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder {
	return &Builder{x: &Index{
		keys: map[string]uint32{}, releases: map[string]uint32{}, covered: map[string]bool{},
		seed: maphash.MakeSeed(), memo: newMemo(memoCost),
	}}
}

// Load builds the index of the records in force under the current snapshot,
// an empty one when there is none.
func Load(ctx context.Context, r Reader) (*Index, error) {
	s, err := r.Current(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the current snapshot of advisories: %w", err)
	}
	return LoadAt(ctx, r, s)
}

// LoadAt is Load for a published snapshot, to ask again as of a past date. What
// the snapshot names beside the advisories is loaded with them.
func LoadAt(ctx context.Context, r Reader, s evidence.Snapshot) (*Index, error) {
	known, err := ThreatsAt(ctx, r, s)
	if err != nil {
		return nil, err
	}
	b := NewBuilder()
	if s.Seq > 0 {
		if err := r.Rows(ctx, s.Seq, b.Add); err != nil {
			return nil, fmt.Errorf("reading the advisories of snapshot %d: %w", s.Seq, err)
		}
	}
	return b.Index(s).Beside(s, known), nil
}

// ThreatsAt returns what a snapshot names beside the advisories.
func ThreatsAt(ctx context.Context, r Reader, s evidence.Snapshot) (known threat.Known, err error) {
	if !s.Exploited.IsZero() {
		content, err := r.Document(ctx, s.Exploited)
		if err == nil {
			known.Exploits, err = threat.ReadExploits(content)
		}
		if err != nil {
			return known, fmt.Errorf("reading what is exploited as of snapshot %d: %w", s.Seq, err)
		}
	}
	if !s.Scores.IsZero() {
		content, err := r.Document(ctx, s.Scores)
		if err == nil {
			known.Scores, err = threat.ReadScores(content)
		}
		if err != nil {
			return known, fmt.Errorf("reading the scores as of snapshot %d: %w", s.Seq, err)
		}
	}
	if !s.Lifecycles.IsZero() {
		content, err := r.Document(ctx, s.Lifecycles)
		if err == nil {
			known.Ends, err = lifecycle.Read(content)
		}
		if err != nil {
			return known, fmt.Errorf("reading when releases end as of snapshot %d: %w", s.Seq, err)
		}
	}
	return known, nil
}

// Beside returns an index of the same records under another snapshot, which
// differs from that of x in what is known beside them alone.
func (x *Index) Beside(s evidence.Snapshot, known threat.Known) *Index {
	y := *x
	y.snapshot, y.threats = s, known
	return &y
}

// Threats returns what is known beside the records.
func (x *Index) Threats() threat.Known { return x.threats }

// Add takes a row, whose Packed it copies.
func (b *Builder) Add(row Row) error {
	x := b.x
	rec := uint32(len(x.recs))
	packed, ref := b.keep(row.Packed)
	ref.known = row.Known.UnixMicro()
	if row.Known.IsZero() {
		ref.known = 0
	}
	ref.from = uint32(row.From)
	if n := len(x.feeds); n == 0 || x.feeds[n-1].name != row.Feed {
		x.feeds = append(x.feeds, feedRef{row.Feed, rec})
	}
	c := cursor{rec: packed}
	h := c.header()
	if c.err != nil {
		return fmt.Errorf("reading the row of %s in feed %s: %w", row.ID, row.Feed, c.err)
	}
	x.recs = append(x.recs, ref)
	b.addIDs(&h, rec)
	rated := false
	for range h.entries {
		e := c.entry()
		if c.err != nil {
			return fmt.Errorf("reading the row of %s in feed %s: %w", row.ID, row.Feed, c.err)
		}
		if !h.withdrawn.IsZero() {
			continue
		}
		b.scratch = append(append(append(b.scratch[:0], e.ecosystem...), 0), e.name...)
		b.pending = append(b.pending, keyed{b.key(), posting{rec, uint32(e.body)}})
		if from, ok := x.releases[string(e.ecosystem)]; !ok || ref.from < from {
			x.releases[string(e.ecosystem)] = ref.from
		}
		rated = rated || packed[e.body]&flagRating != 0
	}
	if h.withdrawn.IsZero() && (rated || packed[h.ratingAt] != 0) {
		b.addRating(&h, rec)
	}
	return nil
}

// keep copies a packed record behind the others.
func (b *Builder) keep(packed []byte) ([]byte, recRef) {
	x := b.x
	last := len(x.chunks) - 1
	if last < 0 || cap(x.chunks[last])-len(x.chunks[last]) < len(packed) {
		x.chunks = append(x.chunks, make([]byte, 0, max(chunkSize, len(packed))))
		last++
	}
	off := len(x.chunks[last])
	x.chunks[last] = append(x.chunks[last], packed...)
	return x.chunks[last][off:], recRef{chunk: uint32(last), off: uint32(off), size: uint32(len(packed))}
}

// key returns the number of the key in scratch.
func (b *Builder) key() uint32 {
	x := b.x
	if k, ok := x.keys[string(b.scratch)]; ok {
		return k
	}
	k := uint32(len(x.keys))
	x.keys[string(b.scratch)] = k
	return k
}

func (b *Builder) addIDs(h *header, rec uint32) {
	b.x.ids = append(b.x.ids, idRef{b.x.hash(h.id), rec})
	h.ids(func(id []byte) { b.x.ids = append(b.x.ids, idRef{b.x.hash(id), rec}) })
}

// addRating notes the record as a source of ratings for its CVE: one that is
// about several rates none of them.
func (b *Builder) addRating(h *header, rec uint32) {
	var cve []byte
	several := false
	note := func(id []byte) {
		if len(id) > 4 && string(id[:4]) == "CVE-" {
			several = several || cve != nil && string(cve) != string(id)
			cve = id
		}
	}
	note(h.id)
	h.ids(note)
	if cve != nil && !several {
		b.x.ratings = append(b.x.ratings, idRef{b.x.hash(cve), rec})
	}
}

// Index returns the index; the Builder is used up.
func (b *Builder) Index(s evidence.Snapshot) *Index {
	x := b.x
	x.snapshot = s
	for _, e := range s.Ecosystems {
		x.covered[e] = true
	}
	x.starts = make([]uint32, len(x.keys)+1)
	for _, p := range b.pending {
		x.starts[p.key+1]++
	}
	for i := 1; i < len(x.starts); i++ {
		x.starts[i] += x.starts[i-1]
	}
	next := slices.Clone(x.starts)
	x.postings = make([]posting, len(b.pending))
	for _, p := range b.pending {
		x.postings[next[p.key]] = p.posting
		next[p.key]++
	}
	x.ids, x.ratings = sortRefs(x.ids), sortRefs(x.ratings)
	x.recs, x.chunks = slices.Clip(x.recs), slices.Clip(x.chunks)
	b.x, b.pending = nil, nil
	return x
}

func sortRefs(refs []idRef) []idRef {
	slices.SortFunc(refs, func(a, b idRef) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.rec, b.rec))
	})
	return slices.Clone(slices.Compact(refs))
}

func (x *Index) hash(id []byte) uint32 { return uint32(maphash.Bytes(x.seed, id)) }

// Snapshot names what the index holds.
func (x *Index) Snapshot() evidence.Snapshot { return x.snapshot }

// packed returns the bytes of a record, which nobody writes to.
func (x *Index) packed(rec uint32) []byte {
	r := x.recs[rec]
	return x.chunks[r.chunk][r.off : r.off+r.size]
}

func (x *Index) header(rec uint32) header {
	c := cursor{rec: x.packed(rec)}
	return c.header()
}

// feed returns the feed that a record is of.
func (x *Index) feed(rec uint32) string {
	i := sort.Search(len(x.feeds), func(i int) bool { return x.feeds[i].rec > rec })
	return x.feeds[i-1].name
}

func (x *Index) known(rec uint32) time.Time {
	if k := x.recs[rec].known; k != 0 {
		return time.UnixMicro(k).UTC()
	}
	return time.Time{}
}

// find calls fn with the records that may have the id, by hash alone.
func (x *Index) find(refs []idRef, id []byte, fn func(rec uint32)) {
	h := x.hash(id)
	i := sort.Search(len(refs), func(i int) bool { return refs[i].hash >= h })
	for ; i < len(refs) && refs[i].hash == h; i++ {
		fn(refs[i].rec)
	}
}

// Advisory is a record in force and when it first reached us.
type Advisory struct {
	*Record
	Known time.Time
}

// Lookup returns the records with this id, alias or upstream id, withdrawn
// ones included, in order of id. A record that several feeds carry is there
// once for each.
func (x *Index) Lookup(id string) []Advisory {
	var out []Advisory
	x.find(x.ids, []byte(id), func(rec uint32) {
		r, err := Unpack(x.packed(rec))
		if err == nil && (r.ID == id || slices.Contains(r.Aliases, id) || slices.Contains(r.Upstream, id)) {
			out = append(out, Advisory{r, x.known(rec)})
		}
	})
	slices.SortStableFunc(out, func(a, b Advisory) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// ByPackage returns the records that name the package in any ecosystem of its
// type, withdrawn ones excluded, in order of id.
func (x *Index) ByPackage(k PackageKey) []Advisory {
	seen := map[uint32]bool{}
	var out []Advisory
	for full := range x.releases {
		if lookupEcosystem(BaseEcosystem(full)).purl != k.Type {
			continue
		}
		for _, p := range x.posted(full, k.Name) {
			if seen[p.rec] {
				continue
			}
			seen[p.rec] = true
			if r, err := Unpack(x.packed(p.rec)); err == nil {
				out = append(out, Advisory{r, x.known(p.rec)})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Advisory) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// posted returns the postings of one canonical key.
func (x *Index) posted(ecosystem, name string) []posting {
	var buf [128]byte
	k, ok := x.keys[string(append(append(append(buf[:0], ecosystem...), 0), name...))]
	if !ok {
		return nil
	}
	return x.postings[x.starts[k]:x.starts[k+1]]
}

// generalRating returns the worst rating that anybody gives the CVE, without
// what distributions say about their own packages, and since when.
func (x *Index) generalRating(cve string) (worst Rating, since time.Time) {
	x.find(x.ratings, []byte(cve), func(rec uint32) {
		r, err := Unpack(x.packed(rec))
		if err != nil || !slices.Contains(r.cves(), cve) {
			return
		}
		for i := range r.Affected {
			a := &r.Affected[i]
			if rating := a.Rating.or(r.Rating).general(); rating.worse(worst) {
				worst, since = rating, later(a.Since, x.known(rec))
			}
		}
	})
	return worst, since
}
