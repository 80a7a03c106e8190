package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/config"
)

// loginFlags are the flags of bonded login.
type loginFlags struct {
	code, ca, fingerprint, name, label, ttl string
	secretStdin, docker                     bool
}

// loggedIn is the answer of login and whoami.
type loggedIn struct {
	URL     string       `json:"url"`
	Account *api.Account `json:"account,omitempty"`
	Name    string       `json:"name"`
	Expires time.Time    `json:"expires,omitzero"` // of the token in use
}

func (p *program) loginCommand() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use:   "login URL",
		Short: "Enrol at a server with a one-time code",
		Long: `Enrol at a server with the one-time code that an administrator gave, and keep
the name and secret that come of it for this user. Any registry client can log
in with them too; --docker tells docker, podman, crane and others at once.

A server that has its certificate from its own authority is trusted by --ca
FILE (what bonded trust ca prints there), or by --fingerprint, which the
server prints when it starts. On the machine of the server neither is needed.`,
		Example: `  bonded login https://bonded.acme.internal:8443 --code KX4P-9QTM --ca ca.crt
  bonded login https://bonded.acme.internal:8443 --code KX4P-9QTM --docker
  bonded login https://127.0.0.1:8443 --name ci --secret-stdin < secret`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: none,
		RunE:              func(cmd *cobra.Command, args []string) error { return p.runLogin(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.code, "code", "", "one-time `CODE` to enrol with")
	flags.StringVar(&f.ca, "ca", "", "`FILE` with the CA of the server's certificate, in PEM")
	flags.StringVar(&f.fingerprint, "fingerprint", "", "SHA-256 of the CA in `HEX`, to take the CA from the server itself")
	flags.StringVar(&f.name, "name", "", "`NAME` to log in as, with --secret-stdin")
	flags.BoolVar(&f.secretStdin, "secret-stdin", false, "read the secret for --name from standard input")
	flags.StringVar(&f.label, "label", "", "what the token is for, as lists show it: a `TEXT` (default: user@machine)")
	flags.StringVar(&f.ttl, "ttl", "", "how long the token is to be good, a `TIME` such as 24h (default: 90 days for people)")
	flags.BoolVar(&f.docker, "docker", false, "also write the login into docker's config.json, which other clients read")
	p.must(cmd.MarkFlagFilename("ca", "crt", "pem"))
	cmd.MarkFlagsMutuallyExclusive("code", "name")
	cmd.MarkFlagsMutuallyExclusive("ca", "fingerprint")
	cmd.MarkFlagsRequiredTogether("name", "secret-stdin")
	return cmd
}

func (p *program) runLogin(ctx context.Context, target string, f loginFlags) error {
	if !strings.Contains(target, "://") {
		target = "https://" + target
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		return usage("bonded login https://host[:port] --code CODE", "%q is no URL", target)
	}
	l := login{URL: strings.TrimSuffix(u.String(), "/"), Host: u.Host}
	if l.CA, err = p.chooseCA(ctx, u, f); err != nil {
		return err
	}
	if f.name != "" {
		if l, err = p.loginByName(ctx, l, f.name); err != nil {
			return err
		}
	} else if l, err = p.loginByCode(ctx, l, f); err != nil {
		return err
	}
	if f.docker {
		if err := p.writeDocker(l); err != nil {
			return err
		}
	}
	return show(p, loggedIn{URL: l.URL, Name: l.Name, Expires: l.Expires}, func(pg *page, a loggedIn) {
		pg.line(pg.good.Render("Logged in"), " as ", pg.bold.Render(a.Name), " at ", a.URL)
		if !a.Expires.IsZero() {
			pg.line("the token ends ", pg.ago(a.Expires), ", on ", a.Expires.Format(time.DateOnly))
		}
		pg.line()
		switch {
		case f.docker:
			pg.line("docker, podman and crane can use it too, by ", p.dockerFile())
		default:
			pg.line("for docker: docker login ", u.Host, " -u ", a.Name, "   (the secret: bonded token create, or bonded login --docker)")
		}
		if l.CA != "" {
			pg.line("docker trusts it by /etc/docker/certs.d/", u.Host, "/ca.crt: bonded trust ca > ca.crt")
		}
		pg.line("next: bonded zone list")
	})
}

func (p *program) loginByName(ctx context.Context, l login, name string) (login, error) {
	b, err := io.ReadAll(io.LimitReader(p.io.In, 64<<10))
	if err != nil {
		return l, fmt.Errorf("reading the secret: %v", err)
	}
	l.Name, l.Secret = name, strings.TrimRight(string(b), "\r\n")
	if l.Secret == "" {
		return l, usage("bonded login URL --name NAME --secret-stdin < FILE", "standard input holds no secret")
	}
	c, err := p.client(l)
	if err != nil {
		return l, err
	}
	a, err := c.Self(ctx)
	if err != nil {
		return l, err
	}
	for _, t := range a.Tokens {
		if strings.HasPrefix(l.Secret, t.ID) {
			l.Expires = t.Expires
		}
	}
	return l, p.keep(l)
}

