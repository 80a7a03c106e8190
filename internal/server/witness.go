package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Where this server is asked to witness, and what follows its origin in the name
// of its key as a witness.
const (
	pathWitness   = "/witness"
	witnessSuffix = "/witness"
)

// witness is this server as a witness of the logs of others, as of one rotation.
type witness struct {
	*tlog.Witness
	key   string // NAME+ID+KEY
	of    []string
	store tlog.WitnessStore
}

// wireWitness makes this server a witness where the configuration says so. It is
// called again when keys were rotated.
func (s *Server) wireWitness() error {
	of := s.config.Trust.Witness.Of
	if len(of) == 0 {
		return nil
	}
	t := s.trust
	key := t.instance.Key(trust.Witness)
	if key.Signer == nil {
		return errors.New("trust.witness names logs to cosign, and this instance has no key for that: bonded trust rotate witness makes it, before the first start as a witness")
	}
	signer, err := tlog.NewCosigner(t.instance.Origin()+witnessSuffix, key.Signer, s.clock)
	if err != nil {
		return err
	}
	logs := map[string][]note.Verifier{}
	for i, text := range of {
		v, err := tlog.ParseVerifier(text)
		if err != nil {
			return fmt.Errorf("reading trust.witness.of[%d]: %w", i, err)
		}
		if slices.ContainsFunc(t.logs, func(l *openLog) bool { return l.o.Origin == v.Name() }) {
			return fmt.Errorf("reading trust.witness.of[%d]: %s is a log of this server: who has this server has its cosignatures too, and they would mean nothing", i, v.Name())
		}
		logs[v.Name()] = append(logs[v.Name()], v)
	}
	w := &witness{key: fmt.Sprint(signer), of: slices.Sorted(maps.Keys(logs)), store: s.db.Witnessed()}
	if t.heads != nil {
		w.store = tlog.HeadedWitness{WitnessStore: w.store, Heads: t.heads}
	}
	w.Witness = tlog.NewWitness(tlog.WitnessOptions{Signer: signer, Logs: logs, Store: w.store, Logger: s.log})
	t.witness.Store(w)
	return nil
}

// serveWitness answers as the witness that this server is.
func (t *trusted) serveWitness(w http.ResponseWriter, r *http.Request) {
	if now := t.witness.Load(); now != nil {
		now.ServeHTTP(w, r)
		return
	}
	http.Error(w, "this server is no witness: trust.witness.of names the logs that it would cosign", http.StatusNotFound)
}

// witnessState says whom this server witnesses; nil where it does not.
func (t *trusted) witnessState(ctx context.Context) (*api.Witness, error) {
	now := t.witness.Load()
	if now == nil {
		return nil, nil
	}
	out := &api.Witness{URL: t.instance.URL() + pathWitness, Key: now.key, Of: []api.Witnessed{}}
	for _, origin := range now.of {
		c, err := now.store.Latest(ctx, origin)
		if err != nil {
			return nil, err
		}
		out.Of = append(out.Of, api.Witnessed{Origin: origin, Size: c.Size})
	}
	return out, nil
}
