package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
)

// exchanged asks the built-in issuer for an identity token.
func (w *world) exchanged(secret string) (token, refusal string) {
	w.Helper()
	f := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token": {secret},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
	}
	_, body := w.request(api.Enrolled{}, http.MethodPost, "/oidc/token", []byte(f.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	var out struct {
		Token   string `json:"id_token"`
		Refusal string `json:"error_description"`
	}
	if err := json.Unmarshal(body, &out); err != nil {
		w.Fatal(err)
	}
	return out.Token, out.Refusal
}

// TestTokensAreNotEachOther: a token is good for what it was made for, and for
// nothing else here.
func TestTokensAreNotEachOther(t *testing.T) {
	w := newWorld(t)
	ann := w.enrol("ann@example.com", "admin")
	registry := func(who api.Enrolled, scope string) string {
		t.Helper()
		res, body := w.request(who, http.MethodGet, "/token?scope="+url.QueryEscape(scope), nil)
		w.want(http.StatusOK, res, body)
		return decode[struct{ Token string }](w, body).Token
	}
	whole, narrow := registry(ann, "bonded:api:*"), registry(ann, "repository:dev/app:pull,push")
	for secret, want := range map[string]string{
		ann.Name + ":" + ann.Secret: "", whole: "", narrow: "a token for repositories", registry(api.Enrolled{}, ""): "nobody authenticated",
		":": "nobody authenticated", ann.Name + ":x": "is wrong", "x": "no token of this server",
	} {
		token, refusal := w.exchanged(secret)
		if (token != "") != (want == "") || !strings.Contains(refusal, want) {
			t.Errorf("of %.60q: token %.20q, %q, want %q", secret, token, refusal, want)
		}
	}
	identity, _ := w.exchanged(whole)
	if _, refusal := w.exchanged(identity); !strings.Contains(refusal, "no token of this server") {
		t.Errorf("an identity token was exchanged: %q", refusal)
	}
	for _, path := range []string{"/v2/", "/api/v1/principals", "/api/v1/trust", "/audit/log/checkpoint", "/metrics"} {
		if res, body := w.request(api.Enrolled{}, http.MethodGet, path, nil, "Authorization", "Bearer "+identity); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("an identity token at %s: %s %s", path, res.Status, body)
		}
	}
	for _, token := range []string{whole, narrow} {
		ask := fmt.Sprintf(`{"credentials":{"oidcIdentityToken":%q},"certificateSigningRequest":"AAAA"}`, token)
		if res, body := w.request(api.Enrolled{}, http.MethodPost, "/fulcio/api/v2/signingCert", []byte(ask)); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a token of the registry at the authority: %s %s", res.Status, body)
		}
	}
}

// TestTrustPaths: no path of a service of trust leads into another, or to a file.
func TestTrustPaths(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/tuf/%2e%2e/offline-keys.json", "/tuf/targets/..%2f..%2foffline-keys.json", "/tuf/1.root.json%00", "/tuf/01.root.json", "/tuf/targets/", "/tuf/",
		"/rekor/..%2faudit/log/checkpoint", "/audit%2flog/checkpoint", "/ct/issuer/..%2fcheckpoint", "/rekor/api/v2/tile/0/-1", "/rekor/api/v2/tile/64/000",
		"/rekor/api/v2/tile/0/x9223372036854775807/000", "/rekor/api/v2/tile/entries/000.p/0", "/rekor/api/v2/tile/entries/000.p/256", "/oidc/../audit/log/about",
	} {
		res, body := w.request(api.Enrolled{}, http.MethodGet, path, nil)
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s %.100q", path, res.Status, body)
		}
	}
	// Pages show nothing of what was asked, and send nobody elsewhere.
	const flow = "&response_type=code&code_challenge_method=S256&code_challenge=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa&state=%0d%0aSet-Cookie:x%3Cscript%3E"
	for query, status := range map[string]int{
		"device?user_code=%3Cscript%3E": 200,
		"auth?client_id=sigstore&redirect_uri=http://localhost:1/auth/callback" + flow:                 200,
		"auth?client_id=sigstore&redirect_uri=http://localhost:1@evil.example/auth/callback" + flow:    400,
		"auth?client_id=sigstore&redirect_uri=http://localhost.evil.example/auth/callback" + flow:      400,
		"auth?client_id=sigstore&redirect_uri=//evil.example/auth/callback" + flow:                     400,
		"auth?client_id=sigstore&redirect_uri=javascript:alert(1)" + flow:                              400,
		"auth?client_id=sigstore&redirect_uri=http://localhost:1/auth/callback&redirect_uri=x" + flow:  400,
		"auth?client_id=sigstore&redirect_uri=http://localhost:1/auth/callback&response_type=id_token": 400,
	} {
		res, body := w.request(api.Enrolled{}, http.MethodGet, "/oidc/"+query, nil)
		if res.StatusCode != status || res.Header.Get("Location") != "" || len(res.Cookies()) > 0 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") ||
			strings.Contains(string(body), "<") || res.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s: %s %v %q", query, res.Status, res.Header, body)
		}
	}
}
