package server

import (
	"fmt"
	"path/filepath"
	"syscall"

	"github.com/bonded-dev/bonded/internal/config"
)

// leastRoom is how much a disk has to have left, in bytes. With less, what is
// written next may fail, and what is read goes on.
const leastRoom = 16 << 20

// left is how much a user who is not root may still write below a folder, in
// bytes.
func left(dir string) (uint64, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("asking how much room is left in %s: %w", dir, err)
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}

// crowded adds to checks which of what is kept in folders has no room left. That
// is no reason to send requests elsewhere: who pulls is served.
func (s *Server) crowded(checks map[string]string, left func(dir string) (uint64, error)) {
	dirs := map[string]string{}
	if s.config.Content.S3 == nil {
		dirs["content"] = contentDir(s.config)
	}
	if s.config.Database.Postgres == nil {
		dirs["database"] = databaseDir(s.config)
	}
	for name, dir := range dirs {
		if checks[name] != "" {
			continue
		}
		switch n, err := left(dir); {
		case err != nil:
			checks[name] = err.Error()
		case n < leastRoom:
			checks[name] = fmt.Sprintf("no space left: the disk of %s has %d KiB, want %d MiB; nothing is pushed or decided until there is room", dir, n>>10, leastRoom>>20)
		}
	}
}

// databaseDir is the folder of a database that is not PostgreSQL's.
func databaseDir(c *config.Config) string {
	if s := c.Database.SQLite; s != nil && s.Path != "" {
		return filepath.Dir(string(s.Path))
	}
	return string(c.Data)
}

// contentDir is the folder of content that is not in S3.
func contentDir(c *config.Config) string {
	if c.Content.Disk != nil && c.Content.Disk.Path != "" {
		return string(c.Content.Disk.Path)
	}
	return filepath.Join(string(c.Data), "content")
}
