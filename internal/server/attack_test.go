package server

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// These tests are what somebody would try who wants to pull what no decision
// allows, or to learn what others hold.

// putManifest sends a manifest and returns the answer, whatever it is.
func (w *world) putManifest(who api.Enrolled, repository, tag string, m map[string]any) (oci.Descriptor, *http.Response, []byte) {
	w.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		w.Fatal(err)
	}
	desc := oci.Descriptor{Digest: oci.FromBytes(raw), Size: int64(len(raw)), MediaType: m["mediaType"].(string)}
	if tag == "" {
		tag = desc.Digest.String()
	}
	res, body := w.request(who, http.MethodPut, "/v2/"+repository+"/manifests/"+tag, raw, "Content-Type", desc.MediaType)
	return desc, res, body
}

func imageOf(config oci.Descriptor, layers ...oci.Descriptor) map[string]any {
	return map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeManifest, "config": config, "layers": layers}
}

func indexOf(children ...oci.Descriptor) map[string]any {
	return map[string]any{"schemaVersion": 2, "mediaType": oci.MediaTypeIndex, "manifests": children}
}

// pushAs is pushBlob with a media type.
func (w *world) pushAs(who api.Enrolled, repository, mediaType string, content []byte) oci.Descriptor {
	w.Helper()
	d := w.pushBlob(who, repository, content)
	d.MediaType = mediaType
	return d
}

