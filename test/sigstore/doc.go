// Package sigstore signs, attests and verifies with stock cosign and stock
// Notation against the real program and nothing else: one server, told to them by
// the variables of bonded trust env and bonded trust notation, and no flag that
// switches a check of theirs off.
package sigstore
