package evidence

import (
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// TestKeep: a signature that is covered does not count, and says why.
func TestKeep(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rs := Revocations{
		{Kind: RevokedKey, Key: strings.Repeat("ab", 32), Reason: "lost", At: at},
		{Kind: RevokedWindow, Subject: MustPattern("ann@example.com"), From: at, Until: at.Add(time.Hour), Reason: "stolen", At: at},
		{Kind: RevokedDigest, Digest: oci.FromBytes(nil), Reason: "bad", At: at},
		{Kind: RevokedWindow, Principal: "ann", From: at, Reason: "stolen", At: at},
	}
	ann := Identity{Issuer: "https://login.example.com", Subject: "ann@example.com"}
	sigs := []Signature{
		{Identity: Identity{Key: strings.Repeat("AB", 32)}},
		{Identity: Identity{Key: strings.Repeat("cd", 32)}},
		{Identity: ann, At: at.Add(-time.Second)},
		{Identity: ann, At: at},
		{Identity: ann, At: at.Add(time.Hour)},
		{Identity: ann},
	}
	kept, gone := rs.Keep(sigs)
	if len(kept) != 3 || kept[0].Identity.Key == "" || !kept[1].At.Equal(at.Add(-time.Second)) || !kept[2].At.Equal(at.Add(time.Hour)) {
		t.Errorf("kept %+v", kept)
	}
	if len(gone) != 3 || !strings.Contains(gone[0].Reasons[0], "lost") || !strings.Contains(gone[1].Reasons[0], "identity ann@example.com from 2026-11-22T12:00:00Z until 2026-11-22T13:00:00Z was revoked on 2026-11-22 12:00 UTC: stolen") {
		t.Errorf("gone %+v", gone)
	}
}

// TestCoversLookAlikes: who is revoked is so in any spelling of the name, also where
// a gate with a pattern would let in that one.
func TestCoversLookAlikes(t *testing.T) {
	for subject, pattern := range map[string]string{
		"Ann@example.com": "ann@example.com", "ann@EXAMPLE.com": "ann@example.com", "https://ci.example.com/ACME/app": "https://ci.example.com/acme/**",
		"ann@example.com": "Ann@example.com",
	} {
		r := Revocation{Kind: RevokedIdentity, Subject: MustPattern(pattern), Issuer: MustPattern("https://login.example.com")}
		if !r.Covers(&Signature{Identity: Identity{Issuer: "https://Login.example.com", Subject: subject}}) {
			t.Errorf("%s does not cover %s", pattern, subject)
		}
		if r.Covers(&Signature{Identity: Identity{Issuer: "https://other.example.com", Subject: subject}}) {
			t.Errorf("%s covers %s of another issuer", pattern, subject)
		}
	}
}
