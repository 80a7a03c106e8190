package custody

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sumdb "golang.org/x/mod/sumdb/tlog"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/verify"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

var update = flag.Bool("update", false, "rewrite the example of the format")

const serverURL = "https://bonded.example"

// maker makes a file as a server would, out of keys of its own.
type maker struct {
	testing.TB
	own, other *verifytest.Instance
}

func newMaker(t testing.TB) *maker {
	return &maker{t, verifytest.New(t, "bonded.example"), verifytest.New(t, "elsewhere.example")}
}

func (m *maker) marshal(v any) []byte {
	m.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		m.Fatal(err)
	}
	return b
}

func contentOf(mediaType string, b []byte) api.CustodyContent {
	return api.CustodyContent{Digest: oci.FromBytes(b).String(), MediaType: mediaType, Size: int64(len(b)), Bytes: b}
}

// tree is the root of leaves and the path to each; written from RFC 6962.
func tree(leaves []tlog.Hash) (root tlog.Hash, paths [][]string) {
	paths = make([][]string, len(leaves))
	if len(leaves) == 1 {
		return leaves[0], paths
	}
	k := 1
	for 2*k < len(leaves) {
		k *= 2
	}
	l, left := tree(leaves[:k])
	r, right := tree(leaves[k:])
	for i := range left {
		paths[i] = append(left[i], hex.EncodeToString(r[:]))
	}
	for i := range right {
		paths[k+i] = append(right[i], hex.EncodeToString(l[:]))
	}
	return sumdb.NodeHash(l, r), paths
}

// batch signs a batch.
func (m *maker) batch(i *verifytest.Instance, identity string, number int64, decisions, epochs []tlog.Hash, head *tlog.Checkpoint) api.CustodyBatch {
	m.Helper()
	describe := func(leaves []tlog.Hash) map[string]any {
		root := tlog.EmptyRoot()
		if len(leaves) > 0 {
			root, _ = tree(leaves)
		}
		return map[string]any{"count": len(leaves), "root": hex.EncodeToString(root[:])}
	}
	p := map[string]any{"number": number, "at": verifytest.Noon, "decisions": describe(decisions)}
	if epochs != nil {
		p["epochs"] = describe(epochs)
	}
	if head != nil {
		p["audit"] = map[string]any{"origin": head.Origin, "size": head.Size, "root": hex.EncodeToString(head.Root[:])}
	}
	subject := oci.MustDigest("sha256:" + p["decisions"].(map[string]any)["root"].(string))
	raw, err := attest.Make(typeBatch, p, attest.About("batch", subject))
	if err != nil {
		m.Fatal(err)
	}
	bundle := i.JSON(i.Bundle(verifytest.Spec{Payload: raw, Identity: identity + "/server", Issuer: identity + "/oidc"}))
	return api.CustodyBatch{Number: number, Bundle: bundle}
}

// referrer attaches a statement about digest.
func (m *maker) referrer(about oci.Descriptor, bundle []byte) api.CustodyEvidence {
	m.Helper()
	config := []byte("{}")
	layer := oci.Descriptor{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", Digest: oci.FromBytes(bundle), Size: int64(len(bundle))}
	raw := m.marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": layer.MediaType,
		"config": oci.Descriptor{MediaType: oci.MediaTypeEmpty, Digest: oci.FromBytes(config), Size: 2}, "layers": []oci.Descriptor{layer}, "subject": about,
	})
	return api.CustodyEvidence{About: about.Digest.String(), Manifest: contentOf(oci.MediaTypeManifest, raw), Layers: []api.CustodyContent{contentOf(layer.MediaType, bundle)}}
}

func (m *maker) signed(i *verifytest.Instance, identity, issuer string, statement []byte, err error) []byte {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
	return i.JSON(i.Bundle(verifytest.Spec{Payload: statement, Identity: identity, Issuer: issuer}))
}

