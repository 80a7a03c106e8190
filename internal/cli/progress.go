package cli

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/policy"
)

// steps shows what is being done while people wait: a spinner with the name of
// the step on a terminal, and a bar with rate and rest once it is known how many
// bytes there are; one plain line for each step where there is no terminal, nothing
// where a program reads the answer.
type steps struct {
	p           *program
	bars        *mpb.Progress
	bar         *mpb.Bar
	last        atomic.Pointer[string] // the name of the step
	sent, total atomic.Int64           // bytes; total is 0 while nobody knows
	began       atomic.Int64           // when the first byte came, in Unix nanoseconds
}

func (p *program) steps() *steps { return &steps{p: p} }

// refresh is how often bars are drawn.
const refresh = 120 * time.Millisecond

// byteBar is how wide a bar of bytes is, in columns.
const byteBar = 26

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
		s.bar = s.bars.MustAdd(1, s.filler(), mpb.BarFillerTrim(), mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *s.last.Load() + s.transferred() })))
	}
}

// bytes tells how much of a transfer is done; several may tell at once.
func (s *steps) bytes(done, total int64) {
	s.began.CompareAndSwap(0, s.p.env.Clock().UnixNano())
	s.sent.Store(done)
	s.total.Store(total)
}

// filler draws a spinner while there is nothing to measure, and else a bar.
func (s *steps) filler() mpb.BarFiller {
	spinner, bar := mpb.SpinnerStyle().PositionLeft().Build(), mpb.BarStyle().Lbound("").Filler("━").Tip("━").Padding(" ").Rbound("").Build()
	return mpb.BarFillerFunc(func(w io.Writer, st decor.Statistics) error {
		total := s.total.Load()
		if total == 0 {
			st.RequestedWidth = 2
			return spinner.Fill(w, st)
		}
		st.Total, st.Current, st.RequestedWidth = total, min(s.sent.Load(), total), byteBar
		return bar.Fill(w, st)
	})
}

// transferred says bytes, rate and rest: "  12.3 MB of 71.2 MB, 8.1 MB/s, 7 s
// left".
func (s *steps) transferred() string {
	done, total := s.sent.Load(), s.total.Load()
	if total == 0 {
		return ""
	}
	text := "  " + bytesOf(min(done, total)) + " of " + bytesOf(total)
	took := time.Duration(s.p.env.Clock().UnixNano() - s.began.Load())
	if took < time.Second || done == 0 {
		return text
	}
	rate := float64(done) / took.Seconds()
	text += ", " + bytesOf(int64(rate)) + "/s"
	if done < total {
		text += ", " + span(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
	}
	return text
}

// done takes the spinner away.
func (s *steps) done() {
	if s.bar != nil {
		s.bar.Abort(true)
		s.bars.Wait()
	}
	s.bars, s.bar = nil, nil
	s.last.Store(nil)
	s.total.Store(0)
	s.began.Store(0)
}

// feedBars shows how far the loading of each feed is.
type feedBars struct {
	p    *program
	bars *mpb.Progress
	bar  map[string]*feedBar
	said map[string]int   // records at the last plain line, by feed; 0 for the first
	got  map[string]int64 // bytes at the last plain line, by feed
}

// feedBar is that of one feed. Its text changes from bytes to advisories.
type feedBar struct {
	*mpb.Bar
	text atomic.Pointer[string]
}

func (p *program) feedBars() *feedBars {
	return &feedBars{p: p, bar: map[string]*feedBar{}, said: map[string]int{}, got: map[string]int64{}}
}

// plainEvery is how many records lie between two plain lines of one feed, and
// plainBytes how many bytes.
const (
	plainEvery = 50_000
	plainBytes = 64 << 20
)

// fetched says how much of a feed has come: "12 MB of 71 MB, 17 %".
func fetched(u api.FeedProgress) string {
	if u.Size <= 0 {
		return bytesOf(u.Bytes)
	}
	return fmt.Sprintf("%s of %s, %d %%", bytesOf(u.Bytes), bytesOf(u.Size), 100*min(u.Bytes, u.Size)/u.Size)
}

func (f *feedBars) update(u api.FeedProgress) {
	name := policy.Printable(u.Feed)
	if f.p.output != outputText || name == "" {
		return
	}
	if !f.p.io.ErrTerminal {
		f.plain(name, u)
		return
	}
	if f.bars == nil {
		f.bars = mpb.New(mpb.WithOutput(f.p.io.Err), mpb.WithAutoRefresh(), mpb.WithRefreshRate(refresh), mpb.WithWidth(28))
	}
	done, total, text := int64(u.Records), int64(u.Total), fmt.Sprintf("%d/%d advisories", u.Records, u.Total)
	if u.Bytes > 0 {
		done, total, text = u.Bytes, max(u.Size, u.Bytes), fetched(u)
	}
	b := f.bar[name]
	if b == nil {
		b = &feedBar{}
		b.text.Store(&text)
		b.Bar = f.bars.AddBar(total, mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return *b.text.Load() })))
		f.bar[name] = b
	}
	b.text.Store(&text)
	b.SetTotal(total, false)
	b.SetCurrent(done)
}

// plain writes one line now and then.
func (f *feedBars) plain(name string, u api.FeedProgress) {
	if u.Bytes > 0 {
		got, begun := f.got[name]
		if !begun || u.Bytes-got >= plainBytes {
			fmt.Fprintf(f.p.io.Err, "fetching %s: %s\n", name, fetched(u))
			f.got[name] = u.Bytes
		}
		return
	}
	last, seen := f.said[name]
	switch {
	case !seen:
		fmt.Fprintf(f.p.io.Err, "reading %s: %s\n", name, many(u.Total, "advisory", "advisories"))
		f.said[name] = 0
	case u.Records-last >= plainEvery:
		fmt.Fprintf(f.p.io.Err, "reading %s: %s of %s advisories\n", name, count(u.Records), count(u.Total))
		f.said[name] = u.Records
	}
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
