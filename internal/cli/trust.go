package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/spf13/cobra"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"

	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/trust"
)

func (p *program) trust() *cobra.Command {
	return group("trust", "What clients trust this server by, and sign with",
		"  bonded trust env\n  bonded trust ca > ca.crt",
		p.trustEnv(), p.trustNotation(), p.trustToken(), p.trustApprove(), p.trustRoot(), p.trustLogs(), p.trustSigningConfig(), p.trustStatus(), p.trustCA(), p.trustRefresh(), p.trustRotate(), p.trustRecover())
}

// firstRootName is the file with the TUF root that a server had when this user
// first trusted it: all later ones follow from it.
const firstRootName = "first-root.json"

// maxDocument bounds what is read of a server, in bytes.
const maxDocument = 4 << 20

// trusted is what this user trusts one server by.
type trusted struct {
	dir      string // with the files for other programs
	login    login
	http     *http.Client
	checksum string // of the first root, SHA-256 in hex
	first    bool   // it is trusted from now on, without a checksum that was given
	tuf      *tuf.Client
}

// trustDir is where what one server is trusted by is kept.
func (p *program) trustDir(l login) string {
	return filepath.Join(p.configDir(), "trust", strings.NewReplacer(":", "-", "[", "", "]", "").Replace(l.Host))
}

func mirrorOf(l login) string { return l.URL + trust.PathTUF }

