// Package sigstore signs, attests and verifies with stock cosign against the
// real program and nothing else: one server, told to cosign by the variables of
// bonded trust env, and no flag that switches a check of cosign's off.
package sigstore
