package tlog

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// HandlerOptions say how a log is shown.
type HandlerOptions struct {
	Source Source
	Layout Layout
	// Private keeps tiles out of caches that several people share: for a log that
	// not everybody may read.
	Private bool
	Logger  *slog.Logger // Optional: none
}

// NewHandler serves a log by GET and HEAD: /checkpoint, /tile/<L>/<N>[.p/<W>] and
// the bundles of its layout. A prefix is taken off before, by http.StripPrefix.
func NewHandler(o HandlerOptions) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &handler{o}
}

type handler struct{ HandlerOptions }

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a log is read by GET", http.StatusMethodNotAllowed)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/")
	if path == "checkpoint" {
		b, err := h.Source.Checkpoint(r.Context())
		h.answer(w, r, "text/plain; charset=utf-8", "no-cache", b, err)
		return
	}
	t, err := ParsePath(h.Layout, path)
	if err != nil {
		http.Error(w, "no such tile: "+err.Error(), http.StatusNotFound)
		return
	}
	b, err := h.Source.Tile(r.Context(), t)
	cache := "public, max-age=31536000, immutable"
	if h.Private {
		cache = "private, max-age=31536000, immutable"
	}
	h.answer(w, r, "application/octet-stream", cache, b, err)
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, kind, cache string, b []byte, err error) {
	switch {
	case errors.Is(err, ErrNotFound):
		w.Header().Set("Cache-Control", "no-cache") // it may come to be
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		h.Logger.ErrorContext(r.Context(), "reading the log", "path", r.URL.Path, "error", err)
		w.Header().Set("Cache-Control", "no-cache")
		why := "the log cannot be read"
		if errors.Is(err, ErrDamaged) {
			why = err.Error()
		}
		http.Error(w, why, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b) // who went away gets nothing; HEAD has no body
}
