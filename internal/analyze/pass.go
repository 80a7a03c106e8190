package analyze

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/layer"
	"github.com/bonded-dev/bonded/internal/oci"
)

// pass is the analysis of one layer.
type pass struct {
	ctx     context.Context
	a       *Analyzer
	capture capture

	files map[string][]inventory.File // by path
	sets  map[oci.Digest]inventory.Set
	gaps  inventory.Gaps
	// What was found, to stop at the limits. It counts what was replaced, too.
	found, packages int
	// looked says which extractors looked into the file at a path, as a bit per
	// index: a hard link to it needs no second look.
	looked map[inventory.PathKey]uint64
	claims map[inventory.PathKey]struct{}
	finder *finder // nil when nobody looks for secrets
}

func newPass(ctx context.Context, a *Analyzer) *pass {
	return &pass{
		ctx: ctx, a: a,
		capture: capture{dir: a.o.TempDir},
		files:   map[string][]inventory.File{},
		sets:    map[oci.Digest]inventory.Set{},
		looked:  map[inventory.PathKey]uint64{},
		claims:  map[inventory.PathKey]struct{}{},
		finder:  newFinder(a.o.Searcher),
	}
}

func (p *pass) close() { p.capture.drop() }

// gap records that an extractor could not look at a path.
func (p *pass) gap(extractor, path string, why Reason) {
	p.gaps.Add(inventory.CoveragePartial, inventory.Gap{Extractor: extractor, Path: path, Reason: string(why)})
}

// visit takes one entry of the layer.
func (p *pass) visit(e *layer.Entry) error {
	delete(p.files, e.Path) // of two entries at one path the last stays
	switch e.Kind {
	case layer.Regular:
		return p.regular(e)
	case layer.Hardlink:
		p.hardlink(e)
	case layer.Symlink:
		p.symlink(e)
	}
	return nil
}

// regular shows a file to all who want it.
func (p *pass) regular(e *layer.Entry) error {
	wanted, claimers := p.wanted(e)
	isRelease := p.isRelease(e)
	searched := p.finder.wants(e)
	if len(wanted) == 0 && len(claimers) == 0 && !isRelease && !searched {
		return nil
	}
	head := p.capture.start(e)
	wanted = p.fitting(e, head, wanted)
	if len(wanted) == 0 && len(claimers) == 0 && !isRelease {
		if searched {
			p.finder.streamed(e, &p.capture)
		}
		return nil
	}
	f, ok, err := p.capture.whole(e)
	if err != nil || !ok {
		return err
	}
	if searched {
		if err := p.finder.whole(f); err != nil {
			return fmt.Errorf("searching %s: %w", oci.Quote(e.Path), err)
		}
	}
	for _, i := range wanted {
		if err := p.extract(i, f); err != nil {
			return err
		}
	}
	for _, c := range claimers {
		p.claim(c, f)
	}
	if isRelease {
		p.release(f)
	}
	return nil
}

// wanted lists the extractors, by index, and claimers that want a file.
func (p *pass) wanted(e *layer.Entry) (extractors []int, claimers []Claimer) {
	for i, x := range p.a.o.Extractors {
		if x.Wants(e.Path, e.Mode) {
			extractors = append(extractors, i)
		}
	}
	for _, c := range p.a.o.Claimers {
		if e.Size <= c.Info().Max && c.Wants(e.Path, e.Mode) {
			claimers = append(claimers, c)
		}
	}
	return extractors, claimers
}

// fitting drops the extractors that read other content, and notes what is too
// large or not all there for the others.
func (p *pass) fitting(e *layer.Entry, head []byte, wanted []int) []int {
	key := inventory.KeyOf(e.Path)
	return slices.DeleteFunc(wanted, func(i int) bool {
		p.looked[key] |= 1 << i
		info := p.a.o.Extractors[i].Info()
		limit := min(info.Max, p.a.o.Budget.File)
		switch {
		case !begins(head, info.Magic):
			return true
		case e.Sparse:
			p.gap(info.Name, e.Path, "a sparse file")
			return true
		case e.Size > limit:
			p.gap(info.Name, e.Path, Reason(fmt.Sprintf("larger than %d MiB", limit>>20)))
			return true
		}
		return false
	})
}

