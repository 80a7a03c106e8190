package layer

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// Whiteouts as the OCI image specification 1.1 (layer.md, "Whiteouts") has
// them: an empty file ".wh.NAME" removes NAME, ".wh..wh..opq" hides what lower
// layers have in its directory. Other names with the second prefix are aufs's.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// maxHops bounds the symbolic links on the way to one entry, as Linux does.
const maxHops = 40

// Kind is what an entry is.
type Kind uint8

// The kinds. Other is a device, a named pipe or something unknown.
const (
	Regular Kind = iota + 1
	Directory
	Symlink
	Hardlink
	Other
)

// tree follows what the layer has at each path so far: it finds the place of
// every entry, and what unpackers would disagree about.
type tree struct {
	gaps   *inventory.Gaps
	budget Budget

	marks     map[inventory.PathKey]inventory.PathMark
	links     map[string]string // symbolic links by path
	whiteouts []string
	opaque    []string
	parents   []string
	kept      int64 // bytes of names in the four above

	// The directory of the entry before: entries of a directory come together.
	lastDir, lastPlace string
	lastOK             bool
}

func newTree(g *inventory.Gaps, b Budget) *tree {
	return &tree{
		gaps: g, budget: b,
		marks: map[inventory.PathKey]inventory.PathMark{},
		links: map[string]string{},
	}
}

// place gives e, which name stands for, its path, and records it. It returns
// false for what is not to be visited: whiteouts, and what has no place.
func (t *tree) place(name, link string, e *Entry) bool {
	path, up := clean(name)
	if up {
		dotDot.add(t.gaps, path)
	}
	if t.tooLong(path, link) {
		return false
	}
	if path == "" {
		return t.root(e)
	}
	dir, base := split(path)
	dir, ok := t.parent(dir)
	if !ok {
		return false
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		t.whiteout(dir, base)
		return false
	}
	e.Path = join(dir, base)
	switch e.Kind {
	case Hardlink:
		t.hardlink(e, link)
	case Symlink:
		e.Target = link
	}
	t.put(e)
	return true
}

func (t *tree) tooLong(path, link string) bool {
	b := &t.budget
	if len(path) <= b.PathBytes && len(link) <= b.PathBytes && strings.Count(path, "/") < b.PathDepth {
		return false
	}
	overPath.add(t.gaps, path[:min(len(path), 100)])
	return true
}

// root takes the entry of the root directory itself, which most layers have.
func (t *tree) root(e *Entry) bool {
	if e.Kind != Directory {
		oddRoot.add(t.gaps, "")
		return false
	}
	t.marks[inventory.KeyOf("")] |= inventory.MarkDir
	return true
}

// parent returns where the directory dir of an entry really is: symbolic links
// that the layer has brought are followed, inside the root. Directories without
// an entry of their own are recorded. ok is false when there is no such place.
func (t *tree) parent(dir string) (place string, ok bool) {
	if dir == "" {
		return "", true
	}
	if dir != t.lastDir {
		t.lastDir = dir
		t.lastPlace, t.lastOK = t.walk(dir)
	}
	return t.lastPlace, t.lastOK
}

// walk goes down dir component by component. place is where it is, rest what is
// still to go, which a link may fill with any path.
func (t *tree) walk(dir string) (place string, ok bool) {
	hops := 0
	for rest := dir; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			place, _ = split(place)
			continue
		}
		next := join(place, part)
		target, isLink := t.step(next)
		if !isLink {
			place = next
			continue
		}
		if hops++; hops == 1 {
			throughLink.add(t.gaps, dir)
		} else if hops > maxHops {
			linkLoop.add(t.gaps, dir)
			return "", false
		}
		if strings.HasPrefix(target, "/") {
			place = ""
		}
		rest = target + "/" + rest
	}
	return place, true
}

// step enters a directory, which it records if the layer has no entry for it,
// or returns where the link leads that is there instead.
func (t *tree) step(path string) (target string, isLink bool) {
	key := inventory.KeyOf(path)
	switch m := t.marks[key]; {
	case m&inventory.MarkLink != 0:
		return t.links[path], true
	case m&inventory.MarkFile != 0:
		belowFile.add(t.gaps, path)
	case m&(inventory.MarkDir|inventory.MarkParent) == 0:
		t.marks[key] = m | inventory.MarkParent
		t.parents = append(t.parents, path)
		t.kept += int64(len(path))
		t.holds(path)
	}
	return "", false
}

