package analyze

import (
	"bytes"
	"context"
	"io"
	"io/fs"

	"github.com/bonded-dev/bonded/internal/inventory"
)

// Info is what an extractor says about itself. It never changes while the
// program runs.
type Info struct {
	// Name is lower case, without spaces or slashes: "dpkg". It is stored.
	Name string
	// Version grows with every change that can give other packages for the same
	// file. It is stored.
	Version string
	// Max is the size in bytes above which a file is a gap and not looked into.
	Max int64
	// Magic lists what the files it reads begin with, at most 8 bytes each. A
	// file that begins otherwise is passed over without a gap. Optional.
	Magic []string
	// Places lists the fixed paths of the package database it reads, if that is
	// what it reads: a symbolic link there that leads to somewhere else is a
	// gap. Optional.
	Places []string
	// Key returns what of the path the result depends on beside the content.
	// Optional: nothing.
	Key func(path string) string
}

// Extractor finds the packages that one kind of file tells of. It is a pure
// function of the file's content and what Info().Key returns for its path. It
// is safe for concurrent use.
//
// It may panic on foreign bytes, that is caught; it may not start goroutines,
// use the network, or keep the file.
type Extractor interface {
	Info() Info
	// Wants reports whether a file with this clean, relative path and these
	// permission bits may be of its kind. It is asked for every file.
	Wants(path string, mode fs.FileMode) bool
	// Extract returns the packages in any order. No packages and no error means
	// that there are none; whatever it could not read is an error. An error that
	// is a Reason says why, for people; others are only logged.
	Extract(ctx context.Context, f *File) ([]inventory.Package, error)
}

// Claimer finds the files that OS packages brought: a Python package that is
// part of a Debian package is that package's business. The rules of Extractor
// hold.
type Claimer interface {
	Info() Info
	Wants(path string, mode fs.FileMode) bool
	// Claims calls claim for the path of each file, clean and relative or not.
	Claims(ctx context.Context, f *File, claim func(path string)) error
}

// Reason is an error that says for people why a file could not be read. It
// becomes the reason of a gap: stable text without operands.
type Reason string

func (r Reason) Error() string { return string(r) }

// ErrUnreadable is the gap of a file whose extractor failed without a Reason.
const ErrUnreadable Reason = "damaged, or of an unknown form"

// File is one file of a layer, whole. It is valid during the call it is passed
// to.
type File struct {
	Path string // clean, relative, slash-separated
	Mode fs.FileMode
	Size int64
	io.ReaderAt
}

// NewFile returns a file that is held in memory.
func NewFile(path string, mode fs.FileMode, content []byte) *File {
	return &File{Path: path, Mode: mode, Size: int64(len(content)), ReaderAt: bytes.NewReader(content)}
}

// Reader returns a reader of the whole content. It is an io.ReaderAt and an
// io.Seeker as well.
func (f *File) Reader() *io.SectionReader { return io.NewSectionReader(f.ReaderAt, 0, f.Size) }

// Bytes returns the content. For extractors of small files: see Info.Max.
func (f *File) Bytes() ([]byte, error) {
	b := make([]byte, f.Size)
	_, err := io.ReadFull(f.Reader(), b)
	return b, err
}