func begins(head []byte, magic []string) bool {
	if len(magic) == 0 {
		return true
	}
	for _, m := range magic {
		if len(head) >= len(m) && string(head[:len(m)]) == m {
			return true
		}
	}
	return false
}

// extract runs one extractor and keeps what it finds. The error is that of ctx.
func (p *pass) extract(i int, f *File) error {
	x := p.a.o.Extractors[i]
	info := x.Info()
	found, err := guarded(func() ([]inventory.Package, error) { return x.Extract(p.ctx, f) })
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	found, odd := tidy(found)
	if err == nil {
		err = odd
	}
	if err != nil {
		p.failed(info.Name, f.Path, err)
	}
	if len(found) == 0 || p.full(info.Name, f.Path, len(found)) {
		return nil
	}
	digest, err := digestOf(f)
	if err != nil {
		return fmt.Errorf("hashing %s: %w", oci.Quote(f.Path), err)
	}
	set := inventory.Set{ID: setID(info, f.Path, digest), Extractor: info.Name, Packages: found}
	p.sets[set.ID] = set
	p.files[f.Path] = append(p.files[f.Path], inventory.File{Path: f.Path, Set: set.ID, Digest: digest, Size: f.Size})
	return nil
}

// full counts a file with n packages and reports whether there is no room for
// it.
func (p *pass) full(name, path string, n int) bool {
	if p.found >= maxFiles || p.packages+n > maxLayerPackages {
		p.gap(name, path, "more packages in one layer than are kept")
		return true
	}
	p.found++
	p.packages += n
	return false
}

// failed records why an extractor could not read a file.
func (p *pass) failed(name, path string, err error) {
	why := ErrUnreadable
	errors.As(err, &why)
	p.gap(name, path, why)
	p.a.o.Log.DebugContext(p.ctx, "extractor could not read a file", "extractor", name, "path", path, "error", err)
}

// guarded turns a panic on foreign bytes into an error.
func guarded[T any](fn func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic: %v", ErrUnreadable, r)
		}
	}()
	return fn()
}

func (p *pass) claim(c Claimer, f *File) {
	_, err := guarded(func() (struct{}, error) {
		return struct{}{}, c.Claims(p.ctx, f, func(claimed string) {
			if len(p.claims) >= maxClaims {
				return
			}
			for _, path := range claimedPaths(claimed) {
				p.claims[inventory.KeyOf(path)] = struct{}{}
			}
		})
	})
	if err != nil && p.ctx.Err() == nil {
		p.failed(c.Info().Name, f.Path, err)
	}
}

// claimedPaths returns where a file of a package list can stand: where /bin is
// a link to /usr/bin, lists still say /bin.
func claimedPaths(name string) []string {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	switch top, _, _ := strings.Cut(clean, "/"); top {
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		return []string{clean, "usr/" + clean}
	}
	return []string{clean}
}

// isRelease reports whether an entry is an os-release file to read.
func (p *pass) isRelease(e *layer.Entry) bool {
	if !isOSRelease(e.Path) {
		return false
	}
	if e.Size > maxOSRelease || e.Sparse {
		p.gap(osReleaseName, e.Path, "larger than 64 KiB, or sparse")
		return false
	}
	return true
}

// release reads an os-release file.
func (p *pass) release(f *File) {
	content, err := f.Bytes()
	if err != nil {
		p.failed(osReleaseName, f.Path, err)
		return
	}
	distro := ParseOSRelease(content)
	p.files[f.Path] = append(p.files[f.Path], inventory.File{
		Path: f.Path, Distro: &distro, Digest: oci.FromBytes(content), Size: f.Size,
	})
}

