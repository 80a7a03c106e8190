// Package inventory holds the nouns of what artifacts contain: packages, the
// sets they come in, the facts of one layer, and the merged inventory of an
// image with its coverage.
//
// A file that matters (a package database, a lock file, a binary with build
// information) yields a Set, identified by the content it came from, so that
// identical files in different layers or images give one set, stored once. A
// Layer says at which path each set was found and what the layer removes. An
// Image is the overlay of its layers: for each path the topmost layer wins.
package inventory

import (
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Package is one package as an extractor read it. Packages are values: two are
// the same when all fields are.
type Package struct {
	Type      string   `json:"type"`                // purl type: deb, apk, golang, npm, pypi, …
	Namespace string   `json:"namespace,omitempty"` // purl namespace where the type has one that the file tells, such as an npm scope
	Name      string   `json:"name"`
	Version   string   `json:"version"` // "" when the file does not tell
	Arch      string   `json:"arch,omitempty"`
	Source    string   `json:"source,omitempty"`         // source package that advisories name (deb, apk origin); "" means Name
	SourceVer string   `json:"source_version,omitempty"` // version of the source package; "" means Version
	Licenses  []string `json:"licenses,omitempty"`       // as declared, not normalised
	Ecosystem string   `json:"ecosystem,omitempty"`      // OSV ecosystem, such as Go, npm, PyPI; "" for OS packages until the overlay knows the distribution
}

// Set is what one file yields.
type Set struct {
	// ID is the SHA-256 over extractor name, extractor version, what of the
	// path the extractor looks at (mostly nothing), and the file's digest: what
	// the packages were computed from.
	ID        oci.Digest `json:"id"`
	Extractor string     `json:"extractor"`
	Packages  []Package  `json:"packages"`
}

// Distro identifies an operating system release, from os-release(5). The zero
// value means unknown.
type Distro struct {
	ID        string `json:"id"`         // "debian", "alpine"
	VersionID string `json:"version_id"` // "12", "3.20.1"; "" for rolling ones
	Name      string `json:"name"`       // for people
	Ecosystem string `json:"ecosystem"`  // OSV ecosystem with release: "Debian:12", "Alpine:v3.20"; "" when OSV has none
}

// File is one path of a layer that matters to the inventory. A path comes twice
// when two extractors found something in the same file.
type File struct {
	Path   string     `json:"path"`             // clean, relative, slash-separated: "var/lib/dpkg/status"
	Set    oci.Digest `json:"set"`              // what it yields; zero when only its presence counts
	Distro *Distro    `json:"distro,omitempty"` // set for os-release files
	Digest oci.Digest `json:"digest"`           // of the file's content
	Size   int64      `json:"size"`
	// Owned says that an OS package of the same layer lists this file as its
	// own: the distribution's advisories speak about it, not the ecosystem's.
	Owned bool `json:"owned,omitempty"`
}

// Link is a symbolic link of a layer.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"` // as written, absolute or relative
}

// Layer is what analysis knows about one layer blob: its facts. Facts are a
// pure function of (Digest, ExtractorSet, Budget).
type Layer struct {
	Digest       oci.Digest `json:"digest"`        // of the blob as stored
	DiffID       oci.Digest `json:"diff_id"`       // of the uncompressed stream; zero when it could not be computed, and then the first gap says why
	Size         int64      `json:"size"`          // bytes as stored
	Uncompressed int64      `json:"uncompressed"`  // bytes of the tar stream
	Entries      int        `json:"entries"`       // tar entries
	Compression  string     `json:"compression"`   // "gzip", "zstd" or "" as the bytes say, whatever the media type claims
	ExtractorSet string     `json:"extractor_set"` // names and versions of the extractors, one string
	Budget       string     `json:"budget"`        // budget class
	Files        []File     `json:"files,omitempty"`
	Links        []Link     `json:"links,omitempty"`     // symbolic links that may stand for directories
	Whiteouts    []string   `json:"whiteouts,omitempty"` // removed paths
	Opaque       []string   `json:"opaque,omitempty"`    // directories whose lower content is hidden
	Parents      []string   `json:"parents,omitempty"`   // directories that entries stand in without an entry of their own before them
	Paths        PathSet    `json:"paths,omitempty"`     // every path of the layer, and what it does there
	// Contents are the digests by which a manifest may announce the layer's
	// tables of contents, for pulling it lazily: of those that say what the tar
	// says.
	Contents []oci.Digest `json:"contents,omitempty"`
	Coverage Coverage     `json:"coverage"`
	Secrets  []Secret     `json:"secrets,omitempty"` // sorted by path, line, rule
	// Searched says how far the layer was searched for secrets.
	Searched Coverage `json:"searched"`
}

