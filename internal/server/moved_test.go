package server

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/trust"
)

// TestMoved: a server that moves to another URL signs under the name that it
// always had. What it signed before and after, decisions, states and custody files
// with both, verifies by one trusted root and one identity; a client that knows the
// old name needs nothing new, and one that goes by the new URL as if it were a name
// is told which it is.
func TestMoved(t *testing.T) {
	w := newWorld(t)
	const r = "catalog/app"
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann, aud := w.enrol("ann", "developer"), w.enrol("aud", "auditor", "reader")
	image := w.pushImage(ann, r, "1", layerOf(t, map[string][]byte{"etc/one": []byte("1")}))
	w.settled(r, image.Digest, repo.Admitted)
	w.tagged(r, "1", image.Digest)
	name := w.url
	root, err := w.trust.instance.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	oldProof, oldEpoch := w.proof(ann, r+":1", "&proof=whole"), w.proven(ann, r)
	w.statements(aud, r, image.Digest)
	w.stop()
	w.start() // on another port
	if w.url == name {
		t.Fatalf("it is still at %s", name)
	}
	now, err := w.trust.instance.TrustedRoot()
	if err != nil || string(now) != string(root) {
		t.Errorf("the trusted root changed with the URL: %v", err)
	}
	if got, err := trust.ServerIn(now); err != nil || got != name {
		t.Errorf("the trusted root is of %q, want %q: %v", got, name, err)
	}
	w.advise("GO-TEST-2", "example.com/other", "2.0.0", low)
	two := w.pushImage(ann, r, "1", layerOf(t, map[string][]byte{"etc/two": []byte("2")}))
	w.settled(r, two.Digest, repo.Admitted)
	w.tagged(r, "1", two.Digest)
	newProof, newEpoch := w.proof(ann, r+":1", "&proof=whole"), w.proven(ann, r)
	identity, issuer := trust.IdentityOf(name)
	for _, p := range []*api.Proof{oldProof, newProof} {
		if _, _, err := sign.VerifyProof(p, root, identity, issuer); err != nil {
			t.Errorf("decision %d by the name: %v", p.Decision, err)
		}
	}
	var seen []int64
	for _, e := range []*api.RepositoryEpoch{oldEpoch, newEpoch} {
		doc, _, err := sign.VerifyEpoch(e, root, identity, issuer)
		if err != nil {
			t.Fatalf("epoch %d by the name: %v", e.Epoch.Epoch, err)
		}
		seen = append(seen, doc.Epoch)
	}
	if !slices.IsSorted(seen) || seen[0] == seen[1] {
		t.Errorf("epochs went from %d to %d", seen[0], seen[1])
	}
	other, otherIssuer := trust.IdentityOf(w.url)
	if _, _, err := sign.VerifyProof(newProof, root, other, otherIssuer); err == nil {
		t.Error("it is known by its new URL too")
	}
	raw := w.exported(w.admin, image.Digest.String(), 200)
	c, all := unproven(t, raw, root, image.Digest)
	if c.Server != name || len(all) > 0 {
		t.Errorf("a custody file of before and after, by %s: %v", c.Server, all)
	}
	var file api.Custody
	if err := json.Unmarshal(raw, &file); err != nil || len(file.Batches) < 2 {
		t.Errorf("it has %d batches: %v", len(file.Batches), err)
	}
}
