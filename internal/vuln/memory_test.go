package vuln_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/vulntest"
)

func TestMemory(t *testing.T) {
	vulntest.Run(t, func(*testing.T) vulntest.Stores {
		m := vuln.NewMemory()
		return vulntest.Stores{Reader: m, Stager: m, Update: m.Update}
	})
}
