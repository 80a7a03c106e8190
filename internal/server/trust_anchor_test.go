package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/sign"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
)

// verifies verifies the proof of a decision by the trusted root as it is now.
func (w *world) verifies(p *api.Proof) error {
	w.Helper()
	root, err := w.trust.instance.TrustedRoot()
	if err != nil {
		w.Fatal(err)
	}
	identity, issuer := trust.IdentityOf(w.trust.instance.Server())
	_, _, err = sign.VerifyProof(p, root, identity, issuer)
	return err
}

// TestReanchored: a key of the transparency log is forgotten only when the
// decisions that it proved are proved under the next; then what is left under it is
// refused, and they verify.
func TestReanchored(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { reanchors(t, func(*config.Config) {}) })
	t.Run("postgres", func(t *testing.T) {
		url := testparts.Postgres(t)
		reanchors(t, func(c *config.Config) { c.Database.Postgres = &config.Postgres{URL: url} })
	})
}

func reanchors(t *testing.T, engine func(*config.Config)) {
	var c *config.Config
	w := newWorld(t, func(o *Options) { engine(o.Config); c = o.Config })
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev := w.enrol("ann", "developer=dev/**")
	image := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	before := w.proof(dev, "dev/app:1", "&proof=whole")
	if err := w.verifies(before); err != nil {
		t.Fatal(err)
	}
	rotate := func(r cli.RotateRequest) error {
		t.Helper()
		at := *c
		at.URL = w.transport.url
		_, err := (parts{"test"}).rotate(t.Context(), &at, r)
		return errors.Join(err, w.trust.keeper.refresh(t.Context()))
	}
	_, listed := w.statements(dev, "dev/app", image.Digest)
	old := w.trust.instance.Key(trust.LogRekor).ID()
	if err := rotate(cli.RotateRequest{Slots: []string{string(trust.LogRekor)}, AtOnce: true}); err != nil {
		t.Fatal(err)
	}
	e := w.event("log.rekeyed", "before", old)
	if e.Details["log"] != w.trust.instance.Origin() || e.Details["size"] == "0" || e.Details["checkpoint"] == "" {
		t.Errorf("the last head under the old key is %+v", e.Details)
	}
	if why := w.notes()["former log key"]; !strings.Contains(why, "not to be forgotten yet") {
		t.Errorf("noted is %q", why)
	}
	forget := cli.RotateRequest{Forget: []string{old}}
	if err := rotate(forget); err == nil || !strings.Contains(err.Error(), "may be proved under it alone") {
		t.Errorf("forgotten too early: %v", err)
	}
	k := w.trust.keeper
	k.mu.Lock()
	k.rekeyed = k.rekeyed.Add(-settleKeys - time.Second)
	k.mu.Unlock()
	if err := k.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.event("log.anchored", "key", w.trust.instance.Key(trust.LogRekor).ID())
	after := w.proof(dev, "dev/app:1", "&proof=whole")
	if bytes.Equal(before.Batch.Bundle, after.Batch.Bundle) || !bytes.Equal(before.Payload, after.Payload) {
		t.Error("the proof is the one of before, or of another decision")
	}
	if err := rotate(forget); err != nil {
		t.Fatal(err)
	}
	if err := w.verifies(after); err != nil {
		t.Errorf("proved anew: %v", err)
	}
	if err := w.verifies(before); err == nil {
		t.Error("a proof under a key that was forgotten verifies")
	}
	_, again := w.statements(dev, "dev/app", image.Digest)
	if len(again) != len(listed) || slices.ContainsFunc(again, func(m string) bool { return slices.Contains(listed, m) }) {
		t.Errorf("listed under the old key were %q, and are %q", listed, again)
	}
	w.cosign("dev/app@" + image.Digest.String())
	w.stop()
	w.start() // at another port
	if err := w.verifies(w.proof(dev, "dev/app:1", "&proof=whole")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestNotReanchored: what the old key has signed and the log never had stays lost.
func TestNotReanchored(t *testing.T) {
	var c *config.Config
	w := newWorld(t, func(o *Options) { c = o.Config })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.logged(key, signature(t, key, "first"), "first")
	w.advise("GO-TEST-1", "example.com/other", "99.0.0", low)
	dev := w.enrol("ann", "developer=dev/**")
	image := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"etc/motd": []byte("hello")}))
	w.settled("dev/app", image.Digest, repo.Admitted)
	whole := w.proof(dev, "dev/app:1", "&proof=whole").Batch.Bundle
	at := *c
	at.URL = w.transport.url
	if _, err := (parts{"test"}).rotate(t.Context(), &at, cli.RotateRequest{Slots: []string{string(trust.LogRekor)}}); err != nil {
		t.Fatal(err)
	}
	if err := w.trust.keeper.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	index := regexp.MustCompile(`"logIndex": *"([0-9]+)"`)
	for name, at := range map[string]string{"another place": "0", "beyond it": "7000"} {
		forged := index.ReplaceAll(whole, []byte(`"logIndex":"`+at+`"`))
		if b, err := w.trust.rekor.Reanchor(t.Context(), forged); !errors.Is(err, rekor.ErrNotLogged) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
	if b, err := w.trust.rekor.Reanchor(t.Context(), whole); err != nil || b == nil {
		t.Errorf("the bundle itself: %v", err)
	}
}
