// Package shapes takes one way, from a push to the pull of what was promoted,
// through servers of every storage shape: the real program by its configuration,
// with TLS of its own authority and logins by one-time codes.
package shapes
