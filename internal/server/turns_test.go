package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/job"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestOthersAreNotStarved: one principal pushes tags and attaches evidence without
// end, and advisories have everything judged again. Another's push is judged after
// a handful of jobs, and what it attaches is verified as soon.
func TestOthersAreNotStarved(t *testing.T) {
	eachWorld(t, func(w *world) {
		const images, each = 12, 3
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		mallory, ann := w.enrol("mallory", "developer"), w.enrol("ann", "developer")
		var all []oci.Descriptor
		for i := range images {
			all = append(all, w.pushImage(mallory, "dev/app", "", layerOf(w.T, map[string][]byte{"a": fmt.Append(nil, i)})))
			w.settled("dev/app", all[i].Digest, repo.Admitted)
		}
		first := w.pushImage(ann, "dev/other", "1", layerOf(w.T, map[string][]byte{"a": []byte("ann's")}))
		w.settled("dev/other", first.Digest, repo.Admitted)
		w.idle()

		var mu sync.Mutex
		var order []string
		begin := make(chan struct{})
		w.stop()
		w.opened = func(s *Server) {
			// One worker, which does nothing before all is queued.
			noted := func(handle job.Handler) job.Handler {
				return func(ctx context.Context, j job.Job) error {
					<-begin
					mu.Lock()
					order = append(order, j.Key)
					mu.Unlock()
					return handle(ctx, j)
				}
			}
			s.jobs = job.NewPool(job.Options{Queue: s.db, Clock: s.clock, Workers: 1, Handlers: map[string]job.Handler{
				assess.JobJudge: noted(s.assess.Handle), assess.JobEvidence: noted(s.assess.HandleEvidence),
			}})
		}
		w.start()
		for i := range each {
			for _, image := range all {
				w.about(mallory, "dev/app", image, fmt.Sprint("note ", i))
				w.retag(mallory, "dev/app", image, fmt.Sprint("t", i, image.Digest.Hex()[:8]))
			}
		}
		w.about(mallory, "dev/other", first, "what mallory thinks")
		if err := w.assess.RejudgeZone(w.Context(), ""); err != nil {
			t.Error(err)
		}
		second := w.pushImage(ann, "dev/other", "2", layerOf(w.T, map[string][]byte{"a": []byte("ann's too")}))
		signed := w.about(ann, "dev/other", first, "signed")
		close(begin)
		w.settled("dev/other", second.Digest, repo.Admitted)
		w.idleOf(assess.JobJudge, assess.JobEvidence)
		mu.Lock()
		defer mu.Unlock()
		if len(order) < images {
			t.Errorf("only %d jobs: nobody was in the way", len(order))
		}
		// What runs already, and then one turn of mallory's and of the server's for
		// each of ann's two.
		for i, key := range []string{"dev/other@" + second.Digest.String(), assess.EvidenceKey(first.Digest, signed.Digest)} {
			if at, most := slices.Index(order, key), 3*(i+1); at < 0 || at > most {
				t.Errorf("what ann waits for was job %d of %d, want %d at most", at, len(order), most)
			}
		}
		w.clean()
	})
}

// counted counts how many inventories are read.
type counted struct {
	assess.Tx
	n *int
}

func (c counted) ImageRecord(ctx context.Context, d oci.Digest, set string) ([]byte, error) {
	*c.n++
	return c.Tx.ImageRecord(ctx, d, set)
}

// TestIndexTakesDecisions: to judge an index the decisions of its images are
// looked up, and the images are not judged again.
func TestIndexTakesDecisions(t *testing.T) {
	eachWorld(t, func(w *world) {
		w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
		dev := w.enrol("ann", "developer")
		var children []oci.Descriptor
		for i := range 5 {
			child := w.pushImage(dev, "dev/app", "", layerOf(w.T, map[string][]byte{"a": fmt.Append(nil, i)}))
			child.Platform = &oci.Platform{OS: "linux", Architecture: fmt.Sprint("a", i)}
			children = append(children, child)
			w.settled("dev/app", child.Digest, repo.Admitted)
		}
		index := w.pushManifest(dev, "dev/app", "1", indexOf(children...))
		w.settled("dev/app", index.Digest, repo.Admitted)
		w.idle()
		if err := w.assess.RejudgeZone(w.Context(), ""); err != nil { // all by "stay"
			t.Error(err)
		}
		w.idle()
		read := 0
		a := w.gated(func(o *assess.Options) {
			o.DB.View = func(ctx context.Context, fn func(assess.Tx) error) error {
				return w.db.View(ctx, func(tx *db.Tx) error { return fn(counted{tx, &read}) })
			}
		})
		if err := a.Judge(w.Context(), oci.MustRepository("dev/app"), index.Digest); err != nil || read != 0 {
			t.Errorf("%d inventories were read, %v", read, err)
		}
		w.clean()
	})
}
