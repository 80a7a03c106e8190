package server

import (
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/revoke"
)

// newRevoke makes the flow that ends trust.
func (s *Server) newRevoke() *revoke.Flow {
	return revoke.New(revoke.Options{
		Zones: s.zones, WorkJob: jobRevoke, JudgeJob: assess.JobJudge, ZoneJob: assess.JobGate, Update: txs[revoke.Tx](s.db.Update), View: txs[revoke.Tx](s.db.View),
		Engine: "bonded " + s.version, Clock: s.steady.now, Rand: s.rand,
	})
}
