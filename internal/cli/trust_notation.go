package cli

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/verify"
)

// notationSetup is the answer of bonded trust notation.
type notationSetup struct {
	Env      map[string]string `json:"env"`
	Dir      string            `json:"dir"` // NOTATION_CONFIG
	Issuer   string            `json:"issuer"`
	Identity string            `json:"identity,omitempty"` // that signs
	Expires  time.Time         `json:"expires,omitzero"`   // of its key and certificate
	// Trusted are the X.509 names, as the trust policy has them, whose signatures
	// notation verify takes.
	Trusted []string `json:"trusted"`
}

// notationFlags are the flags of bonded trust notation.
type notationFlags struct {
	envFlags
	dir, token, issuer string
	identities         []string
}

func (p *program) trustNotation() *cobra.Command {
	var f notationFlags
	cmd := &cobra.Command{
		Use:   "notation",
		Short: "Set up Notation to sign and verify with this server",
		Long: `Write what Notation (Notary Project) signs and verifies with this server alone,
at its level strict, and print the environment by which it finds that:

  NOTATION_CONFIG      the folder: a key of one's own and its certificate, the
                       server's authorities, and a trust policy
  SSL_CERT_FILE        the system's authorities and the server's own, where it
                       has one
  DOCKER_CONFIG        the logins that docker has, and this one
  TIMESTAMP_URL        where notation sign gets its timestamps
  TIMESTAMP_ROOT_CERT  what those are verified by

Put to use:

  eval "$(bonded trust notation)"
  notation sign --timestamp-url "$TIMESTAMP_URL" \
    --timestamp-root-cert "$TIMESTAMP_ROOT_CERT" IMAGE@DIGEST
  notation verify IMAGE@DIGEST

Key and certificate are good for ten minutes: run this again before you sign
again. What was signed stays good, by its timestamp. The key lies in the folder,
readable by nobody else, until the next run.

The trust policy takes signatures by who signs here, or by each --identity: an
identity as cosign has it, exactly. Bonded's own gates need nothing of this.`,
		Example: `  bonded trust notation
  bonded trust notation --no-key --identity ann@example.com
  bonded trust notation --identity-token ci.jwt --dir ./notation -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.setUpNotation(cmd.Context(), f)
			if err != nil {
				return err
			}
			return p.showNotation(s)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.checksum, "root-checksum", "", checksumHelp)
	flags.StringVar(&f.dir, "dir", "", "`FOLDER` to write, new or of an earlier run (default: among what bonded keeps of the server)")
	flags.StringVar(&f.token, "identity-token", "", "`FILE` with a token of an issuer that the server takes, instead of the login")
	flags.StringVar(&f.cert, "cert", "", "`FILE` with a TLS client certificate, in PEM, to get the token by")
	flags.StringVar(&f.key, "key", "", "`FILE` with its private key, in PEM")
	flags.BoolVar(&f.noToken, "no-key", false, "write no key: to verify only")
	flags.StringArrayVar(&f.identities, "identity", nil, "`IDENTITY` whose signatures are to verify; repeat it for more (default: who signs)")
	flags.StringVar(&f.issuer, "issuer", "", "`URL` of who vouches for those (default: the server's own issuer)")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	cmd.MarkFlagsMutuallyExclusive("cert", "identity-token", "no-key")
	return cmd
}

// notationMark is in folders that bonded trust notation wrote, and may write again.
const notationMark = ".bonded"

// notationName is what key and trust stores are called in the folder.
const notationName = "bonded"

func (p *program) setUpNotation(ctx context.Context, f notationFlags) (*notationSetup, error) {
	if f.noToken && len(f.identities) == 0 {
		return nil, usage("--no-key --identity IDENTITY", "whose signatures are to verify is not said")
	}
	t, err := p.trustServer(ctx, f.checksum)
	if err != nil {
		return nil, err
	}
	s := &notationSetup{Dir: f.dir}
	if s.Dir == "" {
		s.Dir = filepath.Join(t.dir, "notation")
	}
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return nil, err
	}
	if err := mayWrite(s.Dir); err != nil {
		return nil, err
	}
	if s.Issuer, err = t.issuer(); err != nil {
		return nil, err
	}
	doc, err := t.document(trust.TrustedRootName)
	if err != nil {
		return nil, err
	}
	root, err := verify.ReadNotationRoot(doc)
	if err != nil {
		return nil, fmt.Errorf("reading what %s is trusted by: %w", t.login.Host, err)
	}
	files := notationFiles{}
	var who []evidence.Identity
	if !f.noToken {
		signer, err := p.notationKey(ctx, t, root, f, files)
		if err != nil {
			return nil, err
		}
		who = append(who, signer.Identity)
		s.Identity, s.Expires = signer.Subject, signer.expires
	}
	if len(f.identities) > 0 {
		if who = nil; f.issuer == "" {
			f.issuer = s.Issuer
		}
		for _, subject := range f.identities {
			who = append(who, evidence.Identity{Issuer: f.issuer, Subject: subject})
		}
	}
	if s.Trusted, err = files.trust(root, who); err != nil {
		return nil, err
	}
	if err := files.write(s.Dir); err != nil {
		return nil, fmt.Errorf("writing %s: %w", s.Dir, err)
	}
	return s, p.notationEnvironment(t, s)
}

// mayWrite refuses a folder with what somebody else put there, which may be the
// user's own configuration of Notation, and one in which others could put
// another key or policy.
func mayWrite(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(dir)
	}
	if err != nil {
		return fmt.Errorf("looking into %s: %w", dir, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return usage("chmod go-w "+word(dir), "others may write in %s, and so give Notation another key or policy", dir)
	}
	if len(entries) == 0 {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(dir, notationMark)); err != nil {
		return usage("--dir FOLDER, a new one", "%s is not empty and was not written by bonded trust notation; nothing in it is replaced", dir)
	}
	return nil
}

// notationSigner is who signs, and until when.
type notationSigner struct {
	evidence.Identity
	expires time.Time
}

// notationKey makes a key and gets a certificate for it. What the server answers
// is verified: it could be of somebody else, or for another key.
func (p *program) notationKey(ctx context.Context, t *trusted, root *verify.NotationRoot, f notationFlags, files notationFiles) (*notationSigner, error) {
	token, err := t.notationToken(ctx, f)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	text, err := t.notationCertificate(ctx, token, key)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("asking %s for a certificate: the answer is no PEM", t.login.Host)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err == nil && !key.PublicKey.Equal(leaf.PublicKey) {
		err = errors.New("it is over another key")
	}
	who := &notationSigner{}
	if err == nil {
		who.Identity, err = root.Identity(leaf, p.env.Clock())
	}
	if err != nil {
		return nil, fmt.Errorf("checking the certificate that %s gave: %w", t.login.Host, err)
	}
	who.expires = leaf.NotAfter.UTC()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	files["localkeys/"+notationName+".key"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	files["localkeys/"+notationName+".crt"] = text
	return who, nil
}

func (t *trusted) notationToken(ctx context.Context, f notationFlags) (string, error) {
	if f.token != "" {
		b, err := readBounded(f.token, maxDocument)
		return strings.TrimSpace(string(b)), err
	}
	token, err := t.token(ctx, tokenRequest{cert: f.cert, key: f.key})
	if err != nil {
		return "", err
	}
	return token.Token, nil
}

// notationCertificate asks for a certificate over key, and returns its chain in
// PEM.
func (t *trusted) notationCertificate(ctx context.Context, token string, key crypto.Signer) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	body := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.login.URL+trust.PathNotation+"/v1/certificate", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/pkcs10")
	res, err := t.http.Do(req)
	if err != nil {
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s for a certificate: %v", t.login.Host, err), next: "is the server running, and the URL right?", cause: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	if err == nil && res.StatusCode == http.StatusOK {
		return b, nil
	}
	var no struct {
		Message string `json:"message"`
	}
	switch {
	case err != nil:
	case json.Unmarshal(b, &no) == nil && no.Message != "" && res.StatusCode < http.StatusInternalServerError:
		return nil, &failure{code: exitNotPermitted, what: fmt.Sprintf("%s gives no certificate: %s", t.login.Host, no.Message)}
	default:
		err = errors.New(res.Status)
	}
	return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s for a certificate: %v", t.login.Host, err), next: "is it a server of this version? bonded health", cause: err}
}

// notationFiles are the files of the folder, by their names in it.
type notationFiles map[string][]byte

// timestampRoot is the file for notation sign.
const timestampRoot = "timestamp-root.crt"

// trust adds the trust stores and the policy, and returns who it trusts.
func (f notationFiles) trust(root *verify.NotationRoot, who []evidence.Identity) ([]string, error) {
	stores := map[string][]*x509.Certificate{"ca": root.Authorities(), "tsa": root.Timestampers()}
	for kind, certs := range stores {
		for _, c := range certs {
			name := hex.EncodeToString(c.SubjectKeyId)[:min(16, 2*len(c.SubjectKeyId))]
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
			f["truststore/x509/"+kind+"/"+notationName+"/"+name+"-"+c.SerialNumber.Text(16)+".crt"] = text
			if kind == "tsa" {
				f[timestampRoot] = text // the last is the newest
			}
		}
	}
	var names, trusted []string
	for _, one := range who {
		name := one.NotationName().String()
		names, trusted = append(names, name), append(trusted, "x509.subject: "+name)
	}
	policy := map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{
		"name": notationName, "registryScopes": []string{"*"},
		"signatureVerification": map[string]string{"level": "strict"},
		"trustStores":           []string{"ca:" + notationName, "tsa:" + notationName},
		"trustedIdentities":     trusted,
	}}}
	var err error
	if f["trustpolicy.json"], err = json.MarshalIndent(policy, "", "  "); err != nil {
		return nil, fmt.Errorf("encoding the trust policy: %w", err)
	}
	f[notationMark] = []byte("written by bonded trust notation, which replaces all of it\n")
	return names, nil
}

// write puts the files in place of all that an earlier run left.
func (f notationFiles) write(dir string) error {
	for _, old := range []string{"localkeys", "truststore", "signingkeys.json"} {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			return err
		}
	}
	if key := "localkeys/" + notationName; f[key+".key"] != nil {
		keys, err := json.MarshalIndent(map[string]any{"default": notationName, "keys": []any{map[string]string{
			"name": notationName, "keyPath": filepath.Join(dir, key+".key"), "certPath": filepath.Join(dir, key+".crt"),
		}}}, "", "  ")
		if err != nil {
			return err
		}
		f["signingkeys.json"] = keys
	}
	for _, name := range sorted(f) {
		if err := writePrivate(filepath.Join(dir, filepath.FromSlash(name)), f[name]); err != nil {
			return err
		}
	}
	return nil
}

// notationEnvironment adds the variables.
func (p *program) notationEnvironment(t *trusted, s *notationSetup) (err error) {
	s.Env = map[string]string{"NOTATION_CONFIG": s.Dir, "TIMESTAMP_ROOT_CERT": filepath.Join(s.Dir, timestampRoot), "TIMESTAMP_URL": t.login.URL + trust.PathTimestamp}
	if s.Env["SSL_CERT_FILE"], err = p.bundle(t); err != nil {
		return err
	}
	if s.Env["DOCKER_CONFIG"], err = p.dockerFor(t); err != nil {
		return err
	}
	for name, value := range s.Env {
		if value == "" {
			delete(s.Env, name)
		}
	}
	return nil
}

func (p *program) showNotation(s *notationSetup) error {
	if p.output != outputText {
		return p.encode(s)
	}
	var b strings.Builder
	for _, name := range sorted(s.Env) {
		fmt.Fprintf(&b, "export %s=%s\n", name, quoted(s.Env[name]))
	}
	// Behind all else: who evaluates this without quotes has it in one line.
	if s.Identity != "" {
		fmt.Fprintf(&b, "# signs as %s, until %s:\n", s.Identity, s.Expires.Local().Format(time.TimeOnly))
		fmt.Fprintf(&b, "#   notation sign --timestamp-url \"$TIMESTAMP_URL\" --timestamp-root-cert \"$TIMESTAMP_ROOT_CERT\" IMAGE@DIGEST\n")
	}
	fmt.Fprintf(&b, "# verifies signatures by:\n")
	for _, name := range s.Trusted {
		fmt.Fprintf(&b, "#   %s\n", name)
	}
	_, err := p.io.Out.Write([]byte(b.String()))
	return written(err)
}
