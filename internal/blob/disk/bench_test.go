package disk_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/blob/blobtest"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/cputest"
	"github.com/bonded-dev/bonded/internal/oci"
)

const benchSize = 128 << 20

// pieces gives data as a TLS connection does, 16 KiB at a time.
type pieces struct{ io.Reader }

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), 16<<10)]) }

func bench(b *testing.B, write func(i int, data []byte)) {
	data := blobtest.Bytes(benchSize, 1)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	b.ResetTimer()
	before := cputest.Used(b)
	for i := range b.N {
		copy(data, []byte{byte(i), byte(i >> 8), byte(i >> 16)})
		write(i, data)
	}
	b.ReportMetric(float64((cputest.Used(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// BenchmarkRaw is what Append and Commit are measured against: the same bytes
// into a file in writes of 1 MiB, and a sync.
func BenchmarkRaw(b *testing.B) {
	dir := b.TempDir()
	bench(b, func(_ int, data []byte) {
		name := filepath.Join(dir, "raw")
		f, err := os.Create(name)
		if err != nil {
			b.Fatal(err)
		}
		for at := 0; at < len(data); at += 1 << 20 {
			if _, err := f.Write(data[at : at+1<<20]); err != nil {
				b.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
		os.Remove(name)
	})
}

func BenchmarkAppendCommit(b *testing.B) {
	s := open(b, b.TempDir(), disk.Options{})
	u := s.Uploads()
	bench(b, func(i int, data []byte) {
		id := blobtest.ID(i)
		if err := u.Begin(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		if _, err := u.Append(b.Context(), id, 0, pieces{bytes.NewReader(data)}, func(int64) {}); err != nil {
			b.Fatal(err)
		}
		// The digest is not of the data: hashing it is the caller's expense.
		d := oci.FromBytes([]byte(id))
		if err := u.Commit(b.Context(), id, benchSize, d); err != nil {
			b.Fatal(err)
		}
		if err := s.Delete(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	})
}
