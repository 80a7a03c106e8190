package mem_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/blobtest"
	"github.com/bonded-dev/bonded/internal/blob/mem"
	"github.com/bonded-dev/bonded/internal/oci"
)

func TestContract(t *testing.T) {
	blobtest.Run(t, func(testing.TB) blobtest.Open {
		s := mem.New(mem.Options{})
		return func(testing.TB) (blob.Store, blob.Uploads) { return s, s.Uploads() }
	})
}

func TestLimit(t *testing.T) {
	s := mem.New(mem.Options{Limit: 10})
	u, id := s.Uploads(), blobtest.ID(1)
	if err := u.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	n, err := u.Append(t.Context(), id, 0, bytes.NewReader([]byte("0123456789abc")), nil)
	if !errors.Is(err, blob.ErrNoSpace) || n != 10 {
		t.Errorf("Append of 13 bytes into 10 = %d, %v", n, err)
	}
	other := []byte("x")
	if err := s.Put(t.Context(), oci.FromBytes(other), other); !errors.Is(err, blob.ErrNoSpace) {
		t.Errorf("Put into a full store: %v", err)
	}
	if err := u.Commit(t.Context(), id, 9, oci.FromBytes([]byte("012345678"))); err != nil {
		t.Error(err)
	}
	if err := s.Put(t.Context(), oci.FromBytes(other), other); err != nil {
		t.Errorf("Put of the byte that the cut made free: %v", err)
	}
}

func TestPolicesItsCaller(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	s := mem.New(mem.Options{Now: func() time.Time { return now }})
	u, id := s.Uploads(), blobtest.ID(1)
	if err := u.Begin(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := u.Append(t.Context(), id, 0, pr, nil)
		done <- err
	}()
	if _, err := pw.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Append(t.Context(), id, 0, bytes.NewReader(nil), nil); err == nil {
		t.Error("a second writer is let in")
	}
	if err := u.Commit(t.Context(), id, 0, oci.FromBytes(nil)); err == nil {
		t.Error("Commit under a writer is let in")
	}
	if err := errors.Join(pw.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context(), id, 5, oci.FromBytes([]byte("other"))); !errors.Is(err, blob.ErrDigest) {
		t.Errorf("Commit under a wrong digest: %v", err)
	}
	err := u.Walk(t.Context(), func(_ blob.UploadID, size int64, written time.Time) error {
		if size != 5 || !written.Equal(now) {
			t.Errorf("upload of %d bytes written %v", size, written)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
