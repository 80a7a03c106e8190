package analyze

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// node is a file, link or directory of a tree in memory.
type node struct {
	dir  map[string]*node // not nil: a directory
	link string           // not "": a symbolic link
	body string
}

var errFails = errors.New("an unpacker fails")

// apply unpacks layer entries over a tree as containerd does: slowly, but on
// files instead of facts.
func (root *node) apply(entries []tar.Header) error {
	unpacked := map[*node]bool{}
	for i := range entries {
		if err := root.applyOne(&entries[i], unpacked); err != nil {
			return err
		}
	}
	return nil
}

func (root *node) applyOne(h *tar.Header, unpacked map[*node]bool) error {
	dir, base := path.Split(path.Clean(h.Name))
	parent, err := root.makeAll(dir, unpacked)
	if err != nil {
		return err
	}
	if name, ok := strings.CutPrefix(base, ".wh."); ok {
		if name == ".wh..opq" {
			parent.clear(unpacked)
		} else {
			delete(parent.dir, name)
		}
		return nil
	}
	old := parent.dir[base]
	n := &node{}
	switch h.Typeflag {
	case tar.TypeDir:
		n.dir = map[string]*node{}
		if old != nil && old.dir != nil {
			n = old
		}
	case tar.TypeSymlink:
		n.link = h.Linkname
	case tar.TypeLink:
		dir, base := path.Split(path.Clean(h.Linkname))
		parent, err := root.makeAll(dir, nil)
		if err != nil || parent.dir[base] == nil || parent.dir[base].dir != nil {
			return errFails
		}
		n = parent.dir[base]
	default:
		n.body = h.PAXRecords["body"]
	}
	parent.dir[base] = n
	unpacked[n] = true
	return nil
}

// makeAll returns the directory at a path, following links inside the root; it
// makes what is missing.
func (root *node) makeAll(dir string, unpacked map[*node]bool) (*node, error) {
	way := []*node{root}
	hops := 0
	for rest := dir; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		here := way[len(way)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			way = way[:max(len(way)-1, 1)]
			continue
		}
		n := here.dir[part]
		switch {
		case n == nil:
			n = &node{dir: map[string]*node{}}
			here.dir[part] = n
		case n.link != "":
			if hops++; hops > maxHops {
				return nil, errFails
			}
			if strings.HasPrefix(n.link, "/") {
				way = way[:1]
			}
			rest = n.link + "/" + rest
			continue
		case n.dir == nil:
			return nil, errFails
		}
		if unpacked != nil {
			unpacked[n] = true
		}
		way = append(way, n)
	}
	return way[len(way)-1], nil
}

// clear removes what the layer has not unpacked itself.
func (root *node) clear(unpacked map[*node]bool) {
	for name, child := range root.dir {
		if !unpacked[child] {
			delete(root.dir, name)
		} else if child.dir != nil {
			child.clear(unpacked)
		}
	}
}

// files lists "path=body" of all regular files.
func (root *node) files(at string) (all []string) {
	for name, child := range root.dir {
		switch p := path.Join(at, name); {
		case child.dir != nil:
			all = append(all, child.files(p)...)
		case child.link == "":
			all = append(all, p+"="+child.body)
		}
	}
	slices.Sort(all)
	return all
}

// everyFile is an extractor that takes the content of each file for a package.
type everyFile struct{}

func (everyFile) Info() Info                     { return Info{Name: "every", Version: "1", Max: 1 << 20} }
func (everyFile) Wants(string, fs.FileMode) bool { return true }
func (everyFile) Extract(_ context.Context, f *File) ([]inventory.Package, error) {
	b, err := f.Bytes()
	return []inventory.Package{{Type: "generic", Name: string(b)}}, err
}

