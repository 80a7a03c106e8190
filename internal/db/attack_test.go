package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// site is a server's audit log with all that protects it, and somebody with root
// at it: a connection to its database and a folder with its content.
type site struct {
	*testing.T
	db      *db.DB
	root    *sql.DB
	dollar  bool // marks of parameters are those of PostgreSQL
	content string
	blobs   blob.Store
	heads   *tlog.HeadFolder
	headDir string
	witness note.Verifier
	signer  note.Signer // of the witness
	server  *httptest.Server
	log     *tlog.Log
	known   []tlog.Known // what an auditor elsewhere remembers
	before  state
	files   map[string][]byte // of content and head store
}

// events of the log of a site.
const siteEvents = 600

func newSite(t *testing.T, o db.Options, root *sql.DB) *site {
	s := &site{T: t, db: dbtest.Open(t, o), root: root, dollar: o.URL != "", content: t.TempDir(), headDir: t.TempDir()}
	var err error
	if s.blobs, err = disk.Open(s.content, disk.Options{}); err != nil {
		t.Fatal(err)
	}
	if s.heads, err = tlog.NewHeadFolder(s.headDir, nil); err != nil {
		t.Fatal(err)
	}
	signer, err := tlog.NewCosigner("witness.example", tlogtest.Key("witness"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if s.witness, err = tlog.ParseVerifier(fmt.Sprint(signer)); err != nil {
		t.Fatal(err)
	}
	s.signer = signer
	s.engage(tlog.Checkpoint{})
	if err := tlog.Create(t.Context(), s.options()); err != nil {
		t.Fatal(err)
	}
	s.open()
	s.grow(siteEvents / 2)
	s.remember()
	s.grow(siteEvents / 2)
	s.remember()
	s.before, s.files = s.backup(), map[string][]byte{}
	s.eachFile(func(name string) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		s.files[name] = b
	})
	return s
}

// engage asks another witness from now on, which has seen a head already.
func (s *site) engage(seen tlog.Checkpoint) {
	s.Helper()
	store := &tlogtest.MemoryWitness{}
	if seen.Size > 0 {
		if err := store.Swap(s.Context(), tlog.Checkpoint{Origin: seen.Origin, Root: tlog.EmptyRoot()}, seen, []byte("seen")); err != nil {
			s.Fatal(err)
		}
	}
	s.server = httptest.NewServer(tlog.NewWitness(tlog.WitnessOptions{Signer: s.signer, Logs: map[string][]note.Verifier{tlogtest.Origin: {tlogtest.Verifier(s)}}, Store: store}))
	s.Cleanup(s.server.Close)
}

func (s *site) eachFile(fn func(name string)) {
	s.Helper()
	for _, dir := range []string{s.content, s.headDir} {
		err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				fn(name)
			}
			return err
		})
		if err != nil {
			s.Fatal(err)
		}
	}
}

// reset makes all as it was before any attack, for a test of its own.
func (s *site) reset(t *testing.T) {
	s.T = t
	s.eachFile(func(name string) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	})
	for name, b := range s.files {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.restore(s.before)
	s.known = s.known[:2]
	s.engage(s.known[1].Checkpoint)
	s.open()
}

// options are those by which the server opens its log.
func (s *site) options() tlog.Options {
	o := tlogtest.Options(s, s.db.AuditLog(), s.blobs)
	w, err := tlog.NewWitnesses(tlog.WitnessesOptions{Witnesses: []tlog.WitnessAt{{URL: s.server.URL, Verifier: s.witness}}, Quorum: 1, Client: http.DefaultClient, Clock: time.Now})
	if err != nil {
		s.Fatal(err)
	}
	o.Heads, o.Witnesses = s.heads, w
	return o
}

func (s *site) open() {
	s.Helper()
	var err error
	if s.log, err = tlog.Open(s.Context(), s.options()); err != nil {
		s.Fatal(err)
	}
}

