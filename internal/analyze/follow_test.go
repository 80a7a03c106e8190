package analyze

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// growing is an upload: bytes that come one after another.
type growing struct {
	mu sync.Mutex
	b  []byte
}

func (g *growing) add(b []byte) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.b = append(g.b, b...)
	return int64(len(g.b))
}

func (g *growing) ReadAt(p []byte, off int64) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.NewReader(g.b).ReadAt(p, off)
}

// TestFollower analyses a layer while it arrives in pieces.
func TestFollower(t *testing.T) {
	blob := pack(t, entry{name: "a.words", body: strings.Repeat("x", 300)}, entry{name: "b.words", body: "y"})
	for _, piece := range []int{1, 100, 512, len(blob)} {
		var up growing
		f := NewFollower(up.ReadAt)
		done := make(chan Result)
		go func() { done <- analyseFrom(t, f) }()
		for i := 0; i < len(blob); i += piece {
			f.Grow(up.add(blob[i:min(i+piece, len(blob))]))
		}
		f.Grow(10) // an old notice
		f.Finish(int64(len(blob)))
		if diff := cmp.Diff([]string{"a.words: " + strings.Repeat("x", 300), "b.words: y"}, found(<-done)); diff != "" {
			t.Errorf("in pieces of %d: %s", piece, diff)
		}
	}
}

func analyseFrom(t *testing.T, r io.ReadSeeker) Result {
	res, err := newTestAnalyzer(t, newWords()).Layer(context.Background(), r)
	if err != nil {
		t.Error(err)
	}
	return res
}

func TestFollowerAbort(t *testing.T) {
	gone := errors.New("gone")
	var up growing
	f := NewFollower(up.ReadAt)
	f.Grow(up.add([]byte("abc")))
	done := make(chan error)
	go func() {
		_, err := io.ReadAll(f)
		done <- err
	}()
	f.Abort(gone)
	f.Abort(errors.New("later"))
	f.Finish(3)
	if err := <-done; !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, gone) {
		t.Errorf("got %v after an abort", err)
	}
}

func TestFollowerEnds(t *testing.T) {
	var up growing
	up.add([]byte("abc"))
	f := NewFollower(up.ReadAt)
	f.Finish(3)
	if b, err := io.ReadAll(f); string(b) != "abc" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	f = NewFollower(up.ReadAt)
	f.Finish(5) // more than there is
	if _, err := io.ReadAll(f); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v for bytes that are missing", err)
	}
	f = NewFollower(up.ReadAt)
	f.Grow(3)
	if _, err := io.ReadFull(f, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	f.Finish(2) // less than was read
	if _, err := f.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("got %v for an upload that shrank", err)
	}
	if n, err := f.Read(nil); n != 0 || err != nil {
		t.Errorf("got %d, %v for nothing", n, err)
	}
}

func TestFollowerPassesErrors(t *testing.T) {
	broken := errors.New("broken disk")
	f := NewFollower(func([]byte, int64) (int, error) { return 0, broken })
	f.Grow(1)
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
