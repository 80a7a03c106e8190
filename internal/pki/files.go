package pki

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how long a certificate of the operator's is used before its
// files are looked at again.
const lookAgain = 10 * time.Second

// Files is a certificate that the operator brings. Files that change are read
// again at the next handshake, within lookAgain. It is safe for concurrent use.
type Files struct {
	cert, key string
	clock     func() time.Time
	log       *slog.Logger

	mu     sync.Mutex
	loaded *tls.Certificate
	stamp  [2]stamp  // of the files that loaded, or last failed to
	looked time.Time // when stamp was taken
}

// stamp tells one content of a file from another without reading it.
type stamp struct {
	modified time.Time
	size     int64
}

// OpenFiles reads a certificate with its chain and the key, both PEM. Errors
// match ErrUnusable.
func OpenFiles(cert, key string, clock func() time.Time, log *slog.Logger) (*Files, error) {
	f := &Files{cert: cert, key: key, clock: clock, log: log, looked: clock()}
	f.stamp = f.stamps()
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	f.loaded = c
	return f, nil
}

// GetCertificate is for tls.Config. When the files have become unusable it
// goes on with the certificate it has, and says so in the log.
func (f *Files) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	if since := now.Sub(f.looked); since >= 0 && since < lookAgain {
		return f.loaded, nil
	}
	f.looked = now
	s := f.stamps()
	if s == f.stamp {
		return f.loaded, nil
	}
	f.stamp = s
	c, err := f.load()
	if err != nil {
		f.log.Warn("changed certificate is not usable: the one before stays in use", "error", err)
		return f.loaded, nil
	}
	f.loaded = c
	f.log.Info("server certificate read again", "until", c.Leaf.NotAfter)
	return f.loaded, nil
}

func (f *Files) load() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s with key %s: %w: %v", f.cert, f.key, ErrUnusable, err)
	}
	if now := f.clock(); now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("reading certificate %s: %w: it ended on %s", f.cert, ErrUnusable, c.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &c, nil
}

// stamps looks at both files; one that cannot be looked at has the zero stamp.
func (f *Files) stamps() [2]stamp {
	var s [2]stamp
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			s[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return s
}
