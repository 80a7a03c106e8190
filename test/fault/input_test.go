package fault

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/testparts"
	"github.com/bonded-dev/bonded/test/drive"
)

const (
	manifestType = oci.MediaTypeManifest
	indexType    = oci.MediaTypeIndex
	octetStream  = "application/octet-stream"
)

// bad is one request that must be refused.
type bad struct {
	name         string
	method, path string
	mediaType    string
	body         []byte
	status       int
	code         string // of the error; "" where the answer is not the registry's
	says         string // a part of its message
}

func badRequests(good drive.Image) []bad {
	empty, absent := oci.FromBytes(nil).String(), oci.FromBytes([]byte("absent")).String()
	uploads, manifests := "/v2/dev/app/blobs/uploads/?digest=", "/v2/dev/app/manifests/"
	manifest := func(body string) []byte { return []byte(body) }
	missing := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":6},"layers":[]}`, manifestType, oci.MediaTypeConfig, absent)
	wrongSize := bytes.Replace(good.Manifest, fmt.Appendf(nil, `"size":%d`, len(good.Config)), []byte(`"size":1`), 1)
	return []bad{
		{"a blob that is not its digest", "POST", uploads + absent, octetStream, []byte("something"), 400, "DIGEST_INVALID", ""},
		{"an empty blob that is none", "POST", uploads + empty, octetStream, []byte("x"), 400, "DIGEST_INVALID", ""},
		{"a digest of an unknown kind", "POST", uploads + "md5:d41d8cd98f00b204e9800998ecf8427e", octetStream, nil, 400, "DIGEST_INVALID", ""},
		{"a digest in capitals", "POST", uploads + strings.ToUpper(absent[:12]) + absent[12:], octetStream, nil, 400, "DIGEST_INVALID", ""},
		{"an upload that nobody began", "PATCH", "/v2/dev/app/blobs/uploads/0123456789abcdef0123456789abcdef", octetStream, []byte("x"), 404, "BLOB_UPLOAD_UNKNOWN", ""},
		{"an upload that is a path", "PATCH", "/v2/dev/app/blobs/uploads/..%2f..%2fbonded.db", octetStream, []byte("x"), 400, "NAME_INVALID", "slash"},
		{"a manifest that names a missing blob", "PUT", manifests + "bad", manifestType, missing, 404, "MANIFEST_BLOB_UNKNOWN", absent},
		{"a manifest with a wrong size", "PUT", manifests + "bad", manifestType, wrongSize, 400, "MANIFEST_INVALID", ""},
		{"a manifest by a wrong digest", "PUT", manifests + absent, manifestType, good.Manifest, 400, "DIGEST_INVALID", ""},
		{"a manifest of another type", "PUT", manifests + "bad", indexType, good.Manifest, 400, "MANIFEST_INVALID", ""},
		{"a manifest that is cut off", "PUT", manifests + "bad", manifestType, good.Manifest[:len(good.Manifest)/2], 400, "MANIFEST_INVALID", ""},
		{"a manifest with a key twice", "PUT", manifests + "bad", manifestType, bytes.Replace(good.Manifest, []byte(`{`), []byte(`{"layers":[],`), 1), 400, "MANIFEST_INVALID", ""},
		{"a manifest with text behind it", "PUT", manifests + "bad", manifestType, append(bytes.Clone(good.Manifest), "{}"...), 400, "MANIFEST_INVALID", ""},
		{"a manifest of 5 MiB", "PUT", manifests + "bad", manifestType, bytes.Repeat([]byte(" "), 5<<20), 413, "", ""},
		{"brackets without end", "PUT", manifests + "bad", manifestType, bytes.Repeat([]byte("["), 1<<20), 400, "MANIFEST_INVALID", ""},
		{"schema 1", "PUT", manifests + "bad", "application/vnd.docker.distribution.manifest.v1+prettyjws", manifest(`{"schemaVersion":1}`), 415, "", ""},
		{"a tag that is a path", "PUT", manifests + "..%2f..%2fx", manifestType, good.Manifest, 400, "NAME_INVALID", "slash"},
		{"a tag of 129 bytes", "PUT", manifests + strings.Repeat("a", 129), manifestType, good.Manifest, 400, "", ""},
		{"a tag beyond ASCII", "PUT", manifests + "v%C3%A4", manifestType, good.Manifest, 400, "", ""},
		{"a repository beyond ASCII", "PUT", "/v2/dev/%E2%84%AAelvin/manifests/1", manifestType, good.Manifest, 400, "NAME_INVALID", ""},
		{"a repository in capitals", "PUT", "/v2/dev/App/manifests/1", manifestType, good.Manifest, 400, "NAME_INVALID", ""},
		{"a repository that goes up", "PUT", "/v2/dev/..%2fstaging/manifests/1", manifestType, good.Manifest, 400, "NAME_INVALID", "slash"},
		{"a repository with a NUL", "PUT", "/v2/dev/a%00b/manifests/1", manifestType, good.Manifest, 400, "NAME_INVALID", ""},
		{"a repository in no zone", "PUT", "/v2/nowhere/app/manifests/1", manifestType, good.Manifest, 404, "NAME_UNKNOWN", ""},
	}
}