// hardlink gives a second name to what was found in a file. An extractor that
// wants the second name and did not look at the first has missed it.
func (p *pass) hardlink(e *layer.Entry) {
	looked := p.looked[inventory.KeyOf(e.Target)]
	for i, x := range p.a.o.Extractors {
		info := x.Info()
		if !x.Wants(e.Path, e.Mode) {
			continue
		}
		if looked&(1<<i) == 0 || keyOf(info, e.Path) != keyOf(info, e.Target) {
			p.gap(info.Name, e.Path, "a hard link to a file that was not looked into under this name")
		}
	}
	for _, f := range p.files[e.Target] {
		if f.Distro != nil || p.wants(f.Set, e) && !p.full(p.sets[f.Set].Extractor, e.Path, 0) {
			f.Path = e.Path
			p.files[e.Path] = append(p.files[e.Path], f)
		}
	}
	p.looked[inventory.KeyOf(e.Path)] = looked
}

// wants reports whether the extractor that made a set wants the entry, too.
func (p *pass) wants(set oci.Digest, e *layer.Entry) bool {
	for _, x := range p.a.o.Extractors {
		if x.Info().Name == p.sets[set].Extractor {
			return x.Wants(e.Path, e.Mode)
		}
	}
	return false
}

// symlink notes a package database that is somewhere else than where extractors
// look for it.
func (p *pass) symlink(e *layer.Entry) {
	target := e.Target
	if !strings.HasPrefix(target, "/") {
		target = path.Dir("/"+e.Path) + "/" + target
	}
	target = strings.TrimPrefix(path.Clean(target), "/")
	for _, x := range p.a.o.Extractors {
		info := x.Info()
		for _, place := range info.Places {
			rest, below := strings.CutPrefix(place, e.Path)
			if !below || rest != "" && rest[0] != '/' {
				continue
			}
			if !slices.Contains(info.Places, strings.TrimPrefix(target+rest, "/")) {
				p.gap(info.Name, e.Path, "a package database behind a symbolic link")
				break
			}
		}
	}
}

// result puts together what the walk and the extractors found.
func (p *pass) result(sum *layer.Summary) Result {
	walked := sum.Gaps.State()
	sum.Gaps.Merge(&p.gaps)
	r := Result{Layer: inventory.Layer{
		DiffID: sum.DiffID, Size: sum.Size, Uncompressed: sum.Uncompressed, Entries: sum.Entries, Compression: sum.Compression,
		ExtractorSet: p.a.set, Budget: p.a.o.Budget.Class,
		Links: sum.Links, Whiteouts: sum.Whiteouts, Opaque: sum.Opaque, Parents: sum.Parents, Paths: sum.Paths,
		Coverage: sum.Gaps.Coverage(),
	}}
	used := map[oci.Digest]bool{}
	for _, files := range p.files {
		for _, f := range files {
			if !f.Set.IsZero() {
				_, f.Owned = p.claims[inventory.KeyOf(f.Path)]
				used[f.Set] = true
			}
			r.Layer.Files = append(r.Layer.Files, f)
		}
	}
	slices.SortFunc(r.Layer.Files, compareFiles)
	p.finder.result(&r.Layer, walked, func(path string) bool {
		_, ok := p.claims[inventory.KeyOf(path)]
		return ok
	})
	for id := range used {
		r.Sets = append(r.Sets, p.sets[id])
	}
	slices.SortFunc(r.Sets, func(a, b inventory.Set) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return r
}

func compareFiles(a, b inventory.File) int {
	if c := strings.Compare(a.Path, b.Path); c != 0 {
		return c
	}
	return strings.Compare(a.Set.String(), b.Set.String())
}

func keyOf(info Info, path string) string {
	if info.Key == nil {
		return ""
	}
	return info.Key(path)
}

// setID names what an extractor finds in content: see inventory.Set.
func setID(info Info, path string, content oci.Digest) oci.Digest {
	return oci.FromBytes([]byte(strings.Join([]string{info.Name, info.Version, keyOf(info, path), content.String()}, "\x00")))
}

func digestOf(f *File) (oci.Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, f.Reader()); err != nil {
		return oci.Digest{}, err
	}
	return oci.SHA256.FromHash(h), nil
}
