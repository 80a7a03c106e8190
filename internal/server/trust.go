package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/trust/ca"
	"github.com/bonded-dev/bonded/internal/trust/ct"
	"github.com/bonded-dev/bonded/internal/trust/oidc"
	"github.com/bonded-dev/bonded/internal/trust/rekor"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
	"github.com/bonded-dev/bonded/internal/trust/tsa"
	"github.com/bonded-dev/bonded/internal/trust/tuf"
)

// trusted is what the server signs with.
type trusted struct {
	dir      string
	instance *trust.Instance
	tuf      *tuf.Repository
	stale    atomic.Bool // what tuf publishes is not what the instance is
	logs     []*openLog
	heads    tlog.HeadStore // nil where there is none
	issuer   *oidc.Issuer
	ca       *ca.Authority
	rekor    *rekor.Log
	ct       *ct.Log
	tsa      *tsa.Authority
	witness  atomic.Pointer[witness] // nil where it is none
	keeper   *keeper
	sign     *signing
	anchors  func() []api.AnchorState // of the server
	clients  *oidc.Certificates       // nil where none are taken
}

// TrustFolder is where the keys of an instance live.
func TrustFolder(c *config.Config) string {
	if c.Trust.Dir != "" {
		return string(c.Trust.Dir)
	}
	return filepath.Join(string(c.Data), "trust")
}

// TrustOptions are those by which the instance of a configuration is opened.
// url is how clients reach the server.
func TrustOptions(c *config.Config, url string) (trust.Options, error) {
	o := trust.Options{Dir: TrustFolder(c), Origin: c.Trust.Origin, URL: strings.TrimSuffix(url, "/"), Places: map[trust.Slot]string{}, Credentials: os.Getenv("CREDENTIALS_DIRECTORY")} //nolint:forbidigo // wiring hands on where systemd puts credentials
	for slot, place := range c.Trust.Keys {
		if s := trust.Slot(slot); !slices.Contains(offline, s) {
			o.Places[s] = place
		}
	}
	for _, w := range c.Trust.Witnesses {
		o.Witnesses = append(o.Witnesses, w.Key)
	}
	o.Quorum = c.Trust.NeededWitnesses()
	if o.Origin != "" {
		return o, nil
	}
	rec, err := trust.Peek(o.Dir)
	switch {
	case err == nil:
		o.Origin = rec.Origin // the host of url may have changed since
	case !errors.Is(err, trust.ErrNone):
		return o, err
	default:
		o.Origin = config.HostOf(url)
	}
	if o.Origin == "" {
		return o, fmt.Errorf("%q has no host name that the logs could go by: set trust.origin in the configuration", url)
	}
	return o, nil
}

// offline are the slots of the offline file.
var offline = []trust.Slot{trust.Root, trust.TUFRoot, trust.TUFTargets}

// offlinePlaces are the keys of the offline file that a KMS or HSM has.
func offlinePlaces(c *config.Config) map[trust.Slot]string {
	places := map[trust.Slot]string{}
	for slot, place := range c.Trust.Keys {
		if s := trust.Slot(slot); slices.Contains(offline, s) {
			places[s] = place
		}
	}
	return places
}

// tufFolder is where the TUF repository of a trust folder is made, and where it
// stays for a server that is alone.
func tufFolder(dir string) tuf.Store { return tuf.NewDir(filepath.Join(dir, "tuf")) }

// tufStore is where the TUF repository of an instance is served from. Servers
// that share a database share it there: a client that asks two of them must not
// see an older one.
func tufStore(ctx context.Context, c *config.Config, database *db.DB, dir string) (tuf.Store, error) {
	if c.Database.Postgres == nil {
		return tufFolder(dir), nil
	}
	err := tuf.Seed(ctx, database.TUF(), tufFolder(dir))
	if errors.Is(err, tuf.ErrNone) || errors.Is(err, tuf.ErrUnusable) {
		err = nil // whoever has the offline keys publishes
	}
	return database.TUF(), err
}

// tufOptions are those of the repository in a store.
func (s *Server) tufOptions(store tuf.Store, keys tuf.Keys) tuf.Options {
	return tuf.Options{Store: store, Keys: keys, Clock: s.clock, Log: s.log, TimestampLife: time.Duration(s.config.Trust.Freshness)}
}

// openTrust opens the keys and the logs of the instance. The first start makes
// them.
func (s *Server) openTrust(ctx context.Context) error {
	o, err := TrustOptions(s.config, s.url)
	if err != nil {
		return err
	}
	o.Clock, o.Log, o.Rand = s.clock, s.log, s.rand
	t := &trusted{dir: o.Dir}
	if t.instance, err = trust.Open(ctx, o); errors.Is(err, trust.ErrNone) {
		t.instance, err = s.makeTrust(ctx, o)
	}
	if err != nil {
		return err
	}
	store, err := tufStore(ctx, s.config, s.db, t.dir)
	if err != nil {
		return err
	}
	t.tuf = tuf.New(s.tufOptions(store, t.instance))
	s.trust = t
	if err := s.publish(ctx); err != nil {
		return err
	}
	return s.openLogs(ctx)
}

