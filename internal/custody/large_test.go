package custody

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// many is the story of a digest of so many events and, for each five, a decision.
func (m *maker) many(events int) *api.Custody {
	m.Helper()
	f := m.file()
	f.Events, f.Decisions, f.Epochs, f.Revocations = nil, nil, nil, nil
	f.Acquire, f.Promotions = api.CustodyPart{}, api.CustodyPart{}
	var entries, payloads []tlog.Hash
	for n := range events {
		e := audit.Event{ID: fmt.Sprint(n), At: verifytest.Noon, Kind: "manifest.pushed", Principal: "ann", Method: "token", Repository: "staging/app", Digest: f.Digest}
		if n%5 == 0 {
			d := api.Decision{
				Repository: "staging/app", Digest: f.Digest, Zone: "staging", Clause: "stay", Outcome: api.Allow, Reasons: []api.Reason{}, DecidedAt: verifytest.Noon.Add(time.Duration(n)),
				Inputs: api.Inputs{Gate: oci.FromBytes([]byte("gate")).String(), Engine: "test"},
			}
			one := api.CustodyDecision{Decision: int64(n/5 + 1), Payload: m.marshal(d), Batch: 1, Index: int64(n / 5)}
			f.Decisions, payloads = append(f.Decisions, one), append(payloads, payloadLeaf(one.Payload))
			e.Kind, e.Details = "placement.judged", map[string]string{"decision": fmt.Sprint(one.Decision), "outcome": "allow"}
		}
		f.Events, entries = append(f.Events, api.CustodyEvent{Seq: int64(n + 1), Event: e.Bytes()}), append(entries, tlog.LeafHash(e.Bytes()))
		tellEvent(f, int64(n+1), e.Kind)
	}
	root, paths := tree(entries)
	for i := range f.Events {
		f.Events[i].Path = paths[i]
	}
	_, paths = tree(payloads)
	for i := range f.Decisions {
		f.Decisions[i].Path = paths[i]
	}
	f.Audit, f.Batches = 1, []api.CustodyBatch{m.batch(m.own, serverURL, 1, payloads, nil, &tlog.Checkpoint{Origin: "bonded.example/audit", Size: int64(events), Root: root})}
	return f
}

// TestMany: a long story verifies as a whole, each thing costs what it costs in a
// short one, and the file grows with what is in it.
func TestMany(t *testing.T) {
	m := newMaker(t)
	measure := func(events int) (size, allocations float64) {
		t.Helper()
		raw := m.marshal(m.many(events))
		g := remembering(t, m.own.TrustedRoot(nil))
		allocations = testing.AllocsPerRun(1, func() {
			c, err := g.verify(t.Context(), raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range c.Parts {
				if (p.Part == "events" || p.Part == "decisions" || p.Part == "acquire") && p.State != api.CustodyVerified {
					t.Fatalf("%s is %s: %s", p.Part, p.State, strings.Join(found(c), "\n"))
				}
			}
		})
		return float64(len(raw)), allocations
	}
	size, allocations := measure(500)
	twice, more := measure(1000)
	if size > 1<<20 || twice > 2.2*size || more > 2.3*allocations {
		t.Errorf("500 events are %.0f bytes, %.0f allocations; 1000 are %.0f and %.0f", size, allocations, twice, more)
	}
	longest := m.many(maxListed)
	if _, err := Parse(m.marshal(longest)); err != nil {
		t.Error(err)
	}
	longest.Events = append(longest.Events, longest.Events[0])
	if _, err := Parse(m.marshal(longest)); err == nil || !strings.Contains(err.Error(), "over a limit") {
		t.Errorf("one more: %v", err)
	}
}
