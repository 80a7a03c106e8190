package custody

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// platform is one for people.
func platform(p *oci.Platform) string {
	if p == nil {
		return ""
	}
	return p.String()
}

// rising is a part whose entries have numbers, which rise.
type rising struct {
	*part
	one, all string // "batch", "batches"
	before   int64
}

// next says what the entry with the number n is called. One that is out of
// order fails.
func (r *rising) next(n int64) (what string, ok bool) {
	what = fmt.Sprintf("%s %d", r.one, n)
	if n <= r.before {
		r.fail(what, "it comes after %s %d: %s are in order, each once", r.one, r.before, r.all)
		return what, false
	}
	r.before = n
	return what, true
}

func (v *verifier) openBatches() {
	p := rising{part: v.part("batches"), one: "batch", all: "batches"}
	for i := range v.file.Batches {
		b := &v.file.Batches[i]
		what, ok := p.next(b.Number)
		if !ok {
			v.broken[b.Number] = true
			delete(v.batches, b.Number)
			continue
		}
		opened, err := v.open(b)
		if err != nil {
			p.fail(what, "%v", err)
			v.broken[b.Number] = true
			continue
		}
		v.batches[b.Number] = opened
		p.ok(what, fmt.Sprintf("signed by the server %s", opened.at.UTC().Format(time.RFC3339)))
	}
}

// batch returns a batch that verifies, or what to say where there is none.
func (v *verifier) batch(n int64) (*proven, string) {
	switch b := v.batches[n]; {
	case b != nil:
		return b, ""
	case v.broken[n]:
		return nil, fmt.Sprintf("its batch %d does not verify", n)
	}
	return nil, fmt.Sprintf("its batch %d is not in the file", n)
}

