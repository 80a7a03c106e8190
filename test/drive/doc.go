// Package drive is a driver of whole servers for tests: it starts, kills and
// restarts the real program, and does over HTTP what clients do, image by image,
// so that the suites of test can share one set of steps.
//
// Methods that take a testing.TB fail it; those that return an error may be used
// where a server is meant to break.
package drive
