package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// VerifyOptions say what is verified, and what it is held against.
type VerifyOptions struct {
	Source tlog.Source
	// Origin and Verifier are of the log, and come from elsewhere than the Source.
	Origin   string
	Verifier note.Verifier
	// Known are heads that were seen before, here or by others. Optional.
	Known []tlog.Known
	// Since is one of Known: only what came since is read, and that it goes on from
	// there is proved. Optional: all is read. It does not go with Rows.
	Since *tlog.Checkpoint
	// Witnesses are those whose cosignatures count, Quorum how many there must be,
	// Fresh how old they may be by Clock, 0 for any age. Optional: none.
	Witnesses []note.Verifier
	Quorum    int
	Fresh     time.Duration
	// Rows are held against the entries of the log. Optional: they are not looked at.
	Rows Rows
	// Appended says how many entries the log has, published or not. It goes with
	// Rows and with Unpublished.
	Appended func(ctx context.Context) (int64, error)
	// Heads is the head store of the server. Optional: none. It has a head before
	// that is published, or while witnesses do not sign it: then the log is read up
	// to there, from Unpublished.
	Heads       tlog.HeadStore
	Unpublished tlog.Source
	Clock       func() time.Time
	// Progress is told how many entries of how many were looked at. Optional.
	Progress func(done, total int64)
}

// Verify reads the log from its first entry to its last, rebuilds its tree, and
// holds it against all that the options name. What is wrong is in the answer; an
// error means that the log could not be read.
func Verify(ctx context.Context, o VerifyOptions) (*api.AuditCheck, error) {
	v := &verification{VerifyOptions: o, out: &api.AuditCheck{Origin: o.Origin, Key: fmt.Sprint(o.Verifier), At: o.Clock().UTC()}}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("verifying the audit log: %w", err)
	}
	Conclude(v.out)
	return v.out, nil
}

// Conclude sets State, OK and Problem from the checks of an answer.
func Conclude(c *api.AuditCheck) {
	c.State, c.Problem, c.Next = api.AuditOK, "", ""
	rank := map[string]int{api.AuditOK: 0, api.AuditNone: 0, api.AuditCannotTell: 1, api.AuditLogAhead: 2, api.AuditWrong: 3}
	for _, part := range c.Checks {
		if rank[part.State] > rank[c.State] {
			c.State, c.Problem, c.Next = part.State, part.Text, part.Next
		}
	}
	c.OK = c.State == api.AuditOK
}

type verification struct {
	VerifyOptions
	out     *api.AuditCheck
	signed  []byte
	head    tlog.Checkpoint // that is published
	upTo    tlog.Checkpoint // where the log is read to: head, or what the head store has of it
	top     []byte          // upTo as it was signed
	have    int64           // how many entries there are, as far as that was asked
	ahead   []tlog.Known    // heads that are larger than the log
	foreign []tlog.Known    // heads of other logs
	forks   []tlog.Known    // heads of the same size and another root
	stored  bool            // the head store has a head
}

func (v *verification) add(name, state, next, format string, operands ...any) {
	v.out.Checks = append(v.out.Checks, api.AuditPart{Name: name, State: state, Text: fmt.Sprintf(format, operands...), Next: next})
}

func (v *verification) run(ctx context.Context) error {
	var err error
	if v.signed, err = v.Source.Checkpoint(ctx); err != nil {
		return err
	}
	if v.head, err = tlog.OpenCheckpoint(v.signed, v.Origin, v.Verifier); err != nil {
		v.add("signature", api.AuditWrong, nextKey, "the head of the log is not signed by the key it is known by: %v", err)
		return nil
	}
	v.upTo, v.top, v.have = v.head, v.signed, v.head.Size
	v.out.Entries, v.out.Head, v.out.Checkpoint = v.head.Size, hex.EncodeToString(v.head.Root[:]), string(v.signed)
	v.add("signature", api.AuditOK, "", "its head, of %d entries, is signed by %s", v.head.Size, v.Verifier.Name())
	if err := v.heads(ctx); err != nil {
		return err
	}
	v.divide()
	if v.Since != nil && v.Since.Size <= v.head.Size {
		return v.since(ctx)
	}
	return v.tree(ctx)
}