// markHolds is for this package only: somewhere below the directory is one
// without an entry of its own.
const markHolds = inventory.PathMark(1 << 7)

// holds marks all directories above path.
func (t *tree) holds(path string) {
	for path != "" {
		path, _ = split(path)
		key := inventory.KeyOf(path)
		if t.marks[key]&markHolds != 0 {
			return
		}
		t.marks[key] |= markHolds
	}
}

func (t *tree) whiteout(dir, base string) {
	path := join(dir, strings.TrimPrefix(base, whiteoutPrefix))
	switch {
	case base == whiteoutOpaque:
		if t.marks[inventory.KeyOf(dir)]&markHolds != 0 {
			lateWhiteout.add(t.gaps, dir) // where the entries before it went depended on lower layers
		}
		t.mark(dir, inventory.MarkOpaque, &t.opaque)
		return
	case strings.HasPrefix(base, whiteoutMeta), base == whiteoutPrefix, base == whiteoutPrefix+".", base == whiteoutPrefix+"..":
		oddWhiteout.add(t.gaps, join(dir, base))
		return
	}
	if t.marks[inventory.KeyOf(path)]&(inventory.MarkFile|inventory.MarkDir|inventory.MarkParent) != 0 {
		lateWhiteout.add(t.gaps, path) // the specification: it concerns lower layers only
	}
	t.mark(path, inventory.MarkRemoved, &t.whiteouts)
}

// mark adds m to a path, and the path to the list when it had it not.
func (t *tree) mark(path string, m inventory.PathMark, list *[]string) {
	key := inventory.KeyOf(path)
	if t.marks[key]&m == 0 {
		t.marks[key] |= m
		*list = append(*list, path)
		t.kept += int64(len(path))
	}
}

// hardlink resolves the target, which must be in the layer already: Docker
// unpacks a layer beside the lower ones and cannot link to them. A link to a
// symbolic link is that symbolic link.
func (t *tree) hardlink(e *Entry, link string) {
	target, up := clean(link)
	if up {
		dotDot.add(t.gaps, target)
	}
	m := t.marks[inventory.KeyOf(target)]
	if m&inventory.MarkFile == 0 {
		outsideLink.add(t.gaps, e.Path)
	}
	e.Target = target
	if m&inventory.MarkLink != 0 {
		e.Kind, e.Target = Symlink, t.links[target]
	}
}

func (t *tree) put(e *Entry) {
	key := inventory.KeyOf(e.Path)
	m := t.marks[key]
	const isDir = inventory.MarkDir | inventory.MarkParent
	if m&inventory.MarkFile != 0 {
		duplicate.add(t.gaps, e.Path)
	} else if m&isDir != 0 && e.Kind != Directory {
		dirAfterEntries.add(t.gaps, e.Path)
	}
	if m&(inventory.MarkFile|isDir) != 0 {
		t.lastDir = "" // the way to the entry before may lead elsewhere now
	}
	m &^= inventory.MarkFile | inventory.MarkDir | inventory.MarkLink
	delete(t.links, e.Path)
	switch e.Kind {
	case Directory:
		m |= inventory.MarkDir
	case Symlink:
		m |= inventory.MarkFile | inventory.MarkLink
		t.links[e.Path] = e.Target
		t.kept += int64(len(e.Path) + len(e.Target))
	default:
		m |= inventory.MarkFile
	}
	t.marks[key] = m
}

// finish moves what was found into sum.
func (t *tree) finish(sum *Summary) {
	for key, m := range t.marks {
		if m&markHolds == 0 {
			continue
		}
		if m &^= markHolds; m == 0 {
			delete(t.marks, key)
		} else {
			t.marks[key] = m
		}
	}
	sum.Paths = inventory.NewPathSet(t.marks)
	sum.Whiteouts, sum.Opaque, sum.Parents = sorted(t.whiteouts), sorted(t.opaque), sorted(t.parents)
	for path, target := range t.links {
		sum.Links = append(sum.Links, inventory.Link{Path: path, Target: target})
	}
	slices.SortFunc(sum.Links, func(a, b inventory.Link) int { return strings.Compare(a.Path, b.Path) })
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// permissions takes the permission bits of a mode field.
func permissions(mode int64) fs.FileMode { return fs.FileMode(mode) & fs.ModePerm }
