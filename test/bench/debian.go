package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// debianLayers are the packages of the Debian image that is pushed, by layer;
// each brings what it depends on and is not there already.
var debianLayers = [][]string{
	{"debian-archive-keyring", "apt", "bash", "coreutils", "login", "libc-bin", "tzdata"},
	{"curl", "git", "ca-certificates", "gnupg"},
	{"python3-pip", "python3-numpy", "python3-requests", "python3-yaml"},
	{"g++", "make"},
	{"libgtk-3-0", "imagemagick"},
	{"postgresql-15"},
	{"nodejs"},
	{"llvm-14"},
}

// statusFile is dpkg's database of what is installed.
const statusFile = "var/lib/dpkg/status"

// debianImage returns the Debian image: made of Debian's packages as apt gets
// them here, kept in the user's cache between runs. It needs no root. Without
// apt or its packages the error matches errNotSeen.
func (b *bench) debianImage(ctx context.Context) (image, []layer, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return image{}, nil, absent("there is no cache folder: %v", err)
	}
	dir := filepath.Join(cache, "bonded-bench", "debian-"+digest([]byte(fmt.Sprint(debianLayers)))[7:19])
	if _, err := os.Stat(filepath.Join(dir, "layers.json")); err != nil {
		if err := makeDebian(ctx, dir); err != nil {
			return image{}, nil, err
		}
	}
	layers, err := readLayers(dir)
	if err != nil {
		return image{}, nil, err
	}
	img, err := newImage(layers)
	return img, layers, err
}

func readLayers(dir string) ([]layer, error) {
	text, err := os.ReadFile(filepath.Join(dir, "layers.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the Debian image: %w", err)
	}
	var diffIDs []string
	if err := json.Unmarshal(text, &diffIDs); err != nil {
		return nil, fmt.Errorf("reading the Debian image: %w", err)
	}
	var layers []layer
	for i, id := range diffIDs {
		data, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%d.tar.gz", i)))
		if err != nil {
			return nil, fmt.Errorf("reading the Debian image: %w", err)
		}
		layers = append(layers, layer{newContent(data, gzipType), id})
	}
	return layers, nil
}

// makeDebian downloads the packages and writes the layers.
func makeDebian(ctx context.Context, dir string) error {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return absent("the image is made of Debian packages, and %s is not here", tool)
		}
	}
	debs := filepath.Join(dir, "debs")
	if err := os.MkdirAll(debs, 0o755); err != nil {
		return fmt.Errorf("making a folder for packages: %w", err)
	}
	var roots []string
	var status bytes.Buffer
	done := map[string]bool{}
	var diffIDs []string
	for i, names := range debianLayers {
		roots = append(roots, names...)
		files, err := fetch(ctx, debs, roots, done)
		if err != nil {
			return absent("Debian's packages: %v", err)
		}
		l, err := debianLayer(ctx, files, &status)
		if err != nil {
			return fmt.Errorf("making layer %d: %w", i, err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.tar.gz", i)), l.data, 0o644); err != nil {
			return fmt.Errorf("keeping layer %d: %w", i, err)
		}
		diffIDs = append(diffIDs, l.diffID)
	}
	text, err := json.Marshal(diffIDs)
	if err != nil {
		return fmt.Errorf("keeping the layers: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "layers.json"), text, 0o644); err != nil {
		return fmt.Errorf("keeping the layers: %w", err)
	}
	return os.RemoveAll(debs)
}

// fetch downloads the packages that an empty system would install for the
// roots, but for those that are done, and returns their files.
func fetch(ctx context.Context, dir string, roots []string, done map[string]bool) ([]string, error) {
	args := append([]string{
		"install", "--print-uris", "--yes", "--no-install-recommends",
		"-o", "Dir::State::status=/dev/null", "-o", "Debug::NoLocking=true", "-o", "Dir::Cache::archives=" + dir,
	}, roots...)
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return nil, err
	}
	out, err := command(ctx, dir, "apt-get", args...)
	if err != nil {
		return nil, err
	}
	var files, wanted []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line) // 'URI' FILE SIZE HASH
		if len(fields) < 3 || !strings.HasPrefix(line, "'") || done[fields[1]] {
			continue
		}
		done[fields[1]] = true
		parts := strings.Split(strings.TrimSuffix(fields[1], ".deb"), "_")
		if len(parts) != 3 {
			continue
		}
		wanted = append(wanted, parts[0]+"="+strings.ReplaceAll(parts[1], "%3a", ":"))
		files = append(files, filepath.Join(dir, fields[1]))
	}
	if len(wanted) == 0 {
		return nil, errors.New("apt-get names none; is its list up to date?")
	}
	_, err = command(ctx, dir, "apt-get", append([]string{"download", "-o", "Debug::NoLocking=true"}, wanted...)...)
	return files, err
}

func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %.300s", name, err, errs.Bytes())
	}
	return out, nil
}

// debianLayer unpacks packages into one layer, with dpkg's database as it is
// after them.
func debianLayer(ctx context.Context, files []string, status *bytes.Buffer) (layer, error) {
	var plain bytes.Buffer
	w := tar.NewWriter(&plain)
	seen := map[string]bool{}
	for _, file := range files {
		control, err := command(ctx, ".", "dpkg-deb", "--field", file)
		if err != nil {
			return layer{}, err
		}
		name, rest, _ := strings.Cut(string(control), "\n")
		fmt.Fprintf(status, "%s\nStatus: install ok installed\n%s\n", name, rest)
		tree, err := command(ctx, ".", "dpkg-deb", "--fsys-tarfile", file)
		if err != nil {
			return layer{}, err
		}
		if err := copyTar(w, bytes.NewReader(tree), seen); err != nil {
			return layer{}, fmt.Errorf("unpacking %s: %w", file, err)
		}
	}
	if err := writeStatus(w, status.Bytes(), seen); err != nil {
		return layer{}, err
	}
	if err := w.Close(); err != nil {
		return layer{}, err
	}
	return gzipLayer(plain.Bytes())
}

// copyTar copies the entries whose names were not seen yet.
func copyTar(w *tar.Writer, r io.Reader, seen map[string]bool) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name = strings.TrimPrefix(path.Clean(h.Name), "/")
		if h.Typeflag == tar.TypeLink {
			h.Linkname = strings.TrimPrefix(path.Clean(h.Linkname), "/")
		}
		if h.Name == "." || seen[h.Name] {
			continue
		}
		seen[h.Name] = true
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, in); err != nil {
			return err
		}
	}
}

func writeStatus(w *tar.Writer, status []byte, seen map[string]bool) error {
	var dirs []string
	for d := path.Dir(statusFile); d != "."; d = path.Dir(d) {
		dirs = append(dirs, d)
	}
	slices.Reverse(dirs)
	for _, d := range dirs {
		if seen[d] {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: statusFile, Mode: 0o644, Size: int64(len(status))}); err != nil {
		return err
	}
	_, err := w.Write(status)
	return err
}

// gzipLayer compresses as common builders do.
func gzipLayer(plain []byte) (layer, error) {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.DefaultCompression)
	if err != nil {
		return layer{}, err
	}
	if _, err := z.Write(plain); err != nil {
		return layer{}, err
	}
	if err := z.Close(); err != nil {
		return layer{}, err
	}
	return layer{newContent(packed.Bytes(), gzipType), digest(plain)}, nil
}