// configOf is the configuration of a runnable image of layers.
func configOf(layers ...oci.Descriptor) []byte {
	ids := make([]string, len(layers))
	for i, l := range layers {
		ids[i] = `"` + l.Digest.String() + `"`
	}
	return []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[` + strings.Join(ids, ",") + `]}}`)
}

// TestForeignLayerGivesNoAccess: a layer whose content may be kept elsewhere
// may be named by who does not have it, and naming gives no access.
func TestForeignLayerGivesNoAccess(t *testing.T) {
	w := newWorld(t)
	victim, mallory := w.enrol("ann", "developer=catalog/**"), w.enrol("mallory", "developer=dev/**")
	secret := w.pushBlob(victim, "catalog/app", []byte("the secret of others"))
	for _, at := range []struct {
		who        api.Enrolled
		repository string
	}{{mallory, "dev/app"}, {api.Enrolled{}, "sandbox/app"}} {
		foreign := secret
		foreign.MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar"
		config := w.pushAs(at.who, at.repository, oci.MediaTypeConfig, configOf(foreign))
		image := w.pushManifest(at.who, at.repository, "", imageOf(config, foreign))
		res, body := w.request(at.who, http.MethodGet, "/v2/"+at.repository+"/manifests/"+image.Digest.String(), nil)
		w.want(http.StatusOK, res, body)
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			if res, body := w.request(at.who, method, "/v2/"+at.repository+"/blobs/"+secret.Digest.String(), nil); res.StatusCode != http.StatusNotFound {
				t.Errorf("%s of a blob that was only named in %s: %s %q", method, at.repository, res.Status, body)
			}
		}
		// A configuration is none, whatever it claims.
		foreign.MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		if _, res, body := w.putManifest(at.who, at.repository, "", imageOf(foreign)); res.StatusCode == http.StatusCreated {
			t.Errorf("a configuration that is not there was taken: %s", body)
		}
	}
	w.clean()
}

// TestUnknownPlatformCounts: that an index calls an image "unknown/unknown"
// does not make it evidence.
func TestUnknownPlatformCounts(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "stdlib", "99.0.0", critical)
	dev, ops := w.enrol("ann", "developer"), w.enrol("ops", "reader")
	good := w.pushImage(dev, "dev/app", "", layerOf(t, map[string][]byte{"a": []byte("one")}))
	bad := w.pushImage(dev, "dev/app", "", layerOf(t, map[string][]byte{"usr/bin/app": program(t)}))
	good.Platform, bad.Platform = &oci.Platform{OS: "linux", Architecture: "amd64"}, &oci.Platform{OS: "unknown", Architecture: "unknown"}
	index := w.pushManifest(dev, "dev/app", "1", indexOf(good, bad))
	w.settled("dev/app", index.Digest, repo.Admitted)
	if p := w.promote(w.admin, "dev/app:1", "staging", http.StatusOK); p.Decision.Outcome == api.Allow {
		t.Errorf("an index with a bad image was let in: %+v, closure %v", p.Decision, p.Closure)
	}
	if status, _ := w.pull(ops, "staging/app", bad.Digest.String()); status == http.StatusOK {
		t.Error("an image that staging denies can be pulled from staging")
	}
	w.clean()
}

// paxLayer is a tar whose first entry has an extended header.
func paxLayer(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	name := strings.Repeat("d/", 150) + "sh"
	if err := tw.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: 2, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(tw, "#!")
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRunnableIsJudged: what some runtime would run is never evidence, a chart
// or a model, whatever the document says.
func TestRunnableIsJudged(t *testing.T) {
	const layerType, dsse = "application/vnd.oci.image.layer.v1.tar", "application/vnd.dsse.envelope.v1+json"
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	dev := w.enrol("ann", "developer")
	subject := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"a": []byte("one")}))
	w.settled("dev/app", subject.Digest, repo.Admitted)
	plain := layerOf(t, map[string][]byte{"usr/bin/app": program(t)})
	for _, tt := range []struct {
		name, config, layer string
		content             []byte
		about               bool // has a subject
		artifactType        string
	}{
		{"a layer that starts with an extended header", "application/vnd.test.config", layerType, paxLayer(t), true, ""},
		{"the same as cosign's old form", oci.MediaTypeConfig, dsse, paxLayer(t), false, ""},
		{"a layer in a format that only some snapshotters mount", "application/vnd.test.config", "application/vnd.oci.image.layer.v1.erofs", erofs(), true, ""},
		{"a chart", oci.MediaTypeHelmConfig, layerType, plain, false, ""},
		{"a model", "application/vnd.test.config", layerType, plain, false, "application/vnd.cncf.model.manifest.v1+json"},
	} {
		layer := w.pushAs(dev, "dev/app", tt.layer, tt.content)
		m := imageOf(w.pushAs(dev, "dev/app", tt.config, configOf(layer)), layer)
		if tt.about {
			m["subject"] = subject
		}
		if tt.artifactType != "" {
			m["artifactType"] = tt.artifactType
		}
		d, res, body := w.putManifest(dev, "dev/app", "", m)
		w.want(http.StatusCreated, res, body)
		p, err := w.db.PlacementOf(w.Context(), oci.MustRepository("dev/app"), d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if p.State == repo.Attached || p.Kind == oci.KindChart || p.Kind == oci.KindModel {
			t.Errorf("%s: taken as %s, %s", tt.name, p.Kind, p.State)
		}
	}
}

// erofs is the start of a file system image: its magic number is at 1024.
func erofs() []byte {
	b := make([]byte, 4096)
	copy(b[1024:], []byte{0xe2, 0xe1, 0xf5, 0xe0})
	return b
}

// TestPushTellsNothing: the answer to a manifest does not depend on what is
// stored elsewhere.
func TestPushTellsNothing(t *testing.T) {
	w := newWorld(t)
	victim, dev := w.enrol("ann", "developer=catalog/**"), w.enrol("mallory", "developer=dev/**")
	attacher := w.enrol("eve", "security=dev/**") // may attach and not push
	hidden := w.pushBlob(victim, "catalog/app", []byte("the secret of others"))
	image := w.pushImage(victim, "catalog/app", "1", layerOf(t, map[string][]byte{"a": []byte("one")}))
	subject := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"a": []byte("one")}))
	absent := oci.Descriptor{Digest: oci.FromBytes([]byte("absent")), Size: 20}

	// A layer that evidence names.
	about := func(layer oci.Descriptor) string {
		layer.MediaType = "application/vnd.oci.image.layer.v1.tar"
		m := imageOf(w.pushAs(attacher, "dev/app", "application/vnd.test.config", []byte(`{"a":1}`)), layer)
		m["subject"] = subject
		_, res, body := w.putManifest(attacher, "dev/app", "", m)
		return res.Status + strings.ReplaceAll(string(body), layer.Digest.String(), "LAYER")
	}
	if there, not := about(hidden), about(absent); there != not {
		t.Errorf("a layer that others hold:\n%s\none that nobody has:\n%s", there, not)
	}

	// A child of an index, as deep as indexes may go.
	deep := func(child oci.Descriptor) string {
		child.MediaType, child.Size = oci.MediaTypeIndex, image.Size
		for i := range oci.MaxIndexDepth + 1 {
			var res *http.Response
			var body []byte
			if child, res, body = w.putManifest(dev, "dev/app", "", indexOf(child)); res.StatusCode != http.StatusCreated {
				return fmt.Sprintf("%d: %s", i, body)
			}
		}
		return "taken"
	}
	if there, not := deep(image), deep(absent); there != not {
		t.Errorf("a child that others hold: %s\none that nobody has: %s", there, not)
	}
}

// bombTime of the processor is far above what is needed where each digest is
// looked at once, and out of reach where each name is: three levels of a thousand
// are a thousand million.
const bombTime = time.Minute

// TestIndexBomb: indexes that name each other many times cost no more than
// what they name once.
func TestIndexBomb(t *testing.T) {
	w := newWorld(t)
	dev := w.enrol("ann", "developer")
	child := w.pushImage(dev, "dev/app", "", layerOf(t, map[string][]byte{"a": []byte("one")}))
	began := cputest.Used(t)
	for range oci.MaxIndexDepth - 1 {
		children := make([]oci.Descriptor, 1000)
		for i := range children {
			children[i] = child
			children[i].Platform = &oci.Platform{OS: "linux", Architecture: "amd64", Variant: fmt.Sprint(i)}
		}
		child = w.pushManifest(dev, "dev/app", "", indexOf(children...))
	}
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	w.settled("dev/app", child.Digest, repo.Admitted)
	if p := w.promote(w.admin, "dev/app@"+child.Digest.String(), "staging", http.StatusOK); p.Decision.Outcome != api.Allow {
		t.Errorf("%+v", p.Decision)
	}
	if used := cputest.Used(t) - began; used > bombTime {
		t.Errorf("took %s of the processor", used)
	}
}

// TestTagStaysWhereItIs: a tag that was asked for twice is not moved back to
// what it pointed at when that is judged again.
func TestTagStaysWhereItIs(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann, bob := w.enrol("ann", "developer"), w.enrol("bob", "developer")
	old := layerOf(t, map[string][]byte{"a": []byte("old")})
	first := w.pushImage(ann, "dev/app", "latest", old)
	w.settled("dev/app", first.Digest, repo.Admitted)
	w.tagged("dev/app", "latest", first.Digest)
	if again := w.pushImage(bob, "dev/app", "latest", old); again.Digest != first.Digest {
		t.Fatal("the same image has another digest")
	}
	w.judged("dev/app", first.Digest)
	second := w.pushImage(ann, "dev/app", "latest", layerOf(t, map[string][]byte{"a": []byte("new")}))
	w.tagged("dev/app", "latest", second.Digest)
	w.judged("dev/app", first.Digest)
	w.tagged("dev/app", "latest", second.Digest)
}

// judged judges a placement here and now.
func (w *world) judged(repository string, d oci.Digest) {
	w.Helper()
	if err := w.assess.Judge(w.Context(), oci.MustRepository(repository), d); err != nil {
		w.Fatal(err)
	}
}

// tagged waits until a tag points at a digest for all.
func (w *world) tagged(repository, tag string, d oci.Digest) {
	w.Helper()
	w.settled(repository, d, repo.Admitted)
	for began := time.Now(); ; {
		placed, err := w.db.Lookup(w.Context(), oci.MustRepository(repository), repo.Selector{Tag: tag}, repo.Viewer{})
		if err == nil && placed.Manifest.Digest == d {
			return
		}
		if time.Since(began) > time.Minute {
			w.Fatalf("tag %s of %s: %v, %v, want %s", tag, repository, placed, err, d)
		}
	}
}

// TestEvidenceOfStrangers: who cannot see a subject says nothing about it
// where others look.
func TestEvidenceOfStrangers(t *testing.T) {
	w := newWorld(t)
	w.advise("GO-TEST-1", "example.com/other", "1.0.0", low)
	ann, mallory := w.enrol("ann", "developer=dev/app"), w.enrol("mallory", "developer=dev/mine")
	layer := layerOf(t, map[string][]byte{"a": []byte("one")})
	subject := w.pushImage(ann, "dev/app", "1", layer)
	w.settled("dev/app", subject.Digest, repo.Admitted)
	about := func(who api.Enrolled, repository, text string) oci.Descriptor {
		m := imageOf(w.pushAs(who, repository, oci.MediaTypeEmpty, []byte("{}")), w.pushAs(who, repository, "text/plain", []byte(text)))
		m["subject"], m["artifactType"] = subject, "application/vnd.test.note"
		return w.pushManifest(who, repository, "", m)
	}
	listed := func(d oci.Descriptor) bool {
		res, body := w.request(ann, http.MethodGet, "/v2/dev/app/referrers/"+subject.Digest.String(), nil)
		w.want(http.StatusOK, res, body)
		return strings.Contains(string(body), d.Digest.String())
	}
	forged := about(mallory, "dev/mine", "forged")
	if listed(forged) {
		t.Error("evidence of a stranger is listed beside the image")
	}
	if status, _ := w.pull(ann, "dev/app", forged.Digest.String()); status == http.StatusOK {
		t.Error("content of a stranger can be pulled from beside the image")
	}
	p := w.promote(w.admin, "dev/app:1", "staging", http.StatusOK)
	if len(p.Closure) != 1 {
		t.Errorf("the promotion took along %v", p.Closure)
	}
	if own := about(ann, "dev/app", "own"); !listed(own) {
		t.Error("evidence of who sees the image is not listed")
	}
	// Who brings the image itself can see it, and then says what it wants.
	if again := w.pushImage(mallory, "dev/mine", "1", layer); again.Digest != subject.Digest {
		t.Fatal("the same image has another digest")
	}
	if !listed(forged) {
		t.Error("evidence of who has shown the image is not listed")
	}
	w.clean()
}

// TestReferrersWithLargeAnnotations: a page of referrers is bounded in bytes,
// and the pages together have all of them.
func TestReferrersWithLargeAnnotations(t *testing.T) {
	w := newWorld(t)
	dev := w.enrol("ann", "developer")
	subject := w.pushImage(dev, "dev/app", "1", layerOf(t, map[string][]byte{"a": []byte("one")}))
	m := imageOf(w.pushAs(dev, "dev/app", oci.MediaTypeEmpty, []byte("{}")))
	m["subject"], m["artifactType"] = subject, "application/vnd.test.note"
	const all = 8
	for i := range all {
		m["annotations"] = map[string]string{"i": fmt.Sprint(i), "text": strings.Repeat("x", 3<<20)}
		w.pushManifest(dev, "dev/app", "", m)
	}
	r := oci.MustRepository("dev/app")
	page, err := w.db.Referrers(w.Context(), r, subject.Digest, "", repo.Viewer{Quarantine: true}, repo.Page{Limit: 10_000})
	if err != nil || len(page) != 2 {
		t.Errorf("one page has %d referrers, %v", len(page), err)
	}
	seen := 0
	for path := "/v2/dev/app/referrers/" + subject.Digest.String(); path != ""; {
		res, body := w.request(dev, http.MethodGet, path, nil)
		w.want(http.StatusOK, res, body)
		seen += len(decode[struct {
			Manifests []oci.Descriptor `json:"manifests"`
		}](w, body).Manifests)
		path, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	}
	if seen != all {
		t.Errorf("the pages have %d of %d referrers", seen, all)
	}
}

// TestManyLayers: the answer to a manifest of very many layers that are not
// there names some of them.
func TestManyLayers(t *testing.T) {
	w := newWorld(t)
	dev := w.enrol("ann", "developer")
	layers := make([]oci.Descriptor, oci.MaxDescriptors)
	for i := range layers {
		layers[i] = oci.Descriptor{MediaType: "application/vnd.oci.image.layer.v1.tar", Digest: oci.FromBytes(fmt.Append(nil, i)), Size: 1}
	}
	_, res, body := w.putManifest(dev, "dev/app", "1", imageOf(w.pushAs(dev, "dev/app", oci.MediaTypeConfig, []byte("{}")), layers...))
	w.want(http.StatusNotFound, res, body)
	if len(body) > 4<<10 || !strings.Contains(string(body), layers[0].Digest.String()) {
		t.Errorf("the answer has %d bytes: %.500s", len(body), body)
	}
}

// TestBodyThatNeverComes: who announces a body and sends none does not keep
// its connection, whoever it is.
func TestBodyThatNeverComes(t *testing.T) {
	answered := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	s := httptest.NewServer(limitBody(answered, 10*time.Millisecond))
	defer s.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection stays: %v", err)
	}
}
