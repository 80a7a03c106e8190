// Package server holds the running server: it opens the stores, wires every
// flow and face together, and starts and stops them. It is the only package
// that knows everything, and it decides nothing.
package server
