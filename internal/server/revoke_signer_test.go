package server

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/assess"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// TestRevokedSigner: what stands because somebody signed it is withdrawn with the
// trust in them, in the window that is meant; what they sign later is shown, and
// changes nothing.
func TestRevokedSigner(t *testing.T) {
	s := newSigning(t, byAlice)
	sec := s.enrol("sec", "security")
	signed := s.image("1")
	const typ = "https://sigstore.dev/cosign/sign/v1"
	s.bundle(signed, verifytest.Spec{Payload: says(signed, typ, "{}")})
	s.settled("signed/app", signed.Digest, repo.Admitted)
	s.promote(s.dev, "signed/app:1", "released", http.StatusOK)
	s.settled("released/app", signed.Digest, repo.Admitted)

	alice := api.RevokeRequest{Kind: "identity", Subject: "*@example.com", Issuer: "https://idp.example.com"}
	later := alice
	later.From = verifytest.Noon.Add(time.Second) // the signature is proven to be older
	if got := s.revoke(sec, later); len(got.Hits) != 0 || got.Rejudged != 0 {
		t.Errorf("hit by a window that begins after it: %+v", got)
	}
	done := s.revoke(sec, alice)
	if len(done.Hits) != 2 || done.Barred != 0 {
		t.Errorf("hits: %+v", done)
	}
	for _, r := range []string{"signed/app", "released/app"} {
		res, body := s.request(s.dev, http.MethodGet, "/v2/"+r+"/manifests/1", nil)
		s.want(http.StatusForbidden, res, body)
		if !strings.Contains(string(body), "stolen on Friday") {
			t.Errorf("%s does not say why: %s", r, body)
		}
	}
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	s.settled("signed/app", signed.Digest, repo.Revoked)

	other := s.image("2")
	s.bundle(other, verifytest.Spec{Payload: says(other, typ, "{}")})
	s.idleOf(assess.JobEvidence, assess.JobJudge)
	s.settled("signed/app", other.Digest, repo.Held)
	if e := s.why("signed/app:2").Evidence; e == nil || len(e.Signatures) != 0 || len(e.Refused) != 1 || !strings.Contains(e.Refused[0].Reasons[0], "stolen on Friday") {
		t.Errorf("what came later is shown as %+v", e)
	}
	s.lift(sec, done.Revocation.ID)
	for _, p := range []struct{ r, tag string }{{"signed/app", "1"}, {"released/app", "1"}, {"signed/app", "2"}} {
		d := signed.Digest
		if p.tag == "2" {
			d = other.Digest
		}
		s.settled(p.r, d, repo.Admitted)
	}
	s.clean()
}
