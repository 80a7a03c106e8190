package server

import (
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/revoke"
	"github.com/bonded-dev/bonded/internal/trust"
)

// newRevoke makes the flow that ends trust.
func (s *Server) newRevoke() *revoke.Flow {
	var self evidence.Identity
	if s.trust != nil {
		self.Subject, self.Issuer = trust.IdentityOf(s.trust.instance.Server())
	}
	return revoke.New(revoke.Options{
		Zones: s.zones, WorkJob: jobRevoke, JudgeJob: assess.JobJudge, ZoneJob: assess.JobGate, Update: txs[revoke.Tx](s.db.Update), View: txs[revoke.Tx](s.db.View),
		Engine: "bonded " + s.version, Server: self, Clock: s.steady.now, Rand: s.rand,
	})
}
