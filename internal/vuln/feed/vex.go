package feed

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
	"github.com/bonded-dev/bonded/internal/vuln/vexset"
)

// vexForm is the format of VEX documents: a folder of files, which together are
// taken as one document.
func vexForm(read vexset.Reader) form {
	parse := func(r io.Reader) (*vexset.Set, threat.Published, error) { return vexset.Parse(r, read) }
	return form{file: "*.json", limit: 1 << 30, take: taking(parse, vexset.Read), pack: packVEX}
}

// formOf returns the form of a format that is one document.
func formOf(format string, readVEX vexset.Reader) (form, bool) {
	if format == vuln.VEX {
		return vexForm(readVEX), true
	}
	f, ok := forms[format]
	return f, ok
}

// Names of files that list the documents of a folder, and are none.
const (
	hubIndex  = "index.json" // of a VEX Repository
	csafIndex = "index.txt"  // of a CSAF distribution
	maxIndex  = 64 << 20     // bytes
)

// notVEX are files beside documents.
var notVEX = []string{hubIndex, "vex-repository.json", "provider-metadata.json"}

// packed is a folder as it is read: its documents, one after the other.
type packed struct {
	ctx  context.Context
	root *os.Root
	out  *tar.Writer
	left int64
}

// packVEX writes the VEX documents of a folder, or a single one, as a tar: those
// that a VEX Repository's index.json or a CSAF distribution's index.txt lists, else
// all *.json. Links are not followed out of it. A document whose checksum beside it
// is another's ends it: it may be half written.
func packVEX(ctx context.Context, dir string, out io.Writer, limit int64) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking for VEX documents: %w", err)
	}
	only := ""
	if !info.IsDir() {
		dir, only = path.Split(dir)
		if dir == "" {
			dir = "."
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("looking for VEX documents: %w", err)
	}
	defer root.Close() //nolint:errcheck // it was only read
	p := &packed{ctx: ctx, root: root, out: tar.NewWriter(out), left: limit}
	names := []string{only}
	if only == "" {
		if names, err = p.listed(); err != nil {
			return err
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("folder %s holds no VEX documents (*.json)", dir)
	}
	for _, name := range names {
		if err := p.add(name); err != nil {
			return fmt.Errorf("reading VEX documents: %s: %w", oci.Quote(name), err)
		}
	}
	return p.out.Close()
}

// listed returns the names of the documents, sorted.
func (p *packed) listed() ([]string, error) {
	raw, err := p.read(hubIndex, maxIndex)
	if err == nil {
		var names []string
		if names, err = hubDocuments(raw); names != nil || err != nil {
			return names, err
		}
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		raw, err = p.read(csafIndex, maxIndex)
	}
	if err == nil {
		return csafDocuments(raw)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading VEX documents: %w", err)
	}
	var names []string
	err = fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p.ctx.Err() != nil:
			return context.Cause(p.ctx)
		case len(names) > vexset.MaxDocuments:
			return fmt.Errorf("there are more than %d documents", vexset.MaxDocuments)
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != ".":
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(name, ".json") && !slices.Contains(notVEX, d.Name()):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for VEX documents: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// hubDocuments reads the index.json of a VEX Repository
// (https://github.com/aquasecurity/vex-repo-spec); nil for another file.
func hubDocuments(raw []byte) ([]string, error) {
	var index struct {
		Packages []struct {
			Location string `json:"location"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(raw, &index); err != nil || index.Packages == nil {
		return nil, nil //nolint:nilerr // it is somebody else's index.json
	}
	var names []string
	for _, x := range index.Packages {
		names = append(names, x.Location)
	}
	return within(names)
}

// csafDocuments reads the index.txt of a CSAF distribution (CSAF 2.0, 7.1.12): a
// path a line.
func csafDocuments(raw []byte) ([]string, error) {
	var names []string
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line != "" {
			names = append(names, line)
		}
	}
	return within(names)
}

// within wants every name to be that of a file below the list's own folder.
func within(names []string) ([]string, error) {
	if len(names) > vexset.MaxDocuments {
		return nil, fmt.Errorf("its list names %d documents, more than %d; name a folder with those that you use", len(names), vexset.MaxDocuments)
	}
	for i, name := range names {
		names[i] = path.Clean(name)
		if !fs.ValidPath(names[i]) || names[i] == "." {
			return nil, fmt.Errorf("its list names %s, which is no file below it", oci.Quote(name))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// read returns a file of at most limit bytes.
func (p *packed) read(name string, limit int64) ([]byte, error) {
	if err := p.ctx.Err(); err != nil {
		return nil, context.Cause(p.ctx)
	}
	f, err := p.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no file"))
	}
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return raw, err
}

// add writes a document.
func (p *packed) add(name string) error {
	raw, err := p.read(name, vexset.MaxDocument)
	if err != nil {
		return err
	}
	if err := p.summed(name, raw); err != nil {
		return err
	}
	if p.left -= int64(len(raw)); p.left < 0 {
		return errors.New("all documents together are too large; name a folder with those that you use")
	}
	if err := p.out.WriteHeader(&tar.Header{Name: name, Size: int64(len(raw)), Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = p.out.Write(raw)
	return err
}

// summed holds a document against the checksums beside it, where there are some.
func (p *packed) summed(name string, raw []byte) error {
	for _, sum := range []struct {
		suffix string
		hash   hash.Hash
	}{{".sha512", sha512.New()}, {".sha256", sha256.New()}} {
		text, err := p.read(name+sum.suffix, 4096)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		want, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		sum.hash.Write(raw)
		if got := hex.EncodeToString(sum.hash.Sum(nil)); !strings.EqualFold(got, want) {
			return fmt.Errorf("it is not what its checksum in %s is of", oci.Quote(name+sum.suffix))
		}
	}
	return nil
}

// packed opens what is packed of a folder, in a temporary file that is gone when it
// is closed.
func (l *local) packed(ctx context.Context, form form, state *vuln.FeedState) (*text, error) {
	file, err := os.CreateTemp(l.opts.Temp, "feed-*")
	if err != nil {
		return nil, fmt.Errorf("making room for the documents: %w", err)
	}
	err = os.Remove(file.Name())
	if err == nil {
		err = form.pack(ctx, l.root, file, form.limit)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	var t *text
	if err == nil {
		t, err = l.digested(ctx, file, form, state)
	}
	if t == nil {
		file.Close()
	}
	return t, err
}