// TestBadRequests: what cannot be is refused with a reason, and leaves nothing.
func TestBadRequests(t *testing.T) {
	ctx := context.Background()
	server := drive.Start(t, drive.Options{Config: plain + drive.Advisories(t, "../..")})
	server.UpdateFeeds()
	ann := server.Enrol("ann", "developer")
	good := drive.NewImage(drive.MustLayer(map[string][]byte{"a": []byte("good")}))
	if err := ann.Push(ctx, "dev/app", "good", good); err != nil {
		t.Fatal(err)
	}
	for _, b := range badRequests(good) {
		t.Run(b.name, func(t *testing.T) {
			a, err := ann.Do(ctx, b.method, b.path, b.body, "Content-Type", b.mediaType)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != b.status {
				t.Errorf("status %d, want %d: %.500s", a.Status, b.status, a.Body)
			}
			clear(t, a, b.code, b.says)
		})
	}
	truncated(t, ann)
	deep(ctx, t, ann, good)
	a, err := ann.Do(ctx, http.MethodGet, "/v2/dev/app/tags/list", nil)
	if err != nil || !strings.Contains(string(a.Body), `["good"]`) {
		t.Errorf("tags after all that: %s, %v", a.Body, err)
	}
	server.Stop()
	server.Fsck()
}

// clear fails the test unless an answer is an error of the specification that
// says something.
func clear(t *testing.T, a *drive.Answer, code, says string) {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.Body, &e); err != nil || len(e.Errors) == 0 || e.Errors[0].Message == "" {
		if code != "" {
			t.Errorf("it does not say why: %.500s", a.Body)
		}
		return
	}
	if code != "" && e.Errors[0].Code != code || !strings.Contains(e.Errors[0].Message, says) {
		t.Errorf("it says %.500s, want %s with %q", a.Body, code, says)
	}
}

// truncated sends less than it says, by hand, as no client library would.
func truncated(t *testing.T, ann *drive.User) {
	t.Helper()
	content := []byte("half of it")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(ann.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ann.URL()+"/v2/dev/app/blobs/uploads/?digest="+oci.FromBytes(content).String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(ann.Name, ann.Secret)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 100\r\nContent-Type: %s\r\n\r\n%s",
		req.URL.RequestURI(), req.Header.Get("Authorization"), octetStream, content)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(conn); err == nil && bytes.Contains(said, []byte(" 201 ")) {
		t.Errorf("an upload cut short was taken: %s", said)
	}
	if a, err := ann.Do(t.Context(), http.MethodHead, "/v2/dev/app/blobs/"+oci.FromBytes(content).String(), nil); err != nil || a.Status != http.StatusNotFound {
		t.Errorf("what was cut short is there: %+v, %v", a, err)
	}
}

// deep nests indexes until one is refused.
func deep(ctx context.Context, t *testing.T, ann *drive.User, good drive.Image) {
	t.Helper()
	child, mediaType := good.Manifest, manifestType
	for depth := 1; ; depth++ {
		child = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
			indexType, mediaType, oci.FromBytes(child), len(child))
		mediaType = indexType
		err := ann.PushManifest(ctx, "dev/app", "", indexType, child)
		if err == nil && depth < 20 {
			continue
		}
		if drive.Status(err) != http.StatusBadRequest || !strings.Contains(err.Error(), "nested deeper") {
			t.Errorf("an index of depth %d: %v", depth, err)
		}
		return
	}
}

