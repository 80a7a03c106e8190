// Package custody is the file that tells the whole story of one digest, to
// somebody who has neither the server nor a network.
//
// A file is made by a Flow out of what is stored, and read by Verify, which
// believes nothing of it: it takes the trusted root of the server and the name
// under which the server signs, and says of each thing in the file whether it is
// verified, not provable with what was given, not recorded, or wrong. A
// batch (docs/format/batch.md) is the only thing signed by the server that it
// needs: one proves decisions, the states of repositories, and the head of the
// audit log, which proves events. The format is in docs/format/custody.md.
package custody