// file is a whole story: pushed, denied, fixed, admitted, promoted, revoked.
func (m *maker) file() *api.Custody {
	m.Helper()
	raw := m.marshal(map[string]any{
		"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "layers": []oci.Descriptor{},
		"config": oci.Descriptor{MediaType: oci.MediaTypeConfig, Digest: oci.FromBytes([]byte("{}")), Size: 2},
	})
	subject := oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes(raw), Size: int64(len(raw))}
	index := m.marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeIndex, "manifests": []oci.Descriptor{subject}})
	d := subject.Digest.String()
	f := &api.Custody{
		Version: api.CustodyVersion, Digest: d, Server: serverURL, At: verifytest.Noon, By: "auditor", Repositories: []string{"production/app", "staging/app"}, LeftOut: []string{},
		Subject: api.CustodySubject{Manifest: contentOf(oci.MediaTypeManifest, raw), Children: []api.CustodyContent{}, Indexes: []api.CustodyContent{contentOf(oci.MediaTypeIndex, index)}},
	}
	about := attest.About("app", subject.Digest)
	provenance, err := attest.Make("https://slsa.dev/provenance/v1", map[string]any{
		"buildDefinition": map[string]any{
			"buildType": "https://example.com/build", "externalParameters": map[string]any{},
			"resolvedDependencies": []any{map[string]any{"uri": "git+https://git.example/acme/app@refs/heads/main", "digest": map[string]string{"gitCommit": "c5dc2ae7d48bc9b2f0fbd5d5a9c5f5b2e7a8b4f0"}}},
		},
		"runDetails": map[string]any{"builder": map[string]any{"id": "https://ci.example/builder"}},
	}, about)
	byOther := m.referrer(subject, m.signed(m.other, "https://ci.example/builder", "https://idp.example.com", provenance, err))
	scan, err := attest.MakeScan(evidence.Scan{Scanner: "bonded", At: verifytest.Noon}, verifytest.Noon, nil, about)
	byServer := m.referrer(subject, m.signed(m.own, serverURL+"/server", serverURL+"/oidc", scan, err))
	f.Evidence = []api.CustodyEvidence{byOther, byServer}
	m.tell(f)

	events := m.events(d)
	m.decisions(f, byOther.Manifest.Digest)
	state := []string{"placement " + d + " admitted", "tag 1 " + d}
	epoch := m.marshal(api.Epoch{Repository: "production/app", Epoch: 7, At: verifytest.Noon, Expires: verifytest.Noon.Add(time.Hour), Tags: 1, Placements: 1, Digest: api.StateDigest(state)})
	f.Epochs = []api.CustodyEpoch{{Repository: "production/app", Payload: epoch, Batch: 2, State: state}}
	m.seal(f, events)
	return f
}

// tell fills in what statements tell.
func (m *maker) tell(f *api.Custody) {
	set, err := verify.NewAnchors(verify.Anchor{Name: OwnAnchor, Kind: verify.KindSigstore, Roots: [][]byte{m.own.TrustedRoot(nil)}}, verify.Anchor{Name: "ci", Kind: verify.KindSigstore, Roots: [][]byte{m.other.TrustedRoot(nil)}})
	if err != nil {
		m.Fatal(err)
	}
	v := verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(nil, 0), Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	for i := range f.Evidence {
		e := &f.Evidence[i]
		manifest, err := manifestOf(&e.Manifest)
		if err != nil {
			m.Fatal(err)
		}
		found := v.Check(m.Context(), oci.Descriptor{Digest: oci.MustDigest(e.About), MediaType: oci.MediaTypeManifest, Size: f.Subject.Manifest.Size}, verify.Referrer{Manifest: manifest, Layers: [][]byte{e.Layers[0].Bytes}})
		if len(found.Refusals) > 0 {
			m.Fatalf("%+v", found.Refusals)
		}
		tell(f, found, serverOf(serverURL))
	}
}

// events are the entries of a log, three of them about another digest.
func (m *maker) events(d string) []audit.Event {
	made := func(kind, principal, repository, digest string, details map[string]string) audit.Event {
		return audit.Event{ID: "0", At: verifytest.Noon.Add(-time.Hour), Kind: kind, Principal: principal, Method: "token", Repository: repository, Digest: digest, Details: details}
	}
	other := oci.FromBytes([]byte("another")).String()
	return []audit.Event{
		made("manifest.pushed", "ann", "staging/app", d, map[string]string{"kind": "image"}),
		made("manifest.pushed", "bob", "staging/other", other, nil),
		made("placement.denied", "judge", "staging/app", d, map[string]string{"decision": "3", "outcome": "deny"}),
		made("placement.admitted", "judge", "staging/app", d, map[string]string{"decision": "5", "outcome": "allow"}),
		made("feed.updated", "feeds", "", "", nil),
		made("placement.promoted", "ops", "production/app", d, map[string]string{"from": "staging/app"}),
		made("revocation.made", "sec", "", "", map[string]string{"revocation": "1", "revokes": "digest", "what": "digest " + d, "reason": "it leaks", "hits": "1"}),
		made("placement.revoked", "sec", "production/app", d, map[string]string{"revocation": "1"}),
		made("revocation.lifted", "sec", "", "", map[string]string{"revocation": "1", "what": "digest " + d, "reason": "it does not"}),
	}
}