func (p *program) loginByCode(ctx context.Context, l login, f loginFlags) (login, error) {
	if f.code == "" {
		if !p.io.InTerminal {
			return l, usage("bonded login "+l.URL+" --code CODE, with a code of: bonded principal invite NAME", "neither --code nor --name says who is logging in")
		}
		fmt.Fprintf(p.io.Err, "one-time code for %s: ", l.Host)
		line, err := bufio.NewReader(p.io.In).ReadString('\n')
		if f.code = strings.TrimSpace(line); f.code == "" {
			return l, usage("bonded login "+l.URL+" --code CODE", "no code was given (%v)", err)
		}
	}
	if f.label == "" {
		f.label = p.label()
	}
	return p.enrol(ctx, l, api.EnrolRequest{Code: f.code, Label: f.label, TTL: f.ttl})
}

// chooseCA returns the CA to trust for u, "" for the roots of the system.
func (p *program) chooseCA(ctx context.Context, u *url.URL, f loginFlags) (string, error) {
	switch {
	case u.Scheme != "https":
		return "", nil
	case f.ca != "":
		b, err := os.ReadFile(f.ca)
		if err != nil {
			return "", fmt.Errorf("reading the CA: %w", err)
		}
		return string(b), checkCA(f.ca, b)
	case f.fingerprint != "":
		return fetchCA(ctx, u, f.fingerprint)
	case config.LoopbackAddress(net.JoinHostPort(u.Hostname(), "0")) || u.Hostname() == p.env.Hostname:
		return p.localCA(), nil
	}
	return "", nil
}

// checkCA wants the file to hold a certificate.
func checkCA(name string, text []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return usage("on the server: bonded trust ca > ca.crt", "%s holds no certificate in PEM", name)
	}
	return nil
}

// fetchCA takes the CA that the server sends with its certificate, where it has
// the fingerprint. Nothing is asked or told before that.
func fetchCA(ctx context.Context, u *url.URL, fingerprint string) (string, error) {
	want := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimPrefix(fingerprint, "sha256:")))
	var found *x509.Certificate
	d := tls.Dialer{Config: &tls.Config{
		ServerName:         u.Hostname(),
		InsecureSkipVerify: true, //nolint:gosec // the fingerprint is what is verified, here below
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates {
				if sum := sha256.Sum256(c.Raw); c.IsCA && hex.EncodeToString(sum[:]) == want {
					found = c
				}
			}
			if found == nil {
				return usage("compare with what bonded trust ca --fingerprint prints on the server", "no CA with the fingerprint %s comes from %s", want, u.Host)
			}
			return nil
		},
	}}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		var f *failure
		if errors.As(err, &f) {
			return "", f
		}
		return "", &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s for its CA: %v", u.Host, err), next: "is the server running, and the URL right?", cause: err}
	}
	_ = conn.Close() // nothing was sent
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: found.Raw})), nil
}

func (p *program) logout() *cobra.Command {
	return &cobra.Command{
		Use:   "logout [HOST]",
		Short: "Forget a login (bonded token revoke ends its token)",
		Example: `  bonded logout
  bonded logout bonded.acme.internal:8443`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeServers,
		RunE: func(_ *cobra.Command, args []string) error {
			ls, err := p.readLogins()
			if err != nil {
				return err
			}
			host := p.server
			if len(args) > 0 {
				host = args[0]
			}
			l, ok := ls.find(host)
			if !ok {
				return usage("bonded whoami", "there is no login to forget at %q, only at: %s", host, list(ls.hosts()))
			}
			if err := p.writeLogins(ls.drop(l.Host)); err != nil {
				return err
			}
			return show(p, loggedIn{URL: l.URL, Name: l.Name}, func(pg *page, a loggedIn) {
				pg.line("Forgot the login of ", a.Name, " at ", a.URL)
			})
		},
	}
}

func (p *program) whoami() *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Who this command is at its server, and what it may do there",
		Example: `  bonded whoami
  bonded whoami --server bonded.acme.internal:8443 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, l, err := p.connect(cmd.Context())
			if err != nil {
				return err
			}
			a, err := c.Self(cmd.Context())
			if err != nil {
				return err
			}
			return show(p, loggedIn{URL: l.URL, Name: a.Name, Account: a, Expires: l.Expires}, func(pg *page, a loggedIn) {
				pg.line(pg.bold.Render(a.Name), " at ", a.URL)
				pg.account(a.Account)
				if !a.Expires.IsZero() {
					pg.line("  token    ends ", pg.ago(a.Expires), ", on ", a.Expires.Format(time.DateOnly))
				}
				if ls, err := p.readLogins(); err == nil && len(ls.Logins) > 1 {
					pg.line()
					pg.line("other logins: ", list(ls.drop(l.Host).hosts()), "   (--server HOST)")
				}
			})
		},
	}
}

// account writes what an account is.
func (pg *page) account(a *api.Account) {
	kind := "machine"
	if a.Human {
		kind = "person"
	}
	pg.line("  kind     ", kind, ", since ", a.Created.Format(time.DateOnly))
	pg.line("  grants   ", list(a.Grants))
	if !a.Disabled.IsZero() {
		pg.line("  ", pg.bad.Render("DISABLED"), " ", pg.ago(a.Disabled))
	}
}
