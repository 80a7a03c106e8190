package tlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
)

// maxBundle bounds what is read of one bundle, in bytes. A full one of
// PlainEntries has 16 MiB at most.
const maxBundle = 64 << 20

// HTTPSource reads a log over HTTP.
type HTTPSource struct {
	// URL is the prefix of the log.
	URL    string
	Layout Layout
	Client *http.Client
	// Header is sent along: for those who must say who they are. Optional.
	Header http.Header
}

// Checkpoint implements Source.
func (s *HTTPSource) Checkpoint(ctx context.Context) ([]byte, error) {
	return s.get(ctx, "checkpoint", maxNote)
}

// Tile implements Source. "Clients … MAY fetch the full tile … as a fallback in
// case the partial tile is not available anymore."
func (s *HTTPSource) Tile(ctx context.Context, t Tile) ([]byte, error) {
	return tileOrFull(s.Layout, t, func(path string, limit int64) ([]byte, error) { return s.get(ctx, path, limit) })
}

func (s *HTTPSource) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.URL, "/")+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range s.Header {
		req.Header[k] = v
	}
	res, err := s.Client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("reading %s: %w", req.URL, ErrNotFound)
	}
	b, err := limited(res.Body, limit)
	switch said := strings.TrimSpace(string(b)); {
	case err != nil || res.StatusCode == http.StatusOK:
	case res.StatusCode == http.StatusUnauthorized:
		err = fmt.Errorf("%w: %s", ErrStranger, said)
	case res.StatusCode == http.StatusForbidden:
		err = fmt.Errorf("%w: %s", ErrRefused, said)
	default:
		err = fmt.Errorf("the server answers %s: %.200q", res.Status, b)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", req.URL, err)
	}
	return b, nil
}

// limited reads all of r, which has at most limit bytes.
func limited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: over the limit of %d bytes", ErrMalformed, limit)
	}
	return b, err
}

// FolderSource reads a log that was copied into a folder, under the paths it has
// over HTTP.
type FolderSource struct {
	FS     fs.FS
	Layout Layout
}

// Checkpoint implements Source.
func (s *FolderSource) Checkpoint(context.Context) ([]byte, error) {
	return s.get("checkpoint", maxNote)
}

// Tile implements Source.
func (s *FolderSource) Tile(_ context.Context, t Tile) ([]byte, error) {
	return tileOrFull(s.Layout, t, s.get)
}

func (s *FolderSource) get(path string, limit int64) ([]byte, error) {
	f, err := s.FS.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", path, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	b, err := limited(f, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}

// tileOrFull reads a tile, or the beginning of the one it has become.
func tileOrFull(l Layout, t Tile, get func(path string, limit int64) ([]byte, error)) ([]byte, error) {
	b, err := get(t.Path(l), t.limit())
	if t.Width == TileWidth || !errors.Is(err, ErrNotFound) {
		return b, err
	}
	whole := Tile{Level: t.Level, N: t.N, Width: TileWidth}
	b, ferr := get(whole.Path(l), whole.limit())
	if errors.Is(ferr, ErrNotFound) {
		return nil, err
	}
	if ferr != nil {
		return nil, ferr
	}
	if t.Level == Entries {
		return l.prefix(b, t.Width)
	}
	return b[:min(len(b), t.Width*len(Hash{}))], nil
}

func (t Tile) limit() int64 {
	if t.Level == Entries {
		return maxBundle
	}
	return int64(t.Width * len(Hash{}))
}

// Copy copies the published part of a log: write gets each file of it by the path
// it has below the prefix, the checkpoint last. Nothing is verified.
func Copy(ctx context.Context, src Source, l Layout, write func(path string, b []byte) error) error {
	signed, err := src.Checkpoint(ctx)
	if err != nil {
		return err
	}
	c, err := checkpointOf(signed)
	if err != nil {
		return err
	}
	for level := Entries; level <= maxLevel; level++ {
		for n := int64(0); widthAt(c.Size, level, n) > 0; n++ {
			t := Tile{Level: level, N: n, Width: widthAt(c.Size, level, n)}
			b, err := src.Tile(ctx, t)
			if err != nil {
				return err
			}
			if err := write(t.Path(l), b); err != nil {
				return err
			}
		}
	}
	return write("checkpoint", signed)
}
