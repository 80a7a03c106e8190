package trust

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/scrypt"

	"github.com/bonded-dev/bonded/internal/durable"
)

// OfflineName is the offline file's name where nobody said where to put it.
const OfflineName = "offline-keys.json"

// Offline are the keys that sign other keys. A running server does not hold
// them: they are needed to rotate, and to sign another trusted root.
type Offline struct {
	Origin     string
	Root       Key // authority over the intermediate and the timestamp authority
	TUFRoot    Key
	TUFTargets Key
	// Encrypted: the file opens with a passphrase only.
	Encrypted bool
}

func (o *Offline) key(s Slot) Key {
	switch s {
	case Root:
		return o.Root
	case TUFRoot:
		return o.TUFRoot
	}
	return o.TUFTargets
}

func (o *Offline) set(k Key) {
	switch k.Slot {
	case Root:
		o.Root = k
	case TUFRoot:
		o.TUFRoot = k
	case TUFTargets:
		o.TUFTargets = k
	}
}

// offlineFile is the file's JSON. Exactly one of Keys and Sealed is set.
type offlineFile struct {
	Version int                    `json:"version"`
	Origin  string                 `json:"origin"`
	Made    time.Time              `json:"made"`
	KDF     *kdf                   `json:"kdf,omitempty"`
	Keys    map[Slot]offlineSecret `json:"keys,omitempty"`
	Sealed  []byte                 `json:"sealed,omitempty"` // AES-256-GCM of the JSON of Keys
}

// kdf says how a passphrase becomes a key: scrypt (RFC 7914).
type kdf struct {
	N     int    `json:"n"`
	R     int    `json:"r"`
	P     int    `json:"p"`
	Salt  []byte `json:"salt"`
	Nonce []byte `json:"nonce"` // of AES-GCM
}

// offlineSecret is one key: itself, or where a plug-in has it.
type offlineSecret struct {
	PKCS8 []byte `json:"pkcs8,omitempty"`
	URI   string `json:"uri,omitempty"`
}

// Costs of scrypt: 64 MiB and about a fifth of a second; a file may ask for
// up to 1 GiB.
const (
	scryptN    = 1 << 16
	maxScryptN = 1 << 20
	scryptR    = 8
)

// sealing is what the passphrase's key is bound to, so that no field outside of
// the sealed part can be changed.
func (f *offlineFile) sealing() []byte {
	return []byte(fmt.Sprintf("bonded offline keys v%d\n%s\n%s", f.Version, f.Origin, f.Made.UTC().Format(time.RFC3339)))
}

func (f *offlineFile) cipher(passphrase []byte) (cipher.AEAD, error) {
	k := f.KDF
	if k.N < 2 || k.N > maxScryptN || k.N&(k.N-1) != 0 || k.R != scryptR || k.P != 1 || len(k.Salt) < 16 || len(k.Salt) > 64 {
		return nil, fmt.Errorf("its costs of scrypt are out of bounds (n a power of two up to %d, r %d, p 1, a salt of 16 to 64 bytes)", maxScryptN, scryptR)
	}
	key, err := scrypt.Key(passphrase, k.Salt, k.N, k.R, k.P, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err == nil && len(k.Nonce) != aead.NonceSize() {
		err = errors.New("its nonce has another size than AES-GCM's")
	}
	return aead, err
}

// seal turns Keys into Sealed.
func (f *offlineFile) seal(passphrase []byte, rand io.Reader) error {
	f.KDF = &kdf{N: scryptN, R: scryptR, P: 1, Salt: make([]byte, 16), Nonce: make([]byte, 12)}
	for _, b := range [][]byte{f.KDF.Salt, f.KDF.Nonce} {
		if _, err := io.ReadFull(rand, b); err != nil {
			return fmt.Errorf("reading randomness: %v", err)
		}
	}
	aead, err := f.cipher(passphrase)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(f.Keys)
	if err != nil {
		return err
	}
	f.Sealed, f.Keys = aead.Seal(nil, f.KDF.Nonce, plain, f.sealing()), nil
	return nil
}

func (f *offlineFile) unseal(passphrase []byte) error {
	aead, err := f.cipher(passphrase)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrUnusable, err)
	}
	plain, err := aead.Open(nil, f.KDF.Nonce, f.Sealed, f.sealing())
	if err != nil {
		return fmt.Errorf("%w: it is another one, or the file was changed", ErrPassphrase)
	}
	if err := json.Unmarshal(plain, &f.Keys); err != nil {
		return fmt.Errorf("%w: what is sealed is no list of keys", ErrUnusable)
	}
	return nil
}

