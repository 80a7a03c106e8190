package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

func TestRenamedLayer(t *testing.T) {
	l, err := gzipLayer([]byte("a tar"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := newImage([]layer{l})
	if err != nil {
		t.Fatal(err)
	}
	again, err := fresh(img, []layer{l}, 7)
	if err != nil {
		t.Fatal(err)
	}
	if again.blobs[1].digest == l.digest {
		t.Error("the layer has the digest that it had")
	}
	z, err := gzip.NewReader(bytes.NewReader(again.blobs[1].data))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || string(got) != "a tar" || digest(got) != l.diffID {
		t.Errorf("it holds %q, %v", got, err)
	}
	if _, err := renamed(again.blobs[1].data, "x"); err == nil {
		t.Error("a header with a name got another")
	}
}

func TestUplinkHoldsTheRate(t *testing.T) {
	u := &uplink{rate: 1000}
	first, second := u.take(100), u.take(100)
	if first > 100*time.Millisecond || second <= first || second > 200*time.Millisecond {
		t.Errorf("100 bytes wait %s and %s, at 1000 bytes a second", first, second)
	}
	fast := &uplink{rate: 1e9}
	got, err := io.ReadAll(fast.reader(t.Context(), strings.NewReader("all of it")))
	if err != nil || string(got) != "all of it" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLeast(t *testing.T) {
	got := least(least(deed{}, deed{cpu: 2, wall: 1}), deed{cpu: 1, wall: 3})
	if want := (deed{cpu: 1, wall: 1}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
