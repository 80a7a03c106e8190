package acquire

import (
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
)

// TestReferrersInALayout: what refers to an image by its subject, and by the tags
// of cosign's older form; and nothing else.
func TestReferrersInALayout(t *testing.T) {
	l := newLayout(t)
	image, other := l.image("linux/amd64", "one"), l.image("linux/amd64", "two")
	evidence := func(note string, subject *oci.Descriptor) oci.Descriptor {
		m := map[string]any{
			"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "artifactType": "application/vnd.test", "config": l.blob(oci.MediaTypeEmpty, []byte("{}")),
			"layers": []oci.Descriptor{l.blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte(note))},
		}
		if subject != nil {
			m["subject"] = subject
		}
		return l.json(oci.MediaTypeManifest, m)
	}
	bySubject, byTag := evidence("a", &image), evidence("b", nil)
	l.root(image, "app:1")
	l.root(bySubject, "")
	l.root(evidence("of another", &other), "")
	l.root(byTag, "sha256-"+image.Digest.Hex()+".sig")
	l.root(oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("left out")), Size: 8}, "")
	s := mustOpen(t, dir(t, l.all())+":app:1")
	found, err := Referrers(t.Context(), s, image.Digest)
	if err != nil {
		t.Fatal(err)
	}
	var got []oci.Digest
	for _, m := range found {
		got = append(got, m.Digest)
	}
	if len(got) != 2 || got[0] != bySubject.Digest || got[1] != byTag.Digest {
		t.Errorf("found %v, want %v", got, []oci.Digest{bySubject.Digest, byTag.Digest})
	}
}
