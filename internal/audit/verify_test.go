package audit

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// noon is when verifications are made.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// against are the options by which the log of a memory is verified.
func (m *memory) against(t testing.TB, l *tlog.Log) VerifyOptions {
	return VerifyOptions{
		Source: l, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t), Rows: m, Clock: func() time.Time { return noon },
		Appended: func(ctx context.Context) (int64, error) {
			h, err := m.Head(ctx)
			return h.Size, err
		},
	}
}

// part returns one of the checks of an answer.
func part(c *api.AuditCheck, name string) api.AuditPart {
	for _, p := range c.Checks {
		if p.Name == name {
			return p
		}
	}
	return api.AuditPart{State: "absent"}
}

// TestVerify is somebody with root at the rows: what they do is named.
func TestVerify(t *testing.T) {
	const n = 600
	edit := func(m *memory, i int) {
		m.rows[i].Bytes = bytes.Replace(m.rows[i].Bytes, []byte(`"principal":"alice"`), []byte(`"principal":"mallory"`), 1)
		m.rows[i].Columns = columnsOf(m.rows[i].Bytes)
	}
	for _, tt := range []struct {
		name string
		harm func(m *memory)
		rows []string // parts of the texts, in order
		more int
	}{
		{"nothing", func(*memory) {}, nil, 0},
		{"edited", func(m *memory) { edit(m, 299) }, []string{`row 300 was edited: the log has manifest.pushed dev/payments/api by alice at 2026-11-22T06:04:59Z (event 0000000000000000000000000000012b) there; its principal is "alice", and the row says "mallory"`}, 0},
		{"edited columns", func(m *memory) { m.rows[4].Columns.Kind = "nothing.special" }, []string{`row 5 was edited`}, 0},
		{"edited beyond JSON", func(m *memory) { m.rows[4].Bytes = []byte("{") }, []string{`row 5 was edited`}, 0},
		{"dropped", func(m *memory) { m.rows = slices.Delete(m.rows, 9, 10) }, []string{"row 10 was dropped: manifest.pushed"}, 0},
		{"the first dropped", func(m *memory) { m.rows = m.rows[1:] }, []string{"row 1 was dropped"}, 0},
		{"the last dropped", func(m *memory) { m.rows = m.rows[:n-1] }, []string{"row 600 was dropped"}, 0},
		{"dropped and renumbered", func(m *memory) {
			m.rows = slices.Delete(m.rows, n-3, n-2)
			for i := n - 3; i < n-1; i++ {
				m.rows[i].Seq--
			}
		}, []string{"row 598 was reordered", "row 599 was reordered", "row 600 is missing"}, 0},
		{"reordered", func(m *memory) {
			m.rows[1].Bytes, m.rows[7].Bytes = m.rows[7].Bytes, m.rows[1].Bytes
			m.rows[1].Columns, m.rows[7].Columns = m.rows[7].Columns, m.rows[1].Columns
		}, []string{"row 2 was reordered", "row 8 was reordered"}, 0},
		{"put in at the end", func(m *memory) {
			m.rows = append(m.rows, Entry{Seq: n + 1, Bytes: event(n).Bytes(), Columns: columnsOf(event(n).Bytes())})
		}, []string{"rows 601 to 601 were put in: the log has 600 entries"}, 0},
		{"put in at the beginning", func(m *memory) {
			m.rows = append([]Entry{{Seq: 0, Bytes: event(n).Bytes()}}, m.rows...)
		}, []string{"row 0 was put in"}, 0},
		{"put in between", func(m *memory) {
			in := Entry{Seq: n - 1, Bytes: event(9999).Bytes(), Columns: columnsOf(event(9999).Bytes())}
			m.rows = slices.Insert(m.rows, n-2, in)
			for i := n - 1; i <= n; i++ {
				m.rows[i].Seq++
			}
		}, []string{"row 599 was put in", "row 600 was reordered", "rows 601 to 601 were put in"}, 0},
		{"all edited", func(m *memory) {
			for i := range m.rows {
				edit(m, i)
			}
		}, []string{"row 1 was edited", "row 2 was edited"}, n - maxRows},
		{"all gone", func(m *memory) { m.rows = nil }, []string{"row 1 was dropped"}, n - maxRows},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMemory()
			l := m.open(t)
			m.fill(t, l, 0, n)
			tt.harm(m)
			c, err := Verify(t.Context(), m.against(t, l))
			if err != nil {
				t.Fatal(err)
			}
			if want := len(tt.rows) == 0; c.OK != want || c.Entries != n {
				t.Errorf("%+v", c)
			}
			for i, want := range tt.rows {
				if i >= len(c.Rows) || !strings.Contains(c.Rows[i].Text, want) {
					t.Errorf("rows are %+v, want %q as number %d", c.Rows, want, i)
				}
			}
			if c.MoreRows != tt.more || tt.more == 0 && len(c.Rows) != len(tt.rows) {
				t.Errorf("%d rows and %d more: %+v", len(c.Rows), c.MoreRows, c.Rows)
			}
		})
	}
	t.Run("cannot be read", func(t *testing.T) {
		m := newMemory()
		l := m.open(t)
		m.fill(t, l, 0, 3)
		m.fail = errors.New("the disk is away")
		if _, err := Verify(t.Context(), m.against(t, l)); !errors.Is(err, m.fail) {
			t.Errorf("got %v, want the reason", err)
		}
	})
	t.Run("rows that are not published", func(t *testing.T) {
		m := newMemory()
		heads := &flaky{}
		l := m.open(t, func(o *tlog.Options) { o.Heads = heads })
		m.fill(t, l, 0, 3)
		heads.err = errors.New("the disk is away")
		m.append(event(3))
		if _, err := NewIntegrator(IntegratorOptions{Store: m, Log: l}).Sequence(t.Context(), 10); !errors.Is(err, heads.err) {
			t.Errorf("got %v, want that of the head store", err)
		}
		c, err := Verify(t.Context(), m.against(t, l))
		if err != nil || !c.OK || c.Entries != 3 || !strings.Contains(part(c, "rows").Text, "1 more are not published yet") {
			t.Errorf("%+v, %v", c, err)
		}

		h, err := m.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		*heads = flaky{head: h.Checkpoint} // has what is not published yet, as while a witness is down
		o := m.against(t, l)
		o.Heads, o.Unpublished = heads, (&tlog.Reader{Store: m, Blobs: m.Blobs}).Unpublished()
		c, err = Verify(t.Context(), o)
		if err != nil || !c.OK || c.Entries != 3 || !strings.Contains(part(c, "rows").Text, "every one of 4 rows") || !strings.Contains(part(c, "history").Text, "the head store's") {
			t.Errorf("%+v, %v", c, err)
		}
		m.rows[3].Columns.Kind = "nothing.special"
		if c, err = Verify(t.Context(), o); err != nil || c.State != api.AuditWrong || len(c.Rows) != 1 || c.Rows[0].Seq != 4 {
			t.Errorf("edited while it was not published: %+v, %v", c, err)
		}
	})
}

