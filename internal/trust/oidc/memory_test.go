package oidc_test

import (
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/trust/oidc"
	"github.com/bonded-dev/bonded/internal/trust/oidc/oidctest"
)

func TestMemory(t *testing.T) {
	oidctest.Run(t, func(_ testing.TB, clock func() time.Time) func(testing.TB) oidc.Flows {
		m := oidc.NewMemory(clock)
		return func(testing.TB) oidc.Flows { return m }
	})
}