func (m *maker) decisions(f *api.Custody, looked string) {
	for n, outcome := range map[int64]api.Outcome{3: api.Deny, 5: api.Allow} {
		d := api.Decision{
			Repository: "staging/app", Digest: f.Digest, Zone: "staging", Clause: "enter", Outcome: outcome, Reasons: []api.Reason{}, DecidedAt: verifytest.Noon.Add(-time.Hour),
			Inputs: api.Inputs{Gate: oci.FromBytes([]byte("gate")).String(), Engine: "test", Evidence: []string{looked}},
		}
		f.Decisions = append(f.Decisions, api.CustodyDecision{Decision: n, Payload: m.marshal(d)})
	}
	slices.SortFunc(f.Decisions, func(a, b api.CustodyDecision) int { return int(a.Decision - b.Decision) })
}

// seal puts decisions, events and epochs into two batches.
func (m *maker) seal(f *api.Custody, events []audit.Event) {
	var entries []tlog.Hash
	for _, e := range events {
		entries = append(entries, tlog.LeafHash(e.Bytes()))
	}
	root, paths := tree(entries)
	head := &tlog.Checkpoint{Origin: "bonded.example/audit", Size: int64(len(events)), Root: root}
	f.Revocations = []api.CustodyRevocation{{Revocation: api.Revocation{
		ID: 1, Kind: "digest", Digest: f.Digest, What: "digest " + f.Digest, Reason: "it leaks", By: "sec", At: verifytest.Noon, Lifted: &api.Lifted{By: "sec", Reason: "it does not", At: verifytest.Noon},
	}}}
	for i, e := range events {
		entry := api.CustodyEvent{Seq: int64(i + 1), Event: e.Bytes(), Path: paths[i]}
		switch {
		case e.Kind == "revocation.made":
			f.Revocations[0].Made = &entry
		case e.Kind == "revocation.lifted":
			f.Revocations[0].Lifted = &entry
		case e.Digest == f.Digest:
			f.Events = append(f.Events, entry)
			tellEvent(f, entry.Seq, e.Kind)
		}
	}
	others := []tlog.Hash{payloadLeaf([]byte("another")), payloadLeaf([]byte("one more"))}
	first := append(slices.Clone(others), payloadLeaf(f.Decisions[0].Payload))
	second := append([]tlog.Hash{payloadLeaf(f.Decisions[1].Payload)}, others...)
	_, p := tree(first)
	f.Decisions[0].Batch, f.Decisions[0].Index, f.Decisions[0].Path = 1, 2, p[2]
	_, p = tree(second)
	f.Decisions[1].Batch, f.Decisions[1].Index, f.Decisions[1].Path = 2, 0, p[0]
	states := append(slices.Clone(others), payloadLeaf(f.Epochs[0].Payload))
	_, p = tree(states)
	f.Epochs[0].Index, f.Epochs[0].Path = 2, p[2]
	f.Audit = 2
	f.Batches = []api.CustodyBatch{m.batch(m.own, serverURL, 1, first, nil, nil), m.batch(m.own, serverURL, 2, second, states, head)}
	f.Deployments = api.CustodyPart{Text: "not recorded"}
}

func (m *maker) options() VerifyOptions {
	return VerifyOptions{
		Root: m.own.TrustedRoot(nil), Clock: time.Now, Log: slog.New(slog.DiscardHandler),
		Anchors: []verify.Anchor{{Name: "ci", Kind: verify.KindSigstore, Roots: [][]byte{m.other.TrustedRoot(nil)}}},
	}
}

// found lists what is not verified, "part: what: text".
func found(c *api.CustodyCheck) (all []string) {
	for _, p := range c.Parts {
		for _, i := range p.Items {
			if i.State != api.CustodyVerified {
				all = append(all, fmt.Sprintf("%s %s: %s: %s", i.State, p.Part, i.What, i.Text))
			}
		}
	}
	return all
}

func TestVerify(t *testing.T) {
	m := newMaker(t)
	f := m.file()
	raw := m.marshal(f)
	c, err := Verify(t.Context(), raw, m.options())
	if err != nil {
		t.Fatal(err)
	}
	if c.State != api.CustodyVerified || len(found(c)) > 0 || c.Server != serverURL {
		t.Errorf("%s of %s: %s", c.State, c.Server, strings.Join(found(c), "\n"))
	}
	states := map[string]api.CustodyState{}
	for _, p := range c.Parts {
		states[p.Part] = p.State
	}
	if states["deployments"] != api.CustodyNotRecorded || states["approvals"] != api.CustodyNotRecorded || states["source"] != api.CustodyVerified || states["analysis"] != api.CustodyVerified || states["epochs"] != api.CustodyVerified {
		t.Errorf("%v", states)
	}
	if len(c.Steps) < 10 {
		t.Errorf("the timeline has %d steps: %+v", len(c.Steps), c.Steps)
	}
	o := m.options()
	o.Anchors = nil
	c, err = Verify(t.Context(), raw, o)
	if err != nil || c.State != api.CustodyNotProvable {
		t.Fatalf("without the anchor of the builder: %v, %v", c, err)
	}
	for _, text := range found(c) {
		if !strings.HasPrefix(text, "not-provable source") && !strings.HasPrefix(text, "not-provable build") && !strings.HasPrefix(text, "not-provable evidence") {
			t.Error(text)
		}
	}
	for _, s := range c.Steps {
		if strings.Contains(s.What, "provenance") {
			t.Errorf("the timeline has what is not verified: %+v", s)
		}
	}
}

