package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"

	"golang.org/x/sync/errgroup"

	"github.com/bonded-dev/bonded/internal/oci"
)

// image is what is pushed: blobs, of which the first is the configuration, and
// the manifest that names them.
type image struct {
	blobs    []content
	manifest content
}

// content is one blob or manifest.
type content struct {
	data      []byte
	digest    string
	mediaType string
}

func newContent(data []byte, mediaType string) content {
	return content{data: data, digest: digest(data), mediaType: mediaType}
}

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	tarType      = "application/vnd.oci.image.layer.v1.tar"
	gzipType     = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// layer is a layer of an image in the making.
type layer struct {
	content
	diffID string
}

// randomImage makes an image whose layers are tars of one incompressible file
// each; the same seed gives the same image.
func randomImage(seed uint64, layers, bytesEach int) (image, error) {
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), 1})
	var list []layer
	for i := range layers {
		data, err := randomLayer(src, fmt.Sprintf("opt/%d", i), bytesEach)
		if err != nil {
			return image{}, fmt.Errorf("making layer %d: %w", i, err)
		}
		c := newContent(data, tarType)
		list = append(list, layer{c, c.digest})
	}
	return newImage(list)
}

func randomLayer(src io.Reader, name string, size int) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(size)}); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(w, src, int64(size)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// newImage writes the configuration and the manifest of the layers.
func newImage(layers []layer) (image, error) {
	var config struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		RootFS       struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	config.Architecture, config.OS, config.RootFS.Type = "amd64", "linux", "layers"
	img := image{blobs: []content{{}}}
	for _, l := range layers {
		img.blobs = append(img.blobs, l.content)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return image{}, fmt.Errorf("writing the configuration: %w", err)
	}
	img.blobs[0] = newContent(text, configType)
	img.manifest, err = manifestOf(img.blobs, nil)
	return img, err
}

// manifestOf names the blobs, the first as configuration.
func manifestOf(blobs []content, annotations map[string]string) (content, error) {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	m := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Config        descriptor        `json:"config"`
		Layers        []descriptor      `json:"layers"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{SchemaVersion: 2, MediaType: manifestType, Layers: []descriptor{}, Annotations: annotations}
	for i, blob := range blobs {
		d := descriptor{MediaType: blob.mediaType, Digest: blob.digest, Size: len(blob.data)}
		if i == 0 {
			m.Config = d
			continue
		}
		m.Layers = append(m.Layers, d)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return content{}, fmt.Errorf("writing the manifest: %w", err)
	}
	return newContent(text, manifestType), nil
}

// bytes is the size of all blobs.
func (img image) bytes() (n int64) {
	for _, b := range img.blobs {
		n += int64(len(b.data))
	}
	return n
}

func digest(b []byte) string { return oci.FromBytes(b).String() }

// streams is how many blobs are sent at once, as common clients do.
const streams = 4

// push uploads the image under a tag, one request for each step as clients do it:
// POST and PUT per blob, PUT of the manifest.
func (r *registry) push(ctx context.Context, repository, tag string, img image) error {
	if err := r.pushBlobs(ctx, repository, img.blobs); err != nil {
		return err
	}
	return r.pushManifest(ctx, repository, tag, img.manifest)
}

func (r *registry) pushManifest(ctx context.Context, repository, reference string, m content) error {
	_, err := r.do(ctx, call{
		method: http.MethodPut, repository: repository, path: "/manifests/" + reference,
		body: m.data, contentType: m.mediaType, want: http.StatusCreated,
	})
	if err != nil {
		return fmt.Errorf("pushing the manifest: %w", err)
	}
	return nil
}

// pushBlobs uploads blobs, some at once.
func (r *registry) pushBlobs(ctx context.Context, repository string, blobs []content) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(streams)
	for _, blob := range blobs {
		group.Go(func() error {
			if err := r.pushBlob(ctx, repository, blob); err != nil {
				return fmt.Errorf("pushing blob %s: %w", blob.digest, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (r *registry) pushBlob(ctx context.Context, repository string, blob content) error {
	head, err := r.do(ctx, call{method: http.MethodPost, repository: repository, path: "/blobs/uploads/", want: http.StatusAccepted})
	if err != nil {
		return err
	}
	place, err := url.Parse(head.Get("Location"))
	if err != nil {
		return fmt.Errorf("reading where to upload to: %w", err)
	}
	query := place.Query()
	query.Set("digest", blob.digest)
	place.RawQuery = query.Encode()
	_, err = r.do(ctx, call{
		method: http.MethodPut, repository: repository, location: place,
		body: blob.data, contentType: "application/octet-stream", want: http.StatusCreated,
	})
	return err
}

// pull reads the manifest by tag and every blob to its end.
func (r *registry) pull(ctx context.Context, repository, tag string, img image) error {
	if _, err := r.do(ctx, call{method: http.MethodGet, repository: repository, path: "/manifests/" + tag, want: http.StatusOK}); err != nil {
		return fmt.Errorf("pulling the manifest: %w", err)
	}
	for _, blob := range img.blobs {
		if _, err := r.do(ctx, call{method: http.MethodGet, repository: repository, path: "/blobs/" + blob.digest, want: http.StatusOK, size: len(blob.data)}); err != nil {
			return fmt.Errorf("pulling blob %s: %w", blob.digest, err)
		}
	}
	return nil
}

// call is one request to a repository.
type call struct {
	method      string
	repository  string
	path        string   // below the repository
	location    *url.URL // instead of path; relative to the registry
	body        []byte
	contentType string
	want        int // status
	size        int // of the answer's body; 0: any
}

// do sends one request with a token and reads its answer to the end.
func (r *registry) do(ctx context.Context, c call) (http.Header, error) {
	target := r.url + "/v2/" + c.repository + c.path
	if c.location != nil {
		base, err := url.Parse(r.url)
		if err != nil {
			return nil, err
		}
		target = base.ResolveReference(c.location).String()
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target, bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	if r.uplink != nil && c.body != nil {
		req.Body = io.NopCloser(r.uplink.reader(ctx, bytes.NewReader(c.body)))
	}
	token, err := r.token(c.repository)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", manifestType)
	if c.body != nil {
		req.Header.Set("Content-Type", c.contentType)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != c.want {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return nil, fmt.Errorf("%s %s: %s: %s", c.method, target, resp.Status, said)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", c.method, target, err)
	}
	if c.size > 0 && n != int64(c.size) {
		return nil, fmt.Errorf("%s %s: %d bytes came, %d are there", c.method, target, n, c.size)
	}
	return resp.Header, nil
}
