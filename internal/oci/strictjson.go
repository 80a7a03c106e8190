package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// maxJSONDepth bounds nesting of manifests and configurations.
const maxJSONDepth = 32

// Keys that decide what a document means, by their folded form.
// encoding/json would take "Layers" for "layers"; other readers would not.
var (
	manifestKeys = lowered("schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations",
		"fsLayers", "digest", "size", "urls", "data", "platform", "architecture", "os", "variant")
	// Old configurations have keys such as "Size" of their own.
	configKeys = lowered("architecture", "os", "variant", "config", "rootfs", "diff_ids", "history", "created")
)

func lowered(keys ...string) map[string]string {
	m := make(map[string]string, len(keys))
	for _, k := range keys {
		m[folded(k)] = k
	}
	return m
}

// folded is what all keys have in common that encoding/json takes for one
// another: it compares without case in all of Unicode, so that "layer\u017f",
// with a long s, is "layers".
func folded(key string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, key)
}

// freeKeys name the objects whose keys are the user's own.
var freeKeys = map[string]bool{"annotations": true, "Labels": true, "ExposedPorts": true, "Volumes": true}

// unmarshalStrict decodes exactly one JSON value into v, refusing duplicate
// keys, those of keys in another case, deep nesting and trailing data.
func unmarshalStrict(raw []byte, keys map[string]string, v any) error {
	if err := checkJSON(raw, keys); err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

func checkJSON(raw []byte, keys map[string]string) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkValue(dec, keys, 0, false); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON document")
	}
	return nil
}

// checkValue reads one value. free says that the keys of the object are the
// user's own and may have any case.
func checkValue(dec *json.Decoder, keys map[string]string, depth int, free bool) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		childFree := false
		if delim == '{' {
			key, err := checkKey(dec, keys, seen, free)
			if err != nil {
				return err
			}
			childFree = freeKeys[key]
		}
		if err := checkValue(dec, keys, depth+1, childFree); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

func checkKey(dec *json.Decoder, keys map[string]string, seen map[string]bool, free bool) (string, error) {
	tok, err := dec.Token()
	if err != nil {
		return "", fmt.Errorf("reading JSON: %w", err)
	}
	key, _ := tok.(string)
	if seen[key] {
		return "", fmt.Errorf("duplicate key %s", Quote(key))
	}
	seen[key] = true
	if want, known := keys[folded(key)]; known && !free && key != want {
		return "", fmt.Errorf("key %s differs from %q in case only", Quote(key), want)
	}
	return key, nil
}
