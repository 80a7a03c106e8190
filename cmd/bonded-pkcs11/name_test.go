package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func environment(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestParseName(t *testing.T) {
	two := 2
	vars := environment(map[string]string{"BONDED_PKCS11_MODULE": "/lib/m.so", "BONDED_PKCS11_PIN_FILE": "/run/pin"})
	for _, tt := range []struct {
		name string
		want keyName
		text string
	}{
		{"token=parts;object=root", keyName{Token: "parts", Object: "root", Module: "/lib/m.so", PINFile: "/run/pin"}, "token=parts;object=root"},
		{"object=root;token=my%20HSM;type=private", keyName{Token: "my HSM", Object: "root", Module: "/lib/m.so", PINFile: "/run/pin"}, "token=my HSM;object=root"},
		{"serial=4f;id=%01%ff", keyName{Serial: "4f", ID: []byte{1, 255}, Module: "/lib/m.so", PINFile: "/run/pin"}, "serial=4f;id=01ff"},
		{"slot-id=2;object=a%3bb?module-path=/opt/x.so&pin-source=file:/etc/pin", keyName{Slot: &two, Object: "a;b", Module: "/opt/x.so", PINFile: "/etc/pin"}, "slot-id=2;object=a;b"},
	} {
		got, err := parseName(tt.name, vars)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(keyName{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if got.String() != tt.text {
			t.Errorf("%s: for people it is %s", tt.name, got)
		}
	}
}

func TestParseNameRefuses(t *testing.T) {
	for name, want := range map[string]string{
		"":                                             "exactly one of token",
		"token=x":                                      "needs object=LABEL",
		"object=x":                                     "exactly one of token",
		"token=x;serial=1;object=":                     `"object=" in the name`,
		"token=x;serial=1;object=y":                    "exactly one of token",
		"token=x;token=x;object=y":                     "token twice",
		"token=%zz;object=y":                           "is no NAME=VALUE",
		"token;object=y":                               "is no NAME=VALUE",
		"token=%00;object=y":                           "token in the name of the key is no text",
		"token=x;object=%ff":                           "object in the name of the key is no text",
		"token=x;object=y;type=public":                 "want a private one",
		"token=x;object=y;model=z":                     `"model" in the name of the key is not known`,
		"slot-id=-1;object=y":                          "no number of a slot",
		"token=x;object=y?pin-value=1234":              "has a PIN",
		"token=x;object=y?pin-source=/etc/pin":         "want file:/PATH",
		"token=x;object=y?pin-source=file:pin":         "is no absolute path",
		"token=x;object=y?module-path=m.so":            "is no absolute path",
		"token=x;object=y?x=y":                         `"x" in the name of the key is not known`,
		"token=x;object=" + strings.Repeat("y", 1<<11): "may have 1024",
	} {
		_, err := parseName(name, environment(map[string]string{"BONDED_PKCS11_MODULE": "/lib/m.so"}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", name, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "1234") {
			t.Errorf("the error has the PIN: %v", err)
		}
	}
	if _, err := parseName("token=x;object=y", environment(nil)); err == nil || !strings.Contains(err.Error(), "BONDED_PKCS11_MODULE") {
		t.Errorf("without a library: %v", err)
	}
}

func TestPIN(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, tt := range []struct {
		what string
		vars map[string]string
		want string
		err  string
	}{
		{"a file", map[string]string{"BONDED_PKCS11_PIN_FILE": write("good", "1234\n", 0o600)}, "1234", ""},
		{"a file that a service manager made", map[string]string{"BONDED_PKCS11_PIN_FILE": write("ro", "1234", 0o400)}, "1234", ""},
		{"a file before the environment", map[string]string{"BONDED_PKCS11_PIN_FILE": filepath.Join(dir, "good"), "BONDED_PKCS11_PIN": "5678"}, "1234", ""},
		{"the environment", map[string]string{"BONDED_PKCS11_PIN": "5678"}, "5678", ""},
		{"nothing", nil, "", "no PIN was given"},
		{"a file for all", map[string]string{"BONDED_PKCS11_PIN_FILE": write("open", "1234", 0o644)}, "", "can be read by others"},
		{"an empty file", map[string]string{"BONDED_PKCS11_PIN_FILE": write("empty", "\n", 0o600)}, "", "is empty"},
		{"a file without an end", map[string]string{"BONDED_PKCS11_PIN_FILE": write("long", strings.Repeat("1", 1000), 0o600)}, "", "may have 256"},
		{"a folder", map[string]string{"BONDED_PKCS11_PIN_FILE": dir}, "", "no regular file"},
		{"no file", map[string]string{"BONDED_PKCS11_PIN_FILE": dir + "/none", "BONDED_PKCS11_PIN": "5678"}, "", "no such file"},
	} {
		tt.vars = with(tt.vars, "BONDED_PKCS11_MODULE", "/lib/m.so")
		k, err := parseName("token=x;object=y", environment(tt.vars))
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.readPIN()
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v", tt.what, got, err)
		}
	}
}

func with(vars map[string]string, name, value string) map[string]string {
	out := map[string]string{name: value}
	for k, v := range vars {
		out[k] = v
	}
	return out
}

// FuzzParseName: what is taken names one token and a key, and shows no PIN.
func FuzzParseName(f *testing.F) {
	f.Add("token=parts;object=root")
	f.Add("slot-id=2;id=%01?module-path=/opt/x.so&pin-source=file:/etc/pin")
	f.Fuzz(func(t *testing.T, name string) {
		k, err := parseName(name, environment(nil))
		if err != nil {
			return
		}
		if !filepath.IsAbs(k.Module) || k.Object == "" && len(k.ID) == 0 {
			t.Errorf("%q was taken as %+v", name, k)
		}
		if strings.Contains(name, "pin-value=") && !strings.Contains(k.Object+k.Token+k.Serial+string(k.ID)+k.Module+k.PINFile, "pin-value=") {
			t.Errorf("%q has a PIN and was taken", name)
		}
	})
}
