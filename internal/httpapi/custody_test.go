package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// custodyFake is the custody of dev/app, beside which there is prod/app that
// nobody sees but who may export from it.
type custodyFake struct{ *fake }

func (f custodyFake) tell(s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) ([]string, error) {
	at := ref.Repository
	if at.IsZero() {
		at = oci.MustRepository("dev/app")
	}
	act, err := permit(at)
	if _, sees := s(at); err != nil && !sees {
		return nil, fmt.Errorf("%s: %w", ref, repo.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	covers := []string{at.String()}
	if _, err := permit(oci.MustRepository("prod/app")); err == nil {
		covers = append(covers, "prod/app")
	}
	return covers, f.note("custody of %s for %s", ref, act.Principal().Name())
}

func (f custodyFake) Timeline(_ context.Context, s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) (*api.CustodyTimeline, error) {
	covers, err := f.tell(s, permit, ref)
	return &api.CustodyTimeline{Digest: someDigest, Repositories: covers, Steps: []api.CustodyStep{{At: epoch, What: "manifest.pushed"}}}, err
}

func (f custodyFake) Export(_ context.Context, s repo.Sight, permit func(oci.Repository) (authz.Act, error), ref oci.Reference) (*api.Custody, error) {
	covers, err := f.tell(s, permit, ref)
	return &api.Custody{Version: api.CustodyVersion, Digest: someDigest, At: epoch, Repositories: covers}, err
}

// TestNoCustody: a server that signs nothing says so.
func TestNoCustody(t *testing.T) {
	a, _ := newAPI(t)
	a.o.Custody = nil
	for method, path := range map[string]string{http.MethodGet: "/custody?ref=dev/app", http.MethodPost: "/custody/export"} {
		r := httptest.NewRequest(method, root+path, strings.NewReader(`{"ref":"dev/app"}`))
		r.Header.Set("Authorization", "Bearer root")
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), errNoCustody.Error()) {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
	}
}
