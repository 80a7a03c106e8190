// Package openapi holds the description of the management API, as
// /api/v1/openapi.json serves it: an OpenAPI 3.1 document. It is generated
// from the types of package api; go test ./internal/httpapi -update writes it.
package openapi

import _ "embed"

// JSON is the document.
//
//go:embed openapi.json
var JSON []byte
