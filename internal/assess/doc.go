// Package assess decides placements: it gathers what is known about a digest,
// runs the gate of its zone, records the decision and acts on it.
//
// Everything that can change an outcome (a push, evidence, a new advisory, a
// deadline) ends in a job that judges the placement again; judging the same
// placement twice with nothing changed only confirms the decision. The same
// gathering answers questions about an artifact, and runs without a server in
// Offline.
package assess
