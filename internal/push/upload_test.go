package push_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/push"
	"github.com/bonded-dev/bonded/internal/repo"
)

func TestUpload(t *testing.T) {
	w := newWorld(t, push.Limits{Blob: 20})
	ctx, act := t.Context(), w.act(ann, authz.Push, app)
	begin := func() blob.UploadID {
		t.Helper()
		id, err := w.Begin(ctx, act)
		w.wantErr("beginning", err, nil)
		return id
	}
	id := begin()
	for _, tt := range []struct {
		name   string
		act    authz.Act
		offset int64
		bytes  string
		size   int64
		want   error
	}{
		{"the first part", act, 0, "abc", 3, nil},
		{"a gap", act, 5, "def", 3, blob.ErrOffset},
		{"what came before", act, 0, "abc", 3, blob.ErrOffset},
		{"by another", w.act(bob, authz.Push, app), 3, "def", 0, blob.ErrUploadUnknown},
		{"into another repository", w.act(ann, authz.Push, other), 3, "def", 0, blob.ErrUploadUnknown},
		{"who may only pull", w.act(ann, authz.Pull, app), 3, "def", 0, authz.ErrNotPermitted},
		{"the next part", act, 3, "def", 6, nil},
		{"wherever it ends", act, push.AnyOffset, "ghi", 9, nil},
	} {
		size, err := w.Append(ctx, tt.act, id, tt.offset, strings.NewReader(tt.bytes))
		w.wantErr(tt.name, err, tt.want)
		if err == nil && size != tt.size {
			t.Errorf("%s: %d bytes, want %d", tt.name, size, tt.size)
		}
	}
	d := oci.FromBytes([]byte("abcdefghi!"))
	w.wantErr("finishing", w.Finish(ctx, act, id, d, 9, strings.NewReader("!")), nil)
	if size, err := w.db.HasBlob(ctx, d); err != nil || size != 10 {
		t.Errorf("the blob: %d, %v", size, err)
	}
	if got, err := all(ctx, w.seen.reads[0]); err != nil || got != "abcdefghi!" || len(w.seen.finished) != 1 {
		t.Errorf("after the end its follower reads %q, %v", got, err)
	}
	_, err := w.Size(ctx, act, id)
	w.wantErr("an upload that has ended", err, blob.ErrUploadUnknown)

	id = begin()
	w.wantErr("a lie", w.Finish(ctx, act, id, d, 0, strings.NewReader("something else")), push.ErrDigestMismatch)
	_, err = w.Size(ctx, act, id)
	w.wantErr("after a lie", err, blob.ErrUploadUnknown)

	id = begin()
	_, err = w.Append(ctx, act, id, 0, strings.NewReader("more than twenty bytes"))
	w.wantErr("too much", err, push.ErrTooLarge)

	id = begin()
	broken := errors.New("the line is cut")
	size, err := w.Append(ctx, act, id, 0, io.MultiReader(strings.NewReader("abc"), failing{broken}))
	w.wantErr("a cut line", err, broken)
	if kept, err := w.Size(ctx, act, id); err != nil || kept != 3 || size != 3 {
		t.Errorf("kept %d of 3 bytes, %v", kept, err)
	}
	w.wantErr("cancelling", w.Cancel(ctx, act, id), nil)
	w.wantErr("cancelling again", w.Cancel(ctx, act, id), blob.ErrUploadUnknown)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestRestart: what was kept counts, whether it was acknowledged or not.
func TestRestart(t *testing.T) {
	w := newWorld(t, push.Limits{})
	ctx, act := t.Context(), w.act(ann, authz.Push, app)
	id, err := w.Begin(ctx, act)
	w.wantErr("beginning", err, nil)
	_, err = w.Append(ctx, act, id, 0, strings.NewReader("abc"))
	w.wantErr("appending", err, nil)
	w.start(push.Limits{})
	size, err := w.Size(ctx, act, id)
	if err != nil || size != 3 {
		t.Errorf("%d bytes, %v", size, err)
	}
	_, err = w.Append(ctx, w.act(bob, authz.Push, app), id, 3, strings.NewReader("def"))
	w.wantErr("by another", err, blob.ErrUploadUnknown)
	w.wantErr("finishing", w.Finish(ctx, act, id, oci.FromBytes([]byte("abcdef")), 3, strings.NewReader("def")), nil)
	if got, err := all(ctx, w.seen.reads[1]); err != nil || got != "abcdef" {
		t.Errorf("its second follower reads %q, %v", got, err)
	}
}

// TestManyUploads: one principal gives up what rested longest for a new one,
// nothing that it works on, and nothing of others.
func TestManyUploads(t *testing.T) {
	w := newWorld(t, push.Limits{Uploads: 2})
	ctx, act := t.Context(), w.act(ann, authz.Push, app)
	first, err := w.Begin(ctx, act)
	w.wantErr("the first", err, nil)
	w.now = w.now.Add(time.Minute)
	second, err := w.Begin(ctx, act)
	w.wantErr("the second", err, nil)
	_, err = w.Begin(ctx, act)
	w.wantErr("the third", err, push.ErrTooMany)
	_, err = w.Begin(ctx, w.act(bob, authz.Push, app))
	w.wantErr("of another", err, nil)
	w.now = w.now.Add(9 * time.Minute)
	_, err = w.Begin(ctx, act)
	w.wantErr("when the first has rested", err, nil)
	_, err = w.Size(ctx, act, first)
	w.wantErr("the first", err, blob.ErrUploadUnknown)
	_, err = w.Size(ctx, act, second)
	w.wantErr("the second", err, nil)
	w.now = w.now.Add(25 * time.Hour)
	w.wantErr("sweeping", w.Sweep(ctx), nil)
	_, err = w.Size(ctx, act, second)
	w.wantErr("what was swept", err, blob.ErrUploadUnknown)
}

func TestMount(t *testing.T) {
	w := newWorld(t, push.Limits{})
	ctx := t.Context()
	theirs := w.upload(bob, other, "", "of bob")
	image := w.image(ann, other, "one")
	desc := w.pushed(ann, other, image)
	held := image["layers"].([]oci.Descriptor)[0].Digest
	mount := func(who authz.Principal, d oci.Digest) error {
		return w.Mount(ctx, w.act(who, authz.Push, app), w.act(who, authz.Pull, other), w.viewer(who, other), d)
	}
	w.wantErr("what is leased to another", mount(ann, theirs.Digest), push.ErrBlobUnknown)
	w.wantErr("what is leased", mount(bob, theirs.Digest), nil)
	w.wantErr("what waits in the intake of another", mount(bob, held), push.ErrBlobUnknown)
	w.wantErr("nothing", mount(bob, oci.FromBytes([]byte("nothing"))), push.ErrBlobUnknown)
	w.move(other, desc.Digest, repo.Admitted)
	w.wantErr("what is admitted", mount(bob, held), nil)
	if a, err := w.db.BlobAccess(ctx, app, held, w.viewer(bob, app)); err != nil || !a.Readable {
		t.Errorf("what was mounted: %+v, %v", a, err)
	}
	w.wantErr("without the right to pull", w.Mount(ctx, w.act(bob, authz.Push, app), authz.Act{}, w.viewer(bob, other), held), authz.ErrNotPermitted)
}

// TestSHA512: a digest of another algorithm is computed over the whole.
func TestSHA512(t *testing.T) {
	w := newWorld(t, push.Limits{})
	ctx, act := t.Context(), w.act(ann, authz.Push, app)
	content := []byte("twelve bytes")
	for d, want := range map[oci.Digest]error{oci.SHA512.DigestOf(content): nil, oci.SHA512.DigestOf([]byte("x")): push.ErrDigestMismatch} {
		id, err := w.Begin(ctx, act)
		w.wantErr("beginning", err, nil)
		w.wantErr("finishing", w.Finish(ctx, act, id, d, push.AnyOffset, bytes.NewReader(content)), want)
	}
}
