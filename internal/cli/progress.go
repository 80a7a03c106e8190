package cli

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
)

// steps shows what is being done while people wait: a spinner with the name of
// the step on a terminal, one plain line for each where there is none, nothing
// where a program reads the answer.
type steps struct {
	p    *program
	bars *mpb.Progress
	bar  *mpb.Bar
	last atomic.Pointer[string] // the name of the step
}

func (p *program) steps() *steps { return &steps{p: p} }

// refresh is how often bars are drawn.
const refresh = 120 * time.Millisecond

func (s *steps) step(what string) {
	what = policy.Printable(what)
	if last := s.last.Load(); last != nil && what == *last || s.p.output != outputText {
		return
	}
	s.last.Store(&what)
	if !s.p.io.ErrTerminal {
		fmt.Fprintln(s.p.io.Err, what)
		return
	}
	if s.bars == nil {
		s.bars = mpb.New(mpb.WithOutput(s.p.io.Err), mpb.WithAutoRefresh(), mpb.WithRefreshRate(refresh))
	}
	if s.bar == nil { // one for all steps: a second one would leave the first on the screen
		s.bar = s.bars.New(1, mpb.SpinnerStyle().PositionLeft(), mpb.BarWidth(2), mpb.BarFillerTrim(),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *s.last.Load() })))
	}
}

// done takes the spinner away.
func (s *steps) done() {
	if s.bar != nil {
		s.bar.Abort(true)
		s.bars.Wait()
	}
	s.bars, s.bar = nil, nil
	s.last.Store(nil)
}

// feedBars shows how far the loading of each feed is.
type feedBars struct {
	p    *program
	bars *mpb.Progress
	bar  map[string]*mpb.Bar
	said map[string]int // records at the last plain line, by feed; 0 for the first
}

func (p *program) feedBars() *feedBars {
	return &feedBars{p: p, bar: map[string]*mpb.Bar{}, said: map[string]int{}}
}

// plainEvery is how many records lie between two plain lines of one feed.
const plainEvery = 50_000

func (f *feedBars) update(u api.FeedProgress) {
	name := policy.Printable(u.Feed)
	if f.p.output != outputText || name == "" {
		return
	}
	if !f.p.io.ErrTerminal {
		last, seen := f.said[name]
		switch {
		case !seen:
			fmt.Fprintf(f.p.io.Err, "reading %s: %s\n", name, many(u.Total, "advisory", "advisories"))
			f.said[name] = 0
		case u.Records-last >= plainEvery:
			fmt.Fprintf(f.p.io.Err, "reading %s: %s of %s advisories\n", name, count(u.Records), count(u.Total))
			f.said[name] = u.Records
		}
		return
	}
	if f.bars == nil {
		f.bars = mpb.New(mpb.WithOutput(f.p.io.Err), mpb.WithAutoRefresh(), mpb.WithRefreshRate(refresh), mpb.WithWidth(28))
	}
	b := f.bar[name]
	if b == nil {
		b = f.bars.AddBar(int64(u.Total), mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.CountersNoUnit("%d/%d"), decor.Name(" advisories")))
		f.bar[name] = b
	}
	b.SetTotal(int64(u.Total), false)
	b.SetCurrent(int64(u.Records))
}

// done leaves the bars as they are and goes on below them.
func (f *feedBars) done() {
	if f.bars == nil {
		return
	}
	for _, b := range f.bar {
		b.Abort(false)
	}
	f.bars.Wait()
	f.bars = nil
}