// grow appends n events.
func (s *site) grow(n int) {
	s.Helper()
	from, err := s.db.Numbered(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	var events []audit.Event
	for i := range n {
		e := event(fmt.Sprintf("event-%d", from+int64(i)+1))
		e.Principal = "alice"
		events = append(events, e)
	}
	appendEvents(s.T, s.db, events...)
	for left := n; left > 0; {
		left -= integrate(s.T, s.db, s.log, 200)
	}
}

// remember is an auditor elsewhere who looks at the log.
func (s *site) remember() {
	s.Helper()
	signed, err := s.log.Checkpoint(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	c, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, tlogtest.Verifier(s))
	if err != nil {
		s.Fatal(err)
	}
	s.known = append(s.known, tlog.Known{From: "the auditor", Checkpoint: c})
}

// exec does something with root.
func (s *site) exec(query string, args ...any) {
	s.Helper()
	if _, err := s.root.Exec(s.marked(query), args...); err != nil {
		s.Fatalf("%s: %v", query, err)
	}
}

// bytesAt are those of a row.
func (s *site) bytesAt(seq int64) []byte {
	s.Helper()
	entries, err := s.db.Entries(s.Context(), seq-1, 1)
	if err != nil || len(entries) != 1 {
		s.Fatalf("%v, %v", entries, err)
	}
	return entries[0].Bytes
}

// verify is the verification on the server, with what the auditor remembers.
func (s *site) verify(known ...tlog.Known) *api.AuditCheck {
	s.Helper()
	c, err := audit.Verify(s.Context(), audit.VerifyOptions{
		Source: &tlog.Reader{Store: s.db.AuditLog(), Blobs: s.blobs}, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(s),
		Known: known, Heads: s.heads, Witnesses: []note.Verifier{s.witness}, Quorum: 1, Fresh: time.Hour, Rows: s.db, Clock: time.Now,
		Appended: func(ctx context.Context) (int64, error) {
			h, err := s.db.AuditLog().Head(ctx)
			return h.Size, err
		},
	})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

// state is all that the database has of the log: what a backup of it would.
type state map[string][][]any

var logTables = map[string]string{
	"entry": "seq, bytes, kind, principal, repository, digest", "tlog": "name, origin, size, root, checkpoint, published_size, published",
	"tlog_tile": "log, level, n, root, hashes, entries", "tlog_tail": "log, start, leaves, bundle", "outbox": "id, bytes, hash",
}

func (s *site) backup() state {
	s.Helper()
	all := state{}
	for table, columns := range logTables {
		rows, err := s.root.Query("SELECT " + columns + " FROM " + table)
		if err != nil {
			s.Fatal(err)
		}
		n := len(strings.Split(columns, ","))
		for rows.Next() {
			row, at := make([]any, n), make([]any, n)
			for i := range row {
				at[i] = &row[i]
			}
			if err := rows.Scan(at...); err != nil {
				s.Fatal(err)
			}
			all[table] = append(all[table], row)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil { //nolint:sqlclosecheck // one table after the other
			s.Fatal(err)
		}
	}
	return all
}

func (s *site) restore(b state) {
	s.Helper()
	tx, err := s.root.Begin()
	if err != nil {
		s.Fatal(err)
	}
	for table, columns := range logTables {
		if _, err := tx.Exec("DELETE FROM " + table); err != nil {
			s.Fatal(err)
		}
		for _, row := range b[table] {
			if _, err := tx.Exec(s.marked("INSERT INTO "+table+" ("+columns+") VALUES ("+strings.TrimSuffix(strings.Repeat("?, ", len(row)), ", ")+")"), row...); err != nil {
				s.Fatal(err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		s.Fatal(err)
	}
}

// marked is a statement with the marks of its dialect.
func (s *site) marked(query string) string {
	for i := 1; s.dollar && strings.Contains(query, "?"); i++ {
		query = strings.Replace(query, "?", fmt.Sprint("$", i), 1)
	}
	return query
}

// forge makes the log anew from the rows, with the key of the log, as somebody
// can who has it: nothing in the database shows it.
func (s *site) forge() error {
	s.Helper()
	for _, table := range []string{"tlog", "tlog_tile", "tlog_tail"} {
		s.exec("DELETE FROM " + table)
	}
	o := tlogtest.Options(s, s.db.AuditLog(), s.blobs)
	if err := tlog.Create(s.Context(), o); err != nil {
		return err
	}
	l, err := tlog.Open(s.Context(), o)
	if err != nil {
		return err
	}
	entries, err := s.db.Entries(s.Context(), 0, 2*siteEvents)
	if err != nil {
		return err
	}
	var all []tlog.Entry
	for _, e := range entries {
		entry, err := tlog.Plain(e.Bytes)
		if err != nil {
			return err
		}
		all = append(all, entry)
	}
	_, err = l.Append(s.Context(), all, o.Store.Append)
	return err
}

// edit changes who did something, with the column it is found by.
func (s *site) edit(seq int64) {
	s.Helper()
	b := strings.Replace(string(s.bytesAt(seq)), `"principal":"alice"`, `"principal":"mallory"`, 1)
	s.exec(`UPDATE entry SET bytes = ?, principal = 'mallory' WHERE seq = ?`, []byte(b), seq)
}

// tile returns the file of a full tile's hashes, or of its entries.
func (s *site) tile(column string) string {
	s.Helper()
	var text string
	if err := s.root.QueryRow(`SELECT ` + column + ` FROM tlog_tile WHERE level = 0 AND n = 1`).Scan(&text); err != nil {
		s.Fatal(err)
	}
	d, err := oci.ParseDigest(text)
	if err != nil {
		s.Fatal(err)
	}
	return filepath.Join(s.content, "blobs", "sha256", d.Hex()[:2], d.Hex())
}

// TestAttacks is somebody with root at a real database and its content, with the
// key of the log where they need it. Each attack is found and named; what a power
// cut or a backup leaves is not taken for one.
func TestAttacks(t *testing.T) {
	later := func(s *site) state { // a backup, and events after it
		b := s.backup()
		s.grow(5)
		s.remember()
		return b
	}
	attacks := []struct {
		name   string
		attack func(s *site)
		state  string
		check  string
		says   []string // parts of the rows' texts, or of the check's
		opens  error    // what the server says at its next start
	}{
		{"nothing", func(*site) {}, api.AuditOK, "rows", []string{"every one of 600 rows"}, nil},
		{"edit", func(s *site) { s.edit(123) }, api.AuditWrong, "rows", []string{`row 123 was edited: the log has`, `(event event-123) there; its principal is "alice", and the row says "mallory"`}, nil},
		{"edit what it is found by", func(s *site) { s.exec(`UPDATE entry SET kind = 'x' WHERE seq = 77`) }, api.AuditWrong, "rows", []string{"row 77 was edited", `kind "x"`}, nil},
		{"drop", func(s *site) { s.exec(`DELETE FROM entry WHERE seq = 300`) }, api.AuditWrong, "rows", []string{"row 300 was dropped", "event-300"}, nil},
		{"drop and renumber", func(s *site) {
			s.exec(`DELETE FROM entry WHERE seq = 598`)
			s.exec(`UPDATE entry SET seq = 598 WHERE seq = 599`)
			s.exec(`UPDATE entry SET seq = 599 WHERE seq = 600`)
		}, api.AuditWrong, "rows", []string{"row 598 was reordered", "row 599 was reordered", "row 600 is missing"}, nil},
		{"reorder", func(s *site) {
			s.exec(`UPDATE entry SET seq = -1 WHERE seq = 10`)
			s.exec(`UPDATE entry SET seq = 10 WHERE seq = 20`)
			s.exec(`UPDATE entry SET seq = 20 WHERE seq = -1`)
		}, api.AuditWrong, "rows", []string{"row 10 was reordered: the log has", "the row has event 20"}, nil},
		{"insert at the end", func(s *site) {
			s.exec(`INSERT INTO entry (seq, bytes, kind, principal, repository, digest) VALUES (601, ?, 'a.b', '', '', '')`, event("forged").Bytes())
		}, api.AuditWrong, "rows", []string{"rows 601 to 601 were put in"}, nil},
		{"insert before the first", func(s *site) {
			s.exec(`INSERT INTO entry (seq, bytes, kind, principal, repository, digest) VALUES (-5, ?, 'a.b', '', '', '')`, event("forged").Bytes())
		}, api.AuditWrong, "rows", []string{"row -5 was put in"}, nil},
		{"insert between", func(s *site) {
			s.exec(`UPDATE entry SET seq = 601 WHERE seq = 600`)
			s.exec(`UPDATE entry SET seq = 600 WHERE seq = 599`)
			s.exec(`INSERT INTO entry (seq, bytes, kind, principal, repository, digest) VALUES (599, ?, 'manifest.pushed', 'alice', '', '')`, event("forged").Bytes())
		}, api.AuditWrong, "rows", []string{"row 599 was put in", "row 600 was reordered", "rows 601 to 601 were put in"}, nil},
		{"truncate rows", func(s *site) { s.exec(`DELETE FROM entry WHERE seq > 590`) }, api.AuditWrong, "rows", []string{"row 591 was dropped"}, nil},
		{"truncate the log", func(s *site) { s.exec(`DELETE FROM tlog_tail`) }, api.AuditWrong, "tree", []string{"has 600 entries"}, tlog.ErrDamaged},
		{"a tile edited", func(s *site) {
			file := s.tile("entries")
			b, err := os.ReadFile(file)
			if err == nil {
				err = errors.Join(os.Chmod(file, 0o600), os.WriteFile(file, []byte(strings.Replace(string(b), `"alice"`, `"alicf"`, 1)), 0o600))
			}
			if err != nil {
				s.Fatal(err)
			}
		}, api.AuditWrong, "tree", []string{"event 257"}, nil},
		{"a tile removed", func(s *site) {
			if err := os.Remove(s.tile("hashes")); err != nil {
				s.Fatal(err)
			}
		}, api.AuditWrong, "tree", []string{"tile/0/001"}, nil},
		{"rebuild with the key", func(s *site) {
			s.edit(123)
			if err := s.forge(); err != nil {
				s.Fatal(err)
			}
		}, api.AuditWrong, "history", []string{"an entry among 0 to 299 was changed"}, tlog.ErrFork},
		{"rebuild the end with the key", func(s *site) {
			s.edit(456)
			if err := s.forge(); err != nil {
				s.Fatal(err)
			}
		}, api.AuditWrong, "history", []string{"an event among 301 to 600 was changed"}, tlog.ErrFork},
		{"rebuild, and the head store too", func(s *site) {
			s.edit(123)
			if err := errors.Join(s.forge(), os.RemoveAll(s.headDir), os.Mkdir(s.headDir, 0o700)); err != nil {
				s.Fatal(err)
			}
		}, api.AuditWrong, "history", []string{"the auditor has seen the root"}, nil},
		{"restore a backup", func(s *site) { s.restore(later(s)) }, api.AuditLogAhead, "history", []string{"the log is ahead of the database", "605 entries and the database has 600, so 5 at the end are gone", "goes on from 2 heads"}, tlog.ErrBehind},
		{"restore a backup and change it", func(s *site) {
			s.restore(later(s))
			s.edit(123)
			if err := s.forge(); err != nil {
				s.Fatal(err)
			}
		}, api.AuditWrong, "history", []string{"was changed"}, tlog.ErrBehind},
		{"a power cut that lost commits", func(s *site) {
			b := s.backup()
			appendEvents(s.T, s.db, event("lost"))
			integrate(s.T, s.db, s.log, 10) // the head store has it
			s.restore(b)
		}, api.AuditLogAhead, "history", []string{"the head store has seen 601 entries and the database has 600"}, tlog.ErrBehind},
	}
	engines(t, func(t *testing.T, o db.Options, root *sql.DB, _ goose.Dialect, _ fs.FS) {
		s := newSite(t, o, root)
		outer := s.T
		for _, tt := range attacks {
			outer.Run(tt.name, func(t *testing.T) {
				s.reset(t)
				tt.attack(s)
				s.found(s.verify(s.known...), tt.state, tt.check, tt.says)
				if _, err := tlog.Open(t.Context(), s.options()); !errors.Is(err, tt.opens) {
					t.Errorf("the next start: %v, want %v", err, tt.opens)
				}
			})
		}
	})
}

// found checks that a verification has a state because of one of its checks,
// and what it says.
func (s *site) found(c *api.AuditCheck, state, check string, says []string) {
	s.Helper()
	texts := c.Problem
	for _, p := range c.Checks {
		if p.Name == check {
			texts += "\n" + p.Text
			if (p.State == api.AuditOK) != (state == api.AuditOK) {
				s.Errorf("%s is %s: %s", p.Name, p.State, p.Text)
			}
		}
	}
	for _, row := range c.Rows {
		texts += "\n" + row.Text
	}
	if c.State != state {
		s.Errorf("it is %s, want %s: %+v", c.State, state, c.Checks)
	}
	for _, want := range says {
		if !strings.Contains(texts, want) {
			s.Errorf("nobody says %q:\n%s", want, texts)
		}
	}
}

// TestWitnessRefusesAFork: what was made anew with the key, and shown to nobody
// who remembers, gets no signature of the witness.
func TestWitnessRefusesAFork(t *testing.T) {
	engines(t, func(t *testing.T, o db.Options, root *sql.DB, _ goose.Dialect, _ fs.FS) {
		s := newSite(t, o, root)
		s.edit(123)
		if err := errors.Join(s.forge(), os.RemoveAll(s.headDir), os.Mkdir(s.headDir, 0o700)); err != nil {
			t.Fatal(err)
		}
		s.found(s.verify(), api.AuditCannotTell, "witnesses", []string{"0 of 1 witnesses have signed this head in the last 1h, and 1 must"})
		s.open()
		appendEvents(t, s.db, event("later"))
		if _, err := audit.NewIntegrator(audit.IntegratorOptions{Store: s.db, Log: s.log}).Sequence(t.Context(), 10); !errors.Is(err, tlog.ErrUnwitnessed) {
			t.Errorf("the fork goes on: %v", err)
		}
	})
}
