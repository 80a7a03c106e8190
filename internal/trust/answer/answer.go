// Package answer is how the services that Sigstore's clients ask say what they have
// to say in JSON.
package answer

import (
	"encoding/json"
	"net/http"
)

// Error answers with the error that all of Sigstore's services have. The message is
// for people.
func Error(w http.ResponseWriter, status int, message string) {
	JSON(w, status, struct {
		Code    int      `json:"code"`
		Message string   `json:"message"`
		Details []string `json:"details"`
	}{status, message, []string{}})
}

// JSON answers with a value; one that encoding/json does not take is a fault of
// the server. A client that has gone away gets nothing, and there is nobody to tell.
func JSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}