// TestTampered: each way to lie has its own refusal.
func TestTampered(t *testing.T) {
	m := newMaker(t)
	whole := m.marshal(m.file())
	for _, c := range []struct {
		name   string
		change func(*api.Custody)
		want   string
	}{
		{"another manifest", func(f *api.Custody) { f.Subject.Manifest.Bytes[20] ^= 1 }, "failed subject: manifest: the content of"},
		{"no manifest", func(f *api.Custody) { f.Subject.Manifest.Bytes, f.Subject.Manifest.LeftOut = nil, "large" }, "failed subject: manifest: its bytes are not in the file"},
		{"manifest of another digest", func(f *api.Custody) { f.Subject.Manifest = f.Evidence[0].Manifest }, "and the file is about"},
		{"a child it does not have", func(f *api.Custody) { f.Subject.Children = []api.CustodyContent{f.Subject.Indexes[0]} }, "the manifest does not name it"},
		{"an index of another", func(f *api.Custody) { f.Subject.Indexes[0] = f.Evidence[0].Manifest }, "failed subject: index"},
		{"payload of a decision", func(f *api.Custody) {
			f.Decisions[0].Payload = bytes.Replace(f.Decisions[0].Payload, []byte("deny"), []byte("allow"), 1)
		}, "failed decisions: decision 3: it is not in batch 1: its path does not lead"},
		{"index of a decision", func(f *api.Custody) { f.Decisions[0].Index = 1 }, "failed decisions: decision 3: it is not in batch 1: its path does not lead"},
		{"index beyond the tree", func(f *api.Custody) { f.Decisions[0].Index = 99 }, "its tree has 3 leaves, and none of index 99"},
		{"decision not in batch", func(f *api.Custody) { f.Decisions[0].Batch, f.Decisions[0].Index = 2, 1 }, "failed decisions: decision 3: it is not in batch 2"},
		{"path of a decision", func(f *api.Custody) { f.Decisions[0].Path[0] = "xyz" }, "is no SHA-256 in hex"},
		{"long path", func(f *api.Custody) { f.Decisions[0].Path = make([]string, 64) }, "over the limit of 63"},
		{"batch is gone", func(f *api.Custody) { f.Batches = f.Batches[1:] }, "failed decisions: decision 3: its batch 1 is not in the file"},
		{"decision without batch", func(f *api.Custody) { f.Decisions[0].Batch, f.Decisions[0].Text = 0, "later" }, "not-provable decisions: decision 3: it is in no batch: later"},
		{"decisions out of order", func(f *api.Custody) { slices.Reverse(f.Decisions) }, "failed decisions: decision 3: it comes after decision 5"},
		{"a decision twice", func(f *api.Custody) {
			again := f.Decisions[1]
			again.Decision = 6
			f.Decisions = append(f.Decisions, again)
		}, "failed decisions: decision 6: it has the leaf of decision 5"},
		{"a decision is left out", func(f *api.Custody) { f.Decisions = f.Decisions[1:] }, "not-provable decisions: decision 3: event 3 speaks of it, and it is not in the file"},
		{"decisions change their numbers", func(f *api.Custody) { f.Decisions[0].Decision, f.Decisions[1].Decision = 5, 6 }, "failed decisions: decision 5: event 4 says"},
		{"payload with two meanings", func(f *api.Custody) {
			f.Decisions[0].Payload = append([]byte(`{"outcome":"allow",`), f.Decisions[0].Payload[1:]...)
		}, "its payload is no decision"},
		{"decision about another", func(f *api.Custody) {
			f.Decisions[0].Payload = bytes.ReplaceAll(f.Decisions[0].Payload, []byte(f.Digest), []byte(oci.FromBytes(nil).String()))
		}, "failed decisions: decision 3: it is about"},
		{"batch by another instance", func(f *api.Custody) {
			f.Batches[0] = m.batch(m.other, serverURL, 1, []tlog.Hash{payloadLeaf(f.Decisions[0].Payload)}, nil, nil)
		}, "failed batches: batch 1: verifying a bundle"},
		{"batch by another server", func(f *api.Custody) {
			f.Batches[0] = m.batch(m.own, "https://evil.example", 1, []tlog.Hash{payloadLeaf(f.Decisions[0].Payload)}, nil, nil)
		}, "failed batches: batch 1: it is signed by https://evil.example/server"},
		{"a batch under another number", func(f *api.Custody) { f.Batches[0].Bundle = f.Batches[1].Bundle }, "failed batches: batch 1: its bundle is that of batch 2"},
		{"batch that is another statement", func(f *api.Custody) { f.Batches[0].Bundle = f.Evidence[1].Layers[0].Bytes }, "failed batches: batch 1: "},
		{"batch with another tree", func(f *api.Custody) {
			f.Batches[0].Bundle = bytes.Replace(f.Batches[0].Bundle, []byte(`"payload"`), []byte(`"payIoad"`), 1)
		}, "failed batches: batch 1: its bundle has no statement"},
		{"a batch twice", func(f *api.Custody) { f.Batches = append(f.Batches, f.Batches[1]) }, "it comes after batch 2: batches are in order, each once"},
		{"event", func(f *api.Custody) {
			f.Events[0].Event = bytes.Replace(f.Events[0].Event, []byte("ann"), []byte("bob"), 1)
		}, "failed events: event 1: it is not in the audit log"},
		{"events out of order", func(f *api.Custody) { f.Events[0], f.Events[1] = f.Events[1], f.Events[0] }, "failed events: event 1: it comes after event 3"},
		{"event under another number", func(f *api.Custody) { f.Events[0].Seq = 2 }, "failed events: event 2: it is not in the audit log"},
		{"event about another", func(f *api.Custody) { f.Events = append(f.Events, *f.Revocations[0].Lifted) }, "failed events: event 9: it is about"},
		{"event beyond the head", func(f *api.Custody) { f.Events[4].Seq = 10 }, "its tree has 9 leaves"},
		{"head in a batch without", func(f *api.Custody) { f.Audit = 1 }, "failed audit: head: batch 1 has no head"},
		{"head in no batch", func(f *api.Custody) { f.Audit = 9 }, "failed audit: head: its batch 9 is not in the file"},
		{"no head", func(f *api.Custody) { f.Audit = 0 }, "not-provable events: event 1: no head of the audit log proves it"},
		{"evidence cut off", func(f *api.Custody) { b := &f.Evidence[0].Layers[0].Bytes; *b = (*b)[:len(*b)-1] }, "failed evidence: referrer " + "sha256"},
		{"evidence left out", func(f *api.Custody) { l := &f.Evidence[0].Layers[0]; l.Bytes, l.LeftOut = nil, "large" }, "layer 1 is left out: large"},
		{"evidence both ways", func(f *api.Custody) { f.Evidence[0].Layers[0].LeftOut = "large" }, "says that it is left out, and is there"},
		{"evidence without its layer", func(f *api.Custody) { f.Evidence[0].Layers = nil }, "its manifest names 1 layers, and the file has 0"},
		{"evidence with another layer", func(f *api.Custody) { f.Evidence[0].Layers = f.Evidence[1].Layers }, "layer 1 is sha256:"},
		{"evidence about another", func(f *api.Custody) { f.Evidence[0].About = oci.FromBytes(nil).String() }, "which is neither what the file is about nor a child of it"},
		{"evidence twice", func(f *api.Custody) { f.Evidence = append(f.Evidence, f.Evidence[0]) }, "it is in the file twice"},
		{"evidence that counted is gone", func(f *api.Custody) {
			f.Evidence, f.Source, f.Build = f.Evidence[1:], api.CustodyPart{}, api.CustodyPart{}
		}, "not-provable decisions: decision 3: it looked at evidence"},
		{"wrong size", func(f *api.Custody) { f.Evidence[0].Layers[0].Size++ }, "and the file says"},
		{"another source", func(f *api.Custody) { f.Source.Statements[0].Says = "https://git.example/acme/good" }, "failed source: "},
		{"a source from nowhere", func(f *api.Custody) { f.Source.Statements[0].Referrer = f.Digest }, "it is not among the evidence of the file"},
		{"statement of another type", func(f *api.Custody) { f.Build.Statements[0].Type = typeBatch }, "it is no statement of type"},
		{"analysis by somebody else", func(f *api.Custody) { f.Analysis.Statements = f.Build.Statements }, "the server is to have signed it, and https://ci.example/builder"},
		{"a promotion that was none", func(f *api.Custody) { f.Promotions.Events = []int64{1, 6} }, "failed promotions: event 1: it is \"manifest.pushed\""},
		{"a promotion is hidden", func(f *api.Custody) { f.Promotions.Events = nil }, "it is placement.promoted, and this part does not name it"},
		{"a promotion from nowhere", func(f *api.Custody) { f.Promotions.Events = []int64{6, 7} }, "failed promotions: event 7: it is not among the events"},
		{"a deployment", func(f *api.Custody) { f.Deployments.Events = []int64{1} }, "failed deployments: "},
		{"another reason of a revocation", func(f *api.Custody) { f.Revocations[0].Revocation.Reason = "fine" }, "failed revocations: revocation 1: event 7 does not say so"},
		{"a lift that is hidden", func(f *api.Custody) { f.Revocations[0].Lifted = nil }, "that it was lifted is said, and no event says so"},
		{"a lift that was none", func(f *api.Custody) { f.Revocations[0].Lifted = f.Revocations[0].Made }, "event 7 does not lift it"},
		{"a revocation is hidden", func(f *api.Custody) { f.Revocations = nil }, "not-provable revocations: revocation 1: event 8 speaks of it"},
		{"state of a repository", func(f *api.Custody) { f.Epochs[0].State[1] = "tag 2 " + f.Digest }, "the lines of its state are not those that were signed"},
		{"two lines of a state in one", func(f *api.Custody) {
			f.Epochs[0].State = []string{strings.Join(f.Epochs[0].State, "\n")}
		}, "the lines of its state are not those that were signed"},
		{"state without lines", func(f *api.Custody) { f.Epochs[0].State = nil }, "not-provable epochs: repository production/app"},
		{"state of another repository", func(f *api.Custody) { f.Epochs[0].Repository = "production/other" }, "the state is that of \"production/app\""},
		{"state in another batch", func(f *api.Custody) { f.Epochs[0].Batch = 1 }, "batch 1 has no states of repositories"},
		{"state that was not signed", func(f *api.Custody) {
			f.Epochs[0].Payload = bytes.Replace(f.Epochs[0].Payload, []byte(":7"), []byte(":8"), 1)
		}, "its state is not in batch 2"},
		{"of another server", func(f *api.Custody) { f.Server = "https://evil.example" }, "failed file: server: it says that it is of"},
		{"something left out", func(f *api.Custody) { f.LeftOut = []string{"much"} }, "not-provable file: left out: much"},
		{"nothing at all", func(f *api.Custody) {
			*f = api.Custody{Version: f.Version, Digest: f.Digest, Server: f.Server, Subject: f.Subject}
		}, "nothing in it is proven to be of the server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse(whole)
			if err != nil {
				t.Fatal(err)
			}
			c.change(f)
			got, err := Verify(t.Context(), m.marshal(f), m.options())
			if err != nil {
				t.Fatal(err)
			}
			if got.State == api.CustodyVerified || !slices.ContainsFunc(found(got), func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("want %q:\n%s", c.want, strings.Join(found(got), "\n"))
			}
		})
	}
}

