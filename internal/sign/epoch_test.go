package sign_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/sign/signtest"
)

// states are documents that wait to be proven; a sign.Epochs.
type states [][]byte

func (s states) Due(context.Context) (bool, error) { return true, nil }

func (s states) Collect(context.Context, sign.Tx, int64) ([]sign.Hash, error) {
	var leaves []sign.Hash
	for _, doc := range s {
		leaves = append(leaves, sign.PayloadHash(doc))
	}
	return leaves, nil
}

// TestVerifyEpoch: a state is what the batch of that server proves, and nothing
// of what comes with it is believed.
func TestVerifyEpoch(t *testing.T) {
	lines := []string{"placement " + gate.String() + " admitted", "tag 1 " + gate.String()}
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	made, err := json.Marshal(api.Epoch{Repository: "production/app", Epoch: 7, At: noon, Expires: noon.Add(24 * time.Hour), Tags: 1, Placements: 1, Digest: api.StateDigest(lines)})
	if err != nil {
		t.Fatal(err)
	}
	all := states{
		[]byte(`{"repository":"production/other","epoch":1,"at":"2026-11-22T12:00:00Z","expires":"2026-11-23T12:00:00Z"}`), made,
		bytes.Replace(made, []byte(`"epoch":7`), []byte(`"epoch":7,"epoch":9`), 1), bytes.Replace(made, []byte("production/app"), []byte("production//app"), 1),
		[]byte(`{"repository":"production/app","epoch":8}`),
	}
	w := newWorld(t, db.Options{Folder: t.TempDir()}, func(o *sign.Options) { o.Epochs = all })
	decision := w.decided("one")
	proof, err := w.Prove(t.Context(), decision)
	w.must(err)
	root, err := w.i.TrustedRoot()
	w.must(err)
	var leaves []sign.Hash
	for _, doc := range all {
		leaves = append(leaves, sign.PayloadHash(doc))
	}
	state := func(index int) *api.RepositoryEpoch {
		e := &api.RepositoryEpoch{Proven: true, Payload: all[index], Index: int64(index), State: lines, Batch: proof.Batch, Epoch: api.Epoch{Repository: "production/mallory", Epoch: 99}}
		for _, h := range sign.Path(leaves, index) {
			e.Path = append(e.Path, hex.EncodeToString(h[:]))
		}
		return e
	}
	const identity, issuer = signtest.URL + "/server", signtest.URL + "/oidc"
	doc, said, err := sign.VerifyEpoch(state(1), root, identity, issuer)
	if err != nil || doc.Repository != "production/app" || doc.Epoch != 7 || said.Number != proof.Batch.Number {
		t.Fatalf("%+v, %+v, %v", doc, said, err)
	}
	if _, _, err := sign.VerifyEpoch(state(1), root, "https://evil.example/server", issuer); err == nil || !strings.Contains(err.Error(), "not by the server") {
		t.Errorf("for another server: %v", err)
	}
	for name, test := range map[string]struct {
		change func(*api.RepositoryEpoch)
		says   string
	}{
		"not proven":         {func(e *api.RepositoryEpoch) { e.Proven = false }, "not proven"},
		"no batch":           {func(e *api.RepositoryEpoch) { e.Batch = nil }, "there is none"},
		"another payload":    {func(e *api.RepositoryEpoch) { e.Payload = all[0] }, "checking a path"},
		"another index":      {func(e *api.RepositoryEpoch) { e.Index = 0 }, "checking a path"},
		"beyond the tree":    {func(e *api.RepositoryEpoch) { e.Index = 5 }, "no leaf"},
		"no path":            {func(e *api.RepositoryEpoch) { e.Path = nil }, "checking a path"},
		"another line":       {func(e *api.RepositoryEpoch) { e.State = append([]string{"tag 0 x"}, lines...) }, "not those of its digest"},
		"a decision instead": {func(e *api.RepositoryEpoch) { e.Payload, e.Index, e.Path = proof.Payload, proof.Index, proof.Path }, "checking a path"},
		"two numbers":        {func(e *api.RepositoryEpoch) { *e = *state(2) }, "duplicate"},
		"no repository":      {func(e *api.RepositoryEpoch) { *e = *state(3) }, "of no repository"},
		"for ever":           {func(e *api.RepositoryEpoch) { *e = *state(4) }, "for ever"},
	} {
		e := state(1)
		test.change(e)
		if _, _, err := sign.VerifyEpoch(e, root, identity, issuer); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", name, err, test.says)
		}
	}
	plain := newWorld(t, db.Options{Folder: t.TempDir()}, nil)
	without, err := plain.Prove(t.Context(), plain.decided("one"))
	w.must(err)
	theirs, err := plain.i.TrustedRoot()
	w.must(err)
	e := state(1)
	e.Batch = without.Batch
	if _, _, err := sign.VerifyEpoch(e, theirs, identity, issuer); err == nil || !strings.Contains(err.Error(), "proves none") {
		t.Errorf("a batch without states: %v", err)
	}
	if _, _, err := sign.VerifyEpoch(state(1), theirs, identity, issuer); err == nil {
		t.Error("it verifies by the root of another instance of the same name")
	}
}

// FuzzVerifyEpoch: nothing is taken for a proven state but what is one.
func FuzzVerifyEpoch(f *testing.F) {
	f.Add([]byte(`{"repository":"production/app","epoch":1,"proven":true,"payload":"e30=","path":["00"],"batch":{"number":1,"digest":"","bundle":{}},"state":["tag 1 x"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e api.RepositoryEpoch
		if json.Unmarshal(b, &e) != nil {
			return
		}
		if _, _, err := sign.VerifyEpoch(&e, []byte(`{}`), "https://a/server", "https://a/oidc"); err == nil {
			t.Errorf("%s is a proven state", b)
		}
	})
}