// makeTrust makes the instance of a server that has none, in a database that
// has never had one.
func (s *Server) makeTrust(ctx context.Context, o trust.Options) (*trust.Instance, error) {
	if err := s.unlogged(ctx, o.Dir); err != nil {
		return nil, err
	}
	c := trust.InitOptions{OfflinePath: string(s.config.Trust.OfflineKeys), Organization: s.config.Trust.Organization, Plugins: offlinePlaces(s.config)}
	if file := s.config.Trust.PassphraseFile; file != "" {
		passphrase, err := readSecret("trust.passphrase_file", file)
		if err != nil {
			return nil, err
		}
		c.Passphrase = []byte(passphrase)
	}
	c.Prepare = func(ctx context.Context, dir string, i *trust.Instance, off *trust.Offline) error {
		files, err := tuf.Documents(i)
		if err != nil {
			return err
		}
		return tuf.New(s.tufOptions(tufFolder(dir), i)).Publish(ctx, tuf.Update{Files: files, Offline: off})
	}
	i, err := trust.Init(ctx, o, c)
	if err != nil {
		return nil, err
	}
	chain, _ := i.CA()
	sum := sha256.Sum256(chain[len(chain)-1].Raw)
	e, err := s.event(authz.Internal("init"), "trust.made")
	if err != nil {
		return nil, err
	}
	return i, s.record(ctx, e.With("origin", i.Origin()).With("root", hex.EncodeToString(sum[:])))
}

// publish sees to it that clients get the documents of the instance as it is: a
// server whose URL changed has other ones. That takes the offline keys; while
// they were never moved away, they are here.
func (s *Server) publish(ctx context.Context) error {
	files, err := tuf.Documents(s.trust.instance)
	if err != nil {
		return err
	}
	same, err := s.trust.tuf.Published(ctx, files)
	if err != nil && !errors.Is(err, tuf.ErrNone) && !errors.Is(err, tuf.ErrUnusable) {
		return err
	}
	path, open := s.trust.instance.OfflinePath()
	if s.trust.stale.Store(!same); same || path == "" || !open {
		return nil
	}
	off, err := trust.OpenOffline(ctx, path, nil)
	if err == nil {
		err = s.trust.tuf.Publish(ctx, tuf.Update{Files: files, Offline: off})
	}
	s.trust.stale.Store(err != nil)
	return err
}

// event makes an event of the server's own.
func (s *Server) event(p authz.Principal, kind string) (audit.Event, error) {
	var id [16]byte
	if _, err := io.ReadFull(s.rand, id[:]); err != nil {
		return audit.Event{}, fmt.Errorf("reading randomness: %v", err)
	}
	return audit.New(hex.EncodeToString(id[:]), s.clock(), p, kind), nil
}

// record commits an event alone.
func (s *Server) record(ctx context.Context, e audit.Event) error {
	return s.db.Update(ctx, func(tx *db.Tx) error { return tx.Append(ctx, e) })
}

// wireTrust makes the services that sign, over keys and logs that are open.
func (s *Server) wireTrust(ctx context.Context) error {
	t, c := s.trust, &s.config.Trust
	certificates, err := s.clientCertificates()
	if err != nil {
		return err
	}
	url := t.instance.URL() + trust.PathOIDC
	t.issuer, err = oidc.New(oidc.Options{
		URL: url, Server: t.instance.Server(), Keys: t.instance, Who: secrets{s.accounts}, Flows: s.db.SignIns(), Certificates: certificates,
		Audit: s.tokenIssued, Clock: s.clock, Log: s.log, Rand: s.rand,
	})
	if err != nil {
		return err
	}
	if err := errors.Join(s.wireLogs(), s.wireWitness()); err != nil {
		return err
	}
	var issuers []ca.Issuer
	for _, i := range c.Issuers {
		issuers = append(issuers, ca.Issuer{
			URL: i.URL, Kind: ca.Kind(i.Kind()), Audience: i.Audience, CAFile: string(i.CAFile), JWKSFile: string(i.JWKSFile),
			Site: i.Site, TrustDomain: i.TrustDomain, EmailVerified: i.EmailVerified,
		})
	}
	t.ca, err = ca.New(ca.Options{
		Keys: t.instance, Tokens: t.instance, CT: t.ct, URL: url, Server: t.instance.Server(), SPIFFE: c.Clients.SPIFFE, Issuers: issuers,
		Audit: s.certificateIssued, Revoked: s.distrusted, Clock: s.clock, Log: s.log,
	})
	if err != nil {
		return err
	}
	t.tsa = tsa.New(tsa.Options{Keys: t.instance, Clock: s.clock})
	t.anchors, t.clients = s.anchors.states, certificates
	t.keeper = newKeeper(s)
	return t.keeper.refresh(ctx)
}

func (s *Server) clientCertificates() (*oidc.Certificates, error) {
	c := s.config.Trust.Clients
	if c.CAFile == "" {
		return nil, nil
	}
	return oidc.NewCertificates(oidc.CertificateOptions{CAFile: string(c.CAFile), CRLFile: string(c.CRLFile), OCSPDir: string(c.OCSPDir), OCSPRequired: c.OCSPRequired, SPIFFE: c.SPIFFE, Emails: c.Emails})
}
