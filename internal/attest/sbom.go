package attest

import (
	"errors"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// sbom reads an SPDX or CycloneDX document, whatever its type URI calls it: the
// document itself says what it is.
func (f *facts) sbom(p strictjson.Value) error {
	if data := p.Get("Data"); data.Exists() { // cosign before 2
		p = data
	}
	if p.IsString() {
		return f.textSBOM(p.String())
	}
	switch {
	case p.Get("bomFormat").String() == "CycloneDX":
		if isCycloneVEX(p) {
			return f.vex(p)
		}
		f.cycloneDX(p)
	case strings.HasPrefix(p.Get("spdxVersion").String(), "SPDX-"):
		f.spdx2(p)
	case p.Get("@graph").IsArray():
		f.spdx3(p)
	default:
		return errors.New("it is neither SPDX nor CycloneDX")
	}
	f.Kind = evidence.KindSBOM
	return nil
}

// textSBOM reads a document inside a string: JSON, or SPDX tag-value.
func (f *facts) textSBOM(text string) error {
	if inner, err := strictjson.Parse([]byte(text), strictjson.Limits{Bytes: maxStatement}); err == nil && inner.IsObject() {
		return f.sbom(inner)
	}
	s := &evidence.SBOM{Format: "spdx"}
	for line := range strings.Lines(text) {
		tag, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch tag {
		case "SPDXVersion":
			s.Version = strings.TrimPrefix(value, "SPDX-")
		case "PackageName":
			s.Packages++
		case "Creator":
			if tool, ok := strings.CutPrefix(value, "Tool: "); ok && s.Tool == "" {
				s.Tool = tool
			}
		}
	}
	if s.Version == "" || len(s.Version) > maxType || len(s.Tool) > maxText {
		return errors.New("it is neither SPDX nor CycloneDX")
	}
	f.Kind, f.SBOM = evidence.KindSBOM, s
	return nil
}

func (f *facts) spdx2(p strictjson.Value) {
	s := &evidence.SBOM{Format: "spdx", Version: strings.TrimPrefix(f.text(p.Get("spdxVersion")), "SPDX-"), Packages: p.Get("packages").Len()}
	creation := p.Get("creationInfo")
	s.Created = moment(creation.Get("created"))
	for creator := range creation.Get("creators").Elements() {
		if tool, ok := strings.CutPrefix(f.text(creator), "Tool: "); ok {
			s.Tool = tool
			break
		}
	}
	f.SBOM = s
}

func (f *facts) spdx3(p strictjson.Value) {
	s := &evidence.SBOM{Format: "spdx"}
	for e := range p.Get("@graph").Elements() {
		switch e.Get("type").String() {
		case "software_Package":
			s.Packages++
		case "CreationInfo":
			s.Version, s.Created = f.text(e.Get("specVersion")), moment(e.Get("created"))
		case "Tool":
			s.Tool = f.text(e.Get("name"))
		}
	}
	f.SBOM = s
}

func (f *facts) cycloneDX(p strictjson.Value) {
	meta := p.Get("metadata")
	s := &evidence.SBOM{Format: "cyclonedx", Version: f.text(p.Get("specVersion")), Created: moment(meta.Get("timestamp")), Packages: p.Get("components").Len()}
	tools := meta.Get("tools")
	if inner := tools.Get("components"); inner.IsArray() { // 1.5
		tools = inner
	}
	for tool := range tools.Elements() {
		s.Tool = strings.TrimSuffix(f.text(tool.Get("name"))+"-"+f.text(tool.Get("version")), "-")
		break
	}
	f.SBOM = s
}
