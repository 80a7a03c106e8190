package analyze

import (
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/bonded-dev/bonded/internal/inventory"
	"github.com/bonded-dev/bonded/internal/oci"
)

// ErrFacts matches errors of UnmarshalLayer and UnmarshalSet: the bytes are not
// facts, or of a version that this program does not know. Facts can always be
// found out again from the layer.
var ErrFacts = errors.New("not valid facts")

// The layout is described in docs/format/facts.md; golden tests hold it.
const (
	factsMagic   = "BNDF"
	factsHeader  = len(factsMagic) + 3
	kindLayer    = 'L'
	kindSet      = 'S'
	packedNot    = 0
	packedSnappy = 1 // https://github.com/google/snappy/blob/main/format_description.txt

	worthPacking = 256       // bytes of payload
	maxFacts     = 256 << 20 // bytes of payload
)

// factsVersions by kind. Those of layers are kept by extractor set, so that
// nobody asks for the old; sets are kept by their content and stay.
var factsVersions = map[byte]byte{kindLayer: 3, kindSet: 1}

// MarshalLayer encodes facts for storing.
func MarshalLayer(l *inventory.Layer) []byte {
	var e encoder
	e.layer(l)
	return seal(kindLayer, e.b)
}

// UnmarshalLayer reads what MarshalLayer wrote. Errors match ErrFacts.
func UnmarshalLayer(b []byte) (*inventory.Layer, error) {
	d, err := open(kindLayer, b)
	if err != nil {
		return nil, err
	}
	l := d.layer()
	if err := d.end(); err != nil {
		return nil, err
	}
	return &l, nil
}

// MarshalSet encodes a set for storing.
func MarshalSet(s *inventory.Set) []byte {
	var e encoder
	e.digest(s.ID)
	e.text(s.Extractor)
	list(&e, s.Packages, e.pkg)
	return seal(kindSet, e.b)
}

// UnmarshalSet reads what MarshalSet wrote. Errors match ErrFacts.
func UnmarshalSet(b []byte) (*inventory.Set, error) {
	d, err := open(kindSet, b)
	if err != nil {
		return nil, err
	}
	s := inventory.Set{ID: d.digest(), Extractor: d.text(), Packages: items(d, d.pkg)}
	if err := d.end(); err != nil {
		return nil, err
	}
	return &s, nil
}

// seal puts the header before a payload and packs it if that is worth it.
func seal(kind byte, payload []byte) []byte {
	head := append([]byte(factsMagic), factsVersions[kind], kind, packedNot)
	if len(payload) >= worthPacking {
		if packed := s2.EncodeSnappyBetter(nil, payload); len(packed) < len(payload) {
			head[factsHeader-1] = packedSnappy
			payload = packed
		}
	}
	return append(head, payload...)
}

// open checks the header and unpacks the payload.
func open(kind byte, b []byte) (*decoder, error) {
	if len(b) < factsHeader || string(b[:len(factsMagic)]) != factsMagic {
		return nil, fmt.Errorf("%w: no header", ErrFacts)
	}
	head, payload := b[len(factsMagic):factsHeader], b[factsHeader:]
	switch {
	case head[1] != kind:
		return nil, fmt.Errorf("%w: kind %q, want %q", ErrFacts, head[1], kind)
	case head[0] != factsVersions[kind]:
		return nil, fmt.Errorf("%w: version %d, want %d", ErrFacts, head[0], factsVersions[kind])
	case head[2] == packedNot:
		return &decoder{b: payload}, nil
	case head[2] != packedSnappy:
		return nil, fmt.Errorf("%w: packed in way %d", ErrFacts, head[2])
	}
	if n, err := s2.DecodedLen(payload); err != nil || n > maxFacts {
		return nil, fmt.Errorf("%w: length of %d bytes, at most %d", ErrFacts, n, maxFacts)
	}
	payload, err := s2.Decode(nil, payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFacts, err)
	}
	return &decoder{b: payload}, nil
}

// states in the order of their numbers in stored facts.
var states = []inventory.CoverageState{
	inventory.CoverageFull, inventory.CoveragePartial, inventory.CoverageAmbiguous, inventory.CoverageNone,
}

