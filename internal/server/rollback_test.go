package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/repo"
)

// TestRollback: a tag goes back to what it named while its gate still lets that
// in, with all that belongs to it, and not to what it would deny.
func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	old := w.pushImage(ann, "dev/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	w.settled("dev/app", old.Digest, repo.Admitted)
	w.promote(ann, "dev/app:1", "staging", http.StatusOK)
	good := w.pushImage(ann, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("good")}))
	w.settled("dev/app", good.Digest, repo.Admitted)
	w.promote(ann, "dev/app:1", "staging", http.StatusOK)
	bad := w.pushImage(ann, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("loses orders")}))
	w.settled("dev/app", bad.Digest, repo.Admitted)
	w.promote(ann, "dev/app:1", "staging", http.StatusOK)

	w.rollback(ops, http.StatusForbidden)
	if out := w.rollback(ann, http.StatusOK); !out.Done || out.Digest != good.Digest.String() || out.Before != bad.Digest.String() {
		t.Errorf("%+v", out)
	}
	if status, body := w.pull(ops, "staging/app", "1"); status != http.StatusOK {
		t.Errorf("pulling what it went back to: %d %s", status, body)
	}
	w.advise("GO-TEST-2", "stdlib", "99.0.0", critical)
	for p := (*repo.Placement)(nil); p == nil || p.Sentence == ""; {
		p = w.settled("staging/app", old.Digest, repo.Admitted, repo.Withdrawn)
	}
	res, body := w.request(ann, http.MethodPost, "/api/v1/rollback", []byte(`{"reference":"staging/app:1"}`), "Content-Type", "application/json")
	if res.StatusCode != http.StatusConflict && !strings.Contains(string(body), `"outcome":"deny"`) {
		t.Errorf("to what has a critical fault now: %s %s", res.Status, body)
	}
	res, body = w.request(ops, http.MethodGet, "/api/v1/named?ref=staging/app:1", nil)
	w.want(http.StatusOK, res, body)
	if named := *decode[[]api.Named](w, body); len(named) != 4 || named[0].Digest != good.Digest.String() || named[0].Back != named[2].ID {
		t.Errorf("%s", body)
	}
	w.clean()
}

func (w *world) rollback(who api.Enrolled, status int) *api.RolledBack {
	w.Helper()
	res, body := w.request(who, http.MethodPost, "/api/v1/rollback", []byte(`{"reference":"staging/app:1","reason":"it loses orders"}`), "Content-Type", "application/json")
	w.want(status, res, body)
	return decode[api.RolledBack](w, body)
}
