// Package trust holds the identity of one instance: its private keys, where
// each of them lives, the certificates over them, and the documents that
// clients trust it by.
//
// An instance is a folder. Its file instance.json says what the instance is:
// the origin, which never changes, and every key and chain that ever signed,
// with the time it was good for. Private keys are beside it, or in a systemd
// credential, or behind a KMS plug-in; the keys that sign other keys are in one
// more file, the offline file, which belongs on another machine. What is
// missing is never made anew silently: a new key is a new identity, and everybody
// who trusted the old one would have to be told.
package trust

import "errors"

// Errors that callers may test for.
var (
	// ErrNone: the folder holds no instance yet. Init makes one.
	ErrNone = errors.New("no instance")
	// ErrExists: Init found an instance, or an offline file, already there.
	ErrExists = errors.New("exists already")
	// ErrOrigin: the instance belongs to another origin than was asked for.
	ErrOrigin = errors.New("another origin")
	// ErrUnusable: a key, certificate or record that is missing, that others can
	// read, or that does not fit the rest.
	ErrUnusable = errors.New("not usable")
	// ErrPassphrase: the offline file does not open with this passphrase, or needs one.
	ErrPassphrase = errors.New("the passphrase does not open it")
	// ErrRotation: what RotateOptions ask for cannot be done in that way.
	ErrRotation = errors.New("cannot be done")
	// ErrChain: a chain that was brought is not good for an authority of ours.
	ErrChain = errors.New("not a chain for this authority")
)
