package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
)

// TestWitnessed: what is logged is cosigned, by a witness that is told of the
// logs; without the witness nothing is, and the caller is told to come back.
func TestWitnessed(t *testing.T) {
	signer, err := tlog.NewCosigner("witness.example", tlogtest.Key("witness"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var logs map[string][]note.Verifier
	var witness *tlog.Witness
	var gone atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			http.Error(rw, "gone", http.StatusInternalServerError)
			return
		}
		witness.ServeHTTP(rw, r)
	}))
	defer srv.Close()
	w := &world{T: t, dir: t.TempDir(), feed: t.TempDir(), change: func(o *Options) {
		o.Config.Trust.Witnesses = []config.Witness{{URL: srv.URL, Key: fmt.Sprint(signer)}}
	}}
	w.opened = func(s *Server) {
		logs = map[string][]note.Verifier{}
		for _, l := range s.trust.logs {
			logs[l.o.Origin] = []note.Verifier{l.o.Verifier}
		}
		witness = tlog.NewWitness(tlog.WitnessOptions{Signer: signer, Logs: logs, Store: &tlogtest.MemoryWitness{}})
	}
	w.start()
	t.Cleanup(func() { gone.Store(false); w.stop() })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.logged(key, signature(t, key, "first"), "first")
	b, err := w.trust.log("rekor").Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v, err := tlog.ParseVerifier(fmt.Sprint(signer))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := note.Open(b, note.VerifierList(v)); err != nil || len(n.Sigs) != 1 {
		t.Errorf("the checkpoint is not cosigned: %v\n%s", err, b)
	}
	if by := w.trust.protection(); by != "1 of 1 witnesses" {
		t.Errorf("protected by %q", by)
	}
	gone.Store(true)
	_, err = w.trust.rekor.Add(t.Context(), entryOf(t, key, signature(t, key, "second"), "second"))
	if no := new(rekor.Refusal); !errors.As(err, &no) || no.Status != http.StatusServiceUnavailable {
		t.Errorf("without the witness: %v", err)
	}
	gone.Store(false)
	if at := w.logged(key, signature(t, key, "third"), "third"); at < 1 {
		t.Errorf("the witness is back, and the entry is at %d", at)
	}
	if len(w.trust.instance.Logs(trust.LogRekor)) != 1 {
		t.Error("the log has another key")
	}
}
