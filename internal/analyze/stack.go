package analyze

import (
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// maxHops bounds the symbolic links on the way to one path, as Linux does.
const maxHops = 40

// stack is the layers of an image, asked as one tree. Layers are counted from
// the bottom, as a manifest has them.
//
// Mostly a layer says of each path exactly what it does. It is otherwise when a
// layer writes below a directory that it has no entry for and that is a
// symbolic link in a lower layer: containerd follows the link, Docker and
// Podman make a directory in its place. The stack follows it, and remembers so
// for the coverage.
type stack struct {
	layers []inventory.Layer
	moves  [][]move       // by layer; nil for most
	odd    [][]string     // by layer: reasons that only the stack shows
	hidden map[string]int // see hiddenBelow
}

// move says that what a layer has below from really is below to.
type move struct{ from, to string }

// Reasons that only the stack shows. Stored and compared: they do not change.
const (
	reasonThrough = "an entry below a symbolic link of a lower layer"
	reasonOnFile  = "an entry below something that is no directory in a lower layer"
	reasonLoop    = "an entry below symbolic links that lead in a circle"
)

func newStack(layers []inventory.Layer) *stack {
	s := &stack{
		layers: layers,
		moves:  make([][]move, len(layers)),
		odd:    make([][]string, len(layers)),
		hidden: map[string]int{},
	}
	for j := 1; j < len(layers); j++ {
		s.findMoves(j)
	}
	return s
}

// findMoves looks at the directories that layer j stands in without saying so.
// Parents come before what is below them, as they are sorted.
func (s *stack) findMoves(j int) {
	for _, dir := range s.layers[j].Parents {
		at := s.real(j, dir)
		if !s.fileBelow(at, j) {
			continue // the usual case, decided by one look at each lower layer
		}
		if s.marks(j, at, inventory.KeyOf(at))&inventory.MarkRemoved != 0 || s.emptied(j, at) {
			continue // the layer has taken away what was there
		}
		i, m := s.top(at, j)
		if m&inventory.MarkLink != 0 {
			m = s.moveTo(j, i, dir, at)
		}
		if m&inventory.MarkFile != 0 {
			s.note(j, reasonOnFile)
		}
	}
}

// fileBelow reports whether any layer below j has something at a path that is
// no directory, visible or not.
func (s *stack) fileBelow(path string, j int) bool {
	key := inventory.KeyOf(path)
	for i := range j {
		if s.marks(i, path, key)&inventory.MarkFile != 0 {
			return true
		}
	}
	return false
}

// moveTo makes layer j follow the link that layer i has at a path, and returns
// what is where it leads.
func (s *stack) moveTo(j, i int, dir, at string) inventory.PathMark {
	hops := 0
	to, ok := s.resolve(s.targetOf(i, at), j, &hops)
	if !ok {
		s.note(j, reasonLoop)
		return 0
	}
	s.note(j, reasonThrough)
	s.moves[j] = append(s.moves[j], move{dir, to})
	_, m := s.top(to, j)
	return m
}

func (s *stack) note(j int, reason string) {
	if !slices.Contains(s.odd[j], reason) {
		s.odd[j] = append(s.odd[j], reason)
	}
}

// real returns where a path of layer j really is.
func (s *stack) real(j int, path string) string {
	for k := len(s.moves[j]) - 1; k >= 0; k-- { // the longest first, as they were found
		if rest, ok := below(path, s.moves[j][k].from); ok {
			return s.moves[j][k].to + rest
		}
	}
	return path
}

// below cuts dir from the start of path.
func below(path, dir string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, dir)
	if !ok || rest != "" && rest[0] != '/' && dir != "" {
		return "", false
	}
	return rest, true
}

// marks returns what layer j does at a real path.
func (s *stack) marks(j int, path string, key inventory.PathKey) inventory.PathMark {
	if s.moves[j] == nil {
		return s.layers[j].Paths.Marks(key)
	}
	var m inventory.PathMark
	if s.real(j, path) == path {
		m = s.layers[j].Paths.Marks(key)
	}
	for _, mv := range s.moves[j] {
		if rest, ok := below(path, mv.to); ok && s.real(j, mv.from+rest) == path {
			m |= s.layers[j].Paths.Marks(inventory.KeyOf(mv.from+rest)) &^ movedMarks(rest)
		}
	}
	return m
}

