package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonded-dev/bonded/internal/testparts"
)

const sample = `{"debian":[{"cycle":"12","eol":"2026-07-11","extendedSupport":"2028-06-30","lts":false},{"cycle":"13","eol":"2028-08-09"}],
"go":[{"cycle":"1.22","eol":true,"support":true},{"cycle":"1.26","eol":false}],"postgresql":[{"cycle":"16","eol":"2028-11-09"},{"cycle":"9.6","eol":"2021-11-11"}],
"alpine-linux":[{"cycle":"3.20","eol":"2026-04-01"}],"x y":[{"cycle":"1","eol":true}],"django":[{"cycle":"5.2","eol":"soon"}]}`

func parsed(t *testing.T) *Data {
	t.Helper()
	d, skipped, err := Parse(strings.NewReader(sample))
	if err != nil || len(skipped) != 2 {
		t.Fatal(skipped, err)
	}
	return d
}

func TestKept(t *testing.T) {
	d := parsed(t)
	kept, err := Read(d.Content())
	if err != nil || !bytes.Equal(kept.Content(), d.Content()) {
		t.Fatal(err)
	}
	if r, ok := kept.OfPackage("golang", "stdlib", "v1.22.3"); !ok || !r.Ended || r.Cycle != "1.22" {
		t.Errorf("%+v, %t", r, ok)
	}
	if r, ok := (*Data)(nil).OfSystem("debian", "12"); ok {
		t.Errorf("nothing was loaded: %+v", r)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "[]", "{}", `{"debian":[]}`, `{"debian":{}}`, "<html>"} {
		if _, _, err := Parse(strings.NewReader(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestPublished reads what endoflife.date has published, of all products that are of use.
func TestPublished(t *testing.T) {
	root := filepath.Join(testparts.Feeds(t), "endoflife", "api")
	all := map[string]json.RawMessage{}
	for _, product := range Products() {
		raw, err := os.ReadFile(filepath.Join(root, product+".json"))
		if err != nil {
			t.Fatal(err)
		}
		all[product] = raw
	}
	object, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	d, skipped, err := Parse(bytes.NewReader(object))
	if err != nil || len(skipped) > 0 || d.Len() < 500 {
		t.Fatalf("%d, %v, %v", d.Len(), skipped, err)
	}
	t.Logf("%d products, %d releases in %d bytes", len(all), d.Len(), len(d.Content()))
	system, ok := d.OfSystem("ubuntu", "22.04")
	language, known := d.OfPackage("golang", "stdlib", "1.21.5")
	if !ok || system.Ends.IsZero() || !known || language.Cycle != "1.21" {
		t.Errorf("%+v, %+v", system, language)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Fuzz(func(t *testing.T, text string) {
		d, _, err := Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		kept, err := Read(d.Content())
		if err != nil {
			t.Fatal(err)
		}
		if came, changed, gone := kept.Differs(d); came+changed+gone > 0 {
			t.Fatalf("%d, %d, %d", came, changed, gone)
		}
	})
}
