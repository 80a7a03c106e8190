package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRefuses(t *testing.T) {
	many := `{"k0":0`
	for i := 1; i < 40; i++ {
		many += `,"k` + strings.Repeat("x", i) + `":1`
	}
	tests := []struct {
		name, doc, want string
		limit           bool
	}{
		{"duplicate key", `{"a":1,"b":2,"a":3}`, `duplicate key "a"`, false},
		{"duplicate by escape", `{"a":1,"\u0061":3}`, `duplicate key "a"`, false},
		{"duplicate in depth", `{"x":[{"a":{"b":1,"b":1}}]}`, `duplicate key "b"`, false},
		{"duplicate among many", many + `,"kx":1}`, `duplicate key "kx"`, false},
		{"lone surrogates", `{"\ud800":1,"\ud801":2}`, "escape that means nothing", false},
		{"not UTF-8", "{\"a\":\"\xff\"}", "not UTF-8", false},
		{"huge number", `{"a":1e999}`, "too large", false},
		{"long number", `1` + strings.Repeat("0", 64), "more than 64 characters", false},
		{"leading zero", `{"a":01}`, "no number", false},
		{"data behind", `{} {}`, "data after the document", false},
		{"nothing", ``, "no value", false},
		{"control character", "\"a\nb\"", "control character", false},
		{"open string", `{"a`, "does not end", false},
		{"open escape", `"\`, "does not end", false},
		{"comma at the end", `{"a":1,}`, "no key", false},
		{"comma at the end of an array", `[1,]`, "no value", false},
		{"depth", strings.Repeat("[", 70) + strings.Repeat("]", 70), "deeper than 64", true},
		{"size", `"` + strings.Repeat("a", 2000) + `"`, "at most 1500", true},
		{"values", `[1` + strings.Repeat(",1", 80) + `]`, "more than 80 values", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.doc), Limits{Bytes: 1500, Values: 80})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one with %q", err, test.want)
			}
			if errors.Is(err, ErrLimit) != test.limit || errors.Is(err, ErrInvalid) == test.limit {
				t.Errorf("%v is of the wrong sort", err)
			}
		})
	}
}

func TestValue(t *testing.T) {
	const doc = ` { "a" : {"b\n": [ 1 , "x\"y" , {"c":true} , null , -2.5e3 ]} , "n": null, "big": 12, "\u0073":"s", "r":"\ufffd" } `
	v, err := Parse([]byte(doc), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for e := range v.Get("a", "b\n").Elements() {
		texts = append(texts, e.Text())
	}
	if diff := cmp.Diff([]string{"1", `x"y`, `{"c":true}`, "", "-2.5e3"}, texts); diff != "" {
		t.Error(diff)
	}
	if n, ok := v.Get("big").Int(); n != 12 || !ok {
		t.Errorf("big is %d, %v", n, ok)
	}
	if v.Get("s").String() != "s" || v.Get("n").Exists() || v.Get("A").Exists() || v.Get("s", "t").Exists() || v.Len() != 5 {
		t.Error("looking up a key went wrong")
	}
	if err := v.Exact("a", "Big"); err == nil || !strings.Contains(err.Error(), `"big" differs from "Big"`) {
		t.Errorf("Exact: %v", err)
	}
}

// FuzzParse holds Parse against encoding/json: what it takes is valid, says
// the same there, and walks to its end.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,{"b":"\u00e9\ud83d\ude00"}],"c":null}`, `[]`, `"\\"`, ` -0 `, `{"a":1,"a":2}`, `{"\ud800":0}`, `[tru]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := Parse(raw, Limits{})
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("took %q, which is no JSON", raw)
		}
		var out bytes.Buffer
		write(&out, v)
		var got, want any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("walking %q gave %q: %v", raw, out.Bytes(), err)
		}
		if err := json.Unmarshal(raw, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// write renders v by walking it.
func write(out *bytes.Buffer, v Value) {
	comma := ""
	switch {
	case v.IsObject():
		out.WriteByte('{')
		for k, field := range v.Fields() {
			key, _ := json.Marshal(k)
			out.WriteString(comma + string(key) + ":")
			write(out, field)
			comma = ","
		}
		out.WriteByte('}')
	case v.IsArray():
		out.WriteByte('[')
		for e := range v.Elements() {
			out.WriteString(comma)
			write(out, e)
			comma = ","
		}
		out.WriteByte(']')
	case v.IsString():
		text, _ := json.Marshal(v.String())
		out.Write(text)
	default:
		out.Write(v.Raw())
	}
}

func BenchmarkParse(b *testing.B) {
	doc := []byte(`{"a":[` + strings.Repeat(`{"name":"package","version":"1.2.3","purl":"pkg:npm/a@1"},`, 100) + `0]}`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := Parse(doc, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
