package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/internal/policy"
	"github.com/bonded-dev/bonded/internal/trust"
)

// trustEnvironment is the answer of bonded trust env.
type trustEnvironment struct {
	Env      map[string]string `json:"env"`
	Issuer   string            `json:"issuer"`
	Identity string            `json:"identity,omitempty"` // that certificates will have
	Expires  time.Time         `json:"expires,omitzero"`   // of the token
	Checksum string            `json:"root_checksum"`      // of the first TUF root
	Cosign   string            `json:"cosign_initialize"`  // the same for a machine without bonded
	Problem  string            `json:"problem,omitempty"`  // why there is no token
}

// envFlags are the flags of bonded trust env.
type envFlags struct {
	checksum, cert, key string
	noToken             bool
}

func (p *program) trustEnv() *cobra.Command {
	var f envFlags
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print the variables by which cosign signs with this server",
		Long: `Print the environment by which cosign (3.1 or newer) signs, attests and
verifies with this server alone, and with every check that it has:

  TUF_ROOT           the server's keys, verified, and kept fresh by cosign
  SSL_CERT_FILE      the system's authorities and the server's own, where it
                     has one
  DOCKER_CONFIG      the logins that docker has, and this one; left out where
                     docker is logged in already
  SIGSTORE_ID_TOKEN  who you are, for five minutes: run this again before you
                     sign again; unset where the server gives none

Put to use:

  eval "$(bonded trust env)"
  cosign sign registry.example/dev/app@sha256:…
  cosign attest --type spdxjson --predicate sbom.json registry.example/dev/app@…
  cosign verify --certificate-identity ann@example.com \
    --certificate-oidc-issuer https://registry.example/oidc IMAGE

The first time, the server is believed because of its certificate;
--root-checksum believes a checksum instead. From then on the keys must follow
from those. A build that has a client certificate and no login gives --cert and
--key, with BONDED_URL set.`,
		Example: `  bonded trust env
  bonded trust env --no-token
  bonded trust env --cert build.crt --key build.key -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			e, err := p.environment(cmd.Context(), f)
			if err != nil {
				return err
			}
			return p.showEnvironment(e)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.checksum, "root-checksum", "", checksumHelp)
	flags.StringVar(&f.cert, "cert", "", "`FILE` with a TLS client certificate, in PEM, to get the token by")
	flags.StringVar(&f.key, "key", "", "`FILE` with its private key, in PEM")
	flags.BoolVar(&f.noToken, "no-token", false, "print no token: to verify only, or to sign with keys")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	cmd.MarkFlagsMutuallyExclusive("cert", "no-token")
	return cmd
}

func (p *program) environment(ctx context.Context, f envFlags) (*trustEnvironment, error) {
	t, err := p.trustServer(ctx, f.checksum)
	if err != nil {
		return nil, err
	}
	mirror := mirrorOf(t.login)
	e := &trustEnvironment{
		Env: map[string]string{"TUF_ROOT": t.tufDir()}, Checksum: t.checksum,
		Cosign: "cosign initialize --mirror " + mirror + " --root " + mirror + "/1.root.json --root-checksum " + t.checksum,
	}
	// cosign asks for both, and needs them where the server cannot be reached.
	for _, name := range []string{trust.TrustedRootName, trust.SigningConfigName} {
		if _, err := t.document(name); err != nil {
			return nil, err
		}
	}
	if e.Issuer, err = t.issuer(); err != nil {
		return nil, err
	}
	if e.Env["SSL_CERT_FILE"], err = p.bundle(t); err != nil {
		return nil, err
	}
	if e.Env["DOCKER_CONFIG"], err = p.dockerFor(t); err != nil {
		return nil, err
	}
	if !f.noToken && (t.login.Name != "" || f.cert != "") {
		if err := p.signIn(ctx, t, f, e); err != nil {
			return nil, err
		}
	}
	for name, value := range e.Env {
		if value == "" {
			delete(e.Env, name)
		}
	}
	return e, nil
}

// issuer is where the server's own identity tokens come from.
func (t *trusted) issuer() (string, error) {
	b, err := t.document(trust.SigningConfigName)
	if err != nil {
		return "", err
	}
	var c struct {
		OIDC []struct {
			URL string `json:"url"`
		} `json:"oidcUrls"`
	}
	if err := json.Unmarshal(b, &c); err != nil || len(c.OIDC) == 0 {
		return "", &failure{code: exitInternal, what: fmt.Sprintf("the signing configuration of %s names no issuer (%v)", t.login.Host, err)}
	}
	return c.OIDC[0].URL, nil
}

// forgetToken ends the token of an earlier run in the shell that evaluates this,
// which would go on signing by it, as whoever that was. Alone it is all there is of
// a failure: eval does not see the exit code.
const forgetToken = "unset SIGSTORE_ID_TOKEN\n"

// signIn adds the token. An account that none is made for can verify all the
// same.
func (p *program) signIn(ctx context.Context, t *trusted, f envFlags, e *trustEnvironment) error {
	token, err := t.token(ctx, tokenRequest{cert: f.cert, key: f.key})
	var no *refusedToken
	if errors.As(err, &no) && f.cert == "" {
		e.Problem = no.text
		p.note("no identity token: %s", no.text)
		return nil
	}
	if err != nil && p.output == outputText {
		_, lost := p.io.Out.Write([]byte(forgetToken))
		return errors.Join(err, lost)
	}
	if err != nil {
		return err
	}
	e.Env["SIGSTORE_ID_TOKEN"], e.Identity, e.Expires = token.Token, token.Identity, token.Expires
	return nil
}

func (p *program) showEnvironment(e *trustEnvironment) error {
	if p.output != outputText {
		return p.encode(e)
	}
	var b strings.Builder
	for _, name := range sorted(e.Env) {
		fmt.Fprintf(&b, "export %s=%s\n", name, quoted(e.Env[name]))
	}
	if e.Problem != "" {
		b.WriteString(forgetToken)
	}
	// Behind all else: who evaluates this without quotes has it in one line. What
	// the server says stays in it.
	if e.Identity != "" {
		who, issuer := policy.Printable(e.Identity), policy.Printable(e.Issuer)
		fmt.Fprintf(&b, "# signs as %s, until %s; to verify:\n", who, e.Expires.Local().Format(time.TimeOnly))
		fmt.Fprintf(&b, "#   cosign verify --certificate-identity %s --certificate-oidc-issuer %s IMAGE\n", word(who), word(issuer))
	}
	fmt.Fprintf(&b, "# the same keys on a machine without bonded:\n#   %s\n", policy.Printable(e.Cosign))
	_, err := p.io.Out.Write([]byte(b.String()))
	return written(err)
}

// quoted is a word of the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// systemBundles are where systems keep their authorities in one file.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// bundle writes a file with all authorities that are trusted and the server's
// own, "" where it has none: then the system's are enough.
func (p *program) bundle(t *trusted) (string, error) {
	if t.login.CA == "" {
		return "", nil
	}
	name := filepath.Join(t.dir, "ca-bundle.pem")
	var out bytes.Buffer
	fmt.Fprintln(&out, strings.TrimSpace(t.login.CA))
	from := systemBundles
	if set := p.vars["SSL_CERT_FILE"]; set != "" && !strings.HasPrefix(set, filepath.Join(p.configDir(), "trust")) {
		from = []string{set}
	}
	for _, file := range from {
		b, err := os.ReadFile(file)
		if err == nil {
			out.Write(b)
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("reading the authorities of this machine: %w", err)
		}
	}
	if err := writePrivate(name, out.Bytes()); err != nil {
		return "", fmt.Errorf("writing the authorities to trust: %w", err)
	}
	return name, nil
}

// dockerFor writes a folder with docker's logins and this one, "" where there
// is nothing to add.
func (p *program) dockerFor(t *trusted) (string, error) {
	if t.login.Name == "" {
		return "", nil
	}
	all, err := readDocker(p.dockerFile())
	if err != nil {
		return "", err
	}
	dir := filepath.Join(t.dir, "docker")
	var auths map[string]json.RawMessage
	if err := json.Unmarshal(all["auths"], &auths); err == nil && auths[t.login.Host] != nil && filepath.Dir(p.dockerFile()) != dir {
		return "", nil
	}
	if err := ownStore(all, t.login.Host); err != nil {
		return "", err
	}
	return dir, writeDockerFile(filepath.Join(dir, "config.json"), all, t.login)
}

// ownStore has the secret of a host read from the file, and not from where
// docker keeps those of all others.
func ownStore(all map[string]json.RawMessage, host string) (err error) {
	helpers := map[string]string{}
	if raw, ok := all["credHelpers"]; ok {
		if err := json.Unmarshal(raw, &helpers); err != nil {
			return usage("repair docker's config.json", "reading credHelpers of docker's logins: %v", err)
		}
	}
	helpers[host] = ""
	all["credHelpers"], err = json.Marshal(helpers)
	return err
}
