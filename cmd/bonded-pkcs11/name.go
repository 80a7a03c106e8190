package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxName bounds the name of a key, and maxPIN a PIN, in bytes.
const (
	maxName = 1024
	maxPIN  = 256
)

// keyName is where a key is. Of Token, Serial and Slot exactly one is set, of
// Object and ID at least one.
type keyName struct {
	Token  string // label of the token
	Serial string // of the token
	Slot   *int
	Object string // label of the key
	ID     []byte // CKA_ID of the key

	Module  string        // path of the library
	PINFile string        // "" where the PIN comes from the environment
	pin     func() string // of the environment
}

// parseName reads what follows bonded-pkcs11://, which is a PKCS #11 URI (RFC
// 7512) without its scheme: attributes of the path with ";" between them, those
// of the query with "&". What the name does not say, the environment does.
//
// A PIN in the name is refused: names are in configurations, in records that are
// not secret, and on command lines that every user of the machine can read.
func parseName(s string, env func(string) string) (keyName, error) {
	k := keyName{Module: env("BONDED_PKCS11_MODULE"), PINFile: env("BONDED_PKCS11_PIN_FILE"), pin: func() string { return env("BONDED_PKCS11_PIN") }}
	if len(s) > maxName {
		return k, fmt.Errorf("the name of the key has %d bytes, and may have %d", len(s), maxName)
	}
	path, query, _ := strings.Cut(s, "?")
	seen := map[string]bool{}
	for _, part := range []struct {
		text, between string
		take          func(*keyName, string, string) error
	}{{path, ";", (*keyName).path}, {query, "&", (*keyName).query}} {
		if part.text == "" {
			continue
		}
		for _, attribute := range strings.Split(part.text, part.between) {
			name, escaped, ok := strings.Cut(attribute, "=")
			value, err := url.PathUnescape(escaped)
			if !ok || err != nil || value == "" {
				return k, fmt.Errorf("%.80q in the name of the key is no NAME=VALUE of RFC 7512", attribute)
			}
			if seen[name] {
				return k, fmt.Errorf("the name of the key has %s twice", name)
			}
			seen[name] = true
			if err := part.take(&k, name, value); err != nil {
				return k, err
			}
		}
	}
	return k, k.check()
}

func (k *keyName) path(name, value string) error {
	if name != "id" && (!utf8.ValidString(value) || strings.ContainsRune(value, 0)) {
		return fmt.Errorf("%s in the name of the key is no text", name)
	}
	switch name {
	case "token":
		k.Token = value
	case "serial":
		k.Serial = value
	case "slot-id":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return fmt.Errorf("slot-id=%.20s in the name of the key is no number of a slot", value)
		}
		slot := int(n)
		k.Slot = &slot
	case "object":
		k.Object = value
	case "id":
		k.ID = []byte(value)
	case "type":
		if value != "private" {
			return fmt.Errorf("type=%.20s in the name of the key: want a private one", value)
		}
	default:
		return fmt.Errorf("%.40q in the name of the key is not known: want one of token, serial and slot-id, and object, id or both", name)
	}
	return nil
}

func (k *keyName) query(name, value string) error {
	switch name {
	case "module-path":
		k.Module = value
	case "pin-source":
		file, ok := strings.CutPrefix(value, "file:")
		if !ok {
			return errors.New("pin-source in the name of the key: want file:/PATH")
		}
		k.PINFile = file
	case "pin-value":
		return errors.New("the name of the key has a PIN, which everybody may have read by now: change it, and name a file with it by pin-source=file:/PATH or BONDED_PKCS11_PIN_FILE")
	default:
		return fmt.Errorf("%.40q in the name of the key is not known: want module-path or pin-source", name)
	}
	return nil
}

func (k *keyName) check() error {
	tokens := 0
	for _, set := range []bool{k.Token != "", k.Serial != "", k.Slot != nil} {
		if set {
			tokens++
		}
	}
	switch {
	case tokens != 1:
		return errors.New("the name of the key needs exactly one of token=LABEL, serial=NUMBER and slot-id=NUMBER")
	case k.Object == "" && len(k.ID) == 0:
		return errors.New("the name of the key needs object=LABEL, or id=%XX")
	case k.Module == "":
		return errors.New("which library speaks to the token? Set BONDED_PKCS11_MODULE, or add ?module-path=/PATH to the name of the key")
	case !filepath.IsAbs(k.Module):
		return fmt.Errorf("the library %.100q is no absolute path", k.Module)
	case k.PINFile != "" && !filepath.IsAbs(k.PINFile):
		return fmt.Errorf("the file with the PIN %.100q is no absolute path", k.PINFile)
	}
	return nil
}

// String is the name for people: without paths.
func (k keyName) String() string {
	var parts []string
	switch {
	case k.Token != "":
		parts = append(parts, "token="+k.Token)
	case k.Serial != "":
		parts = append(parts, "serial="+k.Serial)
	case k.Slot != nil:
		parts = append(parts, fmt.Sprintf("slot-id=%d", *k.Slot))
	}
	if k.Object != "" {
		parts = append(parts, "object="+k.Object)
	}
	if len(k.ID) > 0 {
		parts = append(parts, fmt.Sprintf("id=%x", k.ID))
	}
	return strings.Join(parts, ";")
}

// readPIN returns the PIN. No error of it quotes one.
func (k keyName) readPIN() (string, error) {
	if k.PINFile == "" {
		pin := k.pin()
		if pin == "" {
			return "", errors.New("no PIN was given: name a file with it by BONDED_PKCS11_PIN_FILE")
		}
		return pin, nil
	}
	f, err := os.Open(k.PINFile)
	if err != nil {
		return "", fmt.Errorf("reading the PIN: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("reading the PIN: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("reading the PIN: %s is no regular file", k.PINFile)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("reading the PIN: %s can be read by others (mode %04o): chmod 600 it, and change the PIN if somebody may have read it", k.PINFile, info.Mode().Perm())
	case info.Size() > maxPIN:
		return "", fmt.Errorf("reading the PIN: %s has %d bytes, and may have %d", k.PINFile, info.Size(), maxPIN)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		return "", fmt.Errorf("reading the PIN: %w", err)
	}
	pin := strings.TrimRight(string(b), "\r\n")
	if pin == "" {
		return "", fmt.Errorf("reading the PIN: %s is empty", k.PINFile)
	}
	return pin, nil
}
