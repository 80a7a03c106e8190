package tlog_test

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

func TestMemory(t *testing.T) { tlogtest.Run(t, tlogtest.InMemory) }
