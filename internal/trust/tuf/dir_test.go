package tuf_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tuf"
	"github.com/bonded-dev/bonded/internal/trust/tuf/tuftest"
)

func TestDir(t *testing.T) {
	tuftest.Run(t, func(t testing.TB) func(testing.TB) tuf.Store {
		dir := t.TempDir()
		return func(testing.TB) tuf.Store { return tuf.NewDir(dir) }
	})
}