// TestRefused: what is no file, or not the one that was asked for, is not looked at.
func TestRefused(t *testing.T) {
	m := newMaker(t)
	whole := string(m.marshal(m.file()))
	for name, c := range map[string]struct {
		raw, want string
		is        error
		change    func(*VerifyOptions)
	}{
		"duplicate key":      {strings.Replace(whole, `"server":`, `"digest":"x","server":`, 1), "duplicate key", ErrFile, nil},
		"other case":         {strings.Replace(whole, `"server":`, `"Digest":"x","server":`, 1), `a key "Digest"`, ErrFile, nil},
		"unknown key":        {strings.Replace(whole, `"seq":`, `"sec":1,"seq":`, 1), `events has a key "sec"`, ErrFile, nil},
		"data after it":      {whole + "{}", "data after", ErrFile, nil},
		"half of it":         {whole[:len(whole)/2], "not JSON", ErrFile, nil},
		"another version":    {strings.Replace(whole, "custody/v1", "custody/v2", 1), "its version is", ErrFile, nil},
		"no base64":          {strings.Replace(whole, `"bytes":"`, `"bytes":"!`, 1), "base64", ErrFile, nil},
		"no digest":          {strings.Replace(whole, `"digest":"sha256:`, `"digest":"sha257:`, 1), "digest", ErrFile, nil},
		"too deep":           {strings.Repeat("[", 20) + strings.Repeat("]", 20), "nested deeper", ErrLarge, nil},
		"about another":      {whole, "was asked for", ErrFile, func(o *VerifyOptions) { o.Digest = oci.FromBytes(nil) }},
		"no root":            {whole, "trusted root", ErrGiven, func(o *VerifyOptions) { o.Root = []byte("{}") }},
		"anchor of one name": {whole, "the name is taken", ErrGiven, func(o *VerifyOptions) { o.Anchors[0].Name = OwnAnchor }},
	} {
		o := m.options()
		if c.change != nil {
			c.change(&o)
		}
		if _, err := Verify(t.Context(), []byte(c.raw), o); !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	o := m.options()
	o.Server = "https://another.example/"
	c, err := Verify(t.Context(), []byte(whole), o)
	if err != nil || c.State != api.CustodyFailed || !strings.Contains(strings.Join(found(c), "\n"), "was to be signed by https://another.example/server") {
		t.Errorf("%+v, %v", c, err)
	}
}

// lent is the story of an image that nobody signed and whose index was, beside
// which BuildKit put what it attests, unsigned; and the anchor of who signed.
func (m *maker) lent() (*api.Custody, verify.Anchor) {
	m.Helper()
	empty := oci.Descriptor{MediaType: oci.MediaTypeConfig, Digest: oci.FromBytes([]byte("{}")), Size: 2}
	manifest := func(layers ...oci.Descriptor) []byte {
		return m.marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": empty, "layers": append([]oci.Descriptor{}, layers...)})
	}
	image := manifest()
	subject := oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes(image), Size: int64(len(image)), Platform: &oci.Platform{OS: "linux", Architecture: "amd64"}}
	built := func(of oci.Digest) []byte {
		raw, err := attest.Make("https://slsa.dev/provenance/v1", map[string]any{"buildDefinition": map[string]any{"buildType": "https://x", "externalParameters": map[string]any{}},
			"runDetails": map[string]any{"builder": map[string]any{"id": "https://ci.example/builder"}}}, attest.About("app", of))
		if err != nil {
			m.Fatal(err)
		}
		return raw
	}
	statement := contentOf("application/vnd.in-toto+json", built(subject.Digest))
	beside := manifest(oci.Descriptor{MediaType: statement.MediaType, Digest: oci.MustDigest(statement.Digest), Size: statement.Size})
	attached := oci.Descriptor{
		MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes(beside), Size: int64(len(beside)), Platform: &oci.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject.Digest.String()},
	}
	index := func(of ...oci.Descriptor) (oci.Descriptor, api.CustodyContent) {
		raw := m.marshal(map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeIndex, "manifests": of})
		return oci.Descriptor{MediaType: oci.MediaTypeIndex, Digest: oci.FromBytes(raw), Size: int64(len(raw))}, contentOf(oci.MediaTypeIndex, raw)
	}
	inner, innerRaw := index(subject, attached)
	outer, outerRaw := index(inner)
	sign := func(statement []byte, err error) []byte {
		return m.signed(m.other, "https://ci.example/builder", "https://idp.example.com", statement, err)
	}
	scan, err := attest.MakeScan(evidence.Scan{Scanner: "theirs", At: verifytest.Noon}, verifytest.Noon, nil, attest.About("app", outer.Digest))
	f := &api.Custody{
		Version: api.CustodyVersion, Digest: subject.Digest.String(), Server: serverURL, At: verifytest.Noon, By: "auditor", LeftOut: []string{},
		Subject: api.CustodySubject{Manifest: contentOf(oci.MediaTypeManifest, image), Indexes: []api.CustodyContent{innerRaw, outerRaw}},
		Evidence: []api.CustodyEvidence{
			m.referrer(outer, sign(built(outer.Digest), nil)),
			m.referrer(outer, sign(scan, err)),
			{About: subject.Digest.String(), Manifest: contentOf(oci.MediaTypeManifest, beside), Layers: []api.CustodyContent{statement}},
		},
	}
	said := &f.Evidence[0]
	f.Build.Statements = []api.CustodyStatement{{Referrer: said.Manifest.Digest, Envelope: said.Layers[0].Digest, Type: "https://slsa.dev/provenance/v1", Says: "https://ci.example/builder"}}
	return f, verify.Anchor{Name: "ci", Kind: verify.KindSigstore, Roots: [][]byte{m.other.TrustedRoot(nil)}}
}

