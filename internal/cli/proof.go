package cli

import (
	"fmt"

	"github.com/bonded-dev/bonded/api"
)

// settled reports whether there is nothing left to wait for: a decision, and
// its proof where that was asked for.
func settled(w *api.Why, proof bool) bool {
	if proof && w.Proof != nil && !w.Proof.Proven {
		return false
	}
	return w.Decision != nil || exitOfWhy(w) == exitDone
}

// proof writes a line about the proof that was asked for.
func (pg *page) proof(p *api.Proof) {
	if p == nil {
		return
	}
	text := fmt.Sprintf("Proven: decision %d, in batch %d; take the proof along with -o json", p.Decision, batchOf(p))
	if !p.Proven {
		text = fmt.Sprintf("Decision %d is %s", p.Decision, p.Text)
	}
	pg.wrap("", "  ", pg.faint.Render(text))
}

func batchOf(p *api.Proof) int64 {
	if p.Batch == nil {
		return 0
	}
	return p.Batch.Number
}
