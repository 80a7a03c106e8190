module github.com/bonded-dev/bonded/cmd/bonded-pkcs11

go 1.26.3

require (
	github.com/ThalesGroup/crypto11 v1.5.0
	github.com/google/go-cmp v0.7.0
	github.com/sigstore/sigstore v1.10.8
)

require (
	github.com/google/go-containerregistry v0.20.7 // indirect
	github.com/miekg/pkcs11 v1.1.1 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/secure-systems-lab/go-securesystemslib v0.11.0 // indirect
	github.com/sigstore/protobuf-specs v0.5.0 // indirect
	github.com/thales-e-security/pool v0.0.2 // indirect
	github.com/youmark/pkcs8 v0.0.0-20240726163527-a2c0da244d78 // indirect
	golang.org/x/crypto v0.50.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
	golang.org/x/term v0.42.0 // indirect
	google.golang.org/genproto/googleapis/api v0.0.0-20250825161204-c5933d9347a5 // indirect
	google.golang.org/protobuf v1.36.11 // indirect
)