// CoverageState says how far something was analysed.
type CoverageState string

// The states, best first. Ambiguous: every byte was read, but another unpacker
// could read them differently. None: not analysed.
const (
	CoverageFull      CoverageState = "full"
	CoveragePartial   CoverageState = "partial"
	CoverageAmbiguous CoverageState = "ambiguous"
	CoverageNone      CoverageState = "none"
)

// Coverage says how far a layer was analysed, and what is missing. An empty
// list of packages with any state but CoverageFull does not mean "clean".
type Coverage struct {
	State CoverageState `json:"state"`
	Gaps  []Gap         `json:"gaps,omitempty"` // at most 100; the last says how many more
}

// Gap is one reason why coverage is not full.
type Gap struct {
	Extractor string `json:"extractor,omitempty"` // "" when it concerns the stream
	Path      string `json:"path,omitempty"`
	Reason    string `json:"reason"` // for people, stable text without operands: "file larger than 64 MiB"
}

// Located is a package of an image and where it is.
type Located struct {
	Package
	PURL  string     `json:"purl"`
	Path  string     `json:"path"`
	Layer int        `json:"layer"` // index in the manifest's layers
	Set   oci.Digest `json:"set"`
	Owned bool       `json:"owned,omitempty"` // part of an OS package: see File.Owned
}

// Image is the merged inventory of one image.
type Image struct {
	Manifest oci.Digest        `json:"manifest"`
	Platform oci.Platform      `json:"platform"`
	Distro   Distro            `json:"distro"`
	Packages []Located         `json:"packages"` // sorted by PURL, path
	Layers   []LayerCoverage   `json:"layers"`
	Config   *oci.ImageConfig  `json:"-"`
	Labels   map[string]string `json:"-"`
	Created  time.Time         `json:"created,omitzero"` // as the configuration claims
	// Secrets are those of all layers and of the configuration, by layer, path
	// and line.
	Secrets []LocatedSecret `json:"secrets,omitempty"`
}

// LayerCoverage is the coverage of one layer of an image. Its diff_id is right
// (DiffIDOK), could not be compared (Uncompared), or else is wrong.
type LayerCoverage struct {
	Digest   oci.Digest `json:"digest"`
	DiffIDOK bool       `json:"diff_id_ok"` // the computed diff_id is what the configuration says
	// Uncompared says why nobody knows whether the diff_id is right: a Gap's
	// reason, such as that of the budget that ran out. "" when it was compared.
	Uncompared string   `json:"diff_id_uncompared,omitempty"`
	Coverage   Coverage `json:"coverage"`
	PackageSum int      `json:"packages"` // packages this layer brought that are still visible
	// Searched says how far the layer was searched for secrets. A state that is
	// empty means that it was not.
	Searched Coverage `json:"searched"`
}

// Coverage is the worst of its layers' states, Full for an image without
// layers, and Partial at best while there are OS packages of an unknown
// distribution.
func (im *Image) Coverage() CoverageState {
	worst := CoverageFull
	for _, l := range im.Layers {
		worst = worst.Worse(l.Coverage.State)
	}
	if worst == CoverageFull && im.UnknownDistro() {
		worst = CoveragePartial
	}
	return worst
}

// UnknownDistro reports whether the image holds OS packages that no
// distribution's advisories can be matched to.
func (im *Image) UnknownDistro() bool {
	for i := range im.Packages {
		if im.Packages[i].Ecosystem == "" {
			return true
		}
	}
	return false
}
