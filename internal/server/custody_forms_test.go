package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
	"github.com/bonded-dev/bonded/internal/verify/verifytest"
)

// TestCustodyForms: whatever form an artifact is named in, who may ask has its
// story, and who may not is told no more than that: not even that it is there.
func TestCustodyForms(t *testing.T) {
	s := newSigning(t, byAlice)
	one, held := s.image("1"), s.image("held")
	index := s.index("all", one)
	signature := s.bundle(index, verifytest.Spec{Payload: says(index, typeSign, "{}")})
	gone := s.index("", one, held)
	s.quiet(repo.Held, held, gone)
	s.quiet(repo.Admitted, one, index)
	res, body := s.request(s.admin, http.MethodDelete, "/v2/signed/app/manifests/"+gone.Digest.String(), nil)
	s.want(http.StatusAccepted, res, body)
	root, err := s.trust.instance.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	auditor, operator := s.enrol("eve", "auditor"), s.enrol("pat", "operator=signed/**")
	reader, stranger := s.enrol("rea", "reader=signed/**"), s.enrol("tom", "developer=other/**")
	const ok, forbidden, absent, wrong = http.StatusOK, http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest
	nothing := oci.FromBytes([]byte("nothing"))
	for _, tt := range []struct {
		what, ref string
		about     oci.Digest
		may, sees int // what who may export is answered, and who may only pull
		tells     string
	}{
		{"a tag", "signed/app:all", index.Digest, ok, forbidden, ""},
		{"a digest", one.Digest.String(), one.Digest, ok, forbidden, ""},
		{"a digest in a repository", "signed/app@" + one.Digest.String(), one.Digest, ok, forbidden, ""},
		{"an index", index.Digest.String(), index.Digest, ok, forbidden, ""},
		{"a tag and its digest", "signed/app:all@" + index.Digest.String(), index.Digest, ok, forbidden, ""},
		{"evidence", signature.Digest.String(), signature.Digest, ok, forbidden, ""},
		{"what is held", "signed/app:held", held.Digest, ok, absent, ""},
		{"the digest of what is held", held.Digest.String(), held.Digest, ok, absent, "no manifest " + held.Digest.String() + " stands, or has stood, where you may ask"},
		{"what was taken away", gone.Digest.String(), gone.Digest, ok, absent, ""},
		{"what was taken away from there", "signed/app@" + gone.Digest.String(), oci.Digest{}, absent, absent, ""},
		{"an unknown digest", nothing.String(), oci.Digest{}, absent, absent, "no manifest " + nothing.String() + " stands, or has stood, where you may ask"},
		{"a blob", oci.FromBytes([]byte("{}")).String(), oci.Digest{}, absent, absent, "no manifest"},
		{"an unknown tag", "signed/app:none", oci.Digest{}, absent, absent, "signed/app:none: not found"},
		{"no tag", "signed/app", oci.Digest{}, absent, absent, "signed/app:latest: not found"},
		{"an unknown zone", "none/app:1", oci.Digest{}, absent, absent, "none/app:1: not found"},
		{"half a digest", "sha256:abc", oci.Digest{}, wrong, wrong, "has 3 hex characters, want 64"},
		{"no name", "SIGNED/app", oci.Digest{}, wrong, wrong, "lower-case letters"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			request, err := json.Marshal(api.CustodyRequest{Ref: tt.ref})
			if err != nil {
				t.Fatal(err)
			}
			unseen := min(absent, max(tt.may, absent))
			if tt.may == wrong {
				unseen = wrong
			}
			for who, want := range map[*api.Enrolled]int{&auditor: tt.may, &operator: tt.may, &reader: tt.sees, &stranger: unseen, {}: http.StatusUnauthorized} {
				res, shown := s.request(*who, http.MethodGet, "/api/v1/custody?ref="+tt.ref, nil)
				if res.StatusCode != want {
					t.Errorf("%s is shown %d, want %d: %s", who.Name, res.StatusCode, want, shown)
				}
				res, answer := s.request(*who, http.MethodPost, "/api/v1/custody/export", request, "Content-Type", "application/json")
				switch {
				case res.StatusCode != want:
					t.Errorf("%s has %d, want %d: %s", who.Name, res.StatusCode, want, answer)
				case want == ok:
					if _, rest := unproven(t, answer, root, tt.about); strings.Contains(strings.Join(rest, "\n"), "failed") {
						t.Errorf("%s has a file in which is wrong: %s", who.Name, strings.Join(rest, "\n"))
					}
				case want == tt.sees && !strings.Contains(string(answer), strings.ReplaceAll(tt.tells, `"`, `\"`)):
					t.Errorf("%s is told %s, want %q", who.Name, answer, tt.tells)
				}
			}
		})
	}
}
