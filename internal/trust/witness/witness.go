// Package witness holds what a witness of logs keeps when it runs alone: a
// folder with its key and with the newest checkpoint of each log it has cosigned.
//
// It belongs on another machine than the logs it witnesses, and under another
// administrator: what it is for is that nobody can have both.
package witness

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/bonded-dev/bonded/internal/durable"
	"github.com/bonded-dev/bonded/internal/trust/tlog"
)

// Errors that callers may test for.
var (
	// ErrInUse: another process has the folder.
	ErrInUse = errors.New("another witness runs on this folder")
	// ErrUnusable: a key or a checkpoint of the folder that is missing, that others
	// can read, or that is no such thing.
	ErrUnusable = errors.New("not usable")
)

const (
	keyName    = "witness.key"
	lockName   = "witness.lock"
	seenFolder = "seen"
	maxSeen    = 64 << 10 // bytes of a checkpoint
)

// Options say what a Folder works with.
type Options struct {
	Dir   string // made where it is not there
	Clock func() time.Time
	// Rand is a cryptographic source of randomness, for the key. Optional: crypto/rand.
	Rand io.Reader
}

// Folder is the key and the store of a witness. One process has it at a time.
type Folder struct {
	o    Options
	key  ed25519.PrivateKey
	lock *os.File
	mu   sync.Mutex // one Swap at a time
}

var _ tlog.WitnessStore = (*Folder)(nil)

// Open opens a folder, and makes its key where there is none. A folder that has
// seen logs and lost its key is refused: another key is another witness. Errors
// match ErrInUse and ErrUnusable.
func Open(o Options) (_ *Folder, err error) {
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	f := &Folder{o: o}
	if err := os.MkdirAll(filepath.Join(o.Dir, seenFolder), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the witness: %w", err)
	}
	if f.lock, err = os.OpenFile(filepath.Join(o.Dir, lockName), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, fmt.Errorf("opening the folder of the witness: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.lock.Close())
		}
	}()
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("opening the folder of the witness %s: %w", o.Dir, ErrInUse)
	}
	if f.key, err = f.readKey(); errors.Is(err, fs.ErrNotExist) {
		f.key, err = f.makeKey()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the key of the witness: %w", err)
	}
	return f, nil
}

// Close gives the folder back.
func (f *Folder) Close() error { return f.lock.Close() }

func (f *Folder) readKey() (ed25519.PrivateKey, error) {
	name := filepath.Join(f.o.Dir, keyName)
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w: others can read it (mode %04o): chmod 600 it", name, ErrUnusable, info.Mode().Perm())
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: %w: it is no PEM", name, ErrUnusable)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if k, ok := key.(ed25519.PrivateKey); err == nil && ok {
		return k, nil
	}
	return nil, fmt.Errorf("%s: %w: it is no Ed25519 key in PKCS #8", name, ErrUnusable)
}

func (f *Folder) makeKey() (ed25519.PrivateKey, error) {
	seen, err := os.ReadDir(filepath.Join(f.o.Dir, seenFolder))
	if err != nil {
		return nil, err
	}
	if len(seen) > 0 {
		return nil, fmt.Errorf("%s is gone, and this witness has cosigned logs: %w; restore it, or begin a witness with another folder and another key", keyName, ErrUnusable)
	}
	_, key, err := ed25519.GenerateKey(f.o.Rand)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, durable.WriteFile(filepath.Join(f.o.Dir, keyName), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// Signer makes the cosignatures, under a name that is part of the key.
func (f *Folder) Signer(name string) (note.Signer, error) {
	return tlog.NewCosigner(name, f.key, f.o.Clock)
}

// file holds the checkpoint as text, an empty line, and the checkpoint as the log
// signed it.
func (f *Folder) file(origin string) string {
	return filepath.Join(f.o.Dir, seenFolder, url.PathEscape(origin)+".checkpoint")
}

// Latest implements tlog.WitnessStore.
func (f *Folder) Latest(_ context.Context, origin string) (tlog.Checkpoint, error) {
	none := tlog.Checkpoint{Origin: origin, Root: tlog.EmptyRoot()}
	b, err := os.ReadFile(f.file(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("reading what was cosigned of %q: %w", origin, err)
	}
	text, _, ok := strings.Cut(string(b), "\n\n")
	c, err := tlog.ParseCheckpoint(text + "\n")
	if !ok || len(b) > maxSeen || err != nil || c.Origin != origin {
		return none, fmt.Errorf("reading what was cosigned of %q: %s is no checkpoint of that log: %w", origin, f.file(origin), ErrUnusable)
	}
	return c, nil
}

// Swap implements tlog.WitnessStore.
func (f *Folder) Swap(ctx context.Context, old, next tlog.Checkpoint, signed []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.Latest(ctx, next.Origin)
	if err != nil {
		return err
	}
	if now.Size != old.Size || now.Root != old.Root {
		return tlog.ErrConflict
	}
	if err := durable.WriteFile(f.file(next.Origin), append([]byte(next.Text()+"\n"), signed...), 0o600); err != nil {
		return fmt.Errorf("recording a cosignature of %q: %w", next.Origin, err)
	}
	return nil
}
