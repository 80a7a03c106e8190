// Package vexset holds what one feed says by VEX: all its documents, as they are
// kept, and found by the faults that they are about. A set is immutable once read,
// and safe for concurrent use.
package vexset

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/vuln/threat"
)

// ErrInvalid matches errors about a feed that is no set of VEX documents.
var ErrInvalid = errors.New("no feed of VEX documents")

// Limits of a set.
const (
	MaxDocuments = 100_000
	MaxDocument  = 16 << 20 // bytes of one document
	maxKept      = 64 << 20 // bytes of a set as it is kept
	maxReasons   = 10
)

// Document is one document of a feed.
type Document struct {
	Name   string        `json:"name"`   // path in the feed
	Digest oci.Digest    `json:"digest"` // of its bytes
	VEX    *evidence.VEX `json:"vex"`
}

// Set is what a feed says.
type Set struct {
	docs []Document // by name
	by   map[string][]statement
	kept threat.Document
}

// statement says where one is.
type statement struct{ doc, at int }

// kept is a set as JSON.
type kept struct {
	Version   int        `json:"version"`
	Documents []Document `json:"documents"`
}

// Reader reads one VEX document, OpenVEX, CSAF or CycloneDX. partial says that it
// says more than is kept.
type Reader func(raw []byte) (vex *evidence.VEX, partial bool, err error)

// Parse reads the documents of a feed: the files of a tar. What cannot be read as a
// whole is skipped, and said; nothing but that is no set.
func Parse(r io.Reader, read Reader) (*Set, threat.Published, error) {
	var p threat.Published
	skip := func(name, why string) {
		if p.Skipped++; len(p.Reasons) < maxReasons {
			p.Reasons = append(p.Reasons, fmt.Sprintf("%.200s: %s", name, why))
		}
	}
	in, s, names := tar.NewReader(r), &Set{}, map[string]bool{}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, p, fmt.Errorf("%w: %v", ErrInvalid, err)
		}
		if len(names) == MaxDocuments {
			return nil, p, fmt.Errorf("%w: more than %d documents; name a folder with those that you use", ErrInvalid, MaxDocuments)
		}
		raw, err := io.ReadAll(io.LimitReader(in, MaxDocument+1))
		if err != nil {
			return nil, p, fmt.Errorf("%w: %v", ErrInvalid, err)
		}
		if names[h.Name] {
			skip(h.Name, "it is there twice")
			continue
		}
		names[h.Name] = true
		vex, partial, err := read(raw)
		switch {
		case err != nil:
			skip(h.Name, err.Error())
		case partial:
			skip(h.Name, "it says more than is kept of one document")
		default:
			s.docs = append(s.docs, Document{h.Name, oci.FromBytes(raw), vex})
		}
	}
	if len(s.docs) == 0 {
		return nil, p, fmt.Errorf("%w: of %d files none is an OpenVEX, CSAF or CycloneDX document that names its products%s", ErrInvalid, len(names), strings.Join(append([]string{""}, p.Reasons[:min(len(p.Reasons), 1)]...), "; "))
	}
	return s, p, s.settle()
}

// settle orders the set, packs and indexes it.
func (s *Set) settle() error {
	slices.SortFunc(s.docs, func(a, b Document) int { return cmp.Compare(a.Name, b.Name) })
	content, err := json.Marshal(kept{1, s.docs})
	if err != nil {
		return fmt.Errorf("keeping VEX documents: %v", err)
	}
	if len(content) > maxKept {
		return fmt.Errorf("%w: what its %d documents say takes %d bytes, more than %d; name a folder with those that you use", ErrInvalid, len(s.docs), len(content), maxKept)
	}
	s.kept = threat.Document{Digest: oci.FromBytes(content), Content: content}
	s.index()
	return nil
}

func (s *Set) index() {
	s.by = map[string][]statement{}
	for d := range s.docs {
		for i := range s.docs[d].VEX.Statements {
			for _, id := range ids(&s.docs[d].VEX.Statements[i]) {
				s.by[id] = append(s.by[id], statement{d, i})
			}
		}
	}
}

// ids are those of what a statement is about.
func ids(st *evidence.VEXStatement) []string {
	all := append([]string{st.Vulnerability}, st.Aliases...)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(id string) bool { return id == "" })
}

