package authz

import "github.com/bonded-dev/bonded/internal/evidence"

// claimHuman says that an account is a person's.
const claimHuman = "human"

// Kind is what p is. Whom another issuer vouches for is a person where it has an
// address of mail; of others nobody knows.
func (p Principal) Kind() evidence.Bringer {
	switch own := p.Issuer == "bonded" || p.Issuer == ""; {
	case p.IsAnonymous():
		return evidence.Anonymous
	case own && p.Method == "internal":
		return evidence.Internal
	case p.Claims[claimHuman] == "true", !own && p.Claims["email"] != "":
		return evidence.Human
	case own && p.Method == "token":
		return evidence.Machine
	}
	return evidence.Nobody
}
