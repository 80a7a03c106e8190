package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/bonded-dev/bonded/internal/fsck"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// fsckLogs are the logs that are checked, with the keys that the trust folder has
// on record: a check needs no private key.
func (s *Server) fsckLogs(ctx context.Context) ([]fsck.Log, error) {
	rec, err := trust.Peek(TrustFolder(s.config))
	if err != nil && !errors.Is(err, trust.ErrNone) {
		return nil, err
	}
	var logs []fsck.Log
	for _, spec := range logSpecs {
		store := s.db.TileLog(spec.name)
		h, err := store.Head(ctx)
		if errors.Is(err, tlog.ErrNoLog) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the log %s: %w", spec.name, err)
		}
		l := fsck.Log{Origin: h.Origin, Reader: &tlog.Reader{Store: store, Blobs: s.content.blobs}, ReadElsewhere: spec.slot == trust.LogAudit}
		if spec.slot == trust.LogCT {
			l.Reader.Layout = tlog.StaticCT
		}
		if rec.Origin != "" {
			l.Origin = rec.Origin + spec.suffix
		}
		for _, p := range rec.Logs {
			if p.Slot != spec.slot {
				continue
			}
			v, err := verifierOf(l.Origin, p.SPKI)
			if err != nil {
				return nil, err
			}
			l.Known = append(l.Known, v)
		}
		logs = append(logs, l)
	}
	return logs, nil
}
