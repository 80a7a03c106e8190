package cli

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bonded-dev/bonded/internal/trust"
)

// identityToken is the answer of bonded trust token.
type identityToken struct {
	Token    string    `json:"token"`
	Identity string    `json:"identity"` // that a certificate will have
	Expires  time.Time `json:"expires"`
}

// tokenRequest says by what a token is got: a TLS client certificate, or the
// login where there is none.
type tokenRequest struct{ cert, key, audience string }

// refusedToken is the answer of an issuer that gives no token.
type refusedToken struct{ code, text string }

func (r *refusedToken) Error() string { return "the issuer gives no token: " + r.text }

func (p *program) trustToken() *cobra.Command {
	var f tokenRequest
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Get an identity token to sign with",
		Long: `Get an identity token of the server's own issuer, by the login or by a TLS
client certificate. It lasts five minutes and is for signing: it opens nothing
else.`,
		Example: `  bonded trust token > token
  bonded trust token --cert build.crt --key build.key -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := p.reach(cmd.Context())
			if err != nil {
				return err
			}
			token, err := t.token(cmd.Context(), f)
			if err != nil {
				return err
			}
			if p.output != outputText {
				return p.encode(token)
			}
			_, err = fmt.Fprintln(p.io.Out, token.Token)
			return written(err)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.cert, "cert", "", "`FILE` with a TLS client certificate, in PEM")
	flags.StringVar(&f.key, "key", "", "`FILE` with its private key, in PEM")
	flags.StringVar(&f.audience, "audience", "", "what the token is for (default: sigstore)")
	cmd.MarkFlagsRequiredTogether("cert", "key")
	return cmd
}

// token gets an identity token.
func (t *trusted) token(ctx context.Context, r tokenRequest) (*identityToken, error) {
	client, form := t.http, formOf("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange",
		"subject_token_type", "urn:ietf:params:oauth:token-type:access_token", "subject_token", t.login.Name+":"+t.login.Secret)
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, usage("--cert and --key name PEM files of one certificate", "reading the client certificate: %v", err)
		}
		with := t.http.Transport.(*http.Transport).Clone()
		with.TLSClientConfig.Certificates = []tls.Certificate{pair}
		client, form = &http.Client{Transport: with, Timeout: t.http.Timeout}, formOf("grant_type", "client_credentials")
	} else if t.login.Name == "" {
		return nil, &failure{code: exitNotPermitted, what: "nobody is logged in at " + t.login.Host, next: "bonded login " + t.login.URL + ", or --cert and --key"}
	}
	if r.audience != "" {
		form.Set("audience", r.audience)
	}
	return t.askToken(ctx, client, form)
}

func (t *trusted) askToken(ctx context.Context, client *http.Client, form url.Values) (*identityToken, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.login.URL+trust.PathOIDC+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s for an identity token: %v", t.login.Host, err), next: "is the server running, and the URL right?", cause: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxDocument))
	var answer struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
		Text  string `json:"error_description"`
	}
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	switch {
	case err != nil:
		return nil, &failure{code: exitUnavailable, what: fmt.Sprintf("asking %s for an identity token: %s, %v", t.login.Host, res.Status, err), next: "bonded health", cause: err}
	case answer.Error != "":
		no := &refusedToken{answer.Error, answer.Text}
		return nil, &failure{code: exitNotPermitted, what: no.Error(), cause: no}
	}
	return readToken(answer.Token)
}

// readToken reads what a token says. It is verified by who takes it.
func readToken(token string) (*identityToken, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || strings.ContainsFunc(token, notOfToken) {
		return nil, errors.New("the server's answer holds no identity token")
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Subject  string `json:"sub"`
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
		Expires  int64  `json:"exp"`
	}
	if err == nil {
		err = json.Unmarshal(b, &claims)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the identity token: %v", err)
	}
	t := &identityToken{Token: token, Identity: claims.Subject, Expires: time.Unix(claims.Expires, 0).UTC()}
	if claims.Email != "" && claims.Verified {
		t.Identity = claims.Email
	}
	return t, nil
}

// notOfToken tells what no JWT in compact form has (RFC 7515, 7.1): it is printed as it is.
func notOfToken(r rune) bool {
	return r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// formOf is the body of a request for a token.
func formOf(pairs ...string) url.Values {
	f := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}
