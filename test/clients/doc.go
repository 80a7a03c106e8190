// Package clients drives the registry with the clients that people use, each
// as its own program, in a zone that judges and in one that does not.
package clients
