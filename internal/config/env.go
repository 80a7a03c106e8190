package config

import (
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// envPrefix starts every variable. Fields at the top of the file are of the
// section SERVER: BONDED_SERVER_LISTEN, BONDED_TLS_CERT,
// BONDED_DATABASE_POSTGRES_URL_FILE. Lists of words are separated by commas;
// zones, gates, feeds, anchors and builders are for the file alone.
const (
	envPrefix = "BONDED_"
	envServer = "SERVER"
)

// EnvFile is the variable that names the configuration file where no flag does.
const EnvFile = envPrefix + envServer + "_CONFIG"

// variables turns "KEY=VALUE" entries into a map; the last of a name counts,
// and an empty one is as good as none.
func variables(env []string) map[string]string {
	m := make(map[string]string, len(env))
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && v != "" {
			m[k] = v
		} else {
			delete(m, k)
		}
	}
	return m
}

// defaultData is the data folder of who states none.
func defaultData(env map[string]string) Path {
	if dir := env["XDG_DATA_HOME"]; filepath.IsAbs(dir) {
		return Path(filepath.Join(dir, "bonded"))
	}
	return Path(filepath.Join(env["HOME"], ".local", "share", "bonded"))
}

// DefaultData is the data folder of a server in this environment that states
// none.
func DefaultData(env []string) Path { return defaultData(variables(env)) }

// variable is a field that the environment can set.
type variable struct {
	name  string
	value reflect.Value
}

// Variables lists the names of the variables that set a field, in the order of
// the fields.
func Variables() []string {
	c := withSections()
	var names []string
	for _, v := range fields(reflect.ValueOf(&c).Elem(), "") {
		names = append(names, v.name)
	}
	return names
}

// withSections returns a configuration in which every optional section is
// there.
func withSections() Config {
	return Config{Database: Database{SQLite: &SQLite{}, Postgres: &Postgres{}}, Content: Content{Disk: &Disk{}, S3: &S3{}}}
}

// fields returns the variables below a struct whose section is given.
func fields(v reflect.Value, section string) []variable {
	var vs []variable
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		key := strings.ToUpper(name)
		f := v.Field(i)
		if f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
		}
		switch {
		case f.Kind() == reflect.Struct:
			vs = append(vs, fields(f, strings.TrimPrefix(section+"_"+key, "_"))...)
		case section == "" && settable(f):
			vs = append(vs, variable{envPrefix + envServer + "_" + key, f})
		case settable(f):
			vs = append(vs, variable{envPrefix + section + "_" + key, f})
		}
	}
	return vs
}

func settable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return true
	case reflect.Slice:
		return v.Type().Elem().Kind() == reflect.String
	}
	return false
}

// overlay sets the fields that env names. A variable of one of our sections
// that sets nothing is a problem: it is misspelt.
func overlay(c *Config, env map[string]string) Problems {
	var ps Problems
	known := Variables()
	for _, name := range sortedKeys(env) {
		if !slices.Contains(known, name) {
			if section := sectionOf(name, known); section != "" && name != EnvFile {
				ps = append(ps, Problem{Field: name, Why: "names no field of section " + strings.ToLower(section) + " (bonded config show lists them)"})
			}
			continue
		}
		if err := set(lookup(c, name), env[name]); err != nil {
			ps = append(ps, Problem{Field: name, Why: err.Error()})
		}
	}
	return ps
}

// lookup returns the field of a known variable, adding the optional section it
// is in.
func lookup(c *Config, name string) reflect.Value {
	switch {
	case strings.HasPrefix(name, envPrefix+"DATABASE_SQLITE_") && c.Database.SQLite == nil:
		c.Database.SQLite = &SQLite{}
	case strings.HasPrefix(name, envPrefix+"DATABASE_POSTGRES_") && c.Database.Postgres == nil:
		c.Database.Postgres = &Postgres{}
	case strings.HasPrefix(name, envPrefix+"CONTENT_DISK_") && c.Content.Disk == nil:
		c.Content.Disk = &Disk{}
	case strings.HasPrefix(name, envPrefix+"CONTENT_S3_") && c.Content.S3 == nil:
		c.Content.S3 = &S3{}
	}
	vs := fields(reflect.ValueOf(c).Elem(), "")
	return vs[slices.IndexFunc(vs, func(v variable) bool { return v.name == name })].value
}

// sectionOf returns the section that a name claims to be in, "" when it is no
// variable of a server.
func sectionOf(name string, known []string) string {
	section, _, ok := strings.Cut(strings.TrimPrefix(name, envPrefix), "_")
	if !ok || !strings.HasPrefix(name, envPrefix) {
		return ""
	}
	for _, k := range known {
		if strings.HasPrefix(k, envPrefix+section+"_") {
			return section
		}
	}
	return ""
}

func set(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Kind() {
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", clip([]byte(text)))
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no whole number", clip([]byte(text)))
		}
		v.SetInt(int64(n))
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%q is no number", clip([]byte(text)))
		}
		v.SetFloat(n)
	case reflect.Slice:
		v.Set(reflect.ValueOf(splitList(text)))
	default:
		v.SetString(text)
	}
	return nil
}

// splitList splits at commas and drops blanks around and empty words.
func splitList(text string) []string {
	words := []string{}
	for _, w := range strings.Split(text, ",") {
		if w = strings.TrimSpace(w); w != "" {
			words = append(words, w)
		}
	}
	return words
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
