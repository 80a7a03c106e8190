package secrets

import (
	"encoding/binary"
	"strings"
)

// table finds the beginnings of all rules in one pass.
//
// Of each beginning it knows four bytes in a row that are rare, which are two
// triples of bytes, one behind the other. Whoever looks at every other triple of
// a text meets one of the two. Which triples are known is a set of bits that
// stays in the processor's nearest cache; what hashes to the same bit is sorted
// out by looking.
type table struct {
	bits  [1 << 10]uint64
	known map[uint32][]candidate
}

// candidate is a beginning whose triple was met.
type candidate struct {
	rule   *rule
	begin  []byte
	offset int // of the triple in begin
}

// step is how far apart the triples are that are looked at.
const step = 2

func newTable(rules []rule) *table {
	t := &table{known: map[uint32][]candidate{}}
	for i := range rules {
		for _, begin := range rules[i].begins {
			k := anchor(begin)
			for off := k; off < k+step; off++ {
				triple := uint32(begin[off]) | uint32(begin[off+1])<<8 | uint32(begin[off+2])<<16
				h := hash(triple)
				t.bits[h>>6] |= 1 << (h & 63)
				t.known[triple] = append(t.known[triple], candidate{&rules[i], []byte(begin), off})
			}
		}
	}
	return t
}

// hash spreads triples over the bits.
func hash(triple uint32) uint16 { return uint16(triple * 0x9e3779b1 >> 16) }

// next returns the next place from i on before limit, in steps, whose triple may
// be known; otherwise where to go on. The last bytes of b are not looked at: no
// secret is so short.
func (t *table) next(b []byte, i, limit int) (at int, ok bool) {
	end := min(limit, len(b)-7)
	for ; i < end; i += 3 * step {
		v := binary.LittleEndian.Uint64(b[i:])
		h0, h1, h2 := hash(uint32(v)&0xffffff), hash(uint32(v>>16)&0xffffff), hash(uint32(v>>32)&0xffffff)
		b0, b1, b2 := t.bits[h0>>6]>>(h0&63), t.bits[h1>>6]>>(h1&63), t.bits[h2>>6]>>(h2&63)
		if (b0|b1|b2)&1 == 0 {
			continue
		}
		switch {
		case b0&1 != 0:
			return i, true
		case b1&1 != 0:
			return i + step, true
		}
		return i + 2*step, true
	}
	if limit > len(b)-7 {
		i = limit
	}
	return i, false
}

// at returns what may begin at the triple at i.
func (t *table) at(b []byte, i int) []candidate {
	return t.known[uint32(b[i])|uint32(b[i+1])<<8|uint32(b[i+2])<<16]
}

// anchor returns where the four rarest bytes of a beginning stand. In text,
// small letters are common, then blanks and dashes, then the rest.
func anchor(begin string) int {
	best, least := 0, 1<<30
	for k := 0; k+4 <= len(begin); k++ {
		cost := 0
		for i := k; i < k+4; i++ {
			cost += commonness(begin[i])
		}
		if cost < least {
			best, least = k, cost
		}
	}
	return best
}

func commonness(c byte) int {
	switch {
	case c >= 'a' && c <= 'z' && !strings.ContainsRune("jkqvwxyz", rune(c)):
		return 10
	case c == ' ' || c == '-' || c == '"' || c == '=':
		return 8
	case c >= 'a' && c <= 'z', c == '_', c >= '0' && c <= '9', c == '/', c == '.':
		return 5
	}
	return 3
}
