package registry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
)

const someDigest = "sha256:6a1fbcf213fb20645f14ade9b6f8d83703ee68a74e1e024cafd0ae191b88447f"

func TestParse(t *testing.T) {
	d, app := oci.MustDigest(someDigest), oci.MustRepository("dev/app")
	upload := strings.Repeat("0a", 16)
	tests := []struct {
		method, url string
		want        Request
	}{
		{"GET", "/v2/", Request{Op: Ping}},
		{"HEAD", "/v2", Request{Op: Ping}},
		{"GET", "/v2/_catalog?n=3&last=a/b", Request{Op: Catalog, N: 3, Last: "a/b"}},
		{"GET", "/v2/dev/app/manifests/1.0", Request{Op: ManifestGet, Repository: app, Tag: "1.0"}},
		{"HEAD", "/v2/dev/app/manifests/" + someDigest, Request{Op: ManifestGet, Repository: app, Digest: d}},
		{"GET", "/v2/dev/app/manifests/" + someDigest + "?ns=docker.io", Request{Op: ManifestGet, Repository: app, Digest: d}},
		{"PUT", "/v2/dev/app/manifests/" + someDigest + "?tag=a&tag=b", Request{Op: ManifestPut, Repository: app, Digest: d, Tags: []string{"a", "b"}}},
		{"DELETE", "/v2/dev/app/manifests/1.0", Request{Op: ManifestDelete, Repository: app, Tag: "1.0"}},
		{"GET", "/v2/dev/app/blobs/" + someDigest, Request{Op: BlobGet, Repository: app, Digest: d}},
		{"DELETE", "/v2/dev/app/blobs/" + someDigest, Request{Op: BlobDelete, Repository: app, Digest: d}},
		{"POST", "/v2/dev/app/blobs/uploads", Request{Op: UploadStart, Repository: app}},
		{"POST", "/v2/dev/app/blobs/uploads/?digest=" + someDigest, Request{Op: UploadStart, Repository: app, Digest: d}},
		{"POST", "/v2/dev/app/blobs/uploads/?mount=" + someDigest, Request{Op: UploadStart, Repository: app, Digest: d, Mount: true}},
		{"POST", "/v2/dev/app/blobs/uploads/?mount=" + someDigest + "&from=a/b", Request{Op: UploadStart, Repository: app, Digest: d, Mount: true, From: oci.MustRepository("a/b")}},
		{"PATCH", "/v2/dev/app/blobs/uploads/" + upload, Request{Op: UploadAppend, Repository: app, Upload: blob.UploadID(upload)}},
		{"PUT", "/v2/dev/app/blobs/uploads/" + upload + "?digest=" + someDigest, Request{Op: UploadFinish, Repository: app, Upload: blob.UploadID(upload), Digest: d}},
		{"GET", "/v2/dev/app/blobs/uploads/" + upload, Request{Op: UploadStatus, Repository: app, Upload: blob.UploadID(upload)}},
		{"DELETE", "/v2/dev/app/blobs/uploads/" + upload, Request{Op: UploadCancel, Repository: app, Upload: blob.UploadID(upload)}},
		{"GET", "/v2/dev/app/tags/list?n=99999999", Request{Op: TagsList, Repository: app, N: maxN}},
		{"GET", "/v2/dev/app/referrers/" + someDigest + "?artifactType=a/b", Request{Op: ReferrersList, Repository: app, Digest: d, ArtifactType: "a/b"}},
		// Repositories may be named like what follows them.
		{"GET", "/v2/blobs/uploads/manifests/tags/manifests/list", Request{Op: ManifestGet, Repository: oci.MustRepository("blobs/uploads/manifests/tags"), Tag: "list"}},
		{"POST", "/v2/a/blobs/uploads/blobs/uploads/", Request{Op: UploadStart, Repository: oci.MustRepository("a/blobs/uploads")}},
		{"GET", "/v2/v2/_catalog/tags/list", Request{Op: TagsList}},
	}
	for _, test := range tests[:len(tests)-1] {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if test.want.N == 0 {
			test.want.N = -1
		}
		got, err := Parse(test.method, u)
		if err != nil {
			t.Errorf("%s %s: %v", test.method, test.url, err)
		} else if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b oci.Digest) bool { return a == b }), cmp.Comparer(func(a, b oci.Repository) bool { return a == b })); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.method, test.url, diff)
		}
	}
}