// Read reads a set as it was kept.
func Read(content []byte) (*Set, error) {
	var k kept
	dec := json.NewDecoder(bytes.NewReader(content))
	if err := dec.Decode(&k); err != nil || k.Version != 1 {
		return nil, fmt.Errorf("reading a set of VEX documents of version %d: %v", k.Version, err)
	}
	s := &Set{docs: k.Documents, kept: threat.Document{Digest: oci.FromBytes(content), Content: content}}
	for i := range s.docs {
		if s.docs[i].VEX == nil {
			return nil, fmt.Errorf("reading a set of VEX documents: %s is empty", oci.Quote(s.docs[i].Name))
		}
	}
	s.index()
	return s, nil
}

// Document returns the set as it is kept.
func (s *Set) Document() threat.Document { return s.kept }

// Len is the number of documents.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.docs)
}

// Change counts how the documents differ from those before, of which nil has none.
func (s *Set) Change(before *Set) (c threat.Change) {
	was := map[string]oci.Digest{}
	if before != nil {
		for i := range before.docs {
			was[before.docs[i].Name] = before.docs[i].Digest
		}
	}
	for i := range s.docs {
		d, ok := was[s.docs[i].Name]
		delete(was, s.docs[i].Name)
		switch {
		case !ok:
			c.New++
		case d != s.docs[i].Digest:
			c.Changed++
		}
	}
	c.Gone = len(was)
	return c
}

// About returns what the set says of findings: its documents with the statements
// that name one of their faults, in order of name. A nil set says nothing.
func (s *Set) About(feed string, findings []evidence.Finding) []evidence.VEXDocument {
	if s == nil {
		return nil
	}
	named := map[statement]bool{}
	for i := range findings {
		f := &findings[i]
		for _, id := range append([]string{f.ID}, f.Aliases...) {
			for _, st := range s.by[id] {
				named[st] = true
			}
		}
	}
	all := make([]statement, 0, len(named))
	for st := range named {
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b statement) int { return cmp.Or(a.doc-b.doc, a.at-b.at) })
	var out []evidence.VEXDocument
	for i, st := range all {
		doc := &s.docs[st.doc]
		if i == 0 || all[i-1].doc != st.doc {
			short := *doc.VEX
			short.Statements = nil
			out = append(out, evidence.VEXDocument{Feed: feed, Digest: doc.Digest, VEX: &short})
		}
		last := out[len(out)-1].VEX
		last.Statements = append(last.Statements, doc.VEX.Statements[st.at])
	}
	return out
}

// Changed returns the ids of faults of which the set says something else than the
// one before, sorted; nil stands for a set without documents.
func (s *Set) Changed(before *Set) []string {
	now, was := s.documents(), before.documents()
	differs := map[string]bool{}
	note := func(of, other map[string]*Document) {
		for name, doc := range of {
			o := other[name]
			if o != nil && o.Digest == doc.Digest {
				continue
			}
			for i := range doc.VEX.Statements {
				if st := &doc.VEX.Statements[i]; o == nil || !o.VEX.At.Equal(doc.VEX.At) || !says(o.VEX, st) {
					for _, id := range ids(st) {
						differs[id] = true
					}
				}
			}
		}
	}
	note(now, was)
	note(was, now)
	var all []string
	for id := range differs {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}

// says reports whether one of the statements is st.
func says(v *evidence.VEX, st *evidence.VEXStatement) bool {
	return slices.ContainsFunc(v.Statements, func(x evidence.VEXStatement) bool {
		return x.Vulnerability == st.Vulnerability && reflect.DeepEqual(x, *st)
	})
}

func (s *Set) documents() map[string]*Document {
	all := map[string]*Document{}
	if s != nil {
		for i := range s.docs {
			all[s.docs[i].Name] = &s.docs[i]
		}
	}
	return all
}

// List is which set of each feed is in force.
type List map[string]oci.Digest

// Document returns the list as it is kept; the zero Document for an empty one.
func (l List) Document() threat.Document {
	if len(l) == 0 {
		return threat.Document{}
	}
	content, err := json.Marshal(map[string]oci.Digest(l))
	if err != nil {
		panic(fmt.Sprintf("vexset: a map of texts has no JSON: %v", err))
	}
	return threat.Document{Digest: oci.FromBytes(content), Content: content}
}

// ReadList reads a list as it was kept.
func ReadList(content []byte) (List, error) {
	var l List
	if err := json.Unmarshal(content, &l); err != nil {
		return nil, fmt.Errorf("reading which VEX documents are in force: %v", err)
	}
	return l, nil
}
