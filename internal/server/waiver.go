package server

import (
	"context"
	"errors"

	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/waiver"
)

// jobWaiver is the kind of the jobs that have what a waiver concerns judged
// again; the key is its number.
const jobWaiver = "waiver"

// newWaivers makes the flow of permissions.
func (s *Server) newWaivers() *waiver.Flow {
	gate := func(zone string) *policy.Gate { return s.gates.compiled[s.zones[zone].Gate] }
	return waiver.New(waiver.Options{
		Zones: s.zones, Gate: gate, Judge: s.assess, WorkJob: jobWaiver, JudgeJob: assess.JobJudge,
		Update: txs[waiver.Tx](s.db.Update), View: txs[waiver.Tx](s.db.View), Clock: s.steady.now, Rand: s.rand,
	})
}

// recheck records what has ended by time alone, and has judged again what that
// may have changed.
func (s *Server) recheck(ctx context.Context) error {
	return errors.Join(s.catchUp(ctx), s.waivers.Expire(ctx), s.assess.Recheck(ctx))
}
