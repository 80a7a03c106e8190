package acquire

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/oci"
)

func TestForms(t *testing.T) {
	l := newLayout(t)
	l.root(l.image("linux/amd64", "one", "two"), "")
	all := l.all()
	plain := tarOf(t, all)
	dotted := map[string][]byte{}
	for name, b := range all {
		dotted["./"+name] = b
	}
	save := l.saved(l.roots[0], "reg.example/payments/api:1.8")
	compressed := map[string][]byte{}
	for name, b := range save {
		if strings.HasSuffix(name, "layer.tar") {
			b = gzipped(t, b)
		}
		compressed[name] = b
	}
	for _, tt := range []struct{ name, target, path string }{
		{"folder", dir(t, all), "layout"},
		{"tar", file(t, "Image One.tar", plain), "image_one"},
		{"tar with dots", file(t, "image.tar", tarOf(t, dotted)), "image"},
		{"gzip", file(t, "image.tar.gz", gzipped(t, plain)), "image"},
		{"zstd", file(t, "image.tar.zst", zstded(t, plain)), "image"},
		{"saved", file(t, "saved.tar", tarOf(t, save)), "reg.example/payments/api"},
		{"saved, gzip", file(t, "saved.tgz", gzipped(t, tarOf(t, save))), "reg.example/payments/api"},
		{"saved with compressed layers", file(t, "saved.tar", tarOf(t, compressed)), "reg.example/payments/api"},
		{"saved and unpacked", dir(t, save), "reg.example/payments/api"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := mustOpen(t, tt.target)
			c, err := Choose(t.Context(), s, oci.Platform{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"one", "two"}, contents(t, s, c.Manifest)); diff != "" {
				t.Error(diff)
			}
			raw, err := blobOf(t, s, c.Manifest.Config)
			if err != nil {
				t.Fatal(err)
			}
			if cfg, err := oci.ParseImageConfig(raw); err != nil || cfg.OS != "linux" {
				t.Errorf("configuration %+v, %v", cfg, err)
			}
			if c.Manifest.Kind() != oci.KindImage || s.Name() != tt.target || s.Path() != tt.path {
				t.Errorf("kind %s, name %s, path %s; want path %s", c.Manifest.Kind(), s.Name(), s.Path(), tt.path)
			}
			if _, err := oci.ParseRepository("dev/" + s.Path()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Equal images have an equal digest, however they were saved.
func TestSavedIsDeterministic(t *testing.T) {
	l := newLayout(t)
	d := l.image("linux/amd64", "one", "two", "one")
	save := l.saved(d)
	linked := l.saved(d)
	linked["0/layer.tar"] = []byte("-> ../kept.tar")
	linked["kept.tar"] = save["0/layer.tar"]
	first, second := mustOpen(t, file(t, "a.tar", tarOf(t, save))), mustOpen(t, file(t, "b.tar", tarOf(t, linked)))
	if first.Root().Digest != second.Root().Digest {
		t.Errorf("%s and %s", first.Root().Digest, second.Root().Digest)
	}
	if diff := cmp.Diff([]string{"one", "two", "one"}, contents(t, second, must(t, second).Manifest)); diff != "" {
		t.Error(diff)
	}
}

func must(t testing.TB, s Source) *Chosen {
	t.Helper()
	c, err := Choose(t.Context(), s, oci.Platform{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNames(t *testing.T) {
	l := newLayout(t)
	one, two := l.image("linux/amd64", "one"), l.image("linux/amd64", "two")
	l.root(one, "1.0")
	l.root(two, "reg.example/app:2.0")
	full := l.root(two, "2.1")
	l.roots[len(l.roots)-1].Annotations[nameAnnotation] = "docker.io/library/app:2.1"
	layout := file(t, "a.tar", tarOf(t, l.all()))
	saves := l.saved(one, "reg.example/x/app:1.0", "app:latest")
	for name, b := range l.saved(two, "app:2.0") {
		if name == savedFile {
			b = slices.Concat(saves[savedFile][:len(saves[savedFile])-1], []byte(","), bytes.ReplaceAll(b[1:], []byte("0/layer"), []byte("two/layer")))
		}
		saves[strings.Replace(name, "0/layer", "two/layer", 1)] = b
	}
	saves["0/layer.tar"] = l.files[blobName(mustParse(t, l, one).Layers[0].Digest)]
	saved := file(t, "b.tar", tarOf(t, saves))
	for target, want := range map[string]string{
		layout + ":1.0": "one", layout + ":reg.example/app:2.0": "two", layout + ":docker.io/library/app:2.1": "two", layout + ":app:2.1": "two",
		layout + ":" + full.Digest.String(): "two",
		saved + ":app:latest":               "one", saved + ":x/app:1.0": "one", saved + ":app:2.0": "two",
	} {
		s := mustOpen(t, target)
		if got := contents(t, s, must(t, s).Manifest); got[0] != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	for target, want := range map[string]string{
		layout:          "the layout has 3 images; say which: " + layout + ":NAME, of 1.0, docker.io/library/app:2.1, reg.example/app:2.0",
		layout + ":3.0": `nothing named "3.0"; name one of 1.0, `,
		saved:           "the archive has 2 images; say which: " + saved + ":NAME, of app:2.0, app:latest, reg.example/x/app:1.0",
		saved + ":none": `nothing named "none"; name one of app:2.0`,
	} {
		wantError(t, target, want, nil)
	}
}

func mustParse(t testing.TB, l *layoutOf, d oci.Descriptor) *oci.Manifest {
	t.Helper()
	m, err := oci.ParseManifest(l.files[blobName(d.Digest)], "", oci.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantError opens a target, which must fail saying want.
func wantError(t testing.TB, target, want string, kind error) {
	t.Helper()
	s, err := Open(t.Context(), target, options(t))
	if err == nil {
		_, err = Choose(t.Context(), s, oci.Platform{})
		err = errors.Join(err, s.Close())
	}
	if next := NextStep(err); next != "" {
		err = fmt.Errorf("%w; %s", err, next)
	}
	if err == nil || !strings.Contains(err.Error(), want) || kind != nil && !errors.Is(err, kind) {
		t.Errorf("%s: error %v\nwant %q matching %v", target, err, want, kind)
	}
}

func TestPlatforms(t *testing.T) {
	arm, amd, win := "linux/arm64/v8", "linux/amd64", "windows/amd64"
	for name, tt := range map[string]struct {
		make func(l *layoutOf) oci.Descriptor
		want string // platform asked for
		got  string // platform, number of platforms, content of the layer
	}{
		"one image": {func(l *layoutOf) oci.Descriptor { return l.image(arm, arm) }, "", "linux/arm64/v8 of 0: linux/arm64/v8"},
		"amd64 is meant": {func(l *layoutOf) oci.Descriptor {
			return l.index(l.image(win, win), l.image(arm, arm), l.image(amd, amd))
		}, "", "linux/amd64 of 3: linux/amd64"},
		"else the first": {func(l *layoutOf) oci.Descriptor { return l.index(l.image(win, win), l.image(arm, arm)) }, "", "windows/amd64 of 2: windows/amd64"},
		"attestations do not count": {func(l *layoutOf) oci.Descriptor {
			att := l.image("unknown/unknown", "att")
			return l.index(att, l.image(arm, arm))
		}, "", "linux/arm64/v8 of 1: linux/arm64/v8"},
		"sparse": {func(l *layoutOf) oci.Descriptor {
			d := l.index(l.image(amd, amd), l.image(arm, arm))
			delete(l.files, blobName(l.image(amd, amd).Digest))
			return d
		}, "", "linux/arm64/v8 of 2: linux/arm64/v8"},
		"charts do not count": {func(l *layoutOf) oci.Descriptor {
			config := l.blob(oci.MediaTypeHelmConfig, []byte("{}"))
			chart := l.json(oci.MediaTypeManifest, manifest{SchemaVersion: 2, MediaType: oci.MediaTypeManifest, Config: &config})
			return l.index(chart, l.image(arm, arm))
		}, "", "linux/arm64/v8 of 2: linux/arm64/v8"},
		"asked for":                {func(l *layoutOf) oci.Descriptor { return l.index(l.image(amd, amd), l.image(arm, arm)) }, "linux/arm64", "linux/arm64/v8 of 2: linux/arm64/v8"},
		"asked for with a variant": {func(l *layoutOf) oci.Descriptor { return l.index(l.image(amd, amd), l.image(arm, arm)) }, "linux/arm64/v8", "linux/arm64/v8 of 2: linux/arm64/v8"},
		"asked for and not there":  {func(l *layoutOf) oci.Descriptor { return l.index(l.image(amd, amd), l.image(arm, arm)) }, "linux/s390x", "the index has no image for linux/s390x; it has linux/amd64, linux/arm64/v8"},
		"indexes in indexes":       {func(l *layoutOf) oci.Descriptor { return l.index(l.index(l.image(win, win), l.image(amd, amd))) }, "", "linux/amd64 of 2: linux/amd64"},
		"an empty one":             {func(l *layoutOf) oci.Descriptor { return l.index() }, "", "none of them is here"},
		"too deep": {func(l *layoutOf) oci.Descriptor {
			d := l.image(amd, amd)
			for range oci.MaxIndexDepth + 1 {
				d = l.index(d)
			}
			return d
		}, "", "indexes nested deeper than 4"},
		"the same over and over": {func(l *layoutOf) oci.Descriptor {
			d := oci.Descriptor{MediaType: oci.MediaTypeManifest, Digest: oci.FromBytes([]byte("missing")), Size: 7}
			for range oci.MaxIndexDepth {
				d = l.index(slices.Repeat([]oci.Descriptor{d}, 1000)...)
			}
			return d
		}, "", "none of the first 1000 manifests"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			l.root(tt.make(l), "")
			s := mustOpen(t, dir(t, l.all()))
			want := oci.Platform{}
			if tt.want != "" {
				want = *platformOf(tt.want)
			}
			c, err := Choose(t.Context(), s, want)
			if err != nil {
				if !strings.Contains(err.Error(), tt.got) {
					t.Errorf("error %v, want %q", err, tt.got)
				}
				return
			}
			if got := fmt.Sprintf("%s of %d: %s", c.Platform, c.Platforms, contents(t, s, c.Manifest)[0]); got != tt.got {
				t.Errorf("%s, want %s", got, tt.got)
			}
		})
	}
}

// Some builders write the images of all platforms into index.json itself.
func TestPlatformsAtTheRoot(t *testing.T) {
	l := newLayout(t)
	l.root(l.image("linux/arm64", "arm"), "")
	l.root(l.image("linux/amd64", "amd"), "")
	s := mustOpen(t, dir(t, l.all()))
	c := must(t, s)
	if got := contents(t, s, c.Manifest)[0]; got != "amd" || c.Platforms != 2 {
		t.Errorf("%s of %d", got, c.Platforms)
	}
}

func TestEvidenceIsNotMeant(t *testing.T) {
	l := newLayout(t)
	l.root(l.image("linux/amd64", "one"), "1.0")
	sig := l.image("linux/amd64", "sig")
	l.root(sig, "sha256-"+strings.Repeat("a", 64)+".sig")
	s := mustOpen(t, dir(t, l.all()))
	if got := contents(t, s, must(t, s).Manifest)[0]; got != "one" {
		t.Errorf("took %s", got)
	}
	l = newLayout(t)
	typed := l.image("linux/amd64", "typed")
	typed.ArtifactType = oci.MediaTypeDockerConfig // as crane pull --format=oci writes it
	l.root(typed, "")
	if s := mustOpen(t, dir(t, l.all())); contents(t, s, must(t, s).Manifest)[0] != "typed" {
		t.Error("an image with the type of its configuration is not taken for one")
	}
	l = newLayout(t)
	l.root(sig, "sha256-"+strings.Repeat("a", 64)+".sig")
	wantError(t, dir(t, l.all()), "only what is said about images elsewhere", ErrNotFound)
}

// However content is changed, it is never given out.
func TestCorruptContent(t *testing.T) {
	for _, form := range []string{"folder", "tar"} {
		for name, change := range map[string]func(b []byte) []byte{
			"flipped": func(b []byte) []byte { c := bytes.Clone(b); c[len(c)/2] ^= 1; return c },
			"short":   func(b []byte) []byte { return b[:len(b)-1] },
			"long":    func(b []byte) []byte { return append(bytes.Clone(b), 0) },
			"empty":   func([]byte) []byte { return nil },
		} {
			t.Run(form+"/"+name, func(t *testing.T) {
				l := newLayout(t)
				root := l.root(l.image("linux/amd64", "one"), "")
				m := mustParse(t, l, root)
				for _, d := range m.References() {
					l.files[blobName(d.Digest)] = change(l.files[blobName(d.Digest)])
				}
				s := mustOpen(t, l.as(form))
				for _, d := range m.References() {
					if b, err := blobOf(t, s, d); !errors.Is(err, ErrCorrupt) {
						t.Errorf("%s: %d bytes, error %v", d.MediaType, len(b), err)
					}
				}
				l.files[blobName(root.Digest)] = change(l.files[blobName(root.Digest)])
				wantError(t, l.as(form), "content is not what it is named by", ErrCorrupt)
				delete(l.files, blobName(root.Digest))
				wantError(t, l.as(form), "is not in the layout; copy the image again, whole", ErrNotFound)
			})
		}
	}
}

func (l *layoutOf) as(form string) string {
	l.Helper()
	if form == "folder" {
		return dir(l, l.all())
	}
	return file(l, "image.tar", tarOf(l, l.all()))
}

// A descriptor may lie about the size although the digest is right.
func TestLyingSizes(t *testing.T) {
	l := newLayout(t)
	d := l.image("linux/amd64", "one")
	l.root(d, "")
	s := mustOpen(t, dir(t, l.all()))
	for _, size := range []int64{0, d.Size - 1, d.Size + 1, 1 << 60} {
		lying := d
		lying.Size = size
		if _, err := blobOf(t, s, lying); !errors.Is(err, ErrCorrupt) {
			t.Errorf("size %d: %v", size, err)
		}
		if _, err := s.Manifest(t.Context(), lying); !errors.Is(err, ErrCorrupt) {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestDamagedLayouts(t *testing.T) {
	good := func(l *layoutOf) { l.root(l.image("linux/amd64", "one"), "") }
	for name, tt := range map[string]struct {
		make func(l *layoutOf)
		want string
		kind error
	}{
		"empty":           {func(*layoutOf) {}, "the layout is empty", ErrNotFound},
		"no index":        {func(l *layoutOf) { good(l); l.files[indexFile] = []byte(`{"schemaVersion":2}`) }, "reading index.json", ErrInvalid},
		"no JSON":         {func(l *layoutOf) { l.files[indexFile] = []byte("hello") }, "reading index.json", ErrInvalid},
		"an image":        {func(l *layoutOf) { l.files[indexFile] = l.files[blobName(l.image("linux/amd64", "x").Digest)] }, "it is no index", ErrInvalid},
		"too large":       {func(l *layoutOf) { l.files[indexFile] = make([]byte, oci.MaxManifest+1) }, "at most 4194304", ErrInvalid},
		"a later version": {func(l *layoutOf) { good(l); l.files[versionFile] = []byte(`{"imageLayoutVersion":"2.0.0"}`) }, `version "2.0.0"`, ErrInvalid},
		"damaged version": {func(l *layoutOf) { good(l); l.files[versionFile] = []byte(`1.0.0`) }, "reading oci-layout", ErrInvalid},
		"traversal":       {func(l *layoutOf) { l.files[indexFile] = []byte(indexWith(`"sha256:../../../../etc/passwd"`)) }, "not a valid digest", ErrInvalid},
		"unknown hash":    {func(l *layoutOf) { l.files[indexFile] = []byte(indexWith(`"md5:d41d8cd98f00b204e9800998ecf8427e"`)) }, "not a valid digest", ErrInvalid},
		"a huge manifest": {func(l *layoutOf) { l.root(l.blob(oci.MediaTypeManifest, make([]byte, oci.MaxManifest+1)), "") }, "at most 4194304", oci.ErrManifestInvalid},
		"another type":    {func(l *layoutOf) { good(l); l.roots[0].MediaType = oci.MediaTypeIndex }, "mediaType says", oci.ErrManifestInvalid},
		"Docker schema 1": {func(l *layoutOf) { l.root(l.blob(oci.MediaTypeDockerSchema1, []byte("{}")), "") }, "skopeo copy --format v2s2", oci.ErrSchema1},
		"nothing known": {func(l *layoutOf) {
			l.files = map[string][]byte{"x": nil, indexFile + ".bak": nil}
			l.files["oci-layout"] = nil
			delete(l.files, indexFile)
		}, "", nil},
	} {
		for _, form := range []string{"folder", "tar"} {
			l := newLayout(t)
			tt.make(l)
			if name == "nothing known" {
				files := map[string][]byte{"x": []byte("y")}
				target := dir(t, files)
				if form == "tar" {
					target = file(t, "x.tar", tarOf(t, files))
				}
				wantError(t, target, "it holds neither index.json nor manifest.json", ErrInvalid)
				continue
			}
			t.Run(name+"/"+form, func(t *testing.T) { l.TB = t; wantError(t, l.as(form), tt.want, tt.kind) })
		}
	}
}

func indexWith(digest string) string {
	return `{"schemaVersion":2,"manifests":[{"mediaType":"` + oci.MediaTypeManifest + `","size":1,"digest":` + digest + `}]}`
}

func TestDamagedSaves(t *testing.T) {
	l := newLayout(t)
	d := l.image("linux/amd64", "one")
	for name, tt := range map[string]struct {
		change func(files map[string][]byte)
		want   string
	}{
		"no JSON":           {func(f map[string][]byte) { f[savedFile] = []byte("{") }, "reading manifest.json"},
		"empty":             {func(f map[string][]byte) { f[savedFile] = []byte("[]") }, "the archive is empty"},
		"too many":          {func(f map[string][]byte) { f[savedFile] = []byte("[" + strings.Repeat("{},", 1000) + "{}]") }, "1001 images, at most 1000"},
		"unnamed":           {func(f map[string][]byte) { f[savedFile] = []byte("[{},{}]") }, "2 images without a name"},
		"missing layer":     {func(f map[string][]byte) { delete(f, "0/layer.tar") }, `reading layer 1 of 1: "0/layer.tar": not found`},
		"traversal":         {func(f map[string][]byte) { f[savedFile] = []byte(`[{"Config":"../../etc/passwd"}]`) }, "can be no file of the archive"},
		"absolute":          {func(f map[string][]byte) { f[savedFile] = []byte(`[{"Config":"/etc/passwd"}]`) }, "can be no file of the archive"},
		"no configuration":  {func(f map[string][]byte) { f[savedFile] = []byte(`[{}]`) }, "can be no file of the archive"},
		"a link out":        {func(f map[string][]byte) { f["0/layer.tar"] = []byte("-> ../../../etc/passwd") }, `"0/layer.tar": not found`},
		"an absolute link":  {func(f map[string][]byte) { f["0/layer.tar"] = []byte("-> /etc/passwd") }, `"0/layer.tar": not found`},
		"a link to nothing": {func(f map[string][]byte) { f["0/layer.tar"] = []byte("-> ../other.tar") }, `"other.tar": not found`},
		"links in a circle": {func(f map[string][]byte) {
			f["0/layer.tar"], f["1"] = []byte("-> ../1"), []byte("-> 0/layer.tar")
		}, "leads in a circle"},
		"many layers": {func(f map[string][]byte) {
			f[savedFile] = []byte(`[{"Config":"x","Layers":["` + strings.Repeat(`a","`, oci.MaxDescriptors) + `b"]}]`)
		}, "10001 layers, at most 10000"},
	} {
		t.Run(name, func(t *testing.T) {
			files := l.saved(d)
			tt.change(files)
			wantError(t, file(t, "saved.tar", tarOf(t, files)), tt.want, nil)
		})
	}
}

func TestHostileTars(t *testing.T) {
	l := newLayout(t)
	l.root(l.image("linux/amd64", "one"), "")
	good := tarOf(t, l.all())
	twice := func(t *testing.T, first string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		put(t, w, tar.Header{Name: indexFile, Mode: 0o644}, []byte(first))
		put(t, w, tar.Header{Name: indexFile, Mode: 0o644}, l.all()[indexFile])
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for name, tt := range map[string]struct {
		bytes func(t *testing.T) []byte
		want  string
	}{
		"an index twice": {func(t *testing.T) []byte { return twice(t, "{}") }, "more than once"},
		"cut short":      {func(*testing.T) []byte { return good[:1024] }, "cut short"},
		"cut in content": {func(*testing.T) []byte { return good[:len(good)-2500] }, "cut short"},
		"damaged header": {func(*testing.T) []byte { c := bytes.Clone(good); copy(c[148:], "xxxxxxx"); return c }, "damaged after 0 entries"},
		"empty":          {func(*testing.T) []byte { return nil }, "it is no tar"},
		"zeros":          {func(*testing.T) []byte { return make([]byte, 4096) }, "holds neither index.json nor manifest.json"},
		"text":           {func(*testing.T) []byte { return bytes.Repeat([]byte("hello\n"), 200) }, "it is no tar"},
		"xz":             {func(*testing.T) []byte { return []byte("\xfd7zXZ\x00...") }, "decompress it first: xz -d"},
		"gzip of text":   {func(t *testing.T) []byte { return gzipped(t, bytes.Repeat([]byte("hello\n"), 200)) }, "damaged after 0 entries"},
		"half a gzip":    {func(t *testing.T) []byte { z := gzipped(t, good); return z[:len(z)/2] }, "decompressing it after"},
		"a bad gzip":     {func(*testing.T) []byte { return []byte{0x1f, 0x8b, 9, 9, 9} }, "decompressing it"},
		"a bad zstd":     {func(*testing.T) []byte { return []byte{0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff} }, "decompressing it"},
		"names that lead out": {func(t *testing.T) []byte {
			return tarOf(t, map[string][]byte{"../index.json": []byte("{}"), "/manifest.json": []byte("[]"), "a/../index.json": []byte("{}")})
		}, "holds neither index.json nor manifest.json"},
		"an index with holes": {func(*testing.T) []byte { return sparseIndex }, "holds neither index.json nor manifest.json"},
	} {
		t.Run(name, func(t *testing.T) { wantError(t, file(t, "x.tar", tt.bytes(t)), tt.want, nil) })
	}
	t.Run("a bomb", func(t *testing.T) {
		o := options(t)
		o.Limits = Limits{Unpacked: 1 << 20}
		_, err := Open(t.Context(), file(t, "x.tar.gz", gzipped(t, make([]byte, 1<<20+1))), o)
		if err == nil || !strings.Contains(err.Error(), "to more than 1048576 bytes") {
			t.Error(err)
		}
		if left, err := os.ReadDir(o.Temp); err != nil || len(left) > 0 {
			t.Errorf("left behind %v, %v", left, err)
		}
	})
	t.Run("many entries", func(t *testing.T) {
		o := options(t)
		o.Limits = Limits{Entries: 3}
		_, err := Open(t.Context(), file(t, "x.tar", good), o)
		if err == nil || !strings.Contains(err.Error(), "more than 3 entries") {
			t.Error(err)
		}
	})
	t.Run("a long name", func(t *testing.T) {
		files := tarOf(t, map[string][]byte{strings.Repeat("a/", 400) + "x": nil})
		f, err := readTar(t.Context(), bytes.NewReader(files), int64(len(files)), 10)
		if err != nil || len(f.entries) != 0 {
			t.Errorf("%d entries, %v", len(f.entries), err)
		}
	})
}

// sparseIndex is a tar with an index.json in PAX's sparse format 1.0, whose
// content begins with a map of its holes.
var sparseIndex = func() []byte {
	var b bytes.Buffer
	records := ""
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=index.json", "GNU.sparse.realsize=1024"} {
		n := len(kv) + 4
		if n > 99 {
			n++
		}
		records += fmt.Sprintf("%d %s\n", n, kv)
	}
	for _, e := range []struct {
		name string
		kind byte
		body string
	}{{"pax", 'x', records}, {"index.json", '0', "1\n0\n512\n" + strings.Repeat("\x00", 504) + strings.Repeat("x", 512)}} {
		block := make([]byte, 512)
		copy(block, e.name)
		copy(block[100:], "0000644\x00")
		copy(block[124:], fmt.Sprintf("%011o\x00", len(e.body)))
		copy(block[136:], "00000000000\x00")
		block[156] = e.kind
		copy(block[257:], "ustar\x0000")
		copy(block[148:], "        ")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(block)
		b.WriteString(e.body)
		b.Write(make([]byte, (512-len(e.body)%512)%512))
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}()

// What is no file is not waited for.
func TestPipes(t *testing.T) {
	l := newLayout(t)
	l.root(l.image("linux/amd64", "one"), "")
	root := dir(t, l.all())
	pipe := filepath.Join(root, indexFile)
	if err := errors.Join(os.Remove(pipe), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	wantError(t, root, "is no file", ErrInvalid)
	wantError(t, pipe, "put what comes through a pipe into a file first", ErrInvalid)
}

func TestTemporaryFileHasNoName(t *testing.T) {
	l := newLayout(t)
	l.root(l.image("linux/amd64", "one"), "")
	o := options(t)
	s, err := Open(t.Context(), file(t, "x.tgz", gzipped(t, tarOf(t, l.all()))), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if left, err := os.ReadDir(o.Temp); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if got := contents(t, s, must(t, s).Manifest); got[0] != "one" {
		t.Errorf("%s", got)
	}
}

func TestCancelled(t *testing.T) {
	l := newLayout(t)
	d := l.root(l.image("linux/amd64", "one"), "")
	plain := tarOf(t, l.all())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, target := range []string{file(t, "x.tar", plain), file(t, "x.tgz", gzipped(t, plain))} {
		if _, err := Open(ctx, target, options(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", target, err)
		}
	}
	s := mustOpen(t, dir(t, l.all()))
	r, err := s.Blob(ctx, mustParse(t, l, d).Config)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestParseTarget(t *testing.T) {
	here := file(t, "there.tar", nil)
	digest := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		here:                             "file " + here + " name ",
		here + ":app:1":                  "file " + here + " name app:1",
		"docker.io/library/debian:12":    "docker.io/library/debian:12",
		"docker.io/debian":               "docker.io/library/debian:latest",
		"localhost/x":                    "localhost/x:latest",
		"localhost:5000/x":               "localhost:5000/x:latest",
		"[::1]:5000/x/y:1":               "[::1]:5000/x/y:1",
		"reg.example/a/b@" + digest:      "reg.example/a/b@" + digest,
		"reg.example/a/b:1@" + digest:    "reg.example/a/b@" + digest,
		"reg.example:443/a.b/c-d__e:1.0": "reg.example:443/a.b/c-d__e:1.0",
	} {
		got, err := parseTarget(in)
		text := got.ref.String()
		if got.path != "" {
			text = "file " + got.path + " name " + got.name
		}
		if err != nil || text != want {
			t.Errorf("%s: %s, %v; want %s", in, text, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                             "nothing is named",
		"debian:12":                    "names no registry",
		"payments/api:1.8":             "names no registry",
		"./absent":                     "there is no such file or folder",
		"absent.tar":                   "there is no such file or folder",
		"reg.example/absent.tar.gz":    "there is no such file or folder",
		"/absent:1":                    "there is no such file or folder",
		"reg.example/Upper":            "not a valid repository name",
		"reg.example/x:bad tag":        "not a valid tag",
		"reg_example.com/x":            "names no registry",
		"user:secret@reg.example/x":    "names no registry",
		"https://reg.example/x":        "names no registry",
		"reg.example:notaport/x":       "names no registry",
		"a\x00b":                       "names no registry",
		"reg.example/../../etc/passwd": "not a valid repository name",
	} {
		_, err := parseTarget(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}

func TestPathOf(t *testing.T) {
	for in, want := range map[string]string{
		"docker.io/library/debian:12": "docker.io/library/debian", "localhost:5000/x:1": "localhost_5000/x", "[::1]:5000/x": "1_5000/x",
		"My Image (1)": "my_image_1", "../../etc": "etc", "": "scan", "…": "scan", "a--b__c..d": "a-b_c.d", "-a-": "a", strings.Repeat("a", 300): "scan",
		"x@sha256:" + strings.Repeat("a", 64): "x",
	} {
		got := pathOf(in)
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if _, err := oci.ParseRepository(strings.Repeat("z", 63) + "/" + got); err != nil {
			t.Error(err)
		}
	}
}
