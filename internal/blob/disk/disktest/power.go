// Package disktest is a file system for tests, in memory, that loses power and
// fails calls.
//
// Disk forgets at Restart what was not synced, as much of it as a Loss says.
// Faults, around any disk.FS, fails one call. Both are deterministic.
package disktest

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bonded-dev/bonded/internal/blob/disk"
)

// ErrPower is what every call says after the power went.
var ErrPower = errors.New("the power is off")

// Disk is a disk.FS in memory. It keeps apart what was written and what was
// synced: Sync makes the bytes of a file durable, SyncDir the names in a
// folder. Renaming is atomic, and durable once the folder of the new name is
// synced. It is safe for concurrent use.
type Disk struct {
	mu   sync.Mutex
	root *node
	// pending are the changes of names that no SyncDir has covered, in order.
	pending []change
	ops     int // changing calls so far
	cut     int // the power goes when ops would exceed this, if >= 0
	off     bool
}

// node is a file or a folder. The maps and slices under synced are what the
// medium holds for certain.
type node struct {
	dir, synced          map[string]*node // of a folder
	written, syncedBytes []byte           // of a file
	modified             time.Time
	mode                 fs.FileMode
}

// place is a name in a folder.
type place struct {
	dir  *node
	name string
}

// change gives node the name to, or removes that name if node is nil, and
// removes the name from unless that is zero.
type change struct {
	node     *node
	from, to place
}

// New returns an empty Disk with a root folder, "/".
func New() *Disk { return &Disk{root: newDir(), cut: -1} }

func newDir() *node {
	return &node{dir: map[string]*node{}, synced: map[string]*node{}, mode: fs.ModeDir | 0o700}
}

var _ disk.FS = (*Disk)(nil)

// CutAfter lets n more calls that change something succeed; the power goes at
// the next one, which has no effect.
func (d *Disk) CutAfter(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = d.ops + n
}

// Off reports whether the power went.
func (d *Disk) Off() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

// On makes calls succeed again, with all that was written there and nothing
// more of it durable: as if only the process had died.
func (d *Disk) On() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off, d.cut = false, -1
}

// Changes returns how many calls have changed something.
func (d *Disk) Changes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Loss says what a power cut leaves of what was not synced.
type Loss struct {
	// Name reports whether the i-th pending change of names survives. Those
	// that it builds on then survive too.
	Name func(i int) bool
	// Bytes returns what a file holds of which the first argument was synced
	// and the second was written since. They are not equal. It keeps neither.
	Bytes func(synced, written []byte) []byte
}

// Restart returns what is left after the power went now, under the given loss.
// The Disk itself stays as it is, so that several losses can be tried.
func (d *Disk) Restart(l Loss) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	survives := make([]bool, len(d.pending))
	for i := range d.pending {
		survives[i] = l.Name(i)
	}
	c := copier{loss: l, dirs: map[*node]map[string]*node{}, nodes: map[*node]*node{}}
	for _, ch := range withCauses(d.pending, survives) {
		ch.apply(c.names)
	}
	return &Disk{root: c.node(d.root), cut: -1}
}

// withCauses returns the chosen changes and those before them that touch the
// same names, in order: a file system that keeps order cannot show the later
// without the earlier.
func withCauses(changes []change, chosen []bool) []change {
	var out []change
	touched := map[place]bool{}
	for i, ch := range slices.Backward(changes) {
		if chosen[i] || touched[ch.to] || touched[ch.from] {
			chosen[i] = true
			touched[ch.to], touched[ch.from] = true, true
			delete(touched, place{})
			out = append(out, ch)
		}
	}
	slices.Reverse(out)
	return out
}

// apply makes the change in the names that the function gives for a folder.
func (ch change) apply(names func(*node) map[string]*node) {
	if ch.from.dir != nil {
		delete(names(ch.from.dir), ch.from.name)
	}
	if ch.node == nil {
		delete(names(ch.to.dir), ch.to.name)
	} else {
		names(ch.to.dir)[ch.to.name] = ch.node
	}
}

// copier copies what survived.
type copier struct {
	loss  Loss
	dirs  map[*node]map[string]*node // names of the folders that changes touched
	nodes map[*node]*node            // copies made
}

func (c *copier) names(dir *node) map[string]*node {
	if c.dirs[dir] == nil {
		c.dirs[dir] = map[string]*node{}
		maps.Copy(c.dirs[dir], dir.synced)
	}
	return c.dirs[dir]
}