// TestLent: what is signed of an index is told of what it names, as that; what
// does not speak for that is not; and what nobody signed is told as that.
func TestLent(t *testing.T) {
	m := newMaker(t)
	whole, anchor := m.lent()
	for _, c := range []struct {
		name   string
		change func(*api.Custody)
		want   string
	}{
		{"by its index", func(*api.Custody) {}, "verified evidence: referrer " + whole.Evidence[0].Manifest.Digest + ": signed by https://ci.example/builder (https://idp.example.com) (anchor ci): https://slsa.dev/provenance/v1, by its index " + whole.Subject.Indexes[1].Digest},
		{"an index in an index", func(*api.Custody) {}, "names it through " + whole.Subject.Indexes[0].Digest},
		{"told by a part", func(*api.Custody) {}, "verified build: referrer " + whole.Evidence[0].Manifest.Digest + ": https://ci.example/builder"},
		{"of the index alone", func(*api.Custody) {}, "of its index " + whole.Subject.Indexes[1].Digest + " and not of what that names"},
		{"BuildKit's", func(*api.Custody) {}, "not-provable evidence: referrer " + whole.Evidence[2].Manifest.Digest + ": it is not signed: the bytes are those of its digest, and nothing proves who made them. It is BuildKit's about "},
		{"its type", func(*api.Custody) {}, "and says: provenance (https://slsa.dev/provenance/v1): SLSA build level 0, by https://ci.example/builder"},
		{"without the index between", func(f *api.Custody) { f.Subject.Indexes = f.Subject.Indexes[1:] }, "failed subject: index " + whole.Subject.Indexes[1].Digest + ": it does not name"},
		{"the index is gone", func(f *api.Custody) { f.Subject.Indexes = f.Subject.Indexes[:1] }, "failed evidence: referrer " + whole.Evidence[0].Manifest.Digest + ": it is about"},
		{"the index was changed", func(f *api.Custody) { f.Subject.Indexes[1].Bytes[30] ^= 1 }, "failed evidence: referrer " + whole.Evidence[0].Manifest.Digest + ": it is about"},
		{"of the index told as of it", func(f *api.Custody) { f.Evidence[0].About = f.Digest }, "it says itself that it is about " + whole.Subject.Indexes[1].Digest},
		{"a scan of the index told by a part", func(f *api.Custody) {
			e := &f.Evidence[1]
			f.Analysis.Statements = []api.CustodyStatement{{Referrer: e.Manifest.Digest, Envelope: e.Layers[0].Digest, Type: attest.TypeScan, Says: "scan with 0 findings"}}
		}, "failed analysis: referrer " + whole.Evidence[1].Manifest.Digest + ": it is about the index"},
		{"what is unsigned told by a part", func(f *api.Custody) {
			e := &f.Evidence[2]
			f.Build.Statements[0].Referrer, f.Build.Statements[0].Envelope = e.Manifest.Digest, e.Layers[0].Digest
		}, "not-provable build: referrer " + whole.Evidence[2].Manifest.Digest},
		{"beside another index", func(f *api.Custody) { f.Evidence[2].About = f.Subject.Indexes[1].Digest }, "nothing proves who made them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Parse(m.marshal(whole))
			if err != nil {
				t.Fatal(err)
			}
			c.change(f)
			o := m.options()
			o.Anchors = []verify.Anchor{anchor}
			got, err := Verify(t.Context(), m.marshal(f), o)
			if err != nil {
				t.Fatal(err)
			}
			if all := everything(got); !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("want %q:\n%s", c.want, strings.Join(all, "\n"))
			}
		})
	}
}

