package feed

import (
	"archive/zip"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sync/errgroup"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// folderSource is the name that feeds of a folder go by where no configuration
// names them: that of the default source, so that equal records have an equal
// digest here and in a server.
const folderSource = "osv"

// FolderOptions say what IndexFor reads.
type FolderOptions struct {
	// Dir is a folder in the layout of osv.dev.
	Dir string
	// Now is when it is read: all records are known since then.
	Now time.Time
	// Progress, optional, is called now and then, by one goroutine at a time.
	Progress func(Progress)
	// Limits, optional, replace the defaults.
	Limits Limits
}

// IndexFor reads as much of a folder of advisories as it takes to answer about
// one image, without a store, and returns an index that finds in the image what
// one of the whole folder would, with what the folder holds beside advisories. It parses the ecosystems of the image's
// packages, and of the others the records that speak of a CVE found so, as
// they may rate it. It relies on the layout: a record is in the folder of
// every ecosystem that it names.
//
// The snapshot tells of the whole folder but for its digest, which is over the
// records that were taken. It is from when the files were last written: the
// oldest of those that concern the image, and never later than o.Now.
//
// Records that cannot be read are passed over, as a load does; an archive that
// cannot be read is an error, as there is no last good state to go on with.
func IndexFor(ctx context.Context, o FolderOptions, im *inventory.Image) (*vuln.Index, error) {
	o.Limits = o.Limits.orDefaults()
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	f := &folderReader{o: o, known: o.Now.UTC().Truncate(time.Microsecond)}
	x, err := f.index(ctx, im)
	if err != nil {
		return nil, fmt.Errorf("reading advisories from %s: %w", o.Dir, err)
	}
	return x, nil
}

// beside adds what the folder holds beside the advisories.
func (f *folderReader) beside(x *vuln.Index) (*vuln.Index, error) {
	s, known := x.Snapshot(), threat.Known{}
	for format, form := range forms {
		path, err := form.find(f.o.Dir)
		if err != nil {
			continue // it holds none
		}
		doc, err := form.read(path, &known)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		*beside(&s, format) = doc.Digest
	}
	return x.Beside(s, known), nil
}

// folderReader reads the folders of one source.
type folderReader struct {
	o     FolderOptions
	known time.Time
	mu    sync.Mutex // held while Progress is called
}

// portion is what was taken of one folder.
type portion struct {
	folder  string
	rows    []vuln.Row // in order of id
	records int        // of the folder, as far as it was read or counted
	written time.Time
	whole   bool
}

func (f *folderReader) index(ctx context.Context, im *inventory.Image) (*vuln.Index, error) {
	folders, err := (&local{root: f.o.Dir}).feeds(ctx)
	if err != nil {
		return nil, err
	}
	if slices.Equal(folders, []string{""}) {
		return nil, errors.New("it holds records and no ecosystems, so that nothing says which they cover; put those of an ecosystem into a folder of its name, as Go/ID.json")
	}
	concerns := map[string]bool{}
	for i := range im.Packages {
		concerns[vuln.BaseEcosystem(im.Packages[i].Ecosystem)] = true
	}
	portions := make([]portion, len(folders))
	for i, folder := range folders {
		portions[i] = portion{folder: folder, whole: concerns[vuln.BaseEcosystem(folder)]}
	}
	if err := f.readAll(ctx, portions, true, nil); err != nil {
		return nil, err
	}
	if err := f.wantRecords(ctx, portions); err != nil {
		return nil, err
	}
	x, err := build(evidence.Snapshot{Ecosystems: ecosystemsIn(portions)}, portions)
	if err != nil {
		return nil, err
	}
	found, _ := x.Findings(im)
	if err := f.readAll(ctx, portions, false, cvesOf(found)); err != nil {
		return nil, err
	}
	if x, err = build(f.snapshot(portions), portions); err != nil {
		return nil, err
	}
	return f.beside(x)
}

// wantRecords wants one record at least to be there: a folder of something else
// would be counted as advisories that find nothing.
func (f *folderReader) wantRecords(ctx context.Context, portions []portion) error {
	for _, p := range portions {
		if len(p.rows) > 0 {
			return nil
		}
	}
	for _, p := range portions {
		found, err := f.holdsRecord(ctx, p.folder)
		if found || err != nil {
			return err
		}
	}
	return fmt.Errorf("no file of %s can be read as an advisory, want ECOSYSTEM/%s or ECOSYSTEM/ID.json in the format of osv.dev", f.o.Dir, archiveName)
}

// errFound ends a search.
var errFound = errors.New("found")

// holdsRecord reports whether any record of a folder can be used.
func (f *folderReader) holdsRecord(ctx context.Context, folder string) (bool, error) {
	docs, _, err := f.open(folder)
	if err != nil {
		return false, err
	}
	defer docs.Close()
	err = docs.each(ctx, func(file string, raw []byte) error {
		if id, ok := strings.CutSuffix(file, ".json"); ok && raw != nil {
			if _, err := f.row(folderSource+"/"+folder, id, raw); err == nil {
				return errFound
			}
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// cvesOf returns the CVEs that findings are about.
func cvesOf(found []evidence.Finding) map[string]bool {
	cves := map[string]bool{}
	for i := range found {
		for _, id := range slices.Concat(found[i].Aliases, []string{found[i].ID}) {
			if strings.HasPrefix(id, cvePrefix) {
				cves[id] = true
			}
		}
	}
	return cves
}

// readAll reads the folders that are to be read whole, or the others, taking
// the records there that mention one of ids.
func (f *folderReader) readAll(ctx context.Context, portions []portion, whole bool, ids map[string]bool) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range portions {
		if p := &portions[i]; p.whole == whole {
			g.Go(func() error {
				if err := f.read(ctx, p, ids); err != nil {
					return fmt.Errorf("%s: %w", p.folder, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// read takes the records of one folder. Of one that is not read whole and has
// nothing to look for, it only counts them.
func (f *folderReader) read(ctx context.Context, p *portion, ids map[string]bool) error {
	docs, written, err := f.open(p.folder)
	if err != nil {
		return err
	}
	defer docs.Close()
	p.written, p.records = written, docs.count()
	if p.records > f.o.Limits.Records {
		return fmt.Errorf("more than %d records", f.o.Limits.Records)
	}
	if !p.whole && len(ids) == 0 {
		return nil
	}
	name := folderSource + "/" + p.folder
	done, total := int64(0), int64(p.records)
	f.tell(Progress{Feed: name, Step: "read", Total: total})
	seen := map[string]bool{}
	err = docs.each(ctx, func(file string, raw []byte) error {
		if done++; done%4096 == 0 {
			f.tell(Progress{Feed: name, Step: "read", Done: done, Total: total})
		}
		id, ok := strings.CutSuffix(file, ".json")
		if !ok || raw == nil || seen[id] || !p.whole && !mentions(raw, ids) {
			return nil
		}
		if row, err := f.row(name, id, raw); err == nil {
			seen[id] = true
			p.rows = append(p.rows, row)
		}
		return nil
	})
	if p.whole {
		p.records = len(p.rows)
	}
	slices.SortFunc(p.rows, func(a, b vuln.Row) int { return cmp.Compare(a.ID, b.ID) })
	return err
}

func (f *folderReader) tell(p Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.o.Progress(p)
}

// row makes a row of a record, under the conditions of a load.
func (f *folderReader) row(feed, id string, raw []byte) (vuln.Row, error) {
	rec, err := vuln.ParseRecord(raw)
	if err != nil {
		return vuln.Row{}, err
	}
	row := vuln.Row{
		Feed: feed, ID: id, From: 1, Modified: rec.Modified, Withdrawn: rec.Withdrawn, Known: f.known,
		Digest: oci.FromBytes(raw), Format: vuln.PackFormat, Packed: rec.Pack(),
	}
	if rec.ID != id || len(row.Packed) > vuln.MaxPacked {
		return vuln.Row{}, fmt.Errorf("the record of %s is not to be used", oci.Quote(id))
	}
	return row, nil
}

const cvePrefix = "CVE-"

// mentions reports whether the text of a record holds one of the CVEs, anywhere.
func mentions(raw []byte, cves map[string]bool) bool {
	for {
		i := bytes.Index(raw, []byte(cvePrefix))
		if i < 0 {
			return false
		}
		raw = raw[i:]
		n := len(cvePrefix)
		for n < len(raw) && (raw[n] >= '0' && raw[n] <= '9' || raw[n] == '-') {
			n++
		}
		if cves[string(raw[:n])] {
			return true
		}
		raw = raw[n:]
	}
}

// open opens a folder for reading, without taking the digest of an archive
// that a load takes first. It also says when it was written.
func (f *folderReader) open(folder string) (documents, time.Time, error) {
	dir := filepath.Join(f.o.Dir, folder)
	if !hasArchive(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return nil, time.Time{}, err
		}
		names, err := recordNames(dir)
		return &loose{root: dir, names: names}, info.ModTime(), err
	}
	file, err := os.Open(filepath.Join(dir, archiveName))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("opening the archive: %w", err)
	}
	info, err := file.Stat()
	var a *archive
	switch {
	case err != nil:
	case info.Size() > f.o.Limits.Archive:
		err = fmt.Errorf("the archive has %d bytes, more than %d", info.Size(), f.o.Limits.Archive)
	default:
		a, err = openArchive(file, info.Size(), f.o.Limits)
	}
	if err != nil {
		return nil, time.Time{}, errors.Join(err, file.Close())
	}
	a.close = file.Close
	a.zip.RegisterDecompressor(zip.Deflate, inflater())
	return a, info.ModTime(), nil
}

// inflater returns a decompressor that is quicker than the standard library's.
// The files of an archive are read one after the other, so that one set of
// buffers is enough.
func inflater() zip.Decompressor {
	in := bufio.NewReader(nil)
	spare := flate.NewReader(in)
	return func(r io.Reader) io.ReadCloser {
		in.Reset(r)
		if err := spare.(flate.Resetter).Reset(in, nil); err != nil {
			return flate.NewReader(r)
		}
		return io.NopCloser(spare)
	}
}

// build makes an index of all rows, in the order of a store.
func build(s evidence.Snapshot, portions []portion) (*vuln.Index, error) {
	b := vuln.NewBuilder()
	for i := range portions {
		for _, row := range portions[i].rows {
			if err := b.Add(row); err != nil {
				return nil, err
			}
		}
	}
	return b.Index(s), nil
}

func ecosystemsIn(portions []portion) []string {
	var names []string
	for i := range portions {
		if portions[i].records > 0 || len(portions[i].rows) > 0 {
			names = append(names, vuln.BaseEcosystem(portions[i].folder))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// snapshot sums up what was read, as a load does.
func (f *folderReader) snapshot(portions []portion) evidence.Snapshot {
	s := evidence.Snapshot{Ecosystems: ecosystemsIn(portions)}
	all := sha256.New()
	var oldest, newest time.Time
	for i := range portions {
		p := &portions[i]
		s.Advisories += p.records
		if p.written.After(newest) {
			newest = p.written
		}
		if p.whole && (oldest.IsZero() || p.written.Before(oldest)) {
			oldest = p.written
		}
		if len(p.rows) == 0 {
			continue
		}
		sum := sha256.New()
		for i := range p.rows {
			fmt.Fprintf(sum, "%s\x00%s\n", p.rows[i].ID, p.rows[i].Digest)
		}
		fmt.Fprintf(all, "%s\x00%s\n", folderSource+"/"+p.folder, oci.SHA256.FromHash(sum))
	}
	s.Digest = oci.SHA256.FromHash(all)
	s.At = oldest
	if oldest.IsZero() {
		s.At = newest
	}
	if s.At.After(f.known) {
		s.At = f.known
	}
	s.At = s.At.UTC().Truncate(time.Microsecond)
	return s
}
