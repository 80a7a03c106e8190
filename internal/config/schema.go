package config

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema returns the JSON schema (draft 2020-12) of the configuration file, as
// published in docs/schema/config.json. Editors use it to complete and check.
func Schema() []byte { return append([]byte(nil), schema...) }
