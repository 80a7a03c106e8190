package layer

import (
	"strconv"
	"strings"
)

// maxExtended bounds the content of one extended header, as Go's reader does.
const maxExtended = 1 << 20

// maxOctal is the first size that the octal field of a header cannot hold.
const maxOctal = 1 << 33

// extension is what the extended headers before an entry say about it.
type extension struct {
	pax      bool // an 'x' header was seen
	path     string
	link     string
	size     int64 // valid if hasSize
	hasSize  bool
	uid, gid *int64
	xattrs   map[string]string // by name
	sparse   bool
	longName string // GNU 'L'
	longLink string // GNU 'K'
	oddities
}

// empty reports whether no extended header was seen.
func (x *extension) empty() bool {
	return !x.pax && x.longName == "" && x.longLink == ""
}

// addPAX reads the records of an 'x' header. Several in a row are read
// differently: Go's reader forgets the first.
func (x *extension) addPAX(data string) {
	if x.pax {
		x.note(paxTwice)
	}
	*x = extension{pax: true, longName: x.longName, longLink: x.longLink, oddities: x.oddities}
	seen := map[string]bool{}
	eachRecord(data, func(key, value string, ok bool) {
		if !ok {
			x.note(paxMalformed)
			return
		}
		if seen[key] && decides(key) {
			x.note(paxTwice)
		}
		seen[key] = true
		x.record(key, value)
	})
}

// decides reports whether a key changes where an entry stands, what it is, or
// where the next one begins.
func decides(key string) bool { return key == "path" || key == "linkpath" || key == "size" }

func (x *extension) record(key, value string) {
	switch key {
	case "path":
		x.text(&x.path, value)
	case "linkpath":
		x.text(&x.link, value)
	case "size":
		if n := x.number(value); n != nil && *n >= 0 {
			x.size, x.hasSize = *n, true
		} else {
			x.note(paxMalformed)
		}
	case "uid":
		x.uid = x.number(value)
	case "gid":
		x.gid = x.number(value)
	case "GNU.sparse.name":
		x.text(&x.path, value)
		x.sparse = true
	default:
		x.sparse = x.sparse || strings.HasPrefix(key, "GNU.sparse.")
		if isOverlayXattr(key) {
			x.note(overlayXattr)
		}
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if x.xattrs == nil {
				x.xattrs = map[string]string{}
			}
			x.xattrs[name] = value
		}
	}
}

// number reads a decimal number, nil if it is none.
func (x *extension) number(value string) *int64 {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		x.note(paxMalformed)
		return nil
	}
	return &n
}

// text sets a name. An empty value means "as in the header" to some readers and
// "nothing" to others; a NUL ends the name for some.
func (x *extension) text(to *string, value string) {
	if value == "" || strings.IndexByte(value, 0) >= 0 {
		x.note(paxMalformed)
		return
	}
	*to = value
}

// isOverlayXattr recognises the attributes by which overlayfs hides or moves
// lower content. Others of its attributes (origin, impure) only describe.
func isOverlayXattr(key string) bool {
	name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
	if !ok {
		name, ok = strings.CutPrefix(key, "LIBARCHIVE.xattr.")
	}
	if !ok {
		return false
	}
	_, name, ok = strings.Cut(name, ".overlay.")
	return ok && (name == "opaque" || name == "redirect" || name == "metacopy" || name == "whiteout" || name == "whiteouts")
}

// addGlobal checks the records of a 'g' header, which Docker and containerd
// skip and GNU tar applies to all that follows.
func (x *extension) addGlobal(data string) {
	if !x.empty() {
		x.note(paxTwice)
		*x = extension{oddities: x.oddities} // Go's reader forgets what came before
	}
	eachRecord(data, func(key, _ string, ok bool) {
		switch {
		case !ok:
			x.note(paxMalformed)
		case decides(key), strings.HasPrefix(key, "GNU.sparse."), isOverlayXattr(key):
			x.note(paxGlobal)
		}
	})
}

// addLong reads the content of an 'L' or 'K' header.
func (x *extension) addLong(typ byte, data string) {
	value, rest, _ := strings.Cut(data, "\x00")
	if strings.Trim(rest, "\x00") != "" || value == "" {
		x.note(oddName)
	}
	to := &x.longName
	if typ == 'K' {
		to = &x.longLink
	}
	if *to != "" {
		x.note(paxTwice)
	}
	*to = value
}

// eachRecord calls fn for each "length key=value\n" record; after one that is
// malformed, which it reports, there are no more.
func eachRecord(data string, fn func(key, value string, ok bool)) {
	for data != "" {
		digits, rest, found := strings.Cut(data, " ")
		n, err := strconv.ParseUint(digits, 10, 31)
		if !found || err != nil || int(n) > len(data) || int(n) < len(digits)+3 || data[n-1] != '\n' {
			fn("", "", false)
			return
		}
		key, value, found := strings.Cut(rest[:int(n)-len(digits)-2], "=")
		if !found || key == "" || strings.IndexByte(key, 0) >= 0 {
			fn("", "", false)
			return
		}
		fn(key, value, true)
		data = data[n:]
	}
}

// apply changes h to what the extended headers say, with GNU's above PAX's as
// in Go's reader.
func (x *extension) apply(h *header) {
	for _, r := range x.oddities {
		h.note(r)
	}
	if x.hasSize {
		if h.size != x.size && x.size < maxOctal {
			h.note(paxSize)
		}
		h.size = x.size
	}
	if x.uid != nil {
		h.uid = *x.uid
	}
	if x.gid != nil {
		h.gid = *x.gid
	}
	h.xattrs = x.xattrs
	if x.sparse {
		h.note(sparseFile)
	}
	h.name = h.pick(h.name, x.path, x.longName)
	h.link = h.pick(h.link, x.link, x.longLink)
}

func (h *header) pick(own, pax, gnu string) string {
	switch {
	case pax != "" && gnu != "" && pax != gnu:
		h.note(paxTwice)
		return gnu
	case gnu != "":
		return gnu
	case pax != "":
		return pax
	}
	return own
}