// since proves that the log goes on from all heads, and reads what came since one.
func (v *verification) since(ctx context.Context) error {
	r, err := v.goesOn(ctx)
	if err != nil {
		return err
	}
	read := v.head.Size - v.Since.Size
	differs := r.Bad != nil || len(v.forks) > 0
	if !differs {
		err = Follow(ctx, v.Source, *v.Since, v.head, func(seq int64, _ []byte) error {
			if v.Progress != nil && seq%progressEvery == 0 {
				v.Progress(seq-v.Since.Size, read)
			}
			return nil
		})
	}
	switch {
	case unproved(err):
		r.Bad = &tlog.Problem{Kind: tlog.BadTile}
		v.add("tree", api.AuditWrong, nextKeep, "what the log shows is not what its head has: %v", err)
	case err != nil:
		return err
	case differs:
		v.add("tree", api.AuditCannotTell, nextKeep, "it was not read, as the history differs")
	default:
		v.add("tree", api.AuditOK, "", "the %d entries since the head of %d are in the tree whose root is signed; those before were not read", read, v.Since.Size)
	}
	if r.Cosigned, err = v.cosigned(ctx); err != nil {
		return err
	}
	v.judgeHistory(r)
	v.judgeWitnesses(r)
	return nil
}

// goesOn proves that the log goes on from every head that is known.
func (v *verification) goesOn(ctx context.Context) (r tlog.Report, err error) {
	src := &cache{Source: v.Source}
	for _, k := range v.Known {
		proof, err := tlog.ProveConsistency(ctx, src, k.Checkpoint.Size, v.head.Size)
		if err == nil {
			err = tlog.VerifyConsistency(proof, k.Checkpoint, v.head)
		}
		if unproved(err) {
			r.Bad = &tlog.Problem{Kind: tlog.BadHistory, Reason: fmt.Sprintf("%s has seen the root %s at %d entries, and the log cannot prove that it goes on from there: it was changed, or is shown differently to others (%v)",
				k.From, k.Checkpoint.Root, k.Checkpoint.Size, err)}
			return r, nil
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// unproved reports whether an error is the log's fault, and not that of the way to it.
func unproved(err error) bool {
	return errors.Is(err, tlog.ErrProof) || errors.Is(err, tlog.ErrMalformed) || errors.Is(err, tlog.ErrNotFound)
}

// cosigned returns the cosignatures of the head, of a log that is not read.
func (v *verification) cosigned(ctx context.Context) ([]tlog.Cosigned, error) {
	r, err := tlog.Verify(ctx, tlog.VerifyOptions{
		Source: unread{signed: v.signed}, Origin: v.Origin, Verifier: v.Verifier, Witnesses: v.Witnesses, Fresh: v.Fresh, Clock: v.Clock,
	})
	return r.Cosigned, err
}

// unread is a source that has a head and nothing else.
type unread struct{ signed []byte }

func (u unread) Checkpoint(context.Context) ([]byte, error)      { return u.signed, nil }
func (u unread) Tile(context.Context, tlog.Tile) ([]byte, error) { return nil, tlog.ErrNotFound }

// What to do next.
const (
	nextKey   = "the key of the log follows from the TUF root of the server, also after it was rotated: if none was published there, somebody else answers for this server; where --key was given, ask the operator for the new one on another way"
	nextKeep  = "keep the server's data as it is and the heads that were seen; look at who had root since the last good verification, and compare with a backup: bonded audit verify --data COPY"
	nextAhead = "find the newest copy of the database (a replica, a newer backup, the disk before it was replaced) and go on with that; see docs/operate/audit.md"
	nextAgain = "verify again; if it stays, ask the operator whether the witnesses run, and compare heads with somebody else: bonded audit verify --compare HEAD"
)

// heads takes the head of the head store to those that are known.
func (v *verification) heads(ctx context.Context) error {
	if v.Heads == nil {
		return nil
	}
	signed, err := v.Heads.Load(ctx, v.Origin)
	if err != nil {
		return err
	}
	if signed == nil {
		v.add("head store", api.AuditCannotTell, "start the server, which writes it; if it was there before, somebody took it away", "the head store has no head of this log")
		return nil
	}
	c, err := tlog.OpenCheckpoint(signed, v.Origin, v.Verifier)
	if err != nil {
		v.add("head store", api.AuditCannotTell, nextKey, "what the head store has cannot be used: %v", err)
		return nil
	}
	v.stored = true
	if c.Size > v.head.Size && v.Unpublished != nil {
		if v.have, err = v.Appended(ctx); err != nil {
			return err
		}
	}
	if c.Size <= v.head.Size || c.Size > v.have {
		v.Known = append(slices.Clone(v.Known), tlog.Known{From: headStore, Checkpoint: c})
		return nil
	}
	v.upTo, v.top = c, signed
	v.Known = append(slices.Clone(v.Known), tlog.Known{From: "what is published", Checkpoint: v.head})
	return nil
}

const headStore = "the head store"

// divide tells the heads that the tree is held against from those it cannot be.
func (v *verification) divide() {
	var known []tlog.Known
	for _, k := range v.Known {
		switch {
		case k.Checkpoint.Origin != v.Origin:
			v.foreign = append(v.foreign, k)
		case k.Checkpoint.Size > v.upTo.Size:
			v.ahead = append(v.ahead, k)
		case k.Checkpoint.Size == v.upTo.Size && k.Checkpoint.Root != v.upTo.Root:
			v.forks = append(v.forks, k)
		default:
			known = append(known, k)
		}
	}
	v.Known = known
}

// tree rebuilds the tree, and compares rows on the way.
func (v *verification) tree(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := tlog.VerifyOptions{
		Source: Fixed(v.Source, v.signed), Origin: v.Origin, Verifier: v.Verifier, Known: v.Known,
		Witnesses: v.Witnesses, Fresh: v.Fresh, Clock: v.Clock,
	}
	pending := v.upTo != v.head
	if pending {
		o.Source, o.Witnesses = Fixed(v.Unpublished, v.top), nil
	}
	var rows *comparison
	if v.Rows != nil {
		rows = compare(ctx, v.Rows, v.upTo.Size)
		defer rows.stop()
	}
	o.Entry = func(index int64, data []byte) error {
		if v.Progress != nil && index%progressEvery == 0 {
			v.Progress(index, v.upTo.Size)
		}
		if rows != nil {
			return rows.entry(index+1, data)
		}
		return nil
	}
	r, err := tlog.Verify(ctx, o)
	if err == nil && pending {
		r.Cosigned, err = v.cosigned(ctx)
	}
	if err != nil {
		return err
	}
	if v.Progress != nil {
		v.Progress(r.Entries, v.upTo.Size)
	}
	v.judgeTree(r)
	v.judgeHistory(r)
	v.judgeWitnesses(r)
	return v.judgeRows(ctx, rows, r.Bad == nil)
}

// progressEvery is how many entries lie between two calls of Progress.
const progressEvery = 4096

func (v *verification) judgeTree(r tlog.Report) {
	switch {
	case r.Bad == nil:
		v.add("tree", api.AuditOK, "", "the tree of its %d entries has the root that is signed", r.Entries)
	case r.Bad.Kind == tlog.BadHistory:
		v.add("tree", api.AuditCannotTell, nextKeep, "it was read up to where the history differs")
	case r.Bad.Kind == tlog.BadEntry:
		v.add("tree", api.AuditWrong, nextKeep, "%s (event %d)", r.Bad.Reason, r.Bad.Index+1)
	default:
		v.add("tree", api.AuditWrong, nextKeep, "%s", r.Bad.Reason)
	}
}

// judgeHistory says whether the log goes on from all heads that were seen. One
// that is larger than the log is a state of its own: it does not say what became
// of the entries that are gone.
func (v *verification) judgeHistory(r tlog.Report) {
	seen := 0
	for _, k := range v.Known {
		if k.Checkpoint.Size > 0 {
			seen++
		}
	}
	if v.upTo != v.head {
		seen++ // it was read up to the head store's
	}
	switch {
	case r.Bad != nil && r.Bad.Kind == tlog.BadHistory:
		v.add("history", api.AuditWrong, nextKeep, "%s", r.Bad.Reason)
	case len(v.foreign) > 0:
		v.add("history", api.AuditWrong, nextKey, "%s is of the log %.100q, not of %s", v.foreign[0].From, v.foreign[0].Checkpoint.Origin, v.Origin)
	case len(v.forks) > 0:
		v.add("history", api.AuditWrong, nextKeep, "%s", v.forked())
	case r.Bad != nil:
		v.add("history", api.AuditCannotTell, nextKeep, "not told, as the tree is wrong")
	case len(v.ahead) > 0:
		v.add("history", api.AuditLogAhead, nextAhead, "%s", v.setBack(seen))
	case seen == 0:
		v.add("history", api.AuditNone, "", "no head was seen before")
	case v.stored:
		v.add("history", api.AuditOK, "", "the log goes on from %s seen before, the head store's among them", heads(seen))
	default:
		v.add("history", api.AuditOK, "", "the log goes on from %s seen before", heads(seen))
	}
}

// forked describes a log that had another head of the same size. Older heads
// that it goes on from say where it begins to differ.
func (v *verification) forked() string {
	var from int64
	for _, k := range v.Known {
		from = max(from, k.Checkpoint.Size)
	}
	f := v.forks[0]
	return fmt.Sprintf("%s has seen the root %s at %d entries, and the log has %s there: an event among %d to %d was changed, or the log is shown differently to others",
		f.From, f.Checkpoint.Root, f.Checkpoint.Size, v.upTo.Root, from+1, v.upTo.Size)
}

// setBack describes a log that was longer before.
func (v *verification) setBack(seen int) string {
	last := slices.MaxFunc(v.ahead, func(a, b tlog.Known) int { return int(min(max(a.Checkpoint.Size-b.Checkpoint.Size, -1), 1)) })
	same := "no older head was seen to hold what is left against"
	if seen > 0 {
		same = fmt.Sprintf("what is left goes on from %s seen before, so nothing in it was changed up to there", heads(seen))
	}
	return fmt.Sprintf("the log is ahead of the database: %s has seen %d entries and the database has %d, so %d at the end are gone. "+
		"A power cut on a disk that lost what it had acknowledged, a failover that lost commits and a backup that was restored leave this; so does somebody who cuts the end off; %s",
		last.From, last.Checkpoint.Size, v.have, last.Checkpoint.Size-v.have, same)
}

func (v *verification) judgeWitnesses(r tlog.Report) {
	n := len(r.Cosigned)
	switch {
	case len(v.Witnesses) == 0:
		v.add("witnesses", api.AuditNone, "", "none are known: that others are shown the same log is for heads to tell that people compare")
	case n < v.Quorum:
		fresh := ""
		if v.Fresh > 0 {
			fresh = " in the last " + short(v.Fresh)
		}
		v.add("witnesses", api.AuditCannotTell, nextAgain, "%d of %d witnesses have signed this head%s, and %d must: whether others are shown the same log cannot be told", n, len(v.Witnesses), fresh, v.Quorum)
	default:
		v.add("witnesses", api.AuditOK, "", "%d of %d witnesses have signed this head", n, len(v.Witnesses))
	}
}

// judgeRows says what the comparison found. Rows beyond the log are wrong if they
// were there before the size of the log was asked for.
func (v *verification) judgeRows(ctx context.Context, rows *comparison, whole bool) error {
	if rows == nil {
		return nil
	}
	if !whole {
		v.add("rows", api.AuditCannotTell, nextKeep, "not told, as the log itself is wrong")
		return nil
	}
	numbered, err := v.Rows.Numbered(ctx)
	if err != nil {
		return err
	}
	appended, err := v.Appended(ctx)
	if err != nil {
		return err
	}
	if err := rows.rest(); err != nil {
		return err
	}
	v.out.Rows, v.out.MoreRows = rows.found()
	if numbered > appended {
		v.out.Rows = append(v.out.Rows, api.AuditRow{Seq: appended + 1, Text: fmt.Sprintf("rows %d to %d were put in: the log has %d entries", appended+1, numbered, appended)})
	}
	if n := len(v.out.Rows) + v.out.MoreRows; n > 0 {
		v.add("rows", api.AuditWrong, nextKeep, "rows of the database are not what the log has, %d of them; the first: %s", n, v.out.Rows[0].Text)
		return nil
	}
	later := ""
	if appended > v.upTo.Size {
		later = fmt.Sprintf("; %d more are not published yet", appended-v.upTo.Size)
	}
	v.add("rows", api.AuditOK, "", "every one of %d rows of the database is the entry of its number%s", v.upTo.Size, later)
	return nil
}

// Fixed is a source whose head stays the one that was read.
func Fixed(src tlog.Source, signed []byte) tlog.Source { return fixed{src, signed} }

type fixed struct {
	tlog.Source
	signed []byte
}

func (f fixed) Checkpoint(context.Context) ([]byte, error) { return f.signed, nil }

// errStopped ends a comparison from outside.
var errStopped = errors.New("stopped")

// heads is a number of heads, for people.
func heads(n int) string {
	if n == 1 {
		return "the head that was"
	}
	return fmt.Sprintf("%d heads that were", n)
}

// short is a duration without what is zero at its end.
func short(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = strings.TrimSuffix(s, zero[1:])
		}
	}
	return s
}