// everything is all that a check says.
func everything(c *api.CustodyCheck) (all []string) {
	for _, p := range c.Parts {
		for _, i := range p.Items {
			all = append(all, string(i.State)+" "+p.Part+": "+i.What+": "+i.Text)
		}
	}
	return all
}

const example = "example.json"

// TestExample: the file of version 1 that is committed verifies for ever.
func TestExample(t *testing.T) {
	file, root := filepath.Join("testdata", "v1", example), filepath.Join("testdata", "v1", "trusted_root.json")
	if *update {
		m := newMaker(t)
		for name, b := range map[string][]byte{file: m.marshal(m.file()), root: m.own.TrustedRoot(nil)} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o := VerifyOptions{Clock: time.Now, Log: slog.New(slog.DiscardHandler)}
	if o.Root, err = os.ReadFile(root); err != nil {
		t.Fatal(err)
	}
	c, err := Verify(t.Context(), raw, o)
	if err != nil || c.State != api.CustodyNotProvable || len(found(c)) != 3 {
		t.Errorf("%v: %s", err, strings.Join(found(c), "\n"))
	}
}

// FuzzParse: what is read is what is written.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":"https://bonded.dev/custody/v1","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","events":[{"seq":1,"event":"e30="}]}`))
	f.Add([]byte(`{"version":"https://bonded.dev/custody/v1","digest":"x","Digest":"y"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := Parse(raw)
		if err != nil {
			return
		}
		once, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, once)
		}
		if twice, err := json.Marshal(again); err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%s\nthen %s", once, twice)
		}
	})
}
