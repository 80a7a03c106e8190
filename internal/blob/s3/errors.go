package s3

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/bonded-dev/bonded/internal/blob"
)

// errDamaged says that the parts of an upload are not those that were written.
// It has to be sent again.
var errDamaged = errors.New("its parts are not those that were written; cancel it and send it again")

// code returns the server's error code, "" if err does not come from it.
func code(err error) string {
	var r minio.ErrorResponse
	errors.As(err, &r)
	return r.Code
}

// missing makes err match is if it says that an object is missing.
func missing(err, is error) error {
	if code(err) == minio.NoSuchKey {
		return is
	}
	return err
}

// unmet reports whether the condition of a request did not hold.
func unmet(err error) bool { return status(err) == http.StatusPreconditionFailed }

// status returns the HTTP status of the server's answer, 0 if err is none.
func status(err error) int {
	var r minio.ErrorResponse
	errors.As(err, &r)
	return r.StatusCode
}

// full makes err match blob.ErrNoSpace if it says that the server is full.
func full(err error) error {
	var r minio.ErrorResponse
	if !errors.As(err, &r) {
		return err
	}
	switch {
	case r.StatusCode == http.StatusInsufficientStorage, r.Code == "XMinioStorageFull",
		r.Code == "QuotaExceeded", r.Code == "XMinioAdminBucketQuotaExceeded":
		return fmt.Errorf("%w: %w", blob.ErrNoSpace, err)
	}
	return err
}
