package tsa

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"github.com/bonded-dev/bonded/internal/trust/answer"
)

// Content types of RFC 3161, 3.4.
const (
	queryType = "application/timestamp-query"
	replyType = "application/timestamp-reply"
)

// Handler serves the authority, with /api/v1/timestamp below its root.
func (a *Authority) Handler(log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/timestamp", func(w http.ResponseWriter, r *http.Request) { a.post(log, w, r) })
	mux.HandleFunc("GET /api/v1/timestamp/certchain", a.chain)
	return mux
}

func (a *Authority) post(log *slog.Logger, w http.ResponseWriter, r *http.Request) {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != queryType {
		answer.Error(w, http.StatusUnsupportedMediaType, fmt.Sprintf("want a TimeStampReq with content type %s", queryType))
		return
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxRequest))
	if tooLong := new(http.MaxBytesError); errors.As(err, &tooLong) {
		answer.Error(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a timestamp request has at most %d bytes; send the hash, not the content", MaxRequest))
		return
	}
	if err != nil {
		answer.Error(w, http.StatusBadRequest, "the request did not arrive whole")
		return
	}
	reply, err := a.Timestamp(r.Context(), b)
	switch {
	case errors.Is(err, ErrRequest):
		answer.Error(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, ErrClock):
		log.ErrorContext(r.Context(), "timestamps are refused", "err", err)
		answer.Error(w, http.StatusServiceUnavailable, err.Error())
	case err != nil:
		log.ErrorContext(r.Context(), "timestamping", "err", err)
		answer.Error(w, http.StatusInternalServerError, "the timestamp could not be signed; try again, or ask who runs this server")
	default:
		// 200, not the 201 of other authorities: Notation's client takes no other.
		w.Header().Set("Content-Type", replyType)
		_, _ = w.Write(reply) // the client went away
	}
}

func (a *Authority) chain(w http.ResponseWriter, _ *http.Request) {
	certs, _ := a.o.Keys.Timestamper()
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	for _, c := range certs {
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // the client went away
	}
}
