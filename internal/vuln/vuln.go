// Package vuln holds the advisories: it parses OSV records, packs them, keeps
// the packed ones in an index in memory, and matches packages against them.
//
// The flow is ParseRecord, Record.Pack into a Row, Reader.Rows into an Index,
// Index.Findings of an image. The rows in the database are the truth; an Index
// is an immutable cache of those in force under one snapshot, replaced as a
// whole when a load publishes another. Matching is pure: no I/O and no clock.
//
// Records follow https://ossf.github.io/osv-schema/ (1.7). Version order is
// that of osv-scalibr's package semantic.
//
// A package that could not be matched (its ecosystem has no advisories here,
// its version cannot be read) is reported in Checked; no finding for it never
// means that it is clean.
package vuln

// Limits of what is accepted as one record. The largest real ones (Linux
// kernel, Chromium) stay below half of each.
const (
	MaxRaw    = 8 << 20 // bytes of JSON
	MaxPacked = 4 << 20 // bytes of Record.Pack
	MaxIDLen  = 200     // bytes of an id or alias
)

// PackFormat is the number of the layout that Record.Pack writes, which also
// stands for how severity and ranges are derived: it grows when the same raw
// record would pack differently. A load packs rows of an older format again.
const PackFormat = 1
