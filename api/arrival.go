package api

import "time"

// Arrival is who pushed some content into a repository first.
type Arrival struct {
	Repository string    `json:"repository"`
	By         string    `json:"by"`             // name of a principal
	Kind       string    `json:"kind,omitempty"` // "human", "machine", "internal" or "anonymous"; empty when nobody knows
	At         time.Time `json:"at"`
}
