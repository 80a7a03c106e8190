package attest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// layout is what BuildKit wrote for two platforms.
const (
	layout      = "testdata/buildkit/blobs/sha256"
	layoutIndex = "sha256:420ae3b46762cccbeeb70fd1ca816d4bb5a7e96d5eb4522fed43eabda4ea5334"
)

func fromLayout(t *testing.T, d oci.Digest) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(layout, d.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func manifestIn(t *testing.T, mediaType string, d oci.Digest) *oci.Manifest {
	t.Helper()
	m, err := oci.ParseManifest(fromLayout(t, d), mediaType, oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestBuildKit: each image in BuildKit's own output has what is attested of it
// found and read, and of nothing else.
func TestBuildKit(t *testing.T) {
	index := manifestIn(t, oci.MediaTypeIndex, oci.MustDigest(layoutIndex))
	all := attest.AttachedIn(index)
	if len(all) != 2 || all[0].About.Platform.String() != "linux/amd64" || all[1].About.Platform.String() != "linux/arm64" {
		t.Fatalf("%+v", all)
	}
	for i, at := range all {
		m := manifestIn(t, at.Manifest.MediaType, at.Manifest.Digest)
		if len(m.Layers) != 1 || !attest.IsUnsigned(m.Layers[0]) {
			t.Fatalf("%+v", m.Layers)
		}
		raw := fromLayout(t, m.Layers[0].Digest)
		st := attest.Unsigned(raw, at.About.Digest)
		if st == nil || st.Kind != evidence.KindProvenance || st.Provenance.Level != 0 || st.Provenance.BuildType == "" || st.Predicate != nil {
			t.Errorf("%+v", st)
		}
		if st := attest.Unsigned(raw, all[1-i].About.Digest); st != nil {
			t.Errorf("of the other image it says %+v", st)
		}
	}
}

// TestAttachedIn: an index decides nothing about what it does not name.
func TestAttachedIn(t *testing.T) {
	image := oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("image")), Platform: &oci.Platform{OS: "linux", Architecture: "amd64"}}
	with := func(about string, p *oci.Platform) oci.Descriptor {
		return oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("attestation")), Platform: p, Annotations: map[string]string{"vnd.docker.reference.digest": about}}
	}
	nowhere := &oci.Platform{OS: "unknown", Architecture: "unknown"}
	for name, tt := range map[string]struct {
		of   oci.Descriptor
		want int
	}{
		"its own":           {with(image.Digest.String(), nowhere), 1},
		"of a platform":     {with(image.Digest.String(), image.Platform), 0},
		"about another":     {with(oci.FromBytes(nil).String(), nowhere), 0},
		"about itself":      {with(oci.FromBytes([]byte("attestation")).String(), nowhere), 0},
		"about nothing":     {with("", nowhere), 0},
		"about no digest":   {with("latest", nowhere), 0},
		"without a subject": {oci.Descriptor{Digest: oci.FromBytes([]byte("attestation")), Platform: nowhere}, 0},
	} {
		if got := attest.AttachedIn(&oci.Manifest{Manifests: []oci.Descriptor{image, tt.of}}); len(got) != tt.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
