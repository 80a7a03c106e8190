package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/client"
)

// pastFlags are those of a question about the past.
type pastFlags struct{ at string }

func (f *pastFlags) add(cmd *cobra.Command, q *client.WhyQuery) {
	cmd.Flags().StringVar(&f.at, "at", "", "tell the decision that was in force at this `TIME`, such as 2026-03-01 or 2026-03-01T14:30:00Z")
	cmd.Flags().BoolVar(&q.Replay, "replay", false, "make that decision again from what is stored, and compare the bytes; now, without --at")
	cmd.MarkFlagsMutuallyExclusive("at", "as-if")
	cmd.MarkFlagsMutuallyExclusive("at", "proof")
	cmd.MarkFlagsMutuallyExclusive("at", "wait")
	cmd.MarkFlagsMutuallyExclusive("replay", "as-if")
	cmd.MarkFlagsMutuallyExclusive("replay", "proof")
	cmd.MarkFlagsMutuallyExclusive("replay", "wait")
}

// forms are how a time can be written; one without a zone is in UTC.
var forms = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly}

// read sets when the question is about.
func (f *pastFlags) read(q *client.WhyQuery) error {
	if f.at == "" {
		return nil
	}
	for _, form := range forms {
		if at, err := time.Parse(form, f.at); err == nil {
			q.At = at
			return nil
		}
	}
	return usage("--at 2026-03-01T14:30:00Z", "%q is no time", f.at)
}

// exitOfThen is that of the decision that was in force; of one that was made
// again, whether that gave the same bytes.
func exitOfThen(w *api.Why) exitCode {
	switch r := w.Then.Replay; {
	case w.Decision == nil || r != nil && len(r.Missing) > 0:
		return exitCannotTell
	case r == nil:
		return exitOf(w.Decision.Outcome)
	case !r.Same:
		return exitDenied
	}
	return exitDone
}

// past writes the answer to a question about the past.
func (pg *page) past(w *api.Why, head verdict) {
	if w.Decision != nil {
		pg.verdict(head)
	}
	pg.then(w)
	pg.lookedAt(w.Decision, "")
}

// then writes for how long a decision was in force, and what came of making it
// again.
func (pg *page) then(w *api.Why) {
	t := w.Then
	if w.Decision == nil {
		text := "No decision was in force at " + moment(t.At) + ": none has been made."
		if !t.Until.IsZero() {
			text = "No decision was in force at " + moment(t.At) + ": the first was made at " + moment(t.Until) + "."
		}
		pg.wrap("", "  ", text)
		return
	}
	text := "In force at " + moment(t.At) + ": made at " + moment(t.From)
	if t.Confirmed.After(t.From) {
		text += ", last confirmed at " + moment(t.Confirmed)
	}
	if t.Until.IsZero() {
		text += ", and in force now"
	} else {
		text += ", replaced at " + moment(t.Until)
	}
	pg.line()
	pg.wrap("", "  ", text+".")
	pg.replay(t.Replay)
}

func (pg *page) replay(r *api.Replay) {
	if r == nil {
		return
	}
	switch {
	case r.Same:
		pg.line(pg.good.Render("✓"), " made again: the same bytes")
	case len(r.Missing) > 0:
		pg.line(pg.wait.Render("?"), " it cannot be made again. What cannot be had:")
		for _, m := range r.Missing {
			pg.wrap("    ", "      ", m)
		}
	default:
		pg.line(pg.bad.Render("✗"), " made again, it is not the same: ", strings.Join(r.Differs, ", "))
	}
	if r.Engine != "" {
		pg.wrap("  ", "  ", "It was made by another build of the program than "+r.Engine+", which asked again.")
	}
}
