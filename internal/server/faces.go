package server

import (
	"context"
	"net"
	"net/http"

	"github.com/bonded-dev/bonded/internal/authn"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/httpapi"
	"github.com/bonded-dev/bonded/internal/peer"
	"github.com/bonded-dev/bonded/internal/registry"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/telemetry"
)

// faces are the handlers of a server.
type faces struct {
	registry, token, api http.Handler
	auth                 authenticator
}

// internals are the names under which parts of the server act.
var internals = []string{"judge", "feeds", "init", "keys", "audit", "sign", "waivers", "anonymous"}

func (s *Server) wireFaces(ctx context.Context) (err error) {
	open := openIn(s.zones)
	sight := func(p authz.Principal) repo.Sight { return s.zones.Sight(p, open) }
	url := s.config.URL // where it is not set, each request's own host counts
	if s.accounts, err = authn.New(ctx, authn.Options{Store: s.db, Tokens: s.db, Clock: s.clock, Rand: s.rand, Log: s.log, Open: open, URL: url, Reserved: internals}); err != nil {
		return err
	}
	if s.trust != nil {
		if err := s.wireTrust(ctx); err != nil {
			return err
		}
		if err := s.wireSign(); err != nil {
			return err
		}
	}
	f := &faces{auth: s.accounts, token: http.HandlerFunc(s.accounts.ServeToken)}
	served := registry.Options{
		Auth: s.accounts, Open: open, Sight: sight, Reader: s.db, Blobs: s.content.blobs, Push: s.push, Remove: remover{s.promote},
		Clock: s.clock, Log: s.log, MinChunk: s.content.minChunk,
	}
	if s.trust != nil {
		served.Reader = referred{s.db, s.trust.sign}
	}
	if s.pulls != nil {
		served.Pulled = s.pulls.Add
	}
	f.registry = registry.New(served)
	managed := httpapi.Options{
		Auth: s.accounts, Open: open, Sight: sight, Explain: s.assess, Lineage: s.assess, List: s.assess, Promote: promoter{s.promote, open}, Zones: zoneTeller{s.zones, s.gates, s.db, s.assess},
		Feeds: s.feeds, Audit: auditor{s.db, s}, Principals: s.accounts, Enrol: s.accounts, Keys: s.accounts, Trust: s.trust, Revoke: s.newRevoke(), Waivers: s.waivers, Epochs: s.newEpochs(), Report: s, Log: s.log, Clock: s.clock,
	}
	if s.trust != nil {
		managed.Prove = s.trust.sign
		managed.Custody = s.newCustody(s.newEpochs())
	}
	f.api = httpapi.New(managed)
	observer := telemetry.NewObserver(telemetry.ObserverOptions{Log: s.log, Metrics: s.metrics, Tracer: s.tracing.Tracer("http"), Clock: s.clock, Rand: s.rand, Route: route})
	s.serve(s.transport.listener, peer.Behind(s.config.ProxyNetworks(), observer.Wrap(s.routes(f))))
	if s.config.Metrics.Listen == "" {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.config.Metrics.Listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", telemetry.MetricsHandler(s.metrics))
	s.serve(l, mux)
	return nil
}

// serving is a listener and who answers on it.
type serving struct {
	*http.Server
	listener net.Listener
}

func (s *Server) serve(l net.Listener, h http.Handler) {
	s.serving = append(s.serving, serving{newHTTP(h, s.log), l})
}

// route names the route of a request: the operation of the registry, or the
// pattern of the others.
func route(r *http.Request) string {
	if r.Pattern != "/v2/" {
		return r.Pattern
	}
	request, err := registry.Parse(r.Method, r.URL)
	if err != nil {
		return r.Pattern
	}
	return r.Pattern + request.Op.String()
}
