package inventory

import (
	"fmt"
	"slices"
)

// coverageRank orders the states, best first.
var coverageRank = map[CoverageState]int{CoverageFull: 0, CoveragePartial: 1, CoverageAmbiguous: 2, CoverageNone: 3}

// Worse returns the worse of two states. A state that is not one of the four
// counts as CoverageNone.
func (s CoverageState) Worse(t CoverageState) CoverageState {
	rs, ok := coverageRank[s]
	if !ok {
		return CoverageNone
	}
	rt, ok := coverageRank[t]
	if !ok {
		return CoverageNone
	}
	if rs >= rt {
		return s
	}
	return t
}

// MaxGaps bounds Coverage.Gaps.
const MaxGaps = 100

// moreGaps is the reason of the last gap when not all fit.
const moreGaps = "and %d more"

// Gaps collects the gaps of a Coverage. The zero value is full coverage.
type Gaps struct {
	state CoverageState
	kept  []Gap
	more  int // gaps beyond the last that is kept
}

// Add records a gap that makes the coverage no better than state.
func (g *Gaps) Add(state CoverageState, gap Gap) {
	g.raise(state)
	if len(g.kept) < MaxGaps-1 {
		g.kept = append(g.kept, gap)
		return
	}
	g.more++
}

// AddFirst is Add for the gap that matters most: it stands in front, and is
// never among those that do not fit.
func (g *Gaps) AddFirst(state CoverageState, gap Gap) {
	g.raise(state)
	if len(g.kept) == MaxGaps-1 {
		g.kept = g.kept[:MaxGaps-2]
		g.more++
	}
	g.kept = slices.Insert(g.kept, 0, gap)
}

// Merge adds all that other holds.
func (g *Gaps) Merge(other *Gaps) {
	for _, gap := range other.kept {
		g.Add(other.state, gap)
	}
	g.more += other.more
}

// State returns the state of what was collected.
func (g *Gaps) State() CoverageState {
	g.raise(CoverageFull)
	return g.state
}

func (g *Gaps) raise(state CoverageState) {
	if g.state == "" {
		g.state = CoverageFull
	}
	g.state = g.state.Worse(state)
}

// Coverage returns what was collected: at most MaxGaps gaps, of which the last
// says how many more there are when they do not fit.
func (g *Gaps) Coverage() Coverage {
	g.raise(CoverageFull)
	c := Coverage{State: g.state}
	c.Gaps = append(c.Gaps, g.kept...)
	if g.more > 0 {
		c.Gaps = append(c.Gaps, Gap{Reason: fmt.Sprintf(moreGaps, g.more)})
	}
	return c
}

// Add returns c with one more gap, in front, which makes it no better than
// state. It never changes the array that c.Gaps stands on.
func (c Coverage) Add(state CoverageState, gap Gap) Coverage {
	var g Gaps
	g.Add(state, gap)
	g.raise(c.State)
	for i, old := range c.Gaps {
		more := 0
		if i == MaxGaps-1 {
			if _, err := fmt.Sscanf(old.Reason, moreGaps, &more); err != nil {
				more = 0 // a gap like the others
			}
		}
		if more > 0 {
			g.more += more
			continue
		}
		g.Add(c.State, old)
	}
	return g.Coverage()
}
