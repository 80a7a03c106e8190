package sigstore

import (
	"net/http"
	"strconv"
	"testing"
)

// TestPace: an address that asks for too much is told when to come again, and
// stock cosign is not disturbed by that which is asked of it.
func TestPace(t *testing.T) {
	w := newWorld(t, "trust: {requests: 3}\n")
	w.write("file", "signed")
	w.cosign("sign-blob", "--yes", "--bundle", "file.json", "file") // a certificate, a timestamp and an entry
	w.cosign(join([]string{"verify-blob", "--bundle", "file.json"}, w.as(ann), []string{"file"})...)
	for _, path := range []string{"/fulcio/api/v2/signingCert", "/rekor/api/v2/log/entries", "/tsa/api/v1/timestamp"} {
		a, err := w.ann.Do(w.Context(), http.MethodPost, path, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		wait, err := strconv.Atoi(a.Header.Get("Retry-After"))
		if a.Status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 20 {
			t.Errorf("%s answers %d, to come again in %q: %s", path, a.Status, a.Header.Get("Retry-After"), a.Body)
		}
		w.has(string(a.Body), "trust.requests")
	}
	for _, path := range []string{"/rekor/api/v2/checkpoint", "/fulcio/api/v2/trustBundle", "/tsa/api/v1/timestamp/certchain"} {
		w.get(path)
	}
}
