package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxJSONDepth bounds nesting of manifests and configurations.
const maxJSONDepth = 32

// specKeys are the keys that decide what a manifest or configuration means,
// by their lower-case form. encoding/json would take "Layers" for "layers";
// other readers would not.
var specKeys = func() map[string]string {
	m := map[string]string{}
	for _, k := range []string{
		"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations", "fsLayers",
		"digest", "size", "urls", "data", "platform", "architecture", "os", "variant", "rootfs", "diff_ids", "history",
	} {
		m[strings.ToLower(k)] = k
	}
	return m
}()

// freeKeys name the objects whose keys are the user's own.
var freeKeys = map[string]bool{"annotations": true, "Labels": true, "ExposedPorts": true, "Volumes": true}

// unmarshalStrict decodes exactly one JSON value into v, refusing duplicate
// keys, specification keys in another case, deep nesting and trailing data.
func unmarshalStrict(raw []byte, v any) error {
	if err := checkJSON(raw); err != nil {
		return err
	}
	return json.Unmarshal(raw, v)
}

func checkJSON(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := checkValue(dec, 0, false); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the JSON document")
	}
	return nil
}

// checkValue reads one value. free says that the keys of the object are the
// user's own and may have any case.
func checkValue(dec *json.Decoder, depth int, free bool) error {
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
			key, err := checkKey(dec, seen, free)
			if err != nil {
				return err
			}
			childFree = freeKeys[key]
		}
		if err := checkValue(dec, depth+1, childFree); err != nil {
			return err
		}
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

func checkKey(dec *json.Decoder, seen map[string]bool, free bool) (string, error) {
	tok, err := dec.Token()
	if err != nil {
		return "", fmt.Errorf("reading JSON: %w", err)
	}
	key, _ := tok.(string)
	if seen[key] {
		return "", fmt.Errorf("duplicate key %s", Quote(key))
	}
	seen[key] = true
	if want, known := specKeys[strings.ToLower(key)]; known && !free && key != want {
		// The configuration object of an image uses capitals of its own; none of
		// its keys collide with the specification keys above.
		return "", fmt.Errorf("key %s differs from %q in case only", Quote(key), want)
	}
	return key, nil
}
