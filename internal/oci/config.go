package oci

import (
	"errors"
	"fmt"
	"time"
)

// ErrConfigInvalid matches errors of ParseImageConfig.
var ErrConfigInvalid = errors.New("not a valid image configuration")

// ImageConfig is what Bonded reads of an image configuration (OCI image
// specification 1.1, config.md; Docker's is the same document).
type ImageConfig struct {
	Created      *time.Time `json:"created,omitempty"`
	Author       string     `json:"author,omitempty"`
	Architecture string     `json:"architecture"`
	OS           string     `json:"os"`
	Variant      string     `json:"variant,omitempty"`
	Config       RunConfig  `json:"config"`
	RootFS       struct {
		Type    string   `json:"type"`
		DiffIDs []Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []HistoryEntry `json:"history,omitempty"`
}

// RunConfig is how a container of the image is started.
type RunConfig struct {
	User         string              `json:"User,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// HistoryEntry is one step of the build as the builder recorded it.
type HistoryEntry struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// ParseImageConfig reads an image configuration of at most MaxConfig bytes.
// Errors match ErrConfigInvalid.
func ParseImageConfig(raw []byte) (*ImageConfig, error) {
	if len(raw) > MaxConfig {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrConfigInvalid, len(raw), MaxConfig)
	}
	var c ImageConfig
	if err := unmarshalStrict(raw, configKeys, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfigInvalid, err)
	}
	if len(c.RootFS.DiffIDs) > MaxDescriptors {
		return nil, fmt.Errorf("%w: more than %d layers", ErrConfigInvalid, MaxDescriptors)
	}
	return &c, nil
}
