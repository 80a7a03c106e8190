package toc

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bonded-dev/bonded/internal/oci"
)

// Entry is one entry of a table: a file and its chunks.
type Entry struct {
	Name         string // clean, relative, slash-separated; "" is the root
	Type         string // reg, dir, symlink, hardlink, char, block or fifo
	Link         string // of a symlink or hardlink, as written
	Size         int64  // of a reg
	Mode         int64  // as in a tar header
	UID, GID     int64
	Major, Minor int64             // of a char or block
	Xattrs       map[string]string // by name
	Digest       *Sum              // of a reg's content; nil when the table does not say
	Chunks       []Chunk           // of a reg with content: in order, and together Size bytes

	described int64 // bytes of Chunks
}

// Sum is a SHA-256.
type Sum [sha256.Size]byte

// Chunk is a part of a file.
type Chunk struct {
	Size int64
	Zero bool // all bytes are zero, and there is no Sum
	Sum  Sum
}

// row is one object of the table's list, as it is written. A chunk beyond the
// first of a file is a row of its own.
type row struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`
	LinkName    string          `json:"linkName"`
	Size        int64           `json:"size"`
	Mode        int64           `json:"mode"`
	UID         int64           `json:"uid"`
	GID         int64           `json:"gid"`
	Major       int64           `json:"devMajor"`
	Minor       int64           `json:"devMinor"`
	Xattrs      json.RawMessage `json:"xattrs"`
	Digest      string          `json:"digest"`
	ChunkOffset int64           `json:"chunkOffset"`
	ChunkSize   int64           `json:"chunkSize"`
	ChunkDigest string          `json:"chunkDigest"`
	ChunkType   string          `json:"chunkType"`
	// Where the content is in the blob. It is fetched from there, and used if
	// it has the digest.
	Offset      int64 `json:"offset"`
	EndOffset   int64 `json:"endOffset"`
	InnerOffset int64 `json:"innerOffset"`
}

// rowKeys are the keys that readers know. Some match them in any case.
var rowKeys = []string{
	"name", "type", "linkName", "size", "mode", "uid", "gid", "devMajor", "devMinor", "xattrs", "digest",
	"chunkOffset", "chunkSize", "chunkDigest", "chunkType", "offset", "endOffset", "innerOffset",
	"modtime", "accesstime", "changetime", "userName", "groupName",
}

// parseRow reads one object, which is valid JSON.
func parseRow(raw []byte) (*row, error) {
	if err := strict(raw, rowKeys); err != nil {
		return nil, err
	}
	var r row
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if r.Size < 0 || r.ChunkOffset < 0 || r.ChunkSize < 0 {
		return nil, errors.New("a negative size")
	}
	return &r, nil
}

// strict refuses objects that readers could understand differently: with a key
// twice, with a known key in another case, or with bytes that are not UTF-8.
func strict(raw []byte, known []string) error {
	if len(raw) == 0 || raw[0] != '{' || !utf8.Valid(raw) {
		return errors.New("not an object in UTF-8")
	}
	seen := make([]string, 0, 32)
	return eachKey(raw, func(key string) error {
		switch {
		case strings.IndexByte(key, '\\') >= 0:
			return fmt.Errorf("key %s with an escape", oci.Quote(key))
		case slices.Contains(seen, key):
			return fmt.Errorf("key %s twice", oci.Quote(key))
		case len(seen) == 100:
			return errors.New("more than 100 keys")
		}
		seen = append(seen, key)
		return exact(key, known)
	})
}

// exact refuses a key that is a known one in another case.
func exact(key string, known []string) error {
	if slices.Contains(known, key) {
		return nil
	}
	for _, k := range known {
		if strings.EqualFold(key, k) {
			return fmt.Errorf("key %s differs from %q in case only", oci.Quote(key), k)
		}
	}
	return nil
}

// eachKey calls fn for each key of an object, which is valid JSON, as it is
// written between the quotes.
func eachKey(raw []byte, fn func(key string) error) error {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := i + 1
			for ; raw[end] != '"'; end++ {
				if raw[end] == '\\' {
					end++
				}
			}
			if rest := bytes.TrimLeft(raw[end+1:], " \t\r\n"); depth == 1 && len(rest) > 0 && rest[0] == ':' {
				if err := fn(string(raw[i+1 : end])); err != nil {
					return err
				}
			}
			i = end
		}
	}
	return nil
}

// entryTypes are the types of rows that stand for an entry.
var entryTypes = []string{"reg", "dir", "symlink", "hardlink", "char", "block", "fifo"}

// entry makes an entry of its row, which is its first chunk, too.
func entry(r *row) (*Entry, error) {
	if !slices.Contains(entryTypes, r.Type) {
		return nil, fmt.Errorf("type %s", oci.Quote(r.Type))
	}
	e := &Entry{Type: r.Type, Link: r.LinkName, Mode: r.Mode, UID: r.UID, GID: r.GID, Major: r.Major, Minor: r.Minor}
	var err error
	if e.Name, err = cleanName(r.Name); err != nil {
		return nil, err
	}
	if e.Xattrs, err = xattrs(r.Xattrs); err != nil {
		return nil, err
	}
	if e.Digest, err = parseSum(r.Digest); err != nil {
		return nil, err
	}
	if e.Type != "reg" || r.Size == 0 {
		return e, nil
	}
	e.Size = r.Size
	return e, e.addChunk(r)
}

// addChunk adds the next chunk; they must follow each other from the first byte
// of the file to the last.
func (e *Entry) addChunk(r *row) error {
	left := e.Size - e.described
	c := Chunk{Size: r.ChunkSize, Zero: r.ChunkType == "zeros"}
	if c.Size == 0 {
		c.Size = left // "to the end"
	}
	if r.ChunkOffset != e.described || c.Size <= 0 || c.Size > left {
		return errors.New("chunks that do not follow each other")
	}
	if !c.Zero {
		sum, err := parseSum(r.ChunkDigest)
		switch {
		case err != nil:
			return err
		case sum == nil && c.Size == e.Size:
			sum = e.Digest // that of the file will do for its only chunk
		}
		if sum == nil || r.ChunkType != "" {
			return errors.New("a chunk without a digest, or of an unknown type")
		}
		c.Sum = *sum
	}
	e.described += c.Size
	e.Chunks = append(e.Chunks, c)
	return nil
}

// further adds a chunk that has a row of its own. Its name may be left out.
func (e *Entry) further(r *row) error {
	if name, err := cleanName(r.Name); err != nil || r.Name != "" && name != e.Name {
		return errors.New("a chunk of another file")
	}
	return e.addChunk(r)
}

// whole reports whether the chunks are the file.
func (e *Entry) whole() bool { return e.described == e.Size }

// cleanName returns the place of a name below the root.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("name %s", oci.Quote(name))
	}
	return path.Clean("/" + name)[1:], nil
}

func xattrs(raw json.RawMessage) (map[string]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if err := strict(raw, nil); err != nil {
		return nil, err
	}
	var encoded map[string][]byte // base64
	if err := json.Unmarshal(raw, &encoded); err != nil {
		return nil, err
	}
	all := make(map[string]string, len(encoded))
	for k, v := range encoded {
		all[k] = string(v)
	}
	return all, nil
}

func parseSum(s string) (*Sum, error) {
	if s == "" {
		return nil, nil
	}
	d, err := oci.ParseDigest(s)
	if err != nil || d.Algorithm() != oci.SHA256 {
		return nil, fmt.Errorf("digest %s", oci.Quote(s))
	}
	var sum Sum
	_, err = hex.Decode(sum[:], []byte(d.Hex()))
	return &sum, err
}