// head is the published head of a log.
func head(t testing.TB, src tlog.Source) (tlog.Checkpoint, []byte) {
	t.Helper()
	signed, err := src.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := tlog.OpenCheckpoint(signed, tlogtest.Origin, tlogtest.Verifier(t))
	if err != nil {
		t.Fatal(err)
	}
	return c, signed
}

// TestHistory: heads that were seen before are held against the log. One that is
// larger is a state of its own.
func TestHistory(t *testing.T) {
	m, other := newMemory(), newMemory()
	l, fork := m.open(t), other.open(t)
	m.fill(t, l, 0, 300)
	at300, signed300 := head(t, l)
	m.fill(t, l, 300, 500)
	at500, _ := head(t, l)
	other.fill(t, fork, 0, 250)
	at250, _ := head(t, fork) // of the same history
	other.fill(t, fork, 1250, 1300)
	forked300, _ := head(t, fork)
	other.fill(t, fork, 1300, 1400)
	key, err := tlog.ParseVerifier(fmt.Sprint(signerOf(t, "another")))
	if err != nil {
		t.Fatal(err)
	}
	foreign := at300
	foreign.Origin = "other.example"
	for _, tt := range []struct {
		name   string
		log    *tlog.Log
		known  []tlog.Checkpoint
		change func(*VerifyOptions)
		state  string
		check  string // the name of the check that says so
		says   string
	}{
		{"first time", l, nil, nil, api.AuditOK, "history", "no head was seen"},
		{"grown", l, []tlog.Checkpoint{at300, at250}, nil, api.AuditOK, "history", "goes on from 2 heads"},
		{"the same", l, []tlog.Checkpoint{at500}, nil, api.AuditOK, "history", "goes on from the head that was seen"},
		{"forked", fork, []tlog.Checkpoint{at250, at300}, nil, api.AuditWrong, "history", "an entry among 250 to 299 was changed"},
		{"the other side of the fork", l, []tlog.Checkpoint{forked300}, nil, api.AuditWrong, "history", "shown differently"},
		{"set back", fork, []tlog.Checkpoint{at250, at500}, nil, api.AuditLogAhead, "history", "100 at the end are gone"},
		{"set back and changed", fork, []tlog.Checkpoint{at300, at500}, nil, api.AuditWrong, "history", "was changed"},
		{"another log", l, []tlog.Checkpoint{foreign}, nil, api.AuditWrong, "history", "is of the log"},
		{"another key", l, nil, func(o *VerifyOptions) { o.Verifier = key }, api.AuditWrong, "signature", "is not signed by the key it is known by"},
		{"head store", l, nil, func(o *VerifyOptions) { o.Heads = &flaky{head: signed300} }, api.AuditOK, "history", "the head store's among them"},
		{"head store ahead", fork, []tlog.Checkpoint{at250}, func(o *VerifyOptions) {
			_, signed := head(t, l)
			o.Heads = &flaky{head: signed}
		}, api.AuditLogAhead, "history", "the head store has seen 500 entries and the database has 400"},
		{"head store of a fork", fork, nil, func(o *VerifyOptions) { o.Heads = &flaky{head: signed300} }, api.AuditWrong, "history", "the head store has seen"},
		{"empty head store", l, nil, func(o *VerifyOptions) { o.Heads = &flaky{} }, api.AuditCannotTell, "head store", "has no head"},
		{"broken head store", l, nil, func(o *VerifyOptions) { o.Heads = &flaky{head: []byte("x")} }, api.AuditCannotTell, "head store", "cannot be used"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := VerifyOptions{Source: tt.log, Origin: tlogtest.Origin, Verifier: tlogtest.Verifier(t), Clock: func() time.Time { return noon }}
			for i, c := range tt.known {
				o.Known = append(o.Known, tlog.Known{From: fmt.Sprint("friend ", i), Checkpoint: c})
			}
			if tt.change != nil {
				tt.change(&o)
			}
			c, err := Verify(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if p := part(c, tt.check); c.State != tt.state || !strings.Contains(p.Text, tt.says) || c.OK != (tt.state == api.AuditOK) || (c.State != api.AuditOK) != (c.Next != "") {
				t.Errorf("%s: %+v", c.State, c.Checks)
			}
		})
	}
}