// trustServer takes from the server what it is trusted by. The first time, it
// is the server's certificate that is trusted, or checksum where that is given;
// from then on it is the first root.
func (p *program) trustServer(ctx context.Context, checksum string) (*trusted, error) {
	t, err := p.reach(ctx)
	if err != nil {
		return nil, err
	}
	l := t.login
	first, err := os.ReadFile(filepath.Join(t.dir, firstRootName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading what %s is trusted by: %w", l.Host, err)
	}
	known := first != nil && (checksum == "" || checksum == sumOf(first))
	if known {
		if err = t.follow(first); err == nil || !fleeting(l) {
			return t, t.estranged(err)
		}
		// A development server is another one each time.
	}
	if first, err = t.get(ctx, mirrorOf(l)+"/1.root.json"); err != nil {
		return nil, err
	}
	if checksum != "" && sumOf(first) != checksum {
		return nil, &failure{code: exitNotPermitted, what: fmt.Sprintf("the first root of %s has the checksum %s, and not the one that was given", l.Host, sumOf(first)),
			next: "compare with what bonded trust status says on the server"}
	}
	if err := t.begin(first); err != nil {
		return nil, err
	}
	t.first = checksum == ""
	return t, t.follow(first)
}

// reach returns the server that is meant, before anything of it is trusted.
func (p *program) reach(ctx context.Context) (*trusted, error) {
	_, l, err := p.connect(ctx) // which refuses to send a secret in clear text
	if err != nil {
		return nil, err
	}
	t := &trusted{dir: p.trustDir(l), login: l}
	t.http, err = httpClient(l)
	return t, err
}

// fleeting reports whether a server may be gone and another there tomorrow: one
// that tries things, on this machine and without TLS.
func fleeting(l login) bool {
	return strings.HasPrefix(l.URL, "http://") && config.LoopbackAddress(l.Host)
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// httpClient asks the server of a login, as its CA says it is.
func httpClient(l login) (*http.Client, error) {
	o := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.CA != "" {
		o.RootCAs = x509.NewCertPool()
		if !o.RootCAs.AppendCertsFromPEM([]byte(l.CA)) {
			return nil, usage("bonded login "+l.URL+" --ca FILE", "the CA that is kept for %s holds no PEM certificate", l.Host)
		}
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: o}
	return &http.Client{Transport: t, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// get fetches a small document.
func (t *trusted) get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := t.http.Do(req)
	if err != nil {
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s: %v", t.login.Host, err), next: "is the server running, and the URL right?", cause: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, res.Status)
	}
	if err != nil {
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s: %v", t.login.Host, err), next: "is it a server of this version? bonded health", cause: err}
	}
	return b, nil
}

// begin forgets what was trusted before, and keeps the first root.
func (t *trusted) begin(first []byte) error {
	if err := os.RemoveAll(t.tufDir()); err != nil {
		return fmt.Errorf("forgetting what %s was trusted by: %w", t.login.Host, err)
	}
	remote, err := json.Marshal(map[string]string{"mirror": mirrorOf(t.login)})
	if err == nil {
		err = writePrivate(filepath.Join(t.tufDir(), "remote.json"), remote) // where cosign looks for it
	}
	if err == nil {
		err = writePrivate(filepath.Join(t.dir, firstRootName), first)
	}
	if err != nil {
		return fmt.Errorf("keeping what %s is trusted by: %w", t.login.Host, err)
	}
	return nil
}

// tufDir is laid out as cosign initialize does: it is TUF_ROOT.
func (t *trusted) tufDir() string { return filepath.Join(t.dir, "tuf") }

// follow brings the keys up to date, from the first root on.
func (t *trusted) follow(first []byte) (err error) {
	f := fetcher.NewDefaultFetcher()
	f.SetHTTPClient(t.http)
	t.checksum = sumOf(first)
	t.tuf, err = tuf.New(&tuf.Options{Root: first, CachePath: t.tufDir(), RepositoryBaseURL: mirrorOf(t.login), Fetcher: f})
	if err != nil {
		return &failure{code: exitUnavailable, what: fmt.Sprintf("bringing what %s is trusted by up to date: %v", t.login.Host, err), next: "bonded health", cause: err}
	}
	return nil
}

// estranged explains that a server that was trusted is not any more.
func (t *trusted) estranged(err error) error {
	var away *url.Error
	if err == nil || errors.As(err, &away) || strings.Contains(err.Error(), "failed to download") {
		return err
	}
	return &failure{code: exitNotPermitted, what: err.Error(), cause: err,
		next: "where the server was made anew, trust that one: --root-checksum SHA256, which bonded trust status says on the server"}
}

// document returns one of the documents that the server publishes.
func (t *trusted) document(name string) ([]byte, error) {
	b, err := t.tuf.GetTarget(name)
	if err != nil {
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("fetching %s of %s: %v", name, t.login.Host, err), next: "bonded health", cause: err}
	}
	return b, nil
}

const checksumHelp = "SHA-256 of the server's first TUF root in `HEX`, where it is not to be believed because of its certificate"

func (p *program) trustRoot() *cobra.Command {
	return p.trustDocument(trust.TrustedRootName, &cobra.Command{
		Use:   "root",
		Short: "Print what signatures are verified by (trusted_root.json)",
		Long: `Print the trusted root of the server: all that signatures made with it are
verified by. It comes from the server's TUF repository, verified. On a machine
without a network:

  cosign verify --trusted-root trusted_root.json --certificate-identity … IMAGE`,
		Example: "  bonded trust root > trusted_root.json",
	})
}

func (p *program) trustLogs() *cobra.Command {
	return p.trustDocument(trust.LogsName, &cobra.Command{
		Use:   "logs",
		Short: "Print what the logs are verified by (logs.json)",
		Long: `Print the keys that sign the transparency log and the audit log, now and before,
and the witnesses that cosign them. It comes from the server's TUF repository,
verified. It is for whoever has no network, or runs a witness:

  bonded audit prove --check FILE --key KEY
  bonded witness serve --log KEY`,
		Example: "  bonded trust logs > logs.json",
	})
}

func (p *program) trustSigningConfig() *cobra.Command {
	return p.trustDocument(trust.SigningConfigName, &cobra.Command{
		Use:   "signing-config",
		Short: "Print where clients sign (signing_config.json)",
		Long: `Print the signing configuration of the server: where cosign and others find the
certificate authority, the log and the timestamp authority.

  cosign sign --signing-config signing_config.json \
    --trusted-root trusted_root.json IMAGE@DIGEST`,
		Example: "  bonded trust signing-config > signing_config.json",
	})
}

func (p *program) trustDocument(name string, cmd *cobra.Command) *cobra.Command {
	var checksum string
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := p.trustServer(cmd.Context(), checksum)
		if err != nil {
			return err
		}
		b, err := t.document(name)
		if err != nil {
			return err
		}
		if p.output == outputYAML {
			return p.encode(json.RawMessage(b))
		}
		_, err = p.io.Out.Write(b)
		return written(err)
	}
	cmd.Flags().StringVar(&checksum, "root-checksum", "", checksumHelp)
	return cmd
}
