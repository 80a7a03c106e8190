// Package signtest is an instance that signs, for tests: its authority, issuer,
// timestamp authority and logs are the real ones, and its logs are in memory.
package signtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/sign/seal"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/ca"
	"github.com/bonded-dev/bonded/internal/trust/ct"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tlog/tlogtest"
	"github.com/bonded-dev/bonded/internal/trust/tsa"
)

// URL is that of the server.
const URL = "https://bonded.example"

// ErrDown is what a part that was broken answers.
var ErrDown = errors.New("it is down")

// Instance is what a Signer signs with. Its parts are there to be broken.
type Instance struct {
	*trust.Instance
	// NoCA, NoTSA and NoLog make that part fail.
	NoCA, NoTSA, NoLog atomic.Bool
	// Calls counts what was asked of all parts; where At is not 0, the call of
	// that number fails, after it was done where After is set.
	Calls, At atomic.Int64
	After     atomic.Bool
	// Certificates and Entries count what was made.
	Certificates, Entries atomic.Int64

	issuer *oidc.Issuer
	ca     *ca.Authority
	tsa    *tsa.Authority
	rekor  *rekor.Log
}

// New makes an instance that ends with the test.
func New(t testing.TB, clock func() time.Time) *Instance {
	t.Helper()
	i := new(Instance)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	quiet := slog.New(slog.DiscardHandler)
	o := trust.Options{Dir: filepath.Join(t.TempDir(), "trust"), Origin: "bonded.example", URL: URL, Clock: clock, Log: quiet}
	i.Instance, err = trust.Init(t.Context(), o, trust.InitOptions{OfflinePath: filepath.Join(t.TempDir(), "offline.json")})
	must(err)
	i.issuer, err = oidc.New(oidc.Options{
		URL: URL + trust.PathOIDC, Keys: i.Instance, Who: nobody{}, Flows: oidc.NewMemory(clock), Clock: clock, Log: quiet,
		Audit: func(context.Context, oidc.Issued) error { return nil },
	})
	must(err)
	ctKey, logKey := i.Key(trust.LogCT), i.Key(trust.LogRekor)
	ctSigner, err := tlog.NewRFC6962Signer("bonded.example/ct", ctKey.Signer, clock)
	must(err)
	logSigner, err := tlog.NewEd25519Signer("bonded.example", logKey.Signer)
	must(err)
	ctVerifier, err := tlog.RFC6962Verifier("bonded.example/ct", ctKey.Signer.Public().(*ecdsa.PublicKey))
	must(err)
	logVerifier, err := tlog.Ed25519Verifier("bonded.example", logKey.Signer.Public().(ed25519.PublicKey))
	must(err)
	ctLog := openLog(t, tlog.Options{Origin: "bonded.example/ct", Layout: tlog.StaticCT, Signer: ctSigner, Verifier: ctVerifier, Clock: clock, Logger: quiet})
	log := openLog(t, tlog.Options{Origin: "bonded.example", Signer: logSigner, Verifier: logVerifier, Clock: clock, Logger: quiet, Index: true, Dedupe: true})
	certificates, err := ct.New(ct.Options{Adder: ctLog, Source: ctLog, Key: ctKey.Signer, Clock: clock, Authorities: func() []*x509.Certificate {
		var all []*x509.Certificate
		for _, chain := range i.Authorities() {
			all = append(all, chain.Certs...)
		}
		return all
	}})
	must(err)
	i.ca, err = ca.New(ca.Options{
		Keys: i.Instance, Tokens: i.Instance, CT: certificates, URL: URL + trust.PathOIDC, Clock: clock, Log: quiet,
		Audit: func(context.Context, ca.Issued) error { return nil },
	})
	must(err)
	id, err := trust.CheckpointKeyID("bonded.example", logKey.SPKI)
	must(err)
	i.rekor = rekor.New(rekor.Options{Adder: log, Source: log, ID: id})
	i.tsa = tsa.New(tsa.Options{Keys: i.Instance, Clock: clock})
	return i
}

func openLog(t testing.TB, o tlog.Options) *tlog.Log {
	t.Helper()
	o.Blobs = mem.New(mem.Options{Now: o.Clock})
	o.Store = &tlogtest.Memory{Blobs: o.Blobs}
	o.Wait = time.Millisecond
	if err := tlog.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	l, err := tlog.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	l.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Stop(ctx); err != nil {
			t.Errorf("stopping a log: %v", err)
		}
	})
	return l
}

type nobody struct{}

func (nobody) Authenticate(*http.Request, string) (authz.Principal, error) {
	return authz.Principal{}, authz.ErrUnauthenticated
}

// Signer returns a Signer of the instance.
func (i *Instance) Signer(record seal.Record, clock func() time.Time) *seal.Signer {
	return seal.New(seal.Options{
		Record: record, Identity: URL + "/server", Issuer: URL + trust.PathOIDC, Token: i.token, CA: i, TSA: i, Log: i,
		Root: i.TrustedRoot, Clock: clock, Rand: rand.Reader,
	})
}

// call runs fn unless it is broken.
func (i *Instance) call(down bool, fn func() error) error {
	n := i.Calls.Add(1)
	broken := n == i.At.Load()
	if down || broken && !i.After.Load() {
		return ErrDown
	}
	err := fn()
	if broken && err == nil {
		err = ErrDown
	}
	return err
}

func (i *Instance) token(ctx context.Context) (token string, err error) {
	err = i.call(false, func() error {
		token, err = i.issuer.Mint(ctx, authz.Internal(oidc.Server))
		return err
	})
	return token, err
}

// Issue implements seal.Authority.
func (i *Instance) Issue(ctx context.Context, r ca.Request) (chain []*x509.Certificate, err error) {
	err = i.call(i.NoCA.Load(), func() error {
		i.Certificates.Add(1)
		chain, err = i.ca.Issue(ctx, r)
		return err
	})
	return chain, err
}

// Timestamp implements seal.Timestamper.
func (i *Instance) Timestamp(ctx context.Context, request []byte) (answer []byte, err error) {
	err = i.call(i.NoTSA.Load(), func() error {
		answer, err = i.tsa.Timestamp(ctx, request)
		return err
	})
	return answer, err
}

// Add implements seal.Log.
func (i *Instance) Add(ctx context.Context, entry any) (e *rekorpb.TransparencyLogEntry, err error) {
	err = i.call(i.NoLog.Load(), func() error {
		i.Entries.Add(1)
		e, err = i.rekor.Add(ctx, entry)
		return err
	})
	return e, err
}
