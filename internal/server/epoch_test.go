package server

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// epochOf asks for the state of a repository.
func (w *world) epochOf(who api.Enrolled, r string) *api.RepositoryEpoch {
	w.Helper()
	res, body := w.request(who, http.MethodGet, "/api/v1/epoch?state=true&repository="+r, nil)
	w.want(http.StatusOK, res, body)
	return decode[api.RepositoryEpoch](w, body)
}

// proven waits until a batch proves the state of a repository.
func (w *world) proven(who api.Enrolled, r string) *api.RepositoryEpoch {
	w.Helper()
	end := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if e := w.epochOf(who, r); e.Proven {
			return e
		}
		select {
		case <-tick.C:
		case <-end:
			w.Fatalf("the state of %s is not proven", r)
		}
	}
}

// TestEpochs: the state of a repository has a number that grows with each change
// of what its tags name and of what can be pulled, and soon a proof.
func TestEpochs(t *testing.T) {
	eachWorld(t, func(w *world) {
		const r = "catalog/app"
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		ann, sec, bob := w.enrol("ann", "developer"), w.enrol("sec", "security"), w.enrol("bob", "reader")
		one := w.pushImage(ann, r, "1", layerOf(w.T, map[string][]byte{"etc/one": []byte("1")}))
		w.settled(r, one.Digest, repo.Admitted)
		w.tagged(r, "1", one.Digest)
		first := w.proven(bob, r)
		want := []string{"placement " + one.Digest.String() + " admitted", "tag 1 " + one.Digest.String()}
		if !slices.Equal(first.State, want) || first.Digest != api.StateDigest(want) || api.TagIn(first.State, "1") != one.Digest.String() {
			w.Errorf("the state: %+v", first)
		}
		if sum := sha256.Sum256(first.Payload); first.Batch == nil || len(first.Batch.Bundle) == 0 {
			w.Errorf("leaf %s has no batch: %+v", hex.EncodeToString(sum[:]), first.Batch)
		}
		if again := w.epochOf(bob, r); again.Epoch.Epoch != first.Epoch.Epoch || !again.At.Equal(first.At) {
			w.Errorf("nothing changed, and epoch %d became %d", first.Epoch.Epoch, again.Epoch.Epoch)
		}
		two := w.pushImage(ann, r, "1", layerOf(w.T, map[string][]byte{"etc/two": []byte("2")}))
		w.settled(r, two.Digest, repo.Admitted)
		w.tagged(r, "1", two.Digest)
		moved := w.epochOf(bob, r)
		if moved.Epoch.Epoch <= first.Epoch.Epoch || api.TagIn(moved.State, "1") != two.Digest.String() {
			w.Errorf("a tag moved from epoch %d to %+v", first.Epoch.Epoch, moved)
		}
		w.revoke(sec, api.RevokeRequest{Kind: "digest", Digest: two.Digest.String()})
		gone := w.proven(bob, r)
		if gone.Epoch.Epoch <= moved.Epoch.Epoch || api.PlacedIn(gone.State, two.Digest.String()) != "revoked" {
			w.Errorf("a revocation from epoch %d to %+v", moved.Epoch.Epoch, gone)
		}
		for path, status := range map[string]int{
			"/api/v1/epoch?repository=quarantine/app": http.StatusNotFound, "/api/v1/epoch?repository=sandbox/app": http.StatusNotFound, "/api/v1/epoch?repository=catalog/none": http.StatusNotFound,
		} {
			res, body := w.request(bob, http.MethodGet, path, nil)
			w.want(status, res, body)
		}
	})
}

// TestEpochIsProvenAgain: a state that does not change is signed again before its
// document expires, and one that expired is not shown as proven.
func TestEpochIsProvenAgain(t *testing.T) {
	var ahead atomic.Int64
	w := newWorld(t, func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	const r = "catalog/app"
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann := w.enrol("ann", "developer")
	image := w.pushImage(ann, r, "1", layerOf(w.T, map[string][]byte{"etc/one": []byte("1")}))
	w.settled(r, image.Digest, repo.Admitted)
	w.tagged(r, "1", image.Digest)
	first := w.proven(ann, r)
	ahead.Store(int64(epochLife/2 + time.Minute))
	if due, err := w.newEpochs().Due(t.Context()); err != nil || !due {
		t.Errorf("half of its life is over: %v, %v", due, err)
	}
	ahead.Store(int64(epochLife + time.Minute))
	e, err := w.db.Epoch(t.Context(), oci.MustRepository(r), w.newEpochs().now())
	if err != nil || e.Payload != nil && !e.Expires.After(first.Expires) {
		t.Errorf("what expired is shown: %+v, %v", e, err)
	}
}
