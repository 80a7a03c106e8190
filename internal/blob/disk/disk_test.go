package disk_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/blobtest"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/disk/disktest"
	"github.com/bonded-dev/bonded/internal/oci"
)

func open(t testing.TB, dir string, opts disk.Options) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	blobtest.Run(t, func(t testing.TB) blobtest.Open {
		dir := t.TempDir()
		return func(t testing.TB) (blob.Store, blob.Uploads) {
			s := open(t, dir, disk.Options{})
			return s, s.Uploads()
		}
	})
}

// TestContractInMemory shows that disktest.Disk is a file system as the real
// one is.
func TestContractInMemory(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blobtest.Open {
		d := disktest.New()
		return func(t testing.TB) (blob.Store, blob.Uploads) {
			s := open(t, "/data", disk.Options{FS: d, Boot: "first"})
			return s, s.Uploads()
		}
	})
}

func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "content")
	s := open(t, dir, disk.Options{})
	b := []byte("hello")
	if err := s.Put(t.Context(), oci.FromBytes(b), b); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), oci.SHA512.DigestOf(nil), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Uploads().Begin(t.Context(), blobtest.ID(1)); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		got = append(got, info.Mode().String()+" "+rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	hello, empty := oci.FromBytes(b).Hex(), oci.SHA512.DigestOf(nil).Hex()
	want := []string{
		"drwx------ .", "drwx------ blobs",
		"drwx------ blobs/sha256", "drwx------ blobs/sha256/2c", "-rw------- blobs/sha256/2c/" + hello,
		"drwx------ blobs/sha512", "drwx------ blobs/sha512/cf", "-rw------- blobs/sha512/cf/" + empty,
		"-rw------- boot", "drwx------ tmp", "drwx------ uploads", "-rw------- uploads/" + string(blobtest.ID(1)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestFileIsOfTheSystem(t *testing.T) {
	s := open(t, t.TempDir(), disk.Options{})
	b := []byte("sent by the kernel")
	d := oci.FromBytes(b)
	if err := s.Put(t.Context(), d, b); err != nil {
		t.Fatal(err)
	}
	c, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.File().(*os.File); !ok {
		t.Errorf("File is a %T, which no sendfile takes", c.File())
	}
}

// TestForeignNames has files in the folders that are none of the store's.
func TestForeignNames(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	b := []byte("b")
	d := oci.FromBytes(b)
	if err := s.Put(t.Context(), d, b); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"blobs/README", "blobs/sha256/README", "blobs/sha256/3e/README", "blobs/sha256/3e/" + d.Hex() + ".bak",
		"blobs/sha256/00/" + d.Hex(), "blobs/md5/00/00000000000000000000000000000000", "uploads/README",
	} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("foreign"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got []oci.Digest
	err := s.Walk(t.Context(), func(d oci.Digest, _ int64) error { got = append(got, d); return nil })
	if err != nil || len(got) != 1 || got[0] != d {
		t.Errorf("Walk names %v, %v, want %s", got, err, d)
	}
	err = s.Uploads().Walk(t.Context(), func(id blob.UploadID, _ int64, _ time.Time) error {
		t.Errorf("Walk names upload %s", id)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDamageIsReplaced pushes a blob again whose file was cut short.
func TestDamageIsReplaced(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	b := []byte("whole")
	d := oci.FromBytes(b)
	for range 2 {
		if err := s.Put(t.Context(), d, b); err != nil {
			t.Fatal(err)
		}
		if size, err := s.Stat(t.Context(), d); err != nil || size != 5 {
			t.Errorf("Stat = %d, %v", size, err)
		}
		if err := os.Truncate(filepath.Join(dir, "blobs/sha256", d.Hex()[:2], d.Hex()), 2); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for name, age := range map[string]time.Duration{"old.1": 25 * time.Hour, "older.2": 100 * time.Hour, "new.1": time.Hour} {
		name = filepath.Join(dir, "tmp", name)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(t.Context(), now.Add(-24*time.Hour)); n != 2 || err != nil {
		t.Errorf("Sweep = %d, %v, want 2", n, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 1 || left[0].Name() != "new.1" {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestTemporaryNames has the names that Put would take be taken.
func TestTemporaryNames(t *testing.T) {
	dir := t.TempDir()
	b := []byte("b")
	d := oci.FromBytes(b)
	s := open(t, dir, disk.Options{})
	for _, n := range []string{".1", ".2", ".3"} {
		if err := os.WriteFile(filepath.Join(dir, "tmp", d.Hex()+n), []byte("of somebody else"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), d, b); err != nil {
		t.Fatal(err)
	}
	if size, err := s.Stat(t.Context(), d); size != 1 || err != nil {
		t.Errorf("Stat = %d, %v", size, err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// TestBoot opens a store again after the machine started anew, or may have.
func TestBoot(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		boot  string
		keeps bool
	}{{"first", false}, {"first", true}, {"first", true}, {"second", false}, {"first", false}, {"", false}, {"", true}, {"third", false}} {
		s := open(t, dir, disk.Options{Boot: test.boot})
		_, err := s.Uploads().Size(t.Context(), blobtest.ID(1))
		if (err == nil) != test.keeps {
			t.Errorf("after opening in boot %q: %v", test.boot, err)
		}
		if err != nil {
			if err := s.Uploads().Begin(t.Context(), blobtest.ID(1)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"missing/content", "file/content", "file"} {
		_, err := disk.Open(filepath.Join(dir, name), disk.Options{})
		if err == nil || !strings.Contains(err.Error(), "opening content store "+filepath.Join(dir, name)) {
			t.Errorf("opening %s: %v", name, err)
		}
	}
}
