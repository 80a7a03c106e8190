package api

import "time"

// Trust is what a server signs with, and what its signatures are verified by.
type Trust struct {
	Origin string `json:"origin"` // host name that the logs go by
	URL    string `json:"url"`    // of the server, as clients find it in the signing configuration
	// RootChecksum is the SHA-256 of the first TUF root in hex, for cosign
	// initialize --root-checksum.
	RootChecksum string `json:"root_checksum"`
	// Version changes with each rotation.
	Version string `json:"version"`
	// Weakest is the weakest place that a key lives in: "offline keys on the
	// server", "file", "credential" or "kms".
	Weakest string     `json:"weakest"`
	Keys    []KeyPlace `json:"keys"`
	Logs    []LogState `json:"logs"`
	// ForkProtection says what finds out a log that was set back; "" for nothing.
	ForkProtection string `json:"fork_protection"`
	// Witness is whom this server witnesses; nil where it witnesses nobody.
	Witness *Witness `json:"witness,omitempty"`
	Endings []Ending `json:"endings"` // soonest first
	// Anchors are whom evidence is verified by, this server first.
	Anchors  []AnchorState `json:"anchors"`
	Problem  string        `json:"problem,omitempty"` // "" while all is well
	Warnings []string      `json:"warnings,omitempty"`
}

// KeyPlace is a private key and where it lives.
type KeyPlace struct {
	Slot     string `json:"slot"`
	Place    string `json:"place"`
	Strength string `json:"strength"`
	ID       string `json:"id"` // SHA-256 of the public key in hex
}

// LogState is a log of the server.
type LogState struct {
	Name      string `json:"name"` // "rekor", "ct" or "audit"
	Origin    string `json:"origin"`
	Key       string `json:"key"` // that its heads are signed by, NAME+ID+KEY
	Size      int64  `json:"size"`
	Published int64  `json:"published"` // entries that everybody may see
}

// AnchorState is a root of trust that gates may name.
type AnchorState struct {
	Name string `json:"name"`
	Type string `json:"type"`
	From string `json:"from"` // "this server", "the program (NAME)" or a file
	// AsOf is the day of what came with the program, or when the file was last
	// written.
	AsOf    *time.Time `json:"as_of,omitempty"`
	Problem string     `json:"problem,omitempty"` // why it cannot be asked
}

// Witness is a server as a witness of the logs of others.
type Witness struct {
	URL string      `json:"url"` // its submission prefix
	Key string      `json:"key"` // that its cosignatures are checked by, NAME+ID+KEY
	Of  []Witnessed `json:"of"`
}

// Witnessed is a log that is cosigned.
type Witnessed struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"` // entries of the newest head that was cosigned
}

// Ending is when something stops being good.
type Ending struct {
	What string    `json:"what"`
	At   time.Time `json:"at"`
}

// SignIn is somebody's wish for an identity token, which a person approves where
// that person is logged in.
type SignIn struct {
	Code    string    `json:"code"`  // as the person reads it
	Kind    string    `json:"kind"`  // "device" or "browser"
	State   string    `json:"state"` // "pending", "approved", "refused" or "used"
	From    string    `json:"from"`  // address that started it
	Started time.Time `json:"started"`
	Expires time.Time `json:"expires"`
	// Identity is that of certificates for the token, once it is approved.
	Identity string `json:"identity,omitempty"`
}

// SignInAnswer settles a sign-in.
type SignInAnswer struct {
	Approve bool `json:"approve"` // false refuses it
}
