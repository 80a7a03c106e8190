package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/db/dbtest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// cargo is an image that is brought in while statements break.
type cargo struct {
	tag              string
	layer            []byte
	config, manifest []byte
}

func newCargo(t *testing.T, tag string) *cargo {
	t.Helper()
	c := &cargo{tag: tag, layer: layerOf(t, map[string][]byte{"name": []byte(tag)})}
	layer := oci.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: oci.FromBytes(c.layer), Size: int64(len(c.layer))}
	c.config = configOf(layer)
	config := oci.Descriptor{MediaType: oci.MediaTypeConfig, Digest: oci.FromBytes(c.config), Size: int64(len(c.config))}
	raw, err := json.Marshal(imageOf(config, layer))
	if err != nil {
		t.Fatal(err)
	}
	c.manifest = raw
	return c
}

func (c *cargo) digest() oci.Digest { return oci.FromBytes(c.manifest) }

// requests bring the cargo in and to staging.
func (c *cargo) requests(later func()) []func(w *world) *http.Response {
	blob := func(content []byte) func(w *world) *http.Response {
		return func(w *world) *http.Response {
			res, _ := w.request(w.admin, http.MethodPost, "/v2/dev/app/blobs/uploads/?digest="+oci.FromBytes(content).String(), content, "Content-Type", "application/octet-stream")
			return res
		}
	}
	return []func(w *world) *http.Response{
		blob(c.layer), blob(c.config),
		func(w *world) *http.Response {
			res, _ := w.request(w.admin, http.MethodPut, "/v2/dev/app/manifests/"+c.tag, c.manifest, "Content-Type", oci.MediaTypeManifest)
			return res
		},
		func(w *world) *http.Response {
			if err := c.awaits(w, later); err != nil {
				w.Fatalf("waiting for a decision: %v", err)
			}
			res, body := w.request(w.admin, http.MethodPost, "/api/v1/promote", fmt.Appendf(nil, `{"reference":"dev/app:%s","to":"staging"}`, c.tag), "Content-Type", "application/json")
			if res.StatusCode == http.StatusOK && !bytes.Contains(body, []byte(`"outcome":"allow"`)) {
				w.Errorf("staging says %s", body)
			}
			return res
		},
	}
}

// awaits waits until the cargo is admitted to dev. A job whose settling failed
// is run again when its lease ends: later is put forward a minute at a time.
func (c *cargo) awaits(w *world, later func()) error {
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		if n%50 == 0 {
			later()
		}
		p, err := w.db.PlacementOf(ctx, oci.MustRepository("dev/app"), c.digest())
		if err == nil && p.State == repo.Admitted {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stride leaves statements out, as each costs a way in; BONDED_FAULT_RUNS=100
// leaves out none.
func stride() int {
	if os.Getenv("BONDED_FAULT_RUNS") != "" {
		return 1
	}
	return 7
}

// TestEachStatementOfAWay fails statements of a push, its judging and a
// promotion by number, before and after the engine executed them, jobs and all.
// A request that fails can be sent again, and what a request acknowledged stays.
func TestEachStatementOfAWay(t *testing.T) {
	var faults dbtest.Faults
	var ahead atomic.Int64
	w := newWorld(t, func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		o.Database = func(d *db.Options) { d.Wrap = faults.Wrap }
	})
	later := func() {
		ahead.Add(int64(2 * time.Minute))
		err := w.db.Update(t.Context(), func(tx *db.Tx) error { // to wake who runs jobs
			return tx.Enqueue(t.Context(), assess.JobJudge, "dev/none@"+probe.String(), time.Unix(1, 0))
		})
		if err != nil && !errors.Is(err, dbtest.ErrInjected) {
			t.Error(err)
		}
	}
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ops := w.enrol("ops", "reader")
	refused, fired := 0, 0
	for n, idle := 1, 0; idle < 4; n += stride() { // until two ways in have fewer statements
		for _, after := range []bool{false, true} {
			c := newCargo(t, fmt.Sprintf("v%d-%v", n, after))
			faults.Arm(n, after)
			for _, send := range c.requests(later) {
				for try := 0; ; try++ {
					res := send(w)
					if res != nil && res.StatusCode/100 == 2 {
						break
					}
					if try == 3 {
						t.Fatalf("statement %d, after %v: %+v, again and again", n, after, res)
					}
					refused++
				}
			}
			if _, which := faults.Disarm(); which == "" {
				idle++
			} else {
				fired++
			}
			for _, r := range []string{"dev/app", "staging/app"} {
				for _, name := range []string{c.tag, c.digest().String()} {
					if status, body := w.pull(ops, r, name); status != http.StatusOK {
						t.Fatalf("statement %d, after %v: pulling %s from %s: %d %s", n, after, name, r, status, body)
					}
				}
			}
		}
	}
	w.clean()
	t.Logf("%d statements broke, %d requests were sent again", fired, refused)
	if fired < 10 {
		t.Errorf("only %d statements broke", fired)
	}
}

// TestClockJumps: what is pushed is judged at once whatever the clock did, what
// stands goes on to stand, and who enrolled in what is now the future is told so.
func TestClockJumps(t *testing.T) {
	const start = -40 * 24 * time.Hour
	var ahead atomic.Int64
	ahead.Store(int64(start))
	w := newWorld(t, func(o *Options) {
		o.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ops := w.enrol("ops", "reader")
	for i, jump := range []time.Duration{0, 3 * time.Hour, time.Hour, 72 * time.Hour, 2 * time.Hour, 20 * 24 * time.Hour, time.Minute} {
		ahead.Store(int64(start + jump))
		tag := fmt.Sprint("v", i)
		d := w.pushImage(w.admin, "dev/app", tag, layerOf(t, map[string][]byte{"tag": []byte(tag)})).Digest
		w.settled("dev/app", d, repo.Admitted)
		if p := w.promote(w.admin, "dev/app:"+tag, "staging", http.StatusOK); p.Decision.Outcome != api.Allow {
			t.Errorf("%s: staging says %+v", tag, p.Decision)
		}
		for before := range i + 1 {
			if status, body := w.pull(ops, "staging/app", fmt.Sprint("v", before)); status != http.StatusOK {
				t.Errorf("after a jump to %s: pulling v%d: %d %s", jump, before, status, body)
			}
		}
	}
	ahead.Store(int64(start - 24*time.Hour))
	if status, body := w.pull(ops, "staging/app", "v0"); status != http.StatusUnauthorized || !strings.Contains(body, "clock was set back") {
		t.Errorf("before anybody enrolled: %d %s", status, body)
	}
	w.clean()
}
