package ca

import "fmt"

// Refusal is a no that the caller can do something about. Message is for
// people: cosign prints it as it is.
type Refusal struct {
	Status  int // HTTP: 400, 401 or 403; 503 for an issuer that cannot be asked
	Message string
}

func (r *Refusal) Error() string { return r.Message }

func refuse(status int, format string, args ...any) error {
	return &Refusal{status, fmt.Sprintf(format, args...)}
}
