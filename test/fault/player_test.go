package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/disk/disktest"
)

// player makes recorded calls again on a file system that can lose power.
type player struct {
	disk   *disktest.Disk
	root   string // what is below it is played; its own name is durable
	files  map[int64]*opened
	played int // calls, by playTo
}

// opened is a file or folder under the number that the process had for it.
type opened struct {
	file disk.File // nil for a folder
	name string
	at   int64 // where write goes on
}

func newPlayer(root string) (*player, error) {
	p := &player{disk: disktest.New(), root: root, files: map[int64]*opened{}}
	name := ""
	for part := range strings.SplitSeq(strings.Trim(root, "/"), "/") {
		up := name + "/"
		name = up + part
		name = filepath.Clean(name)
		if err := errors.Join(p.disk.Mkdir(name, 0o700), p.disk.SyncDir(up)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// playTo plays those of a record before the one at, but for what it has played.
func (p *player) playTo(t *testing.T, calls []call, at int) {
	t.Helper()
	for ; p.played < at; p.played++ {
		if err := p.play(calls[p.played]); err != nil {
			t.Fatalf("playing call %d, %s(%.200s): %v", p.played, calls[p.played].name, calls[p.played].args, err)
		}
	}
}

// path reads a name, "" for one that is not below the root.
func (p *player) path(dir, arg string) (string, error) {
	b, err := bytesOf(arg)
	if err != nil {
		return "", err
	}
	name := string(b)
	if !filepath.IsAbs(name) {
		var at *opened
		if dir != cwd {
			n, err := number(dir)
			if err != nil {
				return "", err
			}
			at = p.files[n]
		}
		if at == nil {
			return "", nil // relative to what is not ours
		}
		name = filepath.Join(at.name, name)
	}
	name = filepath.Clean(name)
	if name != p.root && !strings.HasPrefix(name, p.root+"/") {
		return "", nil
	}
	return name, nil
}

const cwd = "AT_FDCWD"

// play makes one call again.
func (p *player) play(c call) error {
	a := c.arguments()
	switch c.name {
	case "":
		return nil // it failed
	case "open":
		return p.open(cwd, a[0], a[1], c.ret)
	case "openat":
		return p.open(a[0], a[1], a[2], c.ret)
	case "mkdir":
		return p.named(cwd, a[0], p.mkdir)
	case "mkdirat":
		return p.named(a[0], a[1], p.mkdir)
	case "unlink", "rmdir":
		return p.named(cwd, a[0], p.disk.Remove)
	case "unlinkat":
		return p.named(a[0], a[1], p.disk.Remove)
	case "rename":
		return p.rename(cwd, a[0], cwd, a[1])
	case "renameat", "renameat2":
		return p.rename(a[0], a[1], a[2], a[3])
	}
	fd, err := number(a[0])
	if err != nil {
		return fmt.Errorf("a call that is not played")
	}
	f := p.files[fd]
	if f == nil {
		return nil // a socket, or a file of others
	}
	return p.onFile(c, f, fd, a)
}

func (p *player) onFile(c call, f *opened, fd int64, a []string) error {
	switch c.name {
	case "close":
		delete(p.files, fd)
		if f.file == nil {
			return nil
		}
		return f.file.Close()
	case "fsync", "fdatasync":
		if f.file == nil {
			return p.disk.SyncDir(f.name)
		}
		return f.file.Sync()
	case "ftruncate":
		size, err := number(a[1])
		if err != nil {
			return err
		}
		return f.file.Truncate(size)
	case "write":
		f.at += c.ret
		return f.write(a[1], c.ret, f.at-c.ret)
	case "pwrite64":
		at, err := number(a[3])
		if err != nil {
			return err
		}
		return f.write(a[1], c.ret, at)
	}
	return fmt.Errorf("a call that is not played")
}

func (f *opened) write(arg string, n, at int64) error {
	b, err := bytesOf(arg)
	if err != nil {
		return err
	}
	_, err = f.file.WriteAt(b[:n], at)
	return err
}

func (p *player) open(dir, arg, flags string, fd int64) error {
	name, err := p.path(dir, arg)
	delete(p.files, fd) // what had the number was closed by the kernel
	if err != nil || name == "" {
		return err
	}
	info, err := p.disk.Stat(name)
	if err == nil && info.IsDir() {
		p.files[fd] = &opened{name: name}
		return nil
	}
	has := func(flag string) bool { return strings.Contains("|"+flags+"|", "|"+flag+"|") }
	mode := os.O_RDWR
	if has("O_CREAT") {
		mode |= os.O_CREATE
	}
	if has("O_APPEND") || has("O_TMPFILE") {
		return fmt.Errorf("opening %s with %s is not played", name, flags)
	}
	f, err := p.disk.OpenFile(name, mode, 0o600)
	if errors.Is(err, fs.ErrNotExist) && !has("O_CREAT") && !has("O_RDWR") && !has("O_WRONLY") {
		// A reader opened it while another thread renamed or removed it, and the
		// record has the two in the other order. A reader changes nothing.
		return nil
	}
	if err != nil {
		return err
	}
	p.files[fd] = &opened{file: f, name: name}
	if has("O_TRUNC") {
		return f.Truncate(0)
	}
	return nil
}

func (p *player) named(dir, arg string, do func(name string) error) error {
	name, err := p.path(dir, arg)
	if err != nil || name == "" {
		return err
	}
	return do(name)
}

func (p *player) mkdir(name string) error {
	if name == p.root {
		return nil
	}
	return p.disk.Mkdir(name, 0o700)
}

func (p *player) rename(fromDir, fromArg, toDir, toArg string) error {
	from, err := p.path(fromDir, fromArg)
	to, err2 := p.path(toDir, toArg)
	if err = errors.Join(err, err2); err != nil || from == "" && to == "" {
		return err
	}
	return p.disk.Rename(from, to)
}

// write copies what is below the root to a folder of the real file system.
func write(d disk.FS, from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := d.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		below, target := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if e.IsDir() {
			if err := write(d, below, target); err != nil {
				return err
			}
			continue
		}
		b, err := readFile(d, below, e)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func readFile(d disk.FS, name string, e fs.DirEntry) ([]byte, error) {
	info, err := e.Info()
	if err != nil {
		return nil, err
	}
	f, err := d.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, info.Size())
	if len(b) == 0 {
		return b, nil
	}
	_, err = f.ReadAt(b, 0)
	return b, err
}

// page is the unit in which bytes reach the medium.
const page = 4096

// losses are the ways to lose what was not synced. The mixture keeps the size
// between what it was and what it became, and any of the pages written since.
func losses(r *rand.Rand) map[string]disktest.Loss {
	out := disktest.Losses(0, 0)
	out["a mixture"] = disktest.Loss{
		Name: func(int) bool { return r.IntN(2) == 0 },
		Bytes: func(synced, written []byte) []byte {
			low, high := min(len(synced), len(written)), max(len(synced), len(written))
			b := make([]byte, high)
			copy(b, synced)
			for at := 0; at < len(written); at += page {
				if r.IntN(2) == 0 {
					copy(b[at:], written[at:min(at+page, len(written))])
				}
			}
			return b[:low+r.IntN(high-low+1)]
		},
	}
	return out
}
