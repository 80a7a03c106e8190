package evidence

import (
	"crypto/x509/pkix"
	"fmt"
	"strings"
)

// The parts of a NotationName that are always the same. Notation wants a country
// and a province, and an identity has none: ZZ names no country (ISO 3166-1 leaves
// it to its users), and the province says what the certificate is for.
const (
	notationCountry  = "ZZ"
	notationProvince = "Notation"
)

// NotationName is the X.509 subject of a certificate for Notation (Notary Project),
// whose trust policies match nothing else: the organization is who vouches, the
// common name who it is. Identities that differ have names that differ, and no
// character of one is special in the text of a name (RFC 4514): all but letters,
// digits and -._~/:@ are percent-encoded, the percent sign too.
func (i Identity) NotationName() pkix.Name {
	return pkix.Name{
		Country: []string{notationCountry}, Province: []string{notationProvince},
		Organization: []string{plainName(i.Issuer)}, CommonName: plainName(i.Subject),
	}
}

func plainName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/:@", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
