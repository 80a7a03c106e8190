package api

import "time"

// Then says for how long a decision was in force.
type Then struct {
	At time.Time `json:"at"` // what was asked about
	// ID is the number of the decision; absent when none was in force at At.
	ID int64 `json:"id,omitempty"`
	// From is when it was made, and Confirmed when the same was last found again.
	From      time.Time `json:"from,omitzero"`
	Confirmed time.Time `json:"confirmed,omitzero"`
	// Until is when another was made, or the first where none was in force; zero
	// while there is none.
	Until time.Time `json:"until,omitzero"`
	// Replay is what came of making it again; nil unless that was asked for.
	Replay *Replay `json:"replay,omitempty"`
}

// Replay is what came of making a decision again, from what is stored.
type Replay struct {
	Same bool `json:"same"` // the same bytes
	// Missing says what cannot be had any more: nothing was decided.
	Missing []string `json:"missing,omitempty"`
	// Differs names the parts that are not the same, and Decision is what it came to.
	Differs  []string  `json:"differs,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	// Engine is the build that made it again, where that is not the one that made it.
	Engine string `json:"engine,omitempty"`
}