func (c *copier) node(n *node) *node {
	if c.nodes[n] != nil {
		return c.nodes[n]
	}
	if n.dir != nil {
		out := newDir()
		c.nodes[n] = out
		names := c.names(n)
		for _, name := range slices.Sorted(maps.Keys(names)) { // in order, as losses may draw lots
			out.dir[name] = c.node(names[name])
			out.synced[name] = out.dir[name]
		}
		return out
	}
	out := &node{modified: n.modified, mode: n.mode, written: bytes.Clone(n.syncedBytes)}
	if !bytes.Equal(n.written, n.syncedBytes) {
		out.written = bytes.Clone(c.loss.Bytes(n.syncedBytes, n.written))
	}
	out.syncedBytes = bytes.Clone(out.written)
	c.nodes[n] = out
	return out
}

// changing counts a call that changes something, and fails if the power goes
// or went. Callers hold mu.
func (d *Disk) changing() error {
	if d.cut >= 0 && d.ops >= d.cut {
		d.off = true
	}
	if d.off {
		return ErrPower
	}
	d.ops++
	return nil
}

// now is a clock that goes one second per change. Callers hold mu.
func (d *Disk) now() time.Time { return time.Unix(int64(d.ops), 0) }

// find returns the folder that holds name and what has that name, nil if
// nothing has. Callers hold mu.
func (d *Disk) find(name string) (place, *node, error) {
	if d.off {
		return place{}, nil, ErrPower
	}
	at, n := place{d.root, "."}, d.root
	for part := range strings.SplitSeq(strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/"), "/") {
		if part == "" || part == "." {
			continue
		}
		if n == nil || n.dir == nil {
			return place{}, nil, fs.ErrNotExist
		}
		at, n = place{n, part}, n.dir[part]
	}
	return at, n, nil
}

// change makes ch at once and remembers it as pending. Callers hold mu.
func (d *Disk) change(ch change) {
	ch.apply(func(n *node) map[string]*node { return n.dir })
	d.pending = append(d.pending, ch)
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile implements disk.FS. Of the flags beside the access it knows
// os.O_CREATE and os.O_EXCL.
func (d *Disk) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, err := d.find(name)
	switch {
	case err != nil:
	case flag&^(os.O_RDONLY|os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_EXCL) != 0:
		err = fs.ErrInvalid
	case n == nil && flag&os.O_CREATE == 0:
		err = fs.ErrNotExist
	case n != nil && flag&os.O_EXCL != 0:
		err = fs.ErrExist
	case n != nil && n.dir != nil:
		err = errors.New("is a folder")
	case n == nil:
		if err = d.changing(); err == nil {
			n = &node{modified: d.now(), mode: perm}
			d.change(change{node: n, to: at})
		}
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &file{disk: d, node: n, name: name, writable: flag&(os.O_WRONLY|os.O_RDWR) != 0}, nil
}

// Mkdir implements disk.FS.
func (d *Disk) Mkdir(name string, _ fs.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, err := d.find(name)
	if err == nil && n != nil {
		err = fs.ErrExist
	}
	if err == nil {
		err = d.changing()
	}
	if err != nil {
		return pathError("mkdir", name, err)
	}
	d.change(change{node: newDir(), to: at})
	return nil
}

// Rename implements disk.FS.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	source, n, err := d.find(from)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	target, _, terr := d.find(to)
	if err = errors.Join(err, terr); err == nil {
		err = d.changing()
	}
	if err != nil {
		return pathError("rename", from, err)
	}
	d.change(change{node: n, from: source, to: target})
	return nil
}

// Remove implements disk.FS.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, n, err := d.find(name)
	switch {
	case err != nil:
	case n == nil:
		err = fs.ErrNotExist
	case len(n.dir) > 0:
		err = errors.New("folder is not empty")
	default:
		err = d.changing()
	}
	if err != nil {
		return pathError("remove", name, err)
	}
	d.change(change{to: at})
	return nil
}

// SyncDir implements disk.FS.
func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, dir, err := d.find(name)
	if err == nil && (dir == nil || dir.dir == nil) {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = d.changing()
	}
	if err != nil {
		return pathError("sync", name, err)
	}
	covered := make([]bool, len(d.pending))
	for i, ch := range d.pending {
		covered[i] = ch.to.dir == dir
	}
	for _, ch := range withCauses(d.pending, covered) {
		ch.apply(func(n *node) map[string]*node { return n.synced })
	}
	rest := d.pending[:0:0]
	for i, ch := range d.pending {
		if !covered[i] {
			rest = append(rest, ch)
		}
	}
	d.pending = rest
	return nil
}
