package httpapi

import (
	"context"
	"fmt"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/repo"
)

// trustFake is apart because its method has the name of its interface.
type trustFake struct{ *fake }

func (f trustFake) Trust(context.Context) (*api.Trust, error) {
	return &api.Trust{Origin: "log.example", Weakest: "file"}, f.note("trust")
}

func (f trustFake) SignIn(_ context.Context, code string) (*api.SignIn, error) {
	if code != "BCDF-GHJK" {
		return nil, fmt.Errorf("sign-in %q: %w", code, repo.ErrNotFound)
	}
	return &api.SignIn{Code: code, Kind: "device", State: "pending"}, f.note("sign-in %s", code)
}

func (f trustFake) SettleSignIn(ctx context.Context, p authz.Principal, code string, approve bool) (*api.SignIn, error) {
	s, err := f.SignIn(ctx, code)
	if err == nil {
		s.State = map[bool]string{true: "approved", false: "refused"}[approve]
		s.Identity = p.Name()
	}
	return s, err
}
