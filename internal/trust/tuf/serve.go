package tuf

import (
	"errors"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// served are the names that a client may ask for. Targets are asked for by the
// hash of their content.
var served = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(timestamp\.json|[1-9][0-9]{0,18}\.(root|snapshot|targets)\.json|targets/[0-9a-f]{64}\.[a-z0-9][a-z0-9_.-]{0,100})$`)
})

// ServeHTTP answers with the files of the repository; the path is their name
// after a slash.
func (r *Repository) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a TUF repository is only read", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(req.URL.Path, "/")
	if !served().MatchString(name) {
		http.Error(w, "no such file in this TUF repository", http.StatusNotFound)
		return
	}
	b, err := r.o.Store.Get(req.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		// Clients ask for the next root until there is none.
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "no such file in this TUF repository", http.StatusNotFound)
		return
	}
	if err != nil {
		r.o.Log.ErrorContext(req.Context(), "reading a TUF file", "name", name, "err", err)
		http.Error(w, "the TUF repository cannot be read; try again", http.StatusServiceUnavailable)
		return
	}
	cache := "public, max-age=31536000, immutable"
	if name == timestampName {
		cache = "no-cache"
	}
	w.Header().Set("Cache-Control", cache)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b) // the client went away
}
