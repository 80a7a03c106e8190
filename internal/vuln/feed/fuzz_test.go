package feed

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/vuln"
)

// FuzzArchive loads whatever archive a server may serve. It must end in a
// whole feed or in none, under the limits.
func FuzzArchive(f *testing.F) {
	files := records(3)
	files["A-1.json"] = strings.Repeat(" ", 1000) + record("A-1", "2")
	good := zipped(f, files)
	f.Add(good)
	f.Add(good[:len(good)-5])
	f.Add(good[40:])
	f.Add(zipped(f, nil))
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 5 {
		bad := bytes.Clone(good)
		bad[rnd.IntN(len(bad))] ^= 1 << rnd.IntN(8)
		f.Add(bad)
	}
	limits := Limits{Archive: 1 << 20, Directory: 64 << 10}.orDefaults()
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := openArchive(bytes.NewReader(raw), int64(len(raw)), limits)
		if err != nil {
			return
		}
		total := 0
		_ = a.each(context.Background(), func(name string, raw []byte) error {
			if total += len(raw); len(raw) > vuln.MaxRaw || strings.Contains(name, "/") {
				t.Errorf("%q of %d bytes", name, len(raw))
			}
			return nil
		})
		if int64(total) > int64(len(raw))*limits.Ratio {
			t.Errorf("%d bytes came out of %d", total, len(raw))
		}
	})
}
