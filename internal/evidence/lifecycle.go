package evidence

import "time"

// Lifecycle is how long somebody maintains a release that is in an artifact.
type Lifecycle struct {
	What    string `json:"what"`    // "os" or "runtime"
	Product string `json:"product"` // as its source calls it: "debian", "go"
	Cycle   string `json:"cycle"`   // "12", "1.22"
	Version string `json:"version"` // what is there
	// Ends is the first moment at which nobody maintains the release any more, and
	// Extended that at which nobody does so for money either. Zero: it has no end that
	// is known, unless it has Ended, at a time that nobody tells.
	Ends     time.Time `json:"ends,omitzero"`
	Extended time.Time `json:"extended,omitzero"`
	Ended    bool      `json:"ended,omitempty"`
}
