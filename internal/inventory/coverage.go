package inventory

import "strconv"

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

// Merge adds all that other holds.
func (g *Gaps) Merge(other *Gaps) {
	for _, gap := range other.kept {
		g.Add(other.state, gap)
	}
	g.more += other.more
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
		c.Gaps = append(c.Gaps, Gap{Reason: "and " + strconv.Itoa(g.more) + " more"})
	}
	return c
}

// Add returns c with one more gap, which makes it no better than state. It
// never changes the array that c.Gaps stands on.
func (c Coverage) Add(state CoverageState, gap Gap) Coverage {
	c.State = c.State.Worse(state)
	n := min(len(c.Gaps), MaxGaps-1)
	gaps := make([]Gap, 0, n+1)
	gaps = append(append(gaps, gap), c.Gaps[:n]...)
	if lost := len(c.Gaps) - n; lost > 0 {
		gaps[len(gaps)-1] = c.Gaps[len(c.Gaps)-1] // keep the line that counts the rest
	}
	c.Gaps = gaps
	return c
}
