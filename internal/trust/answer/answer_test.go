package answer_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/trust/answer"
)

// TestError: clients look for code and message, and some for details, which is a
// list and not null.
func TestError(t *testing.T) {
	w := httptest.NewRecorder()
	answer.Error(w, http.StatusBadRequest, `no "key"`)
	want := `{"code":400,"message":"no \"key\"","details":[]}` + "\n"
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Code != http.StatusBadRequest || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%d %v (-want +got):\n%s", w.Code, w.Header(), diff)
	}
}

func TestJSONThatIsNone(t *testing.T) {
	w := httptest.NewRecorder()
	answer.JSON(w, http.StatusOK, func() {})
	if w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
