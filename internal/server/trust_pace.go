package server

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/bonded-dev/bonded/internal/peer"
)

// maxPaced is how many addresses are told apart. Those that come when so many are
// busy share one allowance.
const maxPaced = 10_000

// pace bounds how fast one address makes the server sign: each certificate, entry
// and timestamp is work, and all but timestamps are kept for good, for callers who
// need not be known here. It is safe for concurrent use.
type pace struct {
	minute  int // requests of one address in a minute, and at once
	clock   clock
	refused *prometheus.CounterVec // by service

	mu    sync.Mutex
	known map[netip.Prefix]*rate.Limiter
	swept time.Time
}

// newPace bounds nothing where minute is 0.
func newPace(minute int, clock clock, metrics prometheus.Registerer) *pace {
	p := &pace{minute: minute, clock: clock, known: map[netip.Prefix]*rate.Limiter{}, refused: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bonded_trust_throttled_total", Help: "Requests for certificates, log entries and timestamps that were refused because their address asked too often.",
	}, []string{"service"})}
	if metrics != nil {
		metrics.MustRegister(p.refused)
	}
	return p
}

// wrap bounds the writing requests of a service. Reading is left alone.
func (p *pace) wrap(service string, next http.Handler) http.Handler {
	if p.minute == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		if wait := p.take(peer.Network(peer.Addr(r))); wait > 0 {
			p.refused.WithLabelValues(service).Inc()
			throttle(w, wait, p.minute)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// throttle answers with the error JSON of all Sigstore services.
func throttle(w http.ResponseWriter, wait time.Duration, minute int) {
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusTooManyRequests)
	_ = json.NewEncoder(w).Encode(struct { // the client went away
		Code    int      `json:"code"`
		Message string   `json:"message"`
		Details []string `json:"details"`
	}{http.StatusTooManyRequests, fmt.Sprintf("this address has asked for more than %d signatures, entries and timestamps in a minute; try again in %d s, or have trust.requests raised", minute, seconds), []string{}})
}

// take counts a request, and says how long to wait where there were too many.
func (p *pace) take(from netip.Prefix) time.Duration {
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.known[from]
	if !ok {
		from = p.place(from, now)
		l, ok = p.known[from]
	}
	if !ok {
		l = rate.NewLimiter(rate.Every(time.Minute/time.Duration(p.minute)), p.minute)
		p.known[from] = l
	}
	if l.AllowN(now, 1) {
		return 0
	}
	return time.Duration((1 - l.TokensAt(now)) * float64(time.Minute) / float64(p.minute))
}

// place is what a new address is known by: itself while there is room, after those
// that have long been quiet were forgotten; else the address of nobody, which all
// further ones share.
func (p *pace) place(from netip.Prefix, now time.Time) netip.Prefix {
	if len(p.known) < maxPaced {
		return from
	}
	if now.Sub(p.swept) >= time.Second {
		p.swept = now
		for known, l := range p.known {
			if l.TokensAt(now) >= float64(p.minute) {
				delete(p.known, known)
			}
		}
	}
	if len(p.known) < maxPaced {
		return from
	}
	return netip.Prefix{}
}