// randomLayer makes entries with few names, so that they meet often.
func randomLayer(r *rand.Rand, id string) []tar.Header {
	var entries []tar.Header
	var files []string
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	for n := range 1 + r.IntN(6) {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = pick("a", "b", "c")
		}
		name := strings.Join(parts, "/")
		h := tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, PAXRecords: map[string]string{"body": fmt.Sprint(id, n)}}
		switch r.IntN(10) {
		case 0, 1:
			h.Typeflag = tar.TypeDir
		case 2:
			h.Typeflag, h.Linkname = tar.TypeSymlink, pick("a", "b/c", "../b", "/c", "/a/b", "../../c/a", ".")
		case 3:
			h.Name = path.Join(path.Dir(name), ".wh."+path.Base(name))
		case 4:
			h.Name = path.Join(path.Dir(name), ".wh..wh..opq")
		case 5:
			if len(files) > 0 {
				h.Typeflag, h.Linkname = tar.TypeLink, pick(files...)
			}
		}
		if h.Typeflag == tar.TypeReg && !strings.Contains(h.Name, ".wh.") {
			files = append(files, h.Name)
		}
		entries = append(entries, h)
	}
	return entries
}

func packHeaders(t *testing.T, entries []tar.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range entries {
		body := ""
		if h.Typeflag == tar.TypeReg {
			body = h.PAXRecords["body"]
		}
		h.PAXRecords, h.Size = nil, int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// checkOverlay makes the layers of an image from a seed and compares the
// overlay of their facts with what unpacking them gives. It returns whether
// there was something to compare.
func checkOverlay(t *testing.T, seed uint64) (compared, ambiguous bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	a := newTestAnalyzer(t, everyFile{})
	root := &node{dir: map[string]*node{}}
	sets := map[oci.Digest]*inventory.Set{}
	var layers []inventory.Layer
	var story []string
	var fails error
	for i := range 1 + r.IntN(4) {
		entries := randomLayer(r, fmt.Sprint("l", i, "f"))
		res, err := a.Layer(context.Background(), bytes.NewReader(packHeaders(t, entries)))
		if err != nil {
			t.Fatal(err)
		}
		if res.Layer.Coverage.State != inventory.CoverageFull {
			continue // ambiguous by itself: unpackers may do anything
		}
		for k := range res.Sets {
			sets[res.Sets[k].ID] = &res.Sets[k]
		}
		layers = append(layers, res.Layer)
		for _, h := range entries {
			story = append(story, fmt.Sprintf("%d %c %s %s %s", i, h.Typeflag, h.Name, h.Linkname, h.PAXRecords["body"]))
		}
		if fails == nil {
			fails = root.apply(entries)
		}
	}
	im := Overlay(Stack{Layers: layers, Sets: func(id oci.Digest) *inventory.Set { return sets[id] }})
	ambiguous = im.Coverage() == inventory.CoverageAmbiguous
	if fails != nil {
		if !ambiguous {
			t.Errorf("seed %d: an unpacker fails, but the image is not ambiguous:\n%s", seed, strings.Join(story, "\n"))
		}
		return false, ambiguous
	}
	got := []string{}
	for _, p := range im.Packages {
		got = append(got, p.Path+"="+p.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(append([]string{}, root.files("")...), got); diff != "" {
		t.Errorf("seed %d (-unpacked +overlay):\n%s\n%s", seed, diff, strings.Join(story, "\n"))
	}
	return true, ambiguous
}

// TestOverlayIsUnpacking: the overlay of facts shows the files that unpacking
// the layers one over another leaves.
func TestOverlayIsUnpacking(t *testing.T) {
	compared, ambiguous := 0, 0
	for seed := range uint64(2000) {
		c, a := checkOverlay(t, seed)
		if c {
			compared++
		}
		if a {
			ambiguous++
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d of 2000 images compared, %d ambiguous", compared, ambiguous)
	if compared < 1500 || ambiguous < 50 {
		t.Errorf("%d images compared, %d ambiguous: the generator does not do its work", compared, ambiguous)
	}
}

// FuzzOverlay is TestOverlayIsUnpacking for any seed.
func FuzzOverlay(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { checkOverlay(t, seed) })
}
