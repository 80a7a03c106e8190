package rekor

import (
	"errors"
	"testing"

	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// FuzzParse: what is not taken is refused with a status of the caller's, and
// what is taken fits into the log.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"hashedRekordRequestV002":{"digest":"AAAA","signature":{"content":"AAAA","verifier":{"publicKey":{"rawBytes":"AAAA"},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}`))
	f.Add([]byte(`{"hashedRekordRequestV002":{"signature":{"verifier":{"x509Certificate":{"rawBytes":"MAA="}}}}}`))
	f.Add([]byte(`{"dsseRequestV002":{"envelope":{"payload":"e30="}}}`))
	l := New(Options{})
	f.Fuzz(func(t *testing.T, b []byte) {
		no := new(Refusal)
		req, err := parse(b)
		if err != nil {
			if !errors.As(err, &no) || no.Status < 400 || no.Status > 499 {
				t.Fatal(err)
			}
			return
		}
		body, err := l.body(req)
		if err != nil {
			if !errors.As(err, &no) || no.Status < 400 || no.Status > 499 {
				t.Fatal(err)
			}
			return
		}
		if _, err := tlog.Plain(body); len(b) <= maxBody/4 && err != nil {
			t.Fatal(err)
		}
	})
}
