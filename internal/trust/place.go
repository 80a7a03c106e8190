package trust

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// Strength says how well a place guards a key; a larger one guards better.
type Strength int

// The strengths.
const (
	OnThisDisk Strength = iota // the offline file, still in the instance's folder
	InFile                     // a file that only the server's user can read
	Credential                 // handed to the process by systemd, never in the data folder
	Plugin                     // behind a KMS plug-in: the key never gets into this process
)

func (s Strength) String() string {
	switch s {
	case OnThisDisk:
		return "offline keys on the server"
	case InFile:
		return "file"
	case Credential:
		return "credential"
	}
	return "kms"
}

// Place is where a private key lives.
type Place struct {
	Strength Strength
	// Name is the file's name in the folder, the credential's name, or the URI
	// that the plug-in takes.
	Name string
}

func (p Place) String() string {
	switch p.Strength {
	case Credential:
		return "credential:" + p.Name
	case Plugin:
		return p.Name
	}
	return "file:" + p.Name
}

// namePattern is a file name in the folder, or a credential's.
var namePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$`)
})

// pluginPattern is what may stand before "://": the plug-in is the program
// sigstore-kms-NAME on PATH.
var pluginPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
})

// ParsePlace reads "file:NAME", "credential:NAME" or "PLUGIN://REFERENCE".
func ParsePlace(s string) (Place, error) {
	if plugin, ref, ok := strings.Cut(s, "://"); ok && pluginPattern().MatchString(plugin) && ref != "" && len(s) <= 1024 {
		return Place{Plugin, s}, nil
	}
	what, name, _ := strings.Cut(s, ":")
	if namePattern().MatchString(name) {
		switch what {
		case "file":
			return Place{InFile, name}, nil
		case "credential":
			return Place{Credential, name}, nil
		}
	}
	return Place{}, fmt.Errorf("%.100q is no place for a key: want credential:NAME, file:NAME (in the trust folder), or PLUGIN://REFERENCE for the program sigstore-kms-PLUGIN", s)
}

// maxKeyFile bounds what is read of a file that should hold a key, in bytes.
const maxKeyFile = 64 << 10

// opener reads keys from where they live.
type opener struct {
	dir         string // of the instance
	credentials string // $CREDENTIALS_DIRECTORY; "" where there is none
}

// open returns the key of a slot. Errors match ErrUnusable.
func (o opener) open(ctx context.Context, s Slot, at Place) (Key, error) {
	signer, err := o.signer(ctx, s, at)
	if err != nil {
		return Key{}, fmt.Errorf("opening key %s in %s: %w: %v", s, at, ErrUnusable, err)
	}
	return newKey(s, signer, at)
}

func (o opener) signer(ctx context.Context, s Slot, at Place) (crypto.Signer, error) {
	switch at.Strength {
	case Plugin:
		return openPlugin(ctx, at.Name, kinds[s])
	case Credential:
		if o.credentials == "" {
			return nil, errors.New("the process was given no credentials: start it by systemd with LoadCredentialEncrypted=" + at.Name + ":…")
		}
		return readKey(filepath.Join(o.credentials, at.Name), "the credential "+at.Name+" was not loaded: see LoadCredentialEncrypted= in systemd.exec")
	}
	return readKey(filepath.Join(o.dir, at.Name), "restore the folder from a backup that has this file: the key is never made anew, because everybody who trusts the old one would have to be told")
}

// readKey reads a PKCS #8 key in PEM. A file that others than its owner may
// read is refused. missing says what to do about one that is not there.
func readKey(name, missing string) (crypto.Signer, error) {
	b, err := readPrivate(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such file; " + missing)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it holds no PEM block PRIVATE KEY (PKCS #8)")
	}
	return parsePKCS8(block.Bytes)
}

func parsePKCS8(der []byte) (crypto.Signer, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is no PKCS #8 private key") // the cause could quote the key
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T does not sign", k)
	}
	return signer, nil
}

// readPrivate reads a file that only its owner may read, through one
// descriptor, so that what was checked is what is read.
func readPrivate(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it, and rotate the key if somebody may have read it", name, info.Mode().Perm())
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("%s has %d bytes: a key file has at most %d", name, info.Size(), maxKeyFile)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

// encodeKey returns a key in PKCS #8 and PEM.
func encodeKey(k crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encoding a %T: %v", k.Public(), err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