func (e *encoder) layer(l *inventory.Layer) {
	e.digest(l.Digest)
	e.digest(l.DiffID)
	e.number(l.Size)
	e.number(l.Uncompressed)
	e.number(int64(l.Entries))
	e.text(l.Compression)
	e.text(l.ExtractorSet)
	e.text(l.Budget)
	list(e, l.Files, e.file)
	list(e, l.Links, e.link)
	list(e, l.Whiteouts, e.textAt)
	list(e, l.Opaque, e.textAt)
	list(e, l.Parents, e.textAt)
	e.text(string(l.Paths))
	list(e, l.Contents, func(d *oci.Digest) { e.digest(*d) })
	e.coverage(&l.Coverage)
	list(e, l.Secrets, e.secret)
	e.coverage(&l.Searched)
}

func (e *encoder) coverage(c *inventory.Coverage) {
	n := slices.Index(states, c.State)
	if n < 0 {
		n = len(states) - 1 // what is not known is none
	}
	e.byte(byte(n))
	list(e, c.Gaps, e.gap)
}

func (d *decoder) layer() (l inventory.Layer) {
	l.Digest = d.digest()
	l.DiffID = d.digest()
	l.Size = d.number()
	l.Uncompressed = d.number()
	l.Entries = int(d.number())
	l.Compression = d.text()
	l.ExtractorSet = d.text()
	l.Budget = d.text()
	l.Files = items(d, d.file)
	l.Links = items(d, d.link)
	l.Whiteouts = items(d, d.text)
	l.Opaque = items(d, d.text)
	l.Parents = items(d, d.text)
	l.Paths = inventory.PathSet(d.bytes())
	if !l.Paths.Valid() {
		d.fail("paths are not sorted")
	}
	l.Contents = items(d, d.digest)
	l.Coverage = d.coverage()
	l.Secrets = items(d, d.secret)
	l.Searched = d.coverage()
	return l
}

func (d *decoder) coverage() (c inventory.Coverage) {
	if state := int(d.byte()); state < len(states) {
		c.State = states[state]
	} else {
		d.fail("unknown state of coverage")
	}
	c.Gaps = items(d, d.gap)
	return c
}

// Flags of a file.
const (
	fileDistro = 1 << iota
	fileOwned
)

func (e *encoder) file(f *inventory.File) {
	e.text(f.Path)
	flags := byte(0)
	if f.Distro != nil {
		flags |= fileDistro
	}
	if f.Owned {
		flags |= fileOwned
	}
	e.byte(flags)
	e.digest(f.Set)
	e.digest(f.Digest)
	e.number(f.Size)
	if r := f.Distro; r != nil {
		e.texts(r.ID, r.VersionID, r.Name, r.Ecosystem)
	}
}

func (d *decoder) file() (f inventory.File) {
	f.Path = d.text()
	flags := d.byte()
	f.Owned = flags&fileOwned != 0
	f.Set, f.Digest, f.Size = d.digest(), d.digest(), d.number()
	if flags&fileDistro != 0 {
		f.Distro = &inventory.Distro{ID: d.text(), VersionID: d.text(), Name: d.text(), Ecosystem: d.text()}
	}
	if flags > fileDistro|fileOwned {
		d.fail("unknown flags of a file")
	}
	return f
}

func (e *encoder) link(l *inventory.Link) { e.texts(l.Path, l.Target) }

func (d *decoder) link() inventory.Link { return inventory.Link{Path: d.text(), Target: d.text()} }

func (e *encoder) gap(g *inventory.Gap) { e.texts(g.Extractor, g.Path, g.Reason) }

func (d *decoder) gap() inventory.Gap {
	return inventory.Gap{Extractor: d.text(), Path: d.text(), Reason: d.text()}
}

func (e *encoder) secret(s *inventory.Secret) {
	e.texts(s.Rule, s.Path, s.Fingerprint)
	e.number(int64(s.Line))
}

func (d *decoder) secret() (s inventory.Secret) {
	s.Rule, s.Path, s.Fingerprint = d.text(), d.text(), d.text()
	s.Line = int(d.number())
	return s
}

func (e *encoder) pkg(p *inventory.Package) {
	e.texts(p.Type, p.Namespace, p.Name, p.Version, p.Arch, p.Source, p.SourceVer, p.Ecosystem)
	list(e, p.Licenses, e.textAt)
}

func (d *decoder) pkg() (p inventory.Package) {
	p.Type, p.Namespace, p.Name, p.Version = d.text(), d.text(), d.text(), d.text()
	p.Arch, p.Source, p.SourceVer, p.Ecosystem = d.text(), d.text(), d.text(), d.text()
	p.Licenses = items(d, d.text)
	return p
}
