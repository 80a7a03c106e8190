package httpapi

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/repo"
)

// waiverFake is apart because its methods have names of other contracts.
type waiverFake struct{ *fake }

func (f waiverFake) act(p authz.Principal, id, what string) (*api.WaiverDone, error) {
	if id != "4" {
		return nil, fmt.Errorf("waiver %q: %w", id, repo.ErrNotFound)
	}
	return &api.WaiverDone{Waiver: api.Waiver{ID: id, State: what, Granted: []api.Grantor{}}, Flips: []api.WaiverFlip{}}, f.note("%s waiver %s as %s", what, id, p.Name())
}

func (f waiverFake) Ask(_ context.Context, p authz.Principal, req api.WaiverRequest) (*api.WaiverDone, error) {
	if req.Reason == "" {
		return nil, fmt.Errorf("%w: it has no reason", evidence.ErrWaiverInvalid)
	}
	return f.act(p, "4", "asked")
}

func (f waiverFake) Grant(_ context.Context, p authz.Principal, id string, preview bool) (*api.WaiverDone, error) {
	if preview {
		return f.act(p, id, "previewed")
	}
	return f.act(p, id, "granted")
}

func (f waiverFake) Deny(_ context.Context, p authz.Principal, id, reason string) (*api.WaiverDone, error) {
	return f.act(p, id, "denied")
}

func (f waiverFake) End(_ context.Context, p authz.Principal, id, reason string) (*api.WaiverDone, error) {
	return f.act(p, id, "ended")
}

func (f waiverFake) Show(_ context.Context, p authz.Principal, id string) (*api.Waiver, error) {
	done, err := f.act(p, id, "shown")
	if err != nil {
		return nil, err
	}
	return &done.Waiver, nil
}

func (f waiverFake) List(_ context.Context, p authz.Principal, zone string, open bool, before int64, limit int) ([]api.Waiver, int64, error) {
	return []api.Waiver{{ID: "4", State: "granted", Granted: []api.Grantor{}}}, 4, f.note("waivers of %q open %v before %d", zone, open, before)
}

func (f waiverFake) Export(_ context.Context, p authz.Principal, repositories string) ([]byte, error) {
	return []byte(`{"@context":"https://openvex.dev/ns/v0.2.0"}`), f.note("export %q", repositories)
}