func signerOf(t testing.TB, name string) note.Signer {
	t.Helper()
	s, err := tlog.NewEd25519Signer(tlogtest.Origin, tlogtest.Key(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWitnesses: too few cosignatures, or old ones, mean that nobody can tell.
func TestWitnesses(t *testing.T) {
	m := newMemory()
	l := m.open(t)
	m.fill(t, l, 0, 3)
	_, signed := head(t, l)
	var keys []note.Verifier
	text, _, _ := strings.Cut(string(signed), "\n\n")
	for i, at := range []time.Time{noon.Add(-time.Minute), noon.Add(-time.Hour)} {
		name := fmt.Sprint("witness-", i)
		s, err := tlog.NewCosigner(name, tlogtest.Key(name), func() time.Time { return at })
		if err != nil {
			t.Fatal(err)
		}
		v, err := tlog.ParseVerifier(fmt.Sprint(s))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, v)
		b, err := note.Sign(&note.Note{Text: text + "\n"}, s)
		if err != nil {
			t.Fatal(err)
		}
		signed = append(signed, b[len(text)+2:]...)
	}
	for _, tt := range []struct {
		quorum int
		fresh  time.Duration
		state  string
	}{{1, 0, api.AuditOK}, {2, 0, api.AuditOK}, {2, 2 * time.Hour, api.AuditOK}, {1, 10 * time.Minute, api.AuditOK}, {2, 10 * time.Minute, api.AuditCannotTell}} {
		o := m.against(t, l)
		o.Source, o.Witnesses, o.Quorum, o.Fresh = fixed{l, signed}, keys, tt.quorum, tt.fresh
		c, err := Verify(t.Context(), o)
		if err != nil || c.State != tt.state {
			t.Errorf("%+v: %+v, %v", tt, c, err)
		}
	}
}

func TestFollow(t *testing.T) {
	m, other := newMemory(), newMemory()
	l, fork := m.open(t), other.open(t)
	m.fill(t, l, 0, 10)
	older, _ := head(t, l)
	m.fill(t, l, 10, 900)
	newer, _ := head(t, l)
	other.fill(t, fork, 100, 1000)
	forked, _ := head(t, fork)
	var seqs []int64
	err := Follow(t.Context(), l, older, newer, func(seq int64, b []byte) error {
		if !bytes.Equal(b, event(int(seq-1)).Bytes()) {
			t.Fatalf("event %d is %s", seq, b)
		}
		seqs = append(seqs, seq)
		return nil
	})
	if err != nil || len(seqs) != 890 || seqs[0] != 11 || seqs[889] != 900 {
		t.Errorf("%d events, %v", len(seqs), err)
	}
	no := func(int64, []byte) error { t.Error("an event of a fork"); return nil }
	if err := Follow(t.Context(), fork, older, forked, no); !errors.Is(err, tlog.ErrProof) {
		t.Errorf("a fork: %v", err)
	}
	if err := Follow(t.Context(), fork, older, newer, no); !errors.Is(err, tlog.ErrProof) {
		t.Errorf("other tiles: %v", err)
	}
	stop := errors.New("enough")
	if err := Follow(t.Context(), l, older, newer, func(int64, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestProof(t *testing.T) {
	m := newMemory()
	l := m.open(t)
	m.fill(t, l, 0, 300)
	p, err := Prove(t.Context(), l, tlogtest.Origin, tlogtest.Verifier(t), 258)
	if err != nil {
		t.Fatal(err)
	}
	file := p.Encode()
	again, err := ParseProof(file)
	if err != nil || !bytes.Equal(again.Encode(), file) {
		t.Fatalf("%v: %s", err, file)
	}
	if c, err := again.Verify(tlogtest.Origin, tlogtest.Verifier(t)); err != nil || c.Size != 300 || string(again.Event) != string(event(257).Bytes()) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Prove(t.Context(), l, tlogtest.Origin, tlogtest.Verifier(t), 301); !errors.Is(err, tlog.ErrNotFound) {
		t.Errorf("an event that is not there: %v", err)
	}
	for name, change := range map[string]func(p *Proof){
		"another event":      func(p *Proof) { p.Event = event(1).Bytes() },
		"another index":      func(p *Proof) { p.Index-- },
		"a hash less":        func(p *Proof) { p.Hashes = p.Hashes[1:] },
		"another checkpoint": func(p *Proof) { p.Checkpoint = bytes.Replace(p.Checkpoint, []byte("300"), []byte("301"), 1) },
		"no signature":       func(p *Proof) { p.Checkpoint = p.Checkpoint[:len(p.Checkpoint)/2] },
	} {
		q := *again
		q.Hashes = slices.Clone(q.Hashes)
		change(&q)
		if _, err := q.Verify(tlogtest.Origin, tlogtest.Verifier(t)); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
	for name, text := range map[string]string{
		"nothing":      "",
		"other header": strings.Replace(string(file), "@v1", "@v2", 1),
		"no event":     strings.Replace(string(file), "extra ", "extra  ", 1),
		"index":        strings.Replace(string(file), "index 257", "index +257", 1),
		"large index":  strings.Replace(string(file), "index 257", "index 99999999999999999999", 1),
		"hash":         strings.Replace(string(file), "\n\n", "\nAAAA\n\n", 1),
		"hashes":       strings.Replace(string(file), "\n\n", strings.Repeat("\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 64)+"\n\n", 1),
		"large":        string(file) + strings.Repeat("x", maxProofFile),
	} {
		if _, err := ParseProof([]byte(text)); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nextra e30=\nindex 0\n\nlog.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— log.example AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProof(b)
		if err == nil && !bytes.Equal(p.Encode(), b) {
			t.Errorf("%q is read as %q", b, p.Encode())
		}
	})
}

func TestSeen(t *testing.T) {
	m := newMemory()
	l := m.open(t)
	s := &Seen{Origin: tlogtest.Origin, Key: fmt.Sprint(tlogtest.Verifier(t))}
	if _, _, ok := s.Last(); ok {
		t.Error("a head of nothing")
	}
	for i := range 60 {
		m.fill(t, l, 7*i, 7*i+7)
		_, signed := head(t, l)
		for range 2 {
			if err := s.Remember(signed, noon.Add(time.Duration(i)*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	again, err := ParseSeen(s.Encode())
	if err != nil {
		t.Fatal(err)
	}
	known, err := again.Known()
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	for _, k := range known {
		sizes = append(sizes, k.Checkpoint.Size)
	}
	if want := []int64{7, 14, 21, 35, 70, 133, 259, 371, 378, 385, 392, 399, 406, 413, 420}; !slices.Equal(sizes, want) {
		t.Errorf("remembered %v, want %v", sizes, want)
	}
	_, last, ok := again.Last()
	if head, err := ParseHead(tlogtest.Origin, FormatHead(last.Size, last.Root)); !ok || err != nil || head != last {
		t.Errorf("%v, %v", head, err)
	}
	for _, text := range []string{"", "1", "1:", "x:00", "-1:" + strings.Repeat("00", 32), "1:" + strings.Repeat("00", 31)} {
		if _, err := ParseHead(tlogtest.Origin, text); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
	again.Heads[3].Signed = strings.Replace(again.Heads[3].Signed, "35", "36", 1)
	if _, err := again.Known(); !errors.Is(err, tlog.ErrSignature) {
		t.Errorf("a head that was changed: %v", err)
	}
	for _, text := range []string{"{", `{"origin":"a","key":"b"}`, `{"origin":"a","key":"` + s.Key + `"}`} {
		if _, err := ParseSeen([]byte(text)); !errors.Is(err, tlog.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzSeen(f *testing.F) {
	s := &Seen{Origin: tlogtest.Origin, Key: fmt.Sprint(tlogtest.Verifier(f))}
	f.Add(s.Encode())
	f.Fuzz(func(_ *testing.T, b []byte) {
		if s, err := ParseSeen(b); err == nil {
			_, _ = s.Known()
		}
	})
}

var update = flag.Bool("update", false, "rewrite the examples of docs/format/events.md")

// TestFormat holds the code to docs/format/events.md: the events there are bytes
// as they are logged, and the hashes those of the log.
func TestFormat(t *testing.T) {
	const name = "../../docs/format/events.md"
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	l := m.open(t)
	m.fill(t, l, 0, 2)
	c, _ := head(t, l)
	n := 0
	want := regexp.MustCompile(`(?m)^\{"id".*\}\n[0-9a-f]+$`).ReplaceAllFunc(doc, func([]byte) []byte {
		row := m.rows[n]
		n++
		leaf := row.Leaf()
		return fmt.Appendf(nil, "%s\n%x", row.Bytes, leaf[:])
	})
	if n != 2 {
		t.Fatalf("%d examples in the document", n)
	}
	want = regexp.MustCompile(`(?m)^2:[0-9a-f]+$`).ReplaceAll(want, []byte(FormatHead(c.Size, c.Root)))
	if *update {
		err = os.WriteFile(name, want, 0o644)
	} else if !bytes.Equal(doc, want) {
		t.Errorf("the document has other examples; run the test with -update: %s", cmp.Diff(string(doc), string(want)))
	}
	if err != nil {
		t.Fatal(err)
	}
}
