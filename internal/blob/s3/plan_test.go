package s3

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/blobtest"
)

const mib = 1 << 20

// row returns parts of the given sizes.
func row(sizes ...int64) []part {
	var parts []part
	for _, n := range sizes {
		parts = append(parts, part{offset: end(parts), size: n})
	}
	return parts
}

func TestPlan(t *testing.T) {
	type span struct{ Offset, From, To int64 }
	for _, test := range []struct {
		name  string
		parts []part
		size  int64
		want  map[string][]span // copied or gathered, with the number of the piece
	}{
		{"whole parts", row(8*mib, 8*mib, 3), 16*mib + 3, map[string][]span{
			"1 copied": {{0, 0, 8 * mib}}, "2 copied": {{8 * mib, 0, 8 * mib}}, "3 copied": {{16 * mib, 0, 3}},
		}},
		{"last cut", row(8*mib, 8*mib), 9 * mib, map[string][]span{
			"1 copied": {{0, 0, 8 * mib}}, "2 copied": {{8 * mib, 0, mib}},
		}},
		{"last cut of a small source", row(8*mib, 5*mib), 9 * mib, map[string][]span{
			"1 copied": {{0, 0, 8 * mib}}, "2 gathered": {{8 * mib, 0, mib}},
		}},
		{"small before large", row(mib, 8*mib, 8*mib), 17 * mib, map[string][]span{
			"1 gathered": {{0, 0, mib}, {mib, 0, 8 * mib}}, "2 copied": {{9 * mib, 0, 8 * mib}},
		}},
		{"small before one that splits", row(3*mib, 8*mib), 11 * mib, map[string][]span{
			"1 gathered": {{0, 0, 3 * mib}, {3 * mib, 0, 2 * mib}}, "2 copied": {{3 * mib, 2 * mib, 8 * mib}},
		}},
		{"small ones", row(2*mib, 2*mib, 2*mib, 2*mib, 2*mib), 10 * mib, map[string][]span{
			"1 gathered": {{0, 0, 2 * mib}, {2 * mib, 0, 2 * mib}, {4 * mib, 0, 2 * mib}},
			"2 gathered": {{6 * mib, 0, 2 * mib}, {8 * mib, 0, 2 * mib}},
		}},
	} {
		got := map[string][]span{}
		for i, p := range plan(cut(test.parts, test.size)) {
			how := " gathered"
			if p.copy {
				how = " copied"
			}
			for _, s := range p.spans {
				key := string(rune('1'+i)) + how
				got[key] = append(got[key], span{s.part.offset, s.from, s.to})
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// TestPlanKeepsTheRules makes plans of parts of any size and checks what S3
// asks of pieces, what memory allows, and that no byte is lost or moved.
func TestPlanKeepsTheRules(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var sizes []int64
		for range 1 + r.IntN(12) {
			sizes = append(sizes, []int64{1 + r.Int64N(100), 1 + r.Int64N(minPiece), minPiece, 1 + r.Int64N(partSize), partSize}[r.IntN(5)])
		}
		parts := row(sizes...)
		size := end(parts)
		if r.IntN(2) == 0 {
			size = 1 + r.Int64N(size)
		}
		pieces, at := plan(cut(parts, size)), int64(0)
		for i, p := range pieces {
			if last := i == len(pieces)-1; !last && p.size() < minPiece {
				t.Fatalf("%v cut to %d: piece %d has %d bytes", sizes, size, i, p.size())
			}
			if !p.copy && p.size() >= 2*minPiece {
				t.Fatalf("%v cut to %d: piece %d takes %d bytes of memory", sizes, size, i, p.size())
			}
			for _, s := range p.spans {
				if s.part.offset+s.from != at || s.from >= s.to || s.to > s.part.size {
					t.Fatalf("%v cut to %d: piece %d has %+v at %d", sizes, size, i, s, at)
				}
				if p.copy && (len(p.spans) != 1 || !s.whole() && s.part.size <= minPiece) {
					t.Fatalf("%v cut to %d: the server copies no piece like %d, %+v", sizes, size, i, p)
				}
				at += s.size()
			}
		}
		if at != size {
			t.Fatalf("%v cut to %d: pieces have %d bytes", sizes, size, at)
		}
	}
}

func TestLearn(t *testing.T) {
	a, b, c := part{0, 5, "a"}, part{5, 5, "b"}, part{10, 1, "c"}
	for _, test := range []struct {
		name          string
		known, listed []part
		want          []part
		damaged       bool
	}{
		{"nothing", nil, nil, nil, false},
		{"all is new", nil, []part{a, b, c}, []part{a, b, c}, false},
		{"more", []part{a}, []part{b, c}, []part{a, b, c}, false},
		{"learnt meanwhile", []part{a, b}, []part{b, c}, []part{a, b, c}, false},
		{"an old listing", []part{a, b, c}, []part{a}, []part{a, b, c}, false},
		{"a gap", []part{a}, []part{c}, nil, true},
		{"an overlap", nil, []part{a, {3, 5, "x"}}, nil, true},
		{"another part", []part{a, b}, []part{{5, 5, "x"}}, nil, true},
		{"another size", []part{a, b}, []part{{5, 4, "b"}}, nil, true},
		{"no size", []part{a}, []part{{5, 0, "x"}}, nil, true},
	} {
		m := memory{uploads: map[blob.UploadID]*record{"u": {parts: test.known}}}
		got, err := m.learn("u", test.listed)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(part{})); diff != "" || errors.Is(err, errDamaged) != test.damaged {
			t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := memory{uploads: map[blob.UploadID]*record{}}
	m.begin(blobtest.ID(0))
	for n := range 3 * maxRemembered {
		if _, err := m.learn(blobtest.ID(n), row(1)); err != nil {
			t.Fatal(err)
		}
	}
	if parts, writing := m.get(blobtest.ID(0)); len(m.uploads) > maxRemembered || len(parts) != 1 || !writing {
		t.Errorf("%d uploads are remembered; the busy one has %v, %v", len(m.uploads), parts, writing)
	}
	// An upload that is cancelled under its writer stays forgotten.
	m.forget(blobtest.ID(0))
	m.add(blobtest.ID(0), part{1, 1, "late"})
	m.end(blobtest.ID(0))
	if _, known := m.uploads[blobtest.ID(0)]; known {
		t.Error("a part of a cancelled upload is remembered")
	}
}

func TestBlocks(t *testing.T) {
	var b blocks
	for n := range int64(maxBlocks + 1) {
		b.put(block{key: "k", n: n, data: []byte{byte(n)}})
		if _, ok := b.get(block{key: "k", n: 0}); !ok {
			t.Fatalf("block 0, used all the time, is gone after %d", n)
		}
	}
	for n, want := range map[int64]bool{0: true, 1: false, 2: true, maxBlocks: true} {
		data, ok := b.get(block{key: "k", n: n})
		if ok != want || ok && data[0] != byte(n) {
			t.Errorf("block %d: %v, %v, want %v", n, data, ok, want)
		}
	}
	if _, ok := b.get(block{key: "k", etag: "other", n: 2}); ok || len(b.kept) != maxBlocks {
		t.Errorf("a block of another object is found, or %d are kept", len(b.kept))
	}
}

func TestBuffer(t *testing.T) {
	s := &Store{}
	s.segments.New = func() any { return new(segment) }
	data := blobtest.Bytes(2*segmentSize+100, 1)
	b := s.newBuffer()
	defer b.release()
	for _, limit := range []int64{0, 10, segmentSize, segmentSize + 1, 3 * segmentSize} {
		b.reset()
		err := b.fill(t.Context(), bytes.NewReader(data), limit)
		want := data[:min(limit, int64(len(data)))]
		if int64(len(want)) < limit != errors.Is(err, io.EOF) {
			t.Errorf("filling %d bytes: %v", limit, err)
		}
		body := b.body()
		for range 2 { // the second time for a second attempt
			if _, err := body.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, want) || body.Len() != int64(len(want)) {
				t.Errorf("filled with %d bytes, gives %d, %v", len(want), len(got), err)
			}
		}
		if at, err := body.Seek(-1, io.SeekEnd); len(want) > 0 && (err != nil || at != int64(len(want)-1)) {
			t.Errorf("Seek to the last byte of %d = %d, %v", len(want), at, err)
		}
	}
	if err := b.fill(t.Context(), struct{ io.Reader }{stuck{}}, 10*segmentSize); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("filling from a reader that gives nothing: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestSameBytes(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"a", "a", true}, {"a", "b", false}, {"a", "", false}, {"", "a", false}, {"a", "ab", false},
		{long, long, true}, {long, long + "x", false}, {long[:64<<10], long[:64<<10], true}, {long[:64<<10], long[:32<<10], false},
	} {
		got, err := sameBytes(strings.NewReader(test.a), strings.NewReader(test.b))
		if got != test.want || err != nil {
			t.Errorf("%d and %d bytes: %v, %v", len(test.a), len(test.b), got, err)
		}
	}
}

func TestConfig(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"https://s3.example.com": true, "http://127.0.0.1:9000/": true, "s3.example.com": false, "127.0.0.1:9000": false,
		"ftp://x": false, "https://x/bucket": false, "https://key:secret@x": false, "https://x?y": false, "": false, "https://": false,
	} {
		_, err := newStore(Config{Endpoint: endpoint, Bucket: "b"})
		if (err == nil) != ok {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
}
