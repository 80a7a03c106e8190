package fsck_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// logEntries fill two tiles, and a part of a third.
const logEntries = 2*tlog.TileWidth + 77

// logged is a store with a log. What the fields say is done to what it reads.
type logged struct {
	*tlogtest.Memory
	log   fsck.Log
	store *store
	head  func(*tlog.Head)
	rows  func(level int, fs []tlog.Full) []tlog.Full
	tail  func([]tlog.Piece) []tlog.Piece
}

func newLogged(t *testing.T) *logged {
	t.Helper()
	l := &logged{store: newStore(t)}
	l.Memory = &tlogtest.Memory{Blobs: l.store.content}
	o := tlogtest.Options(t, l.Memory, l.store.content)
	log := tlogtest.Begin(t, o)
	var entries []tlog.Entry
	for i := range logEntries {
		e, err := tlog.Plain(fmt.Appendf(nil, "entry %d", i))
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	if _, err := log.Append(t.Context(), entries, l.Memory.Append); err != nil {
		t.Fatal(err)
	}
	for level := range 2 {
		tiles, err := l.Memory.Tiles(t.Context(), level, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tiles {
			if l.store.tiles = append(l.store.tiles, f.Hashes); level == 0 {
				l.store.tiles = append(l.store.tiles, f.Entries)
			}
		}
	}
	l.log = fsck.Log{Origin: o.Origin, Reader: &tlog.Reader{Store: l, Blobs: l.store.content}, Known: []note.Verifier{o.Verifier}}
	return l
}

func (l *logged) Head(ctx context.Context) (tlog.Head, error) {
	h, err := l.Memory.Head(ctx)
	if l.head != nil {
		l.head(&h)
	}
	return h, err
}

func (l *logged) Tail(ctx context.Context) (tlog.Head, []tlog.Piece, error) {
	h, ps, err := l.Memory.Tail(ctx)
	if l.head != nil {
		l.head(&h)
	}
	if l.tail != nil {
		ps = l.tail(ps)
	}
	return h, ps, err
}

func (l *logged) Tiles(ctx context.Context, level int, from, to int64) ([]tlog.Full, error) {
	fs, err := l.Memory.Tiles(ctx, level, from, to)
	if l.rows != nil {
		fs = l.rows(level, fs)
	}
	return fs, err
}

func (l *logged) blob(t *testing.T, level int, n int64) oci.Digest {
	t.Helper()
	fs, err := l.Memory.Tiles(t.Context(), max(level, 0), n, n+1)
	if err != nil || len(fs) != 1 {
		t.Fatal(fs, err)
	}
	if level == tlog.Entries {
		return fs[0].Entries
	}
	return fs[0].Hashes
}

// lose deletes the blob of a tile.
func (l *logged) lose(t *testing.T, level int, n int64) {
	t.Helper()
	if err := l.store.content.Delete(t.Context(), l.blob(t, level, n)); err != nil {
		t.Fatal(err)
	}
}

// TestLogs harms a log, and wants what was harmed named: without reading content
// where that is enough.
func TestLogs(t *testing.T) {
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := tlog.Ed25519Verifier(tlogtest.Origin, other.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	const origin = tlogtest.Origin
	for _, tt := range []struct {
		name    string
		harm    func(l *logged, o *fsck.Options)
		content bool
		want    []string // SUBJECT: part of the text
	}{
		{"nothing", func(*logged, *fsck.Options) {}, true, nil},
		{"a key before is another", func(l *logged, _ *fsck.Options) { l.log.Known = append(l.log.Known, stranger) }, true, nil},
		{"hashes are gone", func(l *logged, _ *fsck.Options) { l.lose(t, 0, 1) }, false,
			[]string{origin + "/tile/0/001: its blob sha256:"}},
		{"entries are gone", func(l *logged, _ *fsck.Options) {
			l.lose(t, tlog.Entries, 1)
		}, true,
			[]string{origin + "/tile/entries/001: its blob sha256:", origin + "/tile/entries/001: the checkpoint has 589 entries, and"}},
		{"hashes are damaged", func(l *logged, o *fsck.Options) { o.Blobs = rotten{l.store.content, l.blob(t, 0, 0)} }, true,
			[]string{origin + "/tile/0/000: "}},
		{"entries are damaged", func(l *logged, o *fsck.Options) { o.Blobs = rotten{l.store.content, l.blob(t, tlog.Entries, 0)} }, true,
			[]string{origin + ": entry 0 cannot be read", origin + "/tile/entries/000: its content is sha256:"}},
		{"nobody reads them", func(l *logged, o *fsck.Options) { o.Blobs = rotten{l.store.content, l.blob(t, 0, 0)} }, false, nil},
		{"they are read elsewhere", func(l *logged, o *fsck.Options) {
			o.Blobs, l.log.ReadElsewhere = rotten{l.store.content, l.blob(t, 0, 0)}, true
		}, true, []string{origin + "/tile/0/000: its content is sha256:"}},
		{"a row is gone", func(l *logged, _ *fsck.Options) {
			l.rows = func(level int, fs []tlog.Full) []tlog.Full {
				if level == 0 && len(fs) > 1 {
					return fs[1:]
				}
				return fs
			}
		}, false, []string{origin + ": reading the head of the log: the log is damaged", origin + "/tile/0/000: no row names this tile"}},
		{"a row too many", func(l *logged, _ *fsck.Options) {
			l.rows = func(level int, fs []tlog.Full) []tlog.Full {
				if level == 0 && len(fs) == 0 {
					return []tlog.Full{{N: 2}}
				}
				return fs
			}
		}, false, []string{origin + "/tile/0/002: it is of entries that the log does not have: those end at 589"}},
		{"the tail is gone", func(l *logged, _ *fsck.Options) { l.tail = func([]tlog.Piece) []tlog.Piece { return nil } }, false,
			[]string{origin + ": reading the head of the log: the log is damaged"}},
		{"the head is set back", func(l *logged, _ *fsck.Options) {
			l.head = func(h *tlog.Head) { h.Size, h.PublishedSize = h.Size-77, h.PublishedSize-77 }
		}, false, []string{origin + ": reading the head of the log: the log is damaged", "signed for 589", "published head is recorded with 512 entries"}},
		{"more is published than there is", func(l *logged, _ *fsck.Options) {
			l.head = func(h *tlog.Head) { h.PublishedSize++ }
		}, false, []string{origin + ": its published head is recorded with 590", origin + ": 590 entries are published, and it has 589"}},
		{"another key signed", func(l *logged, _ *fsck.Options) { l.log.Known = []note.Verifier{stranger} }, true,
			[]string{origin + ": its head is not signed by a key of it", origin + ": its published head is not signed"}},
		{"no key is there", func(l *logged, _ *fsck.Options) { l.log.Known = nil }, true,
			[]string{"the keys of this log are not there", "the keys of this log are not there"}},
		{"nobody knows the log", func(l *logged, o *fsck.Options) {
			l.lose(t, 0, 1)
			l.log.Reader.Store = &tlogtest.Memory{} // one that was not begun
		}, true, []string{"sha256:"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogged(t)
			o := fsck.Options{Zones: repo.DefaultZones(), Census: l.store, Lookups: l.store, Blobs: l.store.content, Content: tt.content}
			tt.harm(l, &o)
			l.log.Reader.Blobs = o.Blobs
			o.Logs = []fsck.Log{l.log}
			report, err := fsck.Check(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, p := range report.Problems {
				found = append(found, p.Subject+": "+p.Text)
			}
			if len(found) != len(tt.want) {
				t.Fatalf("found %q, want %q", found, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(found[i], want) {
					t.Errorf("found %q, want %q", found[i], want)
				}
			}
		})
	}
}

// TestTilesAreNoOrphans: what a log consists of is named by it, and by nothing
// else; an append that was broken off leaves what nobody names.
func TestTilesAreNoOrphans(t *testing.T) {
	l := newLogged(t)
	o := fsck.Options{Zones: repo.DefaultZones(), Census: l.store, Lookups: l.store, Blobs: l.store.content, Logs: []fsck.Log{l.log}}
	if report, err := fsck.Check(t.Context(), o); err != nil || report.Orphans != 0 || report.Tiles != 5 || !report.OK() {
		t.Errorf("%+v, %v", report, err)
	}
	l.store.put(t, "a tile of an append that did not commit")
	if report, err := fsck.Check(t.Context(), o); err != nil || report.Orphans != 1 || !report.OK() {
		t.Errorf("%+v, %v", report, err)
	}
}

var _ tlog.Store = (*logged)(nil)
