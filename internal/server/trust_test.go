package server

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	common "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	tiles "github.com/sigstore/rekor-tiles/v2/pkg/generated/protobuf"
	"github.com/sigstore/rekor-tiles/v2/pkg/verify"

	"github.com/bonded-dev/bonded/internal/cli"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust"
)

// logged is an entry of the transparency log: a signature by key over text.
func (w *world) logged(key *ecdsa.PrivateKey, sig []byte, text string) int64 {
	w.Helper()
	e, err := w.trust.rekor.Add(w.Context(), entryOf(w.T, key, sig, text))
	if err != nil {
		w.Fatal(err)
	}
	// By the key that the entry names, as clients do.
	for _, p := range w.trust.instance.Logs(trust.LogRekor) {
		id, err := trust.CheckpointKeyID(w.trust.instance.Origin(), p.SPKI)
		if err != nil {
			w.Fatal(err)
		}
		if !bytes.Equal(id[:], e.LogId.KeyId) {
			continue
		}
		v, err := verifierOf(w.trust.instance.Origin(), p.SPKI)
		if err == nil {
			err = verify.VerifyLogEntry(e, v)
		}
		if err != nil {
			w.Errorf("entry %d: %v", e.LogIndex, err)
		}
		return e.LogIndex
	}
	w.Fatalf("entry %d is of a log that the trusted root does not have", e.LogIndex)
	return 0
}

// entryOf is a signature by key over text, to be logged.
func entryOf(t *testing.T, key *ecdsa.PrivateKey, sig []byte, text string) *tiles.HashedRekordRequestV002 {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tiles.HashedRekordRequestV002{Digest: sum[:], Signature: &tiles.Signature{Content: sig, Verifier: &tiles.Verifier{
		KeyDetails: common.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, Verifier: &tiles.Verifier_PublicKey{PublicKey: &tiles.PublicKey{RawBytes: spki}},
	}}}
}

func signature(t *testing.T, key *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestInstanceOfAnOlderFolder: a folder that knows nothing of keys gets an
// instance at its next start, once, and that is recorded.
func TestInstanceOfAnOlderFolder(t *testing.T) {
	older := func(w *world) {
		store, err := db.Open(t.Context(), db.Options{Folder: w.dir, Clock: time.Now, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = store.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &world{T: t, dir: t.TempDir(), feed: t.TempDir(), change: func(*Options) {}}
	older(w)
	w.start()
	t.Cleanup(func() { w.stop() })
	version := w.trust.instance.Version()
	w.stop()
	w.start()
	if got := w.trust.instance.Version(); got != version {
		t.Errorf("the second start has instance %s, the first had %s", got, version)
	}
	w.event("trust.made", "origin", "127.0.0.1")
	if made, rotated := w.events("trust.made"), w.events("trust.rotated"); len(made) != 1 || len(rotated) != 0 {
		t.Errorf("it was made: %v; rotated: %v", made, rotated)
	}
}

// TestRotated: a running server takes over what a command beside it replaced,
// and its logs go on under new keys.
func TestRotated(t *testing.T) {
	heads := t.TempDir()
	var c *config.Config
	w := newWorld(t, func(o *Options) {
		o.Config.Trust.HeadStore = config.Path(heads)
		c = o.Config
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	first, second := signature(t, key, "first"), signature(t, key, "second")
	if at := w.logged(key, first, "first"); at != 0 {
		t.Fatalf("the first entry is at %d", at)
	}
	rotate := func(slots ...string) {
		t.Helper()
		at := *c
		at.URL = w.transport.url
		if _, err := (parts{"test"}).rotate(t.Context(), &at, cli.RotateRequest{Slots: slots}); err != nil {
			t.Fatal(err)
		}
		if err := w.trust.keeper.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := w.trust.instance.CA()
	rotate(string(trust.Intermediate), string(trust.TUFTimestamp))
	if after, _ := w.trust.instance.CA(); after[0].Equal(before[0]) {
		t.Error("the intermediate is the one of before")
	}
	rotate(string(trust.LogRekor), string(trust.LogCT), string(trust.LogAudit))
	for _, l := range w.trust.logs {
		if l.now.Load().key.ID() != w.trust.instance.Key(l.slot).ID() {
			t.Errorf("the log %s signs with the key of before", l.o.Origin)
		}
	}
	// An entry of before, answered before anything new is appended.
	if at := w.logged(key, first, "first"); at != 0 {
		t.Errorf("the first entry is at %d under the new key", at)
	}
	if at := w.logged(key, second, "second"); at != 1 {
		t.Errorf("the second entry is at %d", at)
	}
	last := w.event("trust.rotated", "version", w.trust.instance.Version())
	w.event("trust.rotated", "version", last.Details["before"])
	w.stop()
	w.start()
	if at := w.logged(key, first, "first"); at != 0 {
		t.Errorf("the first entry is at %d after the rotation", at)
	}
	if at := w.logged(key, signature(t, key, "third"), "third"); at != 2 {
		t.Errorf("the third entry is at %d", at)
	}
}

// TestPublishedAgain: documents of a server that moved are published again while
// the offline keys are there, and bonded health says what to do once they are not.
func TestPublishedAgain(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Dev = false })
	root := func() string {
		t.Helper()
		b, err := w.trust.instance.SigningConfig()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	w.stop()
	w.start() // on another port
	if !strings.Contains(root(), w.transport.url+"/fulcio") {
		t.Errorf("the signing configuration is\n%s", root())
	}
	if why := w.notes()["offline keys"]; !strings.Contains(why, "move") {
		t.Errorf("offline keys on the server are not noted: %q", why)
	}
	if why := w.notes()["fork protection"]; !strings.HasPrefix(why, "none") {
		t.Errorf("fork protection: %q", why)
	}
	if err := os.Rename(filepath.Join(w.dir, "trust", trust.OfflineName), filepath.Join(t.TempDir(), "moved")); err != nil {
		t.Fatal(err)
	}
	w.stop()
	w.start()
	if why := w.notes()["published keys"]; !strings.Contains(why, "bonded trust rotate") {
		t.Errorf("stale documents are not noted: %q", why)
	}
}
