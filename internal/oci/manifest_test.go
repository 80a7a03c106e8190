package oci

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const (
	configDigest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	layerDigest  = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// doc builds a manifest with the config type, layer types and extra members.
func doc(config, extra string, layers ...string) string {
	list := []string{}
	for _, l := range layers {
		list = append(list, `{"mediaType":"`+l+`","digest":"`+layerDigest+`","size":0}`)
	}
	return `{"schemaVersion":2,` + extra + `"config":{"mediaType":"` + config + `","digest":"` + configDigest + `","size":2},"layers":[` + strings.Join(list, ",") + `]}`
}

const subject = `"subject":{"mediaType":"` + MediaTypeManifest + `","digest":"` + layerDigest + `","size":1},`

func TestKind(t *testing.T) {
	tar := "application/vnd.oci.image.layer.v1.tar+gzip"
	for _, tt := range []struct {
		name, raw string
		want      Kind
	}{
		{"image", doc(MediaTypeConfig, "", tar), KindImage},
		{"image without layers", doc(MediaTypeConfig, ""), KindImage},
		{"image with a subject is still an image", doc(MediaTypeConfig, subject, tar), KindImage},
		{"image with a subject and no layers", doc(MediaTypeConfig, subject), KindImage},
		{"one tar layer among evidence", doc(MediaTypeConfig, "", "application/vnd.in-toto+json", tar), KindImage},
		{"docker image", doc(MediaTypeDockerConfig, `"mediaType":"`+MediaTypeDockerManifest+`",`, tar), KindImage},
		{"cosign's old signature", doc(MediaTypeConfig, "", "application/vnd.dev.cosign.simplesigning.v1+json"), KindEvidence},
		{"buildkit attestation", doc(MediaTypeConfig, "", "application/vnd.in-toto+json"), KindEvidence},
		{"referrer", doc(MediaTypeEmpty, subject, "application/json"), KindEvidence},
		{"chart", doc(MediaTypeHelmConfig, "", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"), KindChart},
		{"model", doc("application/vnd.cncf.model.config.v1+json", ""), KindModel},
		{"other", doc("application/vnd.example+json", ""), KindOther},
		{"index", `{"schemaVersion":2,"manifests":[]}`, KindIndex},
	} {
		m, err := ParseManifest([]byte(tt.raw), "", SHA256)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := m.Kind(); got != tt.want {
			t.Errorf("%s: kind %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, raw, declared string
		want                error
		says                string
	}{
		{"duplicate key", `{"schemaVersion":2,"schemaVersion":2}`, "", ErrManifestInvalid, "duplicate key"},
		{"duplicate deep down", doc(MediaTypeConfig, `"annotations":{"a":"1","a":"2"},`), "", ErrManifestInvalid, "duplicate key"},
		{"another case", strings.Replace(doc(MediaTypeConfig, ""), `"layers"`, `"Layers"`, 1), "", ErrManifestInvalid, "in case only"},
		{"another case beyond ASCII", doc(MediaTypeConfig, "\"layer\u017f\":[],"), "", ErrManifestInvalid, "in case only"},
		{"Docker's by its header alone", doc(MediaTypeConfig, ""), MediaTypeDockerManifest, ErrManifestInvalid, "no mediaType"},
		{"two documents", doc(MediaTypeConfig, "") + "{}", "", ErrManifestInvalid, "data after"},
		{"image and index at once", doc(MediaTypeConfig, `"manifests":[],`), MediaTypeManifest, ErrManifestInvalid, "two things"},
		{"index and image at once", doc(MediaTypeConfig, `"manifests":[],`), MediaTypeIndex, ErrManifestInvalid, "two things"},
		{"type differs from header", doc(MediaTypeConfig, `"mediaType":"`+MediaTypeManifest+`",`), MediaTypeIndex, ErrManifestInvalid, "mediaType says"},
		{"not a manifest type", doc(MediaTypeConfig, ""), "text/plain", ErrManifestInvalid, "no manifest type"},
		{"no config", `{"schemaVersion":2,"layers":[]}`, "", ErrManifestInvalid, "config is missing"},
		{"wrong version", `{"schemaVersion":3,"config":{}}`, "", ErrManifestInvalid, "schemaVersion"},
		{"schema 1", `{"schemaVersion":1,"fsLayers":[]}`, "", ErrSchema1, "skopeo"},
		{"schema 1 by header", `{}`, MediaTypeDockerSigned1, ErrSchema1, "skopeo"},
		{"bad digest", strings.Replace(doc(MediaTypeConfig, ""), configDigest, "sha256:XYZ", 1), "", ErrManifestInvalid, "digest"},
		{"empty digest", strings.Replace(doc(MediaTypeConfig, ""), configDigest, "", 1), "", ErrManifestInvalid, "no digest"},
		{"negative size", strings.Replace(doc(MediaTypeConfig, ""), `"size":2`, `"size":-2`, 1), "", ErrManifestInvalid, "negative"},
		{"too large", `{"schemaVersion":2,"x":"` + strings.Repeat("y", MaxManifest) + `"}`, "", ErrManifestInvalid, "at most"},
		{"too deep", `{"schemaVersion":2,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "", ErrManifestInvalid, "nested deeper"},
		{"no JSON", "hello", "", ErrManifestInvalid, "reading JSON"},
		{"empty", "", "", ErrManifestInvalid, "reading JSON"},
	} {
		_, err := ParseManifest([]byte(tt.raw), tt.declared, SHA256)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %v saying %q", tt.name, err, tt.want, tt.says)
		}
	}
}

func TestAnnotationsMayHaveAnyCase(t *testing.T) {
	raw := doc(MediaTypeConfig, `"annotations":{"Layers":"x","CONFIG":"y","layers":"z"},`)
	if _, err := ParseManifest([]byte(raw), "", SHA256); err != nil {
		t.Error(err)
	}
}

func TestParseImageConfig(t *testing.T) {
	raw := `{"architecture":"amd64","os":"linux","config":{"User":"0","Labels":{"Config":"x"},"Volumes":{"/data":{}}},"rootfs":{"type":"layers","diff_ids":["` + layerDigest + `"]}}`
	c, err := ParseImageConfig([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if c.Config.User != "0" || len(c.RootFS.DiffIDs) != 1 || c.Config.Labels["Config"] != "x" {
		t.Errorf("read %+v", c)
	}
	for _, bad := range []string{`{"rootfs":1}`, `{"os":"a","os":"b"}`, `{"RootFS":{}}`, `[]`, ``} {
		if _, err := ParseImageConfig([]byte(bad)); !errors.Is(err, ErrConfigInvalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(doc(MediaTypeConfig, subject, "application/json")), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`), MediaTypeIndex)
	f.Fuzz(func(t *testing.T, raw []byte, declared string) {
		m, err := ParseManifest(raw, declared, SHA256)
		if err != nil {
			return
		}
		if m.Digest != FromBytes(raw) {
			t.Error("digest is not that of the bytes")
		}
		// What is accepted has one meaning: a reader that takes keys exactly
		// finds the same descriptors.
		var exact map[string]json.RawMessage
		if err := json.Unmarshal(raw, &exact); err != nil {
			t.Fatalf("accepted, but no object: %v", err)
		}
		if _, ok := exact["layers"]; !ok && len(m.Layers) > 0 {
			t.Error("layers from another key")
		}
		_ = m.Kind()
	})
}

func FuzzParseImageConfig(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := ParseImageConfig(raw); err == nil && len(c.RootFS.DiffIDs) > MaxDescriptors {
			t.Error("limit not kept")
		}
	})
}
