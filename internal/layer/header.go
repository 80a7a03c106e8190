package layer

import (
	"bytes"
	"strconv"
)

// blockSize is the unit of a tar stream.
const blockSize = 512

// block is one header block (POSIX.1-1988 ustar, with the GNU and v7 forms).
type block [blockSize]byte

// Fields of a block: offset and end.
func (b *block) name() []byte     { return b[0:100] }
func (b *block) mode() []byte     { return b[100:108] }
func (b *block) uid() []byte      { return b[108:116] }
func (b *block) gid() []byte      { return b[116:124] }
func (b *block) size() []byte     { return b[124:136] }
func (b *block) mtime() []byte    { return b[136:148] }
func (b *block) checksum() []byte { return b[148:156] }
func (b *block) typeFlag() byte   { return b[156] }
func (b *block) linkName() []byte { return b[157:257] }
func (b *block) magic() []byte    { return b[257:265] } // with the version
func (b *block) devMajor() []byte { return b[329:337] }
func (b *block) devMinor() []byte { return b[337:345] }
func (b *block) prefix() []byte   { return b[345:500] }
func (b *block) gnuTimes() []byte { return b[345:369] }  // in the GNU form: atime and ctime
func (b *block) gnuMore() bool    { return b[482] != 0 } // in the GNU form of a sparse file: another block of map follows
func (b *block) trailer() []byte  { return b[508:512] }

func (b *block) isZero() bool { return allZero(b[:]) }

// checksumOK compares the sum of all bytes, the field itself taken as spaces.
// Old writers summed signed bytes; all readers accept both.
func (b *block) checksumOK() bool {
	want, ok, _ := parseNumber(b.checksum())
	if !ok {
		return false
	}
	var unsigned, negative int64
	for _, c := range b {
		unsigned += int64(c)
		negative += int64(c >> 7)
	}
	for _, c := range b.checksum() {
		unsigned += ' ' - int64(c)
		negative -= int64(c >> 7)
	}
	return want == unsigned || want == unsigned-256*negative
}

// Magic with version, as the writers of today write it.
var (
	magicUSTAR    = []byte("ustar\x0000")
	magicUSTARNul = []byte("ustar\x00\x00\x00") // some writers forget the version
	magicGNU      = []byte("ustar  \x00")
	magicV7       = make([]byte, 8)
)

// header is what a block says, before extended headers.
type header struct {
	name, link   string
	typ          byte
	mode, size   int64
	uid, gid     int64
	major, minor int64
	xattrs       map[string]string
	moreSparse   bool // see block.gnuMore
	oddities          // what other readers could see differently
}

// parseHeader reads a block whose checksum is right. ok is false when no reader
// could go on after it.
func parseHeader(b *block) (h header, ok bool) {
	h.name, h.link, h.typ = cString(b.name()), cString(b.linkName()), b.typeFlag()
	h.size, ok = h.number(b.size())
	if !ok || h.size < 0 {
		return h, false
	}
	h.mode, _ = h.number(b.mode())
	h.uid, _ = h.number(b.uid())
	h.gid, _ = h.number(b.gid())
	h.number(b.mtime())
	switch {
	case bytes.Equal(b.magic(), magicUSTAR), bytes.Equal(b.magic(), magicUSTARNul):
		h.devices(b)
		if p := cString(b.prefix()); p != "" {
			h.name = p + "/" + h.name
		}
		if string(b.trailer()) == "tar\x00" {
			h.note(oddMagic) // star: a shorter prefix for those who know it
		}
	case bytes.Equal(b.magic(), magicGNU):
		h.devices(b)
		h.moreSparse = b.gnuMore()
		h.gnuPrefix(b)
	case !bytes.Equal(b.magic(), magicV7):
		h.note(oddMagic)
	}
	return h, true
}

// number reads a numeric field and notes when other readers could see another.
func (h *header) number(field []byte) (int64, bool) {
	v, ok, canonical := parseNumber(field)
	if !canonical {
		h.note(oddNumber)
	}
	return v, ok
}

func (h *header) devices(b *block) {
	h.major, _ = h.number(b.devMajor())
	h.minor, _ = h.number(b.devMinor())
}

// gnuPrefix notes the headers of Go before 1.8, which put the start of the name
// where the GNU form has times: only Go's own reader joins it.
func (h *header) gnuPrefix(b *block) {
	times := b.gnuTimes()
	_, _, a := parseNumber(times[:12])
	_, _, c := parseNumber(times[12:])
	if a && c {
		return
	}
	h.note(oddMagic)
	if p := cString(b.prefix()); p != "" {
		h.name = p + "/" + h.name
	}
}

// parseNumber reads an octal or base-256 field as Go's reader does. canonical
// says that all readers agree on the value.
func parseNumber(field []byte) (v int64, ok, canonical bool) {
	if field[0]&0x80 != 0 {
		return parseBinary(field)
	}
	digits := bytes.Trim(field, " \x00")
	if i := bytes.IndexByte(digits, 0); i >= 0 {
		digits = digits[:i]
	}
	if len(digits) == 0 {
		return 0, true, true
	}
	v, err := strconv.ParseInt(string(digits), 8, 64)
	if err != nil {
		return 0, false, false
	}
	start := bytes.IndexByte(field, digits[0])
	canonical = digits[0] != '+' && digits[0] != '-' &&
		len(bytes.Trim(field[:start], " ")) == 0 &&
		len(bytes.Trim(field[start+len(digits):], " \x00")) == 0
	return v, true, canonical
}

// parseBinary reads GNU's base-256 form: a big-endian two's complement number
// whose first bit is the mark and whose second is the sign.
func parseBinary(field []byte) (v int64, ok, canonical bool) {
	inv := byte(0)
	if field[0]&0x40 != 0 {
		inv = 0xff
	}
	var x uint64
	for i, c := range field {
		c ^= inv
		if i == 0 {
			c &= 0x7f
		}
		if x>>56 > 0 {
			return 0, false, false
		}
		x = x<<8 | uint64(c)
	}
	if x>>63 > 0 {
		return 0, false, false
	}
	if inv == 0xff {
		return ^int64(x), true, true
	}
	return int64(x), true, true
}

// cString returns the bytes before the first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
