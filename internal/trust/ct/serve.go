package ct

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Handler serves the log for monitors (static-ct-api): /checkpoint, /tile/…, and
// /issuer/ with the certificates that entries name by their hash. Nothing is
// submitted here: what is logged comes from the authority in the same process.
func (l *Log) Handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /issuer/{fingerprint}", l.issuer)
	mux.Handle("/", tlog.NewHandler(tlog.HandlerOptions{Source: l.o.Source, Layout: tlog.StaticCT, Logger: log}))
	return mux
}

func (l *Log) issuer(w http.ResponseWriter, r *http.Request) {
	for _, c := range l.o.Authorities() {
		sum := sha256.Sum256(c.Raw)
		if hex.EncodeToString(sum[:]) != r.PathValue("fingerprint") {
			continue
		}
		w.Header().Set("Content-Type", "application/pkix-cert")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(c.Raw) // the client went away
		return
	}
	http.Error(w, "no authority of this instance has that fingerprint", http.StatusNotFound)
}