func TestParseErrors(t *testing.T) {
	long := strings.Repeat("a", 256)
	tests := []struct {
		method, url string
		want        error
	}{
		{"GET", "/", errNoEndpoint},
		{"GET", "/v2x/", errNoEndpoint},
		{"GET", "/v2//", errNoEndpoint},
		{"GET", "/v2/dev/app/tags/lists", errNoEndpoint},
		{"GET", "/v2/v2/_catalog/tags/list", oci.ErrNameInvalid},
		{"GET", "/v2/" + long + "/tags/list", oci.ErrNameInvalid},
		{"GET", "/v2/dev/a%00b/tags/list", oci.ErrNameInvalid},
		{"GET", "/v2/dev/аpp/tags/list", oci.ErrNameInvalid}, // a Cyrillic а
		{"GET", "/v2/dev/..%2f..%2fetc/tags/list", oci.ErrNameInvalid},
		{"GET", "/v2/dev/%2e%2e/tags/list", oci.ErrNameInvalid},
		{"GET", "/v2/dev/app/manifests/" + long, oci.ErrTagInvalid},
		{"GET", "/v2/dev/app/manifests/", oci.ErrTagInvalid},
		{"GET", "/v2/dev/app/manifests/a%0ab", oci.ErrTagInvalid},
		{"GET", "/v2/dev/app/manifests/SHA256:" + someDigest[7:], oci.ErrDigestInvalid},
		{"GET", "/v2/dev/app/blobs/", oci.ErrDigestInvalid},
		{"GET", "/v2/dev/app/blobs/" + someDigest + "0", oci.ErrDigestInvalid},
		{"PATCH", "/v2/dev/app/blobs/uploads/" + strings.Repeat("0A", 16), blob.ErrUploadUnknown},
		{"PUT", "/v2/dev/app/blobs/uploads/" + strings.Repeat("0a", 16), errNoDigest},
		{"PUT", "/v2/dev/app/manifests/" + someDigest + "?tag=" + strings.Repeat("a&tag=", 100) + "a", errTooManyTags},
		{"PUT", "/v2/dev/app/manifests/" + someDigest + "?tag=%20", oci.ErrTagInvalid},
		{"GET", "/v2/dev/app/tags/list?n=+1", errNumber},
		{"GET", "/v2/dev/app/tags/list?n=", errNumber},
		{"GET", "/v2/dev/app/tags/list?n=1e3", errNumber},
		{"GET", "/v2/dev/app/tags/list?last=" + strings.Repeat("a", maxQuery), errQuery},
	}
	for _, test := range tests {
		u, err := url.Parse(test.url)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(test.method, u); !errors.Is(err, test.want) {
			t.Errorf("%s %.80s: %+v, %v, want %v", test.method, test.url, got, err, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"/v2/", "/v2/dev/app/manifests/1.0?tag=a", "/v2/dev/app/blobs/uploads/?mount=" + someDigest + "&from=a/b", "/v2/a%2fb/tags/list?n=1&last=z"} {
		f.Add("GET", s)
		f.Add("POST", s)
	}
	f.Fuzz(func(t *testing.T, method, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		req, err := Parse(method, u)
		if err != nil {
			if a := answerTo(err); a.status >= 500 {
				t.Errorf("%s %q: %v has no row in the table", method, raw, err)
			}
			return
		}
		if req.Op < Ping || req.Op > Catalog || req.N < -1 || req.N > maxN {
			t.Errorf("%s %q: %+v", method, raw, req)
		}
		if !req.Repository.IsZero() {
			if _, err := oci.ParseRepository(req.Repository.String()); err != nil {
				t.Errorf("%q: %v", raw, err)
			}
		} else if req.Op != Ping && req.Op != Catalog {
			t.Errorf("%s %q without a repository: %+v", method, raw, req)
		}
		for _, tag := range req.Tags {
			if err := oci.CheckTag(tag); err != nil {
				t.Errorf("%q: %v", raw, err)
			}
		}
	})
}

func TestContentRange(t *testing.T) {
	for s, want := range map[string]chunk{
		"0-0": {0, 1}, "5-11": {5, 7}, "bytes 0-9/10": {0, 10}, "bytes 0-9/*": {0, 10}, "007-8": {7, 2},
	} {
		if got, err := parseContentRange(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-", "1", "1-", "-1", "2-1", "0x0-1", "+0-1", "0-1 ", "0-1-2", "bytes=0-1", "bytes */10", "0-99999999999999999999", "4611686018427387904-4611686018427387905"} {
		if got, err := parseContentRange(s); !errors.Is(err, errRange) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"0-0", "bytes 5-11/*", "9-1", "0-4611686018427387903"} {
		f.Add(s, int64(-1))
	}
	f.Fuzz(func(t *testing.T, s string, length int64) {
		r := &http.Request{Header: http.Header{"Content-Range": {s}}, ContentLength: length}
		c, err := chunkOf(r)
		if err != nil {
			return
		}
		if s != "" && (c.offset < 0 || c.length < 1 || length >= 0 && c.length != length) || s == "" && c.offset != push.AnyOffset {
			t.Errorf("%q with %d bytes: %+v", s, length, c)
		}
	})
}

func TestBodyLengths(t *testing.T) {
	for _, test := range []struct {
		announced int64
		comes     string
		read      string
		want      error
	}{
		{-1, "12345", "12345", nil}, {5, "12345", "12345", nil}, {4, "12345", "1234", errLength}, {6, "12345", "12345", errLength}, {0, "", "", nil}, {0, "1", "", errLength},
	} {
		ended := false
		b := &body{r: strings.NewReader(test.comes), left: test.announced, idle: func(done bool) { ended = done }}
		got, err := io.ReadAll(b)
		if string(got) != test.read || !errors.Is(err, test.want) || !errors.Is(b.failed(), test.want) || test.want == nil && !ended {
			t.Errorf("%d announced, %q comes: read %q, %v", test.announced, test.comes, got, err)
		}
	}
}

func TestWarningsAreQuoted(t *testing.T) {
	h := http.Header{}
	warn(h, "a \"quoted\\\r\nInjected: header "+strings.Repeat("ü", maxWarning))
	got := h.Get("Warning")
	if strings.ContainsAny(got, "\r\n") || !strings.HasPrefix(got, `299 - "a \"quoted\\  Injected: header ü`) || !strings.HasSuffix(got, `…"`) || len(got) > 4096 {
		t.Errorf("%.80s… of %d bytes", got, len(got))
	}
	var out bytes.Buffer
	if err := h.Write(&out); err != nil || strings.Count(out.String(), "\n") != 1 {
		t.Error(out.String(), err)
	}
}
