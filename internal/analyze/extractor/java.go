package extractor

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/google/osv-scalibr/extractor/filesystem/language/java/archive"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/groupid"

	"github.com/bonded-dev/bonded/internal/analyze"
	"github.com/bonded-dev/bonded/internal/inventory"
)

// java reads jars and what is built like them, and those inside: each
// pom.properties that Maven put there, else what the manifest and the name of
// the file say. What says neither is taken for somebody's own program.
//
// osv-scalibr's extractor is not used, as it reads manifests and inner archives
// without a limit; its tables are.
type java struct{}

func (java) Info() analyze.Info {
	return analyze.Info{Name: "java", Version: "1+scalibr" + scalibrVersion, Max: maxBinary, Key: path.Base}
}

func (java) Wants(name string, _ fs.FileMode) bool { return isJar(name) }

func isJar(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".jar", ".war", ".ear", ".hpi", ".jpi":
		return true
	}
	return false
}

func (java) Extract(ctx context.Context, f *analyze.File) ([]inventory.Package, error) {
	if f.Size == 0 {
		return nil, nil // a placeholder
	}
	j := jars{ctx: ctx}
	err := j.read(f.Path, f, f.Size, 1)
	return j.found, err
}

// jars collects what a jar and those in it yield.
type jars struct {
	ctx   context.Context
	found []inventory.Package
	bytes int64
}

func (j *jars) read(name string, r io.ReaderAt, size int64, depth int) error {
	if j.bytes += size; j.bytes > maxZipTotal || depth > maxZipDepth {
		return analyze.Reason("archives in archives, too deep or too large")
	}
	z, err := openZip(r, size)
	if err != nil {
		return err
	}
	var errs []error
	var main manifest
	before := len(j.found)
	for _, f := range z.File {
		if err := j.ctx.Err(); err != nil {
			return err
		}
		switch base := path.Base(f.Name); {
		case base == "pom.properties":
			errs = append(errs, j.pom(f))
		case strings.EqualFold(f.Name, "META-INF/MANIFEST.MF"):
			main, err = readManifest(f)
			errs = append(errs, err)
		}
	}
	if len(j.found) == before {
		j.guess(name, main)
	}
	for _, f := range z.File {
		if !isJar(f.Name) {
			continue
		}
		inner, size, err := zipInner(r, f)
		if err == nil && size > 0 {
			err = j.read(f.Name, inner, size, depth+1)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (j *jars) add(group, artifact, version string) {
	j.found = append(j.found, inventory.Package{Type: "maven", Namespace: group, Name: artifact, Version: version, Ecosystem: "Maven"})
}

// pom reads META-INF/maven/GROUP/ARTIFACT/pom.properties.
func (j *jars) pom(f *zip.File) error {
	text, err := zipText(f)
	if err != nil {
		return err
	}
	v := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, "="); ok {
			v[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	group, artifact, version := v["groupId"], v["artifactId"], v["version"]
	if isWord(group) && isWord(artifact) && isWord(version) {
		j.add(group, artifact, version)
	}
	return nil
}

// guess names a jar without pom.properties: "commons-io-2.6.jar" tells artifact
// and version, the manifest mostly the group.
func (j *jars) guess(name string, m manifest) {
	artifact, version := m.artifact(), m.version()
	fileGroup := ""
	if p := archive.ParseFilename(name); p != nil {
		artifact, version, fileGroup = p.ArtifactID, p.Version, strings.ToLower(p.GroupID)
	}
	if artifact == "" || version == "" {
		return
	}
	for _, group := range []string{groupid.FromArtifactID(artifact), m.group(), fileGroup, artifact} {
		if group != "" { // the last as projects from before the convention are named
			j.add(group, artifact, version)
			return
		}
	}
}

// manifest is the main section of MANIFEST.MF.
type manifest map[string]string

// readManifest reads "Key: value" lines up to the first empty one; a line that
// begins with a space goes on with the one before.
func readManifest(f *zip.File) (manifest, error) {
	text, err := zipText(f)
	if err != nil {
		return nil, err
	}
	m, last := manifest{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if more, ok := strings.CutPrefix(line, " "); ok {
			m[last] += more
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		last = strings.ToLower(key)
		m[last] = strings.TrimSpace(value)
	}
	return m, nil
}

// first returns the first of the values that is one word.
func (m manifest) first(keys ...string) string {
	for _, key := range keys {
		value, _, _ := strings.Cut(m[key], ";") // OSGi directives
		if isWord(value) {
			return value
		}
	}
	return ""
}

func (m manifest) group() string {
	return strings.ToLower(m.first("bundle-symbolicname", "implementation-vendor-id", "extension-name", "automatic-module-name"))
}

func (m manifest) artifact() string {
	return m.first("implementation-title", "specification-title", "bundle-name", "short-name", "extension-name")
}

func (m manifest) version() string {
	v := m.first("implementation-version", "bundle-version", "specification-version")
	return v
}

// isWord reports whether s can be part of a Maven name or version: not empty,
// one word, and nothing that a build has left unresolved.
func isWord(s string) bool {
	return s != "" && !strings.ContainsAny(s, " \t:/") && s[0] != '$' && s[0] != '%'
}
