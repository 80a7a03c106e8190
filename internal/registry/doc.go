// Package registry is the OCI distribution protocol (specification 1.1, and
// the main branch where it only adds) over HTTP, under /v2/.
//
// A request goes through Parse, which is pure, into a typed Request; the table
// ops says what that needs and who answers it. Bytes go in through package
// push alone; what may be read is answered by repo.Reader and shown by the
// rule in refuse.go.
//
// Who is let in: reading needs pull in the repository, or else there is
// nothing there (404), and an anonymous caller is asked to log in (401). What
// is there and refused is told to those with pull rights (403, with the
// sentence of the decision).
//
// Time: an upload whose client sends nothing for Options.Idle is cut off, with
// what arrived kept. Header reading, idle connections and the number of
// connections are bounded by the http.Server. A slow reader of a blob is not
// cut off: it costs a goroutine and an open file.
package registry
