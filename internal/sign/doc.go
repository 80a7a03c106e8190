// Package sign is what the server says under its own name: batches of decisions,
// and the evidence that it makes.
//
// A decision is in force at its commit. Within seconds, and at once when
// somebody waits for the proof, all decisions that are in no batch become one:
// a Merkle tree (RFC 6962) over the SHA-256 of each decision's payload, with the
// head of the audit log and the states of repositories, in one statement that is
// signed, timestamped and logged once. The proof of a decision is its payload, its
// place in the tree, and that bundle. While the log or the timestamp authority
// cannot answer, decisions are in force and their proofs wait.
//
// On first need a placement gets a SLSA verification summary (VSA) made from its
// batch, and an image its SBOM and its scan: bundles beside the digest, as stock
// clients look for them.
//
// A decision leaves the server only with the proof of its batch. What that means
// for each answer is in docs/format/batch.md.
package sign