// strictly reads verified JSON that has one meaning.
func strictly(b []byte, out any) error {
	if _, err := strictjson.Parse(b, strictjson.Limits{Depth: 16}); err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (v *verifier) readDecisions() {
	p := rising{part: v.part("decisions"), one: "decision", all: "decisions"}
	leaves := map[[2]int64]int64{}
	for i := range v.file.Decisions {
		d := &v.file.Decisions[i]
		what, ok := p.next(d.Decision)
		if !ok {
			continue
		}
		leaf := [2]int64{d.Batch, d.Index}
		if other, ok := leaves[leaf]; ok && d.Batch != 0 {
			p.fail(what, "it has the leaf of decision %d", other)
			continue
		}
		leaves[leaf] = d.Decision
		v.decision(p.part, what, d)
	}
}

func (v *verifier) decision(p *part, what string, d *api.CustodyDecision) {
	said := new(api.Decision)
	if err := strictly(d.Payload, said); err != nil {
		p.fail(what, "its payload is no decision: %v", err)
		return
	}
	if said.Digest != v.file.Digest {
		p.fail(what, "it is about %s, and the file is about %s", oci.Quote(said.Digest), v.file.Digest)
		return
	}
	if d.Batch == 0 {
		p.unsure(what, "it is in no batch: "+d.Text)
		return
	}
	b, why := v.batch(d.Batch)
	if b == nil {
		p.fail(what, "%s", why)
		return
	}
	if err := follow(&b.decisions, d.Index, d.Path, payloadLeaf(d.Payload)); err != nil {
		p.fail(what, "it is not in batch %d: %v", d.Batch, err)
		return
	}
	v.decisions[d.Decision] = said
	text := fmt.Sprintf("%s in %s under %q, %s", said.Outcome, said.Repository, said.Clause, said.DecidedAt.UTC().Format(time.RFC3339))
	p.ok(what, text)
	v.step(api.CustodyStep{At: said.DecidedAt, What: "decided: " + string(said.Outcome), Where: said.Repository, Who: "gate " + said.Inputs.Gate, ProvenBy: fmt.Sprintf("batch %d", d.Batch)})
	for _, looked := range said.Inputs.Evidence {
		if !v.referrers[looked] {
			p.unsure(what, "it looked at evidence "+looked+", which is not in the file")
		}
	}
}

// event is an entry of the audit log that verified.
type event struct{ audit.Event }

// audit finds the head that proves events.
func (v *verifier) audit() {
	p := v.part("audit")
	if v.file.Audit == 0 {
		if len(v.file.Events) > 0 {
			p.unsure("head", "no batch proves the head of the audit log: nothing proves the events")
		}
		return
	}
	b, why := v.batch(v.file.Audit)
	switch {
	case b == nil:
		p.fail("head", "%s", why)
	case b.audit == nil:
		p.fail("head", "batch %d has no head of the audit log", v.file.Audit)
	default:
		p.ok("head", fmt.Sprintf("%s, %d entries, in batch %d", b.audit.Origin, b.audit.Size, b.number))
	}
}

func (v *verifier) head() *tlog.Checkpoint {
	if b := v.batches[v.file.Audit]; b != nil {
		return b.audit
	}
	return nil
}

func (v *verifier) readEvents() {
	p := rising{part: v.part("events"), one: "event", all: "events"}
	for i := range v.file.Events {
		e := &v.file.Events[i]
		what, ok := p.next(e.Seq)
		if !ok {
			continue
		}
		read, ok := v.event(p.part, what, e)
		if !ok {
			continue
		}
		if read.Digest != v.file.Digest {
			p.fail(what, "it is about %s, and the file is about %s", oci.Quote(read.Digest), v.file.Digest)
			continue
		}
		v.events[e.Seq] = read
		p.ok(what, fmt.Sprintf("%s by %s", read.Kind, read.Principal))
		v.step(api.CustodyStep{At: read.At, What: read.Kind, Where: read.Repository, Who: read.Principal, ProvenBy: fmt.Sprintf("audit log, entry %d", e.Seq)})
		v.spoken(e.Seq, read)
	}
}

// event checks that the audit log has an event.
func (v *verifier) event(p *part, what string, e *api.CustodyEvent) (*event, bool) {
	head := v.head()
	switch {
	case head == nil && v.file.Audit == 0:
		p.unsure(what, "no head of the audit log proves it")
		return nil, false
	case head == nil:
		p.fail(what, "the head of the audit log that was to prove it does not verify")
		return nil, false
	}
	if err := follow(head, e.Seq-1, e.Path, tlog.LeafHash(e.Event)); err != nil {
		p.fail(what, "it is not in the audit log: %v", err)
		return nil, false
	}
	read := new(event)
	if err := strictly(e.Event, &read.Event); err != nil {
		p.fail(what, "entry %d of the log is no event: %v", e.Seq, err)
		return nil, false
	}
	return read, true
}

// spoken holds decisions against the events that speak of them.
func (v *verifier) spoken(seq int64, e *event) {
	n, err := strconv.ParseInt(e.Details["decision"], 10, 64)
	if err != nil || n == 0 {
		return
	}
	p := v.named("decisions")
	what := fmt.Sprintf("decision %d", n)
	d, outcome := v.decisions[n], e.Details["outcome"]
	inFile := slices.ContainsFunc(v.file.Decisions, func(d api.CustodyDecision) bool { return d.Decision == n })
	switch {
	case d == nil && !inFile:
		p.unsure(what, fmt.Sprintf("event %d speaks of it, and it is not in the file", seq))
	case d != nil && (d.Repository != e.Repository || outcome != "" && outcome != string(d.Outcome)):
		p.fail(what, "event %d says %s in %s of it, and it is %s in %s", seq, oci.Quote(outcome), e.Repository, d.Outcome, d.Repository)
	}
}

func (v *verifier) named(name string) *part {
	return v.parts[slices.IndexFunc(v.parts, func(p *part) bool { return p.Part == name })]
}

// revocations are verified by the events that made and lifted them.
func (v *verifier) revocations() {
	p := rising{part: v.part("revocations"), one: "revocation", all: "revocations"}
	for i := range v.file.Revocations {
		r := &v.file.Revocations[i]
		what, ok := p.next(r.Revocation.ID)
		if !ok {
			continue
		}
		v.revocation(p.part, what, r)
	}
	for _, listed := range v.file.Events {
		seq, e := listed.Seq, v.events[listed.Seq]
		if e == nil {
			continue
		}
		id, err := strconv.ParseInt(e.Details["revocation"], 10, 64)
		if err == nil && !slices.ContainsFunc(v.file.Revocations, func(r api.CustodyRevocation) bool { return r.Revocation.ID == id }) {
			p.unsure(fmt.Sprintf("revocation %d", id), fmt.Sprintf("event %d speaks of it, and it is not in the file", seq))
		}
	}
}

func (v *verifier) revocation(p *part, what string, r *api.CustodyRevocation) {
	if r.Made == nil {
		p.unsure(what, "the event that made it is not in the file")
		return
	}
	made, ok := v.event(p, what, r.Made)
	if !ok {
		return
	}
	says := &r.Revocation
	id := strconv.FormatInt(says.ID, 10)
	if made.Kind != "revocation.made" || made.Details["revocation"] != id || made.Details["what"] != says.What || made.Details["reason"] != says.Reason ||
		made.Details["revokes"] != says.Kind || made.Principal != says.By {
		p.fail(what, "event %d does not say so: it is %s of %s by %s, because %s", r.Made.Seq, made.Kind, oci.Quote(made.Details["what"]), oci.Quote(made.Principal), oci.Quote(made.Details["reason"]))
		return
	}
	p.ok(what, says.What+" is trusted no more: "+says.Reason)
	v.step(api.CustodyStep{At: made.At, What: "revoked: " + says.What, Who: made.Principal, ProvenBy: fmt.Sprintf("audit log, entry %d", r.Made.Seq)})
	if (says.Lifted == nil) != (r.Lifted == nil) {
		p.fail(what, "that it was lifted is said, and no event says so, or the other way round")
		return
	}
	if r.Lifted == nil {
		return
	}
	lifted, ok := v.event(p, what, r.Lifted)
	if !ok {
		return
	}
	if lifted.Kind != "revocation.lifted" || lifted.Details["revocation"] != id || lifted.Principal != says.Lifted.By {
		p.fail(what, "event %d does not lift it", r.Lifted.Seq)
		return
	}
	p.ok(what, "it was lifted: "+says.Lifted.Reason)
	v.step(api.CustodyStep{At: lifted.At, What: "lifted: " + says.What, Who: lifted.Principal, ProvenBy: fmt.Sprintf("audit log, entry %d", r.Lifted.Seq)})
}

func (v *verifier) epochs() {
	p := v.part("epochs")
	seen := map[string]bool{}
	for i := range v.file.Epochs {
		e := &v.file.Epochs[i]
		what := "repository " + e.Repository
		if seen[e.Repository] {
			p.fail(what, "it is in the file twice")
			continue
		}
		seen[e.Repository] = true
		v.epoch(p, what, e)
	}
}

func (v *verifier) epoch(p *part, what string, e *api.CustodyEpoch) {
	if e.Batch == 0 {
		p.unsure(what, "its state is in no batch: "+e.Text)
		return
	}
	b, why := v.batch(e.Batch)
	if b == nil {
		p.fail(what, "%s", why)
		return
	}
	if b.epochs == nil {
		p.fail(what, "batch %d has no states of repositories", e.Batch)
		return
	}
	if err := follow(b.epochs, e.Index, e.Path, payloadLeaf(e.Payload)); err != nil {
		p.fail(what, "its state is not in batch %d: %v", e.Batch, err)
		return
	}
	var said api.Epoch
	if err := strictly(e.Payload, &said); err != nil {
		p.fail(what, "its payload is no state: %v", err)
		return
	}
	if said.Repository != e.Repository {
		p.fail(what, "the state is that of %s", oci.Quote(said.Repository))
		return
	}
	at := fmt.Sprintf("epoch %d at %s", said.Epoch, said.At.UTC().Format(time.RFC3339))
	if len(e.State) == 0 && said.Tags+said.Placements > 0 {
		p.unsure(what, at+"; the lines of its state are left out: "+e.Text)
		return
	}
	if api.StateDigest(e.State) != said.Digest {
		p.fail(what, "the lines of its state are not those that were signed")
		return
	}
	state := api.PlacedIn(e.State, v.file.Digest)
	if state == "" {
		state = "neither admitted nor revoked"
	}
	p.ok(what, at+": "+state)
	v.step(api.CustodyStep{At: said.At, What: "stands: " + state, Where: e.Repository, ProvenBy: fmt.Sprintf("batch %d", e.Batch)})
}