// TestBadContent: layers that are not what they seem are taken, as their digest
// is right, and denied or held, with the reason; nobody else can pull them.
func TestBadContent(t *testing.T) {
	ctx := context.Background()
	server := drive.Start(t, drive.Options{Config: plain + drive.Advisories(t, "../..") + "analysis: {bytes: 256MiB, ratio: 50}\n"})
	server.UpdateFeeds()
	ann, ops := server.Enrol("ann", "developer"), server.Enrol("ops", "reader")
	small := drive.MustLayer(map[string][]byte{"a": []byte("small")})
	noisy := drive.MustGzip(drive.MustLayer(map[string][]byte{"a": noise(1, 1<<20)}))
	lying := drive.NewImage(small)
	lying.Config = bytes.Replace(lying.Config, []byte(oci.FromBytes(small).Hex()), []byte(oci.FromBytes([]byte("lie")).Hex()), 1)
	for _, test := range []struct {
		name, repository string
		image            drive.Image
		state, says      string
	}{
		{"a bomb", "catalog/app", drive.NewImage(bomb(t, 300<<20)), "held", "no diff_id to compare: more uncompressed data than the budget allows"},
		{"two members", "dev/app", drive.NewImage(append(drive.MustGzip(small), drive.MustGzip([]byte("more"))...)), "denied", "unambiguous"},
		{"bytes behind the stream", "dev/app", drive.NewImage(append(drive.MustGzip(small), "more"...)), "denied", "unambiguous"},
		{"a file twice", "dev/app", drive.NewImage(append(small[:1024:1024], small...)), "denied", "unambiguous"},
		{"half a stream", "dev/app", drive.NewImage(drive.MustGzip(small)[:40]), "held", "analysed"},
		{"a stream without its end", "dev/app", drive.NewImage(noisy[:len(noisy)-8]), "held", "no diff_id to compare: the gzip stream is damaged or cut short"},
		{"a table of contents of its own", "dev/app", drive.NewImage(lazy(small)), "denied", "the table of contents lists what the layer does not have (etc/ld.so.preload)"},
		{"another diff ID", "dev/app", drive.NewManifest(lying), "denied", "layers-match-config"},
		{"a name that goes up", "dev/app", drive.NewImage(drive.MustLayer(map[string][]byte{"../../etc/passwd": []byte("x")})), "denied", "unambiguous"},
		{"a broken dpkg status", "catalog/app", drive.NewImage(drive.MustLayer(map[string][]byte{
			"etc/os-release": []byte("ID=debian\nVERSION_ID=12\n"), "var/lib/dpkg/status": []byte("Package: x\n\x00\xff\nStatus: install ok installed\nVersion"),
		})), "held", "fully-analysed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tag := strings.ReplaceAll(test.name, " ", "-")
			if err := ann.Push(ctx, test.repository, tag, test.image); err != nil {
				t.Fatal(err)
			}
			w, err := ann.Judged(ctx, test.repository+":"+tag, "held", "denied", "admitted")
			if err != nil {
				t.Fatal(err)
			}
			said, _ := json.Marshal(w.Decision.Reasons)
			if w.State != test.state || !strings.Contains(string(said), test.says) {
				t.Errorf("it is %s, want %s with %q: %s", w.State, test.state, test.says, said)
			}
			if err := ops.Pull(ctx, test.repository, tag, test.image); drive.Status(err) != http.StatusNotFound && drive.Status(err) != http.StatusForbidden {
				t.Errorf("somebody else pulls it: %v", err)
			}
		})
	}
	if err := ann.Push(ctx, "dev/app", "fine", drive.NewImage(small)); err != nil {
		t.Errorf("pushing after all that: %v", err)
	}
	if _, err := ann.Judged(ctx, "dev/app:fine", "admitted"); err != nil {
		t.Error(err)
	}
	server.Stop()
	server.Fsck()
}

// lazy is a layer for snapshotters that believe the table of contents behind
// the tar (eStargz), which has a file more.
func lazy(layer []byte) []byte {
	const end = 1024 // bytes of the mark
	tar := drive.MustGzip(layer[:len(layer)-end])
	table := drive.MustLayer(map[string][]byte{"stargz.index.json": []byte(`{"version":1,"entries":[{"name":"etc/ld.so.preload","type":"reg"}]}`)})
	footer := slices.Concat([]byte("\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x1a\x00SG\x16\x00"), fmt.Appendf(nil, "%016xSTARGZ", len(tar)),
		[]byte("\x01\x00\x00\xff\xff"), make([]byte, 8))
	return slices.Concat(tar, drive.MustGzip(table), footer)
}

// bomb is a gzip stream of n zeros in a tar's place.
func bomb(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	head := drive.MustLayer(map[string][]byte{"zeros": nil})
	if _, err := w.Write(head[:512]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestFullDisk fills a small file system. Root alone can mount one; elsewhere
// TestSystemCalls fails single calls in the same way.
func TestFullDisk(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		if errors.Is(err, syscall.EPERM) {
			testparts.Absent(t, "mount", "this user may not mount a small file system")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	server := drive.Start(t, drive.Options{Config: plain + drive.Advisories(t, "../.."), Folder: dir})
	server.UpdateFeeds()
	ann, ops := server.Enrol("ann", "developer"), server.Enrol("ops", "reader")
	var there []drive.Image
	var full error
	for i := 0; full == nil && i < 40; i++ {
		image := drive.NewImage(drive.MustLayer(map[string][]byte{"file": noise(uint64(i), 1<<20)}))
		tag := fmt.Sprint("v", i)
		if full = ann.Push(ctx, "dev/app", tag, image); full == nil {
			_, full = ann.Judged(ctx, "dev/app:"+tag, "admitted")
			there = append(there, image)
		}
	}
	t.Logf("after %d images: %v", len(there), full)
	if drive.Status(full) != http.StatusInsufficientStorage || !strings.Contains(full.Error(), "full") {
		t.Errorf("a full disk is told as %v", full)
	}
	if strings.Contains(fmt.Sprint(full), dir) {
		t.Errorf("folders of the server are no client's business: %v", full)
	}
	for i, image := range there[:len(there)-1] {
		if err := ops.Pull(ctx, "dev/app", fmt.Sprint("v", i), image); err != nil {
			t.Errorf("pulling from a full disk: %v", err)
		}
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	after := drive.NewImage(drive.MustLayer(map[string][]byte{"file": []byte("after")}))
	if err := ann.Push(ctx, "dev/app", "after", after); err != nil {
		t.Errorf("pushing once there is space: %v", err)
	}
	if _, err := ann.Judged(ctx, "dev/app:after", "admitted"); err != nil {
		t.Error(err)
	}
	server.Stop()
	server.Fsck()
}