// movedMarks are those that do not hold for the end of a move: the layer has
// nothing there itself.
func movedMarks(rest string) inventory.PathMark {
	if rest == "" {
		return inventory.MarkFile | inventory.MarkDir | inventory.MarkLink
	}
	return 0
}

// replaces are the marks by which a layer takes away what lower layers have at
// a path; empties those by which it takes away what they have below it.
const (
	replaces = inventory.MarkFile | inventory.MarkDir | inventory.MarkParent | inventory.MarkRemoved
	empties  = inventory.MarkFile | inventory.MarkRemoved | inventory.MarkOpaque
)

// top returns the layer below j that decides what is at a path, and what it
// does there: MarkFile, perhaps with MarkLink, or MarkDir, or 0 for nothing.
func (s *stack) top(path string, j int) (layer int, m inventory.PathMark) {
	key := inventory.KeyOf(path)
	for i := j - 1; i >= 0; i-- {
		m := s.marks(i, path, key)
		switch {
		case m&inventory.MarkFile != 0:
			return i, m & (inventory.MarkFile | inventory.MarkLink)
		case m&(inventory.MarkDir|inventory.MarkParent) != 0:
			return i, inventory.MarkDir
		case m&inventory.MarkRemoved != 0, s.emptied(i, path):
			return 0, 0
		}
	}
	return 0, 0
}

// emptied reports whether layer i takes away what lower layers have below a
// directory that path is in.
func (s *stack) emptied(i int, path string) bool {
	for path != "" {
		path, _, _ = cutLast(path)
		if s.marks(i, path, inventory.KeyOf(path))&empties != 0 {
			return true
		}
	}
	return false
}

// targetOf returns the target of a link from the root on.
func (s *stack) targetOf(i int, path string) string {
	target := s.linkAt(i, path)
	if !strings.HasPrefix(target, "/") {
		dir, _, _ := cutLast(path)
		target = dir + "/" + target
	}
	return target
}

// linkAt returns the target of the link that layer i has at a real path.
func (s *stack) linkAt(i int, path string) string {
	links := s.layers[i].Links
	find := func(raw string) (string, bool) {
		k, ok := slices.BinarySearchFunc(links, raw, func(l inventory.Link, p string) int { return strings.Compare(l.Path, p) })
		if !ok {
			return "", false
		}
		return links[k].Target, true
	}
	for _, mv := range s.moves[i] {
		if rest, ok := below(path, mv.to); ok && s.real(i, mv.from+rest) == path {
			if target, ok := find(mv.from + rest); ok {
				return target
			}
		}
	}
	target, _ := find(path)
	return target
}

// resolve follows all links in a path, the last component's too, through the
// layers below j.
func (s *stack) resolve(path string, j int, hops *int) (place string, ok bool) {
	var parts []string
	for rest := path; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			parts = parts[:max(len(parts)-1, 0)]
			continue
		}
		next := strings.Join(append(parts, part), "/")
		i, m := s.top(next, j)
		if m&inventory.MarkLink == 0 {
			parts = append(parts, part)
			continue
		}
		if *hops++; *hops > maxHops {
			return "", false
		}
		parts, rest = nil, s.targetOf(i, next)+"/"+rest
	}
	return strings.Join(parts, "/"), true
}

// hiddenBelow returns the topmost layer that takes away what lower layers have
// below a directory, -1 when none does.
func (s *stack) hiddenBelow(dir string) int {
	if j, ok := s.hidden[dir]; ok {
		return j
	}
	top := -1
	if dir != "" {
		parent, _, _ := cutLast(dir)
		top = s.hiddenBelow(parent)
	}
	key := inventory.KeyOf(dir)
	for j := len(s.layers) - 1; j > max(top, 0); j-- { // nothing is below layer 0
		if s.marks(j, dir, key)&empties != 0 {
			top = j
			break
		}
	}
	s.hidden[dir] = top
	return top
}

// visible reports whether a file that layer i has at a real path is in the
// image.
func (s *stack) visible(i int, path string) bool {
	dir, _, _ := cutLast(path)
	if s.hiddenBelow(dir) > i {
		return false
	}
	key := inventory.KeyOf(path)
	for j := len(s.layers) - 1; j > i; j-- {
		if s.marks(j, path, key)&(replaces|inventory.MarkOpaque) != 0 {
			return false
		}
	}
	return true
}
