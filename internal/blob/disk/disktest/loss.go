package disktest

import (
	"fmt"
	"math/rand/v2"
)

// pageSize is the unit in which bytes reach the medium.
const pageSize = 4096

// Nothing is the loss when only the process dies: all that was written stays.
func Nothing() Loss { return Loss{Name: always, Bytes: all} }

// Everything is the loss of all that was not synced.
func Everything() Loss { return Loss{Name: never, Bytes: synced} }

// Losses returns the ways to lose power that tests should try, by name: the
// extremes, names that arrive without their bytes and the reverse, and n
// mixtures that differ in each call's seed.
func Losses(n int, seed uint64) map[string]Loss {
	losses := map[string]Loss{
		"nothing":                       Nothing(),
		"everything":                    Everything(),
		"names stay, bytes are lost":    {Name: always, Bytes: synced},
		"names stay, bytes are zeros":   {Name: always, Bytes: zeros},
		"names stay, half of the bytes": {Name: always, Bytes: half},
		"bytes stay, names are lost":    {Name: never, Bytes: all},
	}
	for i := range uint64(n) {
		losses[fmt.Sprintf("mixture %d of seed %d", i, seed)] = mixture(rand.New(rand.NewPCG(seed, i)))
	}
	return losses
}

func always(int) bool { return true }
func never(int) bool  { return false }

func all(_, written []byte) []byte   { return written }
func synced(synced, _ []byte) []byte { return synced }
func half(synced, written []byte) []byte {
	return written[:max(len(written)/2, min(len(synced), len(written)))]
}

// zeros is a file that got its size but not its bytes.
func zeros(synced, written []byte) []byte {
	out := make([]byte, len(written))
	copy(out, synced)
	return out
}

// mixture loses names and pages by chance.
func mixture(r *rand.Rand) Loss {
	return Loss{
		Name: func(int) bool { return r.IntN(2) == 0 },
		Bytes: func(synced, written []byte) []byte {
			out := zeros(synced, written)
			for at := 0; at < len(written); at += pageSize {
				if r.IntN(2) == 0 {
					copy(out[at:], written[at:min(at+pageSize, len(written))])
				}
			}
			return out[:len(out)-r.IntN(len(out)+1)/2]
		},
	}
}
