package rekor

import (
	"errors"
	"io"
	"log/slog"
	"net/http"

	tiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bonded-dev/bonded/internal/trust/answer"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// maxBody bounds a request, in bytes: an entry, in base64, with its field names.
const maxBody = 128 << 10

// Handler serves the log below /api/v2: log/entries to write; checkpoint and
// tile/… to read (c2sp.org/tlog-tiles).
func (l *Log) Handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v2/log/entries", func(w http.ResponseWriter, r *http.Request) { l.post(log, w, r) })
	mux.Handle("/api/v2/", http.StripPrefix("/api/v2", tlog.NewHandler(tlog.HandlerOptions{Source: l.o.Source, Layout: tlog.PlainEntries, Logger: log})))
	return mux
}

func (l *Log) post(log *slog.Logger, w http.ResponseWriter, r *http.Request) {
	req, err := read(w, r)
	if err != nil {
		fail(log, w, r, err)
		return
	}
	entry, err := l.Add(r.Context(), req)
	if err != nil {
		fail(log, w, r, err)
		return
	}
	b, err := protojson.Marshal(entry)
	if err != nil {
		fail(log, w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusCreated) // for an old entry too: clients take 409 for a fault
	_, _ = w.Write(b)                 // the client went away
}

func read(w http.ResponseWriter, r *http.Request) (*tiles.HashedRekordRequestV002, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		return nil, refuse(http.StatusRequestEntityTooLarge, "a log entry has at most %d bytes; send the hash, not the content", maxBody)
	}
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the request did not arrive whole")
	}
	return parse(b)
}

// parse reads a CreateEntryRequest. Errors are a *Refusal.
func parse(b []byte) (*tiles.HashedRekordRequestV002, error) {
	var req tiles.CreateEntryRequest
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &req); err != nil {
		return nil, refuse(http.StatusBadRequest, "the request is no JSON of a CreateEntryRequest of Rekor's API, version 2")
	}
	switch {
	case req.GetDsseRequestV002() != nil: //nolint:staticcheck // deprecated, and what older clients send
		// Bundles with such an entry are refused by every newer client.
		return nil, refuse(http.StatusBadRequest, "entries of type dsse are not taken: sign with cosign 3.1 or newer, which logs the hash of an envelope")
	case req.GetHashedRekordRequestV002() == nil:
		return nil, refuse(http.StatusBadRequest, "the request has no hashedRekordRequestV002, which is the only type of entry that is taken")
	}
	return req.GetHashedRekordRequestV002(), nil
}

// fail answers with an error; one of ours is logged and not shown.
func fail(log *slog.Logger, w http.ResponseWriter, r *http.Request, err error) {
	no := new(Refusal)
	if !errors.As(err, &no) {
		if r.Context().Err() == nil {
			log.ErrorContext(r.Context(), "logging a signature", "err", err)
		}
		no = &Refusal{http.StatusInternalServerError, "the signature could not be logged; try again, or ask who runs this server to look into its log"}
	}
	if no.Status == http.StatusServiceUnavailable {
		log.WarnContext(r.Context(), "a signature was not logged", "why", no.Message)
		w.Header().Set("Retry-After", "5")
	}
	answer.Error(w, no.Status, no.Message)
}
