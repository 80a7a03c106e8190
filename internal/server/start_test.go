package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/repo"
)

// TestTheReaderMeetsARefusal: of the two who a development server makes, the
// administrator pulls what is denied, and the reader is told why it cannot.
func TestTheReaderMeetsARefusal(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	image := w.pushImage(w.admin, "production/app", "1", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	w.settled("production/app", image.Digest, repo.Denied)
	if status, body := w.pull(w.admin, "production/app", "1"); status != http.StatusOK {
		t.Errorf("the administrator: %d %s", status, body)
	}
	status, body := w.pull(w.reader, "production/app", "1")
	if status != http.StatusForbidden || !strings.Contains(body, "GO-TEST-1 in stdlib") {
		t.Errorf("the reader: %d %s", status, body)
	}
	if res, body := w.request(w.reader, http.MethodPost, "/v2/dev/app/blobs/uploads/", nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("the reader may push: %s %s", res.Status, body)
	}
	w.stop()
	w.start()
	if status, _ := w.pull(w.reader, "production/app", "1"); status != http.StatusForbidden {
		t.Errorf("after another start the reader gets %d", status)
	}
}
