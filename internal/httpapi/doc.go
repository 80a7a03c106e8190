// Package httpapi is the management API: the types of package api as JSON over
// HTTP under /api/v1, described by its own OpenAPI document.
//
// A handler reads the request, asks authz whether the caller may, calls one
// method of a contract and writes what it returns. No rule lives here. Bodies
// are strict: one JSON value, no unknown keys, of bounded size.
package httpapi
