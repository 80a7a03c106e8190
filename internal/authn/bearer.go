package authn

import (
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/bonded-dev/bonded/internal/authz"
)

// leeway is how far the clocks of two servers on one database may be apart: a
// token from further in the future is refused.
const leeway = time.Minute

// claims are what a bearer token says. Its subject is the account, "" for
// everybody.
type claims struct {
	jwt.Claims
	Token  string     `json:"token,omitempty"` // id of the long-lived token it was made for
	Access []resource `json:"access"`
}

// signer makes and reads bearer tokens: JWTs under HMAC-SHA-256, which only
// servers on one database can make.
type signer struct {
	service string
	ttl     time.Duration
}

// sign returns a token of now under a key, which its header names.
func (s *signer) sign(k Key, id, account, token string, access []resource, now time.Time) (string, error) {
	key := jose.SigningKey{Algorithm: jose.HS256, Key: k.Value}
	sg, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", k.ID))
	if err != nil {
		return "", fmt.Errorf("preparing to sign a bearer token: %v", err)
	}
	c := claims{
		Claims: jwt.Claims{
			ID: id, Issuer: s.service, Subject: account, Audience: jwt.Audience{s.service},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(s.ttl)),
		},
		Token: token, Access: access,
	}
	out, err := jwt.Signed(sg).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a bearer token: %v", err)
	}
	return out, nil
}

// verify returns what a token says that is good now. key returns the key of
// that id, nil when no token under it is good. Errors match
// authz.ErrUnauthenticated, or are key's.
func (s *signer) verify(token string, now time.Time, key func(id string) (*Key, error)) (*claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.HS256})
	if err != nil || len(parsed.Headers) != 1 {
		return nil, badBearer("it is no token of this server")
	}
	k, err := key(parsed.Headers[0].KeyID)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return nil, badBearer("its key is not one of this server, or was replaced")
	}
	var c claims
	if err := parsed.Claims(k.Value, &c); err != nil {
		return nil, badBearer("it was not signed by this server")
	}
	switch {
	case c.Issuer != s.service || !c.Audience.Contains(s.service):
		return nil, badBearer("it is for another service")
	case c.Expiry == nil || c.IssuedAt == nil:
		return nil, badBearer("it has no times")
	case c.IssuedAt.Time().After(now.Add(leeway)):
		return nil, badBearer("it is from the future; the clocks of server and issuer differ")
	case !now.Before(c.Expiry.Time()):
		return nil, badBearer("it has expired")
	}
	return &c, nil
}

func badBearer(why string) error {
	return fmt.Errorf("%w: the bearer token is no good: %s; get another from the token endpoint", authz.ErrUnauthenticated, why)
}
