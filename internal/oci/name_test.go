package oci

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestParseDigest(t *testing.T) {
	for _, ok := range []string{layerDigest, "sha512:" + strings.Repeat("0a", 64)} {
		if d, err := ParseDigest(ok); err != nil || d.String() != ok {
			t.Errorf("%s: %v, %v", ok, d, err)
		}
	}
	for _, bad := range []string{"", "sha256", "sha256:", "sha256:abc", "SHA256:" + layerDigest[7:], strings.ToUpper(layerDigest),
		"md5:d41d8cd98f00b204e9800998ecf8427e", layerDigest + "0", "sha256:" + strings.Repeat("g", 64), " " + layerDigest, "sha256:../../etc/passwd"} {
		if _, err := ParseDigest(bad); !errors.Is(err, ErrDigestInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := MustDigest(layerDigest).Short(); got != "sha256:e3b0…b855" {
		t.Errorf("short form %s", got)
	}
	for _, alg := range []Algorithm{SHA256, SHA512} {
		h := alg.New()
		h.Write([]byte("x"))
		if d := alg.DigestOf([]byte("x")); d.Algorithm() != alg || d != alg.FromHash(h) {
			t.Errorf("%s: %s", alg, d)
		}
	}
}

func TestDigestInJSON(t *testing.T) {
	type row struct {
		D Digest `json:"d"`
	}
	b, err := json.Marshal(row{MustDigest(layerDigest)})
	if err != nil {
		t.Fatal(err)
	}
	var back row
	if err := json.Unmarshal(b, &back); err != nil || back.D.String() != layerDigest {
		t.Errorf("%s: %v, %v", b, back, err)
	}
	if err := json.Unmarshal([]byte(`{"d":"nonsense"}`), &back); err == nil {
		t.Error("took nonsense")
	}
}

func TestParseRepository(t *testing.T) {
	for _, ok := range []string{"a", "dev/app", "dev/my-app/x__y/z.1", "quarantine/localhost_5000/library/x", "a/b--c"} {
		if r, err := ParseRepository(ok); err != nil || r.String() != ok {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "/", "a/", "/a", "a//b", "A/b", "a/../b", "..", "a/.b", "a/b.", "a/b___c", "a\x00b", "a/é", "a b", strings.Repeat("a", 256)} {
		if _, err := ParseRepository(bad); !errors.Is(err, ErrNameInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	r := MustRepository("production/payments/api")
	if r.Zone() != "production" || r.Path() != "payments/api" {
		t.Errorf("zone %s path %s", r.Zone(), r.Path())
	}
	if s, err := r.InZone("staging"); err != nil || s.String() != "staging/payments/api" {
		t.Errorf("%s, %v", s, err)
	}
	if _, err := MustRepository("dev").InZone("staging"); err == nil {
		t.Error("a zone alone is no repository in another zone")
	}
}

func TestParseReference(t *testing.T) {
	for in, want := range map[string]string{
		"dev/app":                             "dev/app:latest",
		"dev/app:1.0":                         "dev/app:1.0",
		"dev/app@" + layerDigest:              "dev/app@" + layerDigest,
		"dev/app:1.0@" + layerDigest:          "dev/app:1.0@" + layerDigest,
		"dev/app:" + strings.Repeat("a", 128): "dev/app:" + strings.Repeat("a", 128),
	} {
		if ref, err := ParseReference(in); err != nil || ref.String() != want {
			t.Errorf("%s: %s, %v, want %s", in, ref, err, want)
		}
	}
	for _, bad := range []string{"", ":x", "dev/app:", "dev/app:-x", "dev/app:a b", "dev/app@", "dev/app@sha256:1", "dev/app:" + strings.Repeat("a", 129), "host:5000/dev/app"} {
		if ref, err := ParseReference(bad); err == nil {
			t.Errorf("%q: taken as %s", bad, ref)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	f.Add("dev/app:1.0@" + layerDigest)
	f.Add("a:b:c/d")
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseReference(s)
		if err != nil {
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again != ref {
			t.Errorf("%q → %s → %s, %v", s, ref, again, err)
		}
		if strings.Contains(ref.Repository.String(), "..") {
			t.Errorf("%q: traversal in %s", s, ref)
		}
	})
}
