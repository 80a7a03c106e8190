package api

import "time"

// Bases answers GET /api/v1/bases?ref=: the images that stand somewhere and whose
// layers are all, in their order, the lowest of this one.
type Bases struct {
	Artifact
	Layers int `json:"layers"`
	// Compared is how many of its layers, from the lowest on, are known to be what
	// its configuration says. What is above is not looked at.
	Compared int    `json:"compared"`
	Bases    []Base `json:"bases"` // at most 100, those with most layers first
}

// Base is an image that others descend from.
type Base struct {
	Repository string    `json:"repository"`
	Digest     string    `json:"digest"`
	Layers     int       `json:"layers"`
	AdmittedAt time.Time `json:"admitted_at"`
	Tag        string    `json:"tag,omitempty"`   // that names it, or did last
	Past       bool      `json:"past,omitzero"`   // no tag names it any more
	Newer      string    `json:"newer,omitempty"` // what Tag names now, if it is past
}

// Descendants answers GET /api/v1/descendants?ref=: placements of images that
// descend from this one.
type Descendants struct {
	Artifact
	Images []Placement `json:"images"`
	Next   string      `json:"next,omitempty"` // "after" of the following page, "" on the last
}
