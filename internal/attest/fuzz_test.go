package attest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/evidence"
)

// seeds adds what real writers wrote.
func seeds(f *testing.F) {
	files, err := filepath.Glob("testdata/real/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	for typ := range predicates {
		f.Add(wrap(typ, `{"a":{"b":[1,"x"]}}`))
	}
}

// FuzzStatement holds that facts fit their kind and marshal, whatever came.
func FuzzStatement(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		doc, err := Parse(raw)
		if err != nil {
			return
		}
		st, err := doc.Statement(0)
		if err != nil {
			return
		}
		if _, err := json.Marshal(st); err != nil {
			t.Fatal(err)
		}
		set := 0
		for _, is := range []bool{st.Provenance != nil, st.Summary != nil, st.SBOM != nil, st.Scan != nil, st.Test != nil, st.Review != nil, st.VEX != nil, st.Approval != nil, st.Release != nil} {
			if is {
				set++
			}
		}
		if want := 1; st.Kind == evidence.KindUnknown && set != 0 || st.Kind != evidence.KindUnknown && set != want {
			t.Errorf("kind %s with %d fields set", st.Kind, set)
		}
		if st.Provenance != nil && st.Provenance.Level != 0 {
			t.Error("a statement granted itself a level")
		}
	})
}

// FuzzVEX holds that a plain document never speaks about everything.
func FuzzVEX(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		vex, _, err := ReadVEX(raw)
		if err != nil {
			return
		}
		for _, s := range vex.Statements {
			if len(s.Products) == 0 || s.Vulnerability == "" {
				t.Errorf("statement %+v", s)
			}
		}
	})
}