// parseOffline reads the JSON of an offline file and opens its seal. Errors
// match ErrUnusable or ErrPassphrase.
func parseOffline(b, passphrase []byte) (*offlineFile, error) {
	var f offlineFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("%w: it is no offline file: JSON was expected", ErrUnusable)
	}
	switch {
	case f.Version != 1:
		return nil, fmt.Errorf("%w: its version is %d and this program reads 1", ErrUnusable, f.Version)
	case (f.KDF == nil) != (f.Sealed == nil) || (f.Sealed == nil) == (f.Keys == nil):
		return nil, fmt.Errorf("%w: want either keys, or kdf and sealed", ErrUnusable)
	case f.Sealed == nil:
		return &f, nil
	case len(passphrase) == 0:
		return nil, fmt.Errorf("%w: it is encrypted, and none was given", ErrPassphrase)
	}
	if err := f.unseal(passphrase); err != nil {
		return nil, err
	}
	return &f, nil
}

// OpenOffline reads an offline file. passphrase may be empty for one that is
// not encrypted. Errors match ErrUnusable or ErrPassphrase.
func OpenOffline(ctx context.Context, path string, passphrase []byte) (*Offline, error) {
	b, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("opening the offline file %s: %w: there is no such file; name the one that init wrote (--offline-keys)", path, ErrUnusable)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the offline file: %w: %v", ErrUnusable, err)
	}
	f, err := parseOffline(b, passphrase)
	if err != nil {
		return nil, fmt.Errorf("opening the offline file %s: %w", path, err)
	}
	o := &Offline{Origin: f.Origin, Encrypted: f.KDF != nil}
	for _, s := range offlineSlots() {
		k, err := f.Keys[s].open(ctx, s, path)
		if err != nil {
			return nil, fmt.Errorf("opening key %s of the offline file %s: %w: %v", s, path, ErrUnusable, err)
		}
		o.set(k)
	}
	return o, nil
}

func (s offlineSecret) open(ctx context.Context, slot Slot, path string) (Key, error) {
	var signer crypto.Signer
	var err error
	at := Place{OnThisDisk, filepath.Base(path)}
	switch {
	case s.URI != "":
		if at, err = ParsePlace(s.URI); err == nil && at.Strength != Plugin {
			err = fmt.Errorf("%.100q is no URI of a KMS plug-in", s.URI)
		}
		if err == nil {
			signer, err = openPlugin(ctx, s.URI, kinds[slot])
		}
	case s.PKCS8 != nil:
		signer, err = parsePKCS8(s.PKCS8)
	default:
		err = errors.New("it is not in the file")
	}
	if err != nil {
		return Key{}, err
	}
	return newKey(slot, signer, at)
}

// makeOffline makes the offline keys, but for those that a plug-in has.
func makeOffline(ctx context.Context, origin string, plugins map[Slot]string, rand io.Reader) (*Offline, error) {
	o := &Offline{Origin: origin}
	for _, s := range offlineSlots() {
		k, err := makeOfflineKey(ctx, s, plugins[s], rand)
		if err != nil {
			return nil, fmt.Errorf("making key %s: %w", s, err)
		}
		o.set(k)
	}
	return o, nil
}

func makeOfflineKey(ctx context.Context, s Slot, uri string, rand io.Reader) (Key, error) {
	if uri != "" {
		return offlineSecret{URI: uri}.open(ctx, s, "")
	}
	signer, err := kinds[s].generate(rand)
	if err != nil {
		return Key{}, err
	}
	return newKey(s, signer, Place{OnThisDisk, OfflineName})
}

// encode returns the file.
func (o *Offline) encode(passphrase []byte, now time.Time, rand io.Reader) ([]byte, error) {
	f := offlineFile{Version: 1, Origin: o.Origin, Made: now.UTC().Truncate(time.Second), Keys: map[Slot]offlineSecret{}}
	for _, s := range offlineSlots() {
		k := o.key(s)
		if k.Place.Strength == Plugin {
			f.Keys[s] = offlineSecret{URI: k.Place.Name}
			continue
		}
		der, err := x509.MarshalPKCS8PrivateKey(k.Signer)
		if err != nil {
			return nil, fmt.Errorf("encoding key %s: %v", s, err)
		}
		f.Keys[s] = offlineSecret{PKCS8: der}
	}
	if len(passphrase) > 0 {
		if err := f.seal(passphrase, rand); err != nil {
			return nil, fmt.Errorf("encrypting the offline keys: %v", err)
		}
	}
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// writeOffline writes the file where none is. Errors match ErrExists.
func writeOffline(path string, b []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("writing the offline file %s: %w: it may be the only copy of another instance's root; name another path", path, ErrExists)
	}
	if err := durable.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("writing the offline file: %w", err)
	}
	return nil
}

// belongs reports whether the offline keys are those of an origin.
func (o *Offline) belongs(origin string) error {
	if !strings.EqualFold(o.Origin, origin) {
		return fmt.Errorf("the offline file is of %s, the instance is %s: %w", o.Origin, origin, ErrOrigin)
	}
	return nil
}
