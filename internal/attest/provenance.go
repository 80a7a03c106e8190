package attest

import (
	"errors"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// provenanceV02 reads https://slsa.dev/spec/v0.2/provenance, as Tekton Chains,
// BuildKit and slsa-github-generator write it.
func (f *facts) provenanceV02(p strictjson.Value) error {
	builder := f.text(p.Get("builder", "id"))
	if !p.Get("builder", "id").IsString() { // BuildKit's is empty where it was not told one
		return errors.New("builder.id is missing")
	}
	invocation := p.Get("invocation")
	config := invocation.Get("configSource")
	meta := p.Get("metadata")
	pr := &evidence.Provenance{
		Builder: builder, BuildType: f.text(p.Get("buildType")),
		EntryPoint: f.text(config.Get("entryPoint")),
		Invocation: f.text(meta.Get("buildInvocationId")),
		Parameters: f.parameters(invocation.Get("parameters")),
		Materials:  f.materials(p.Get("materials")),
		Started:    moment(meta.Get("buildStartedOn")), Finished: moment(meta.Get("buildFinishedOn")),
	}
	if pr.Invocation == "" {
		pr.Invocation = f.text(meta.Get("buildInvocationID")) // some writers before the field had its name
	}
	f.Kind, f.Provenance = evidence.KindProvenance, pr
	if source := f.material(config); source.URI != "" {
		setSource(pr, source)
	} else {
		onlySource(pr) // Tekton Chains, for pipelines that stand in the cluster
	}
	return nil
}

// provenanceV1 reads https://slsa.dev/spec/v1.2/build-provenance. Where the
// source stands depends on the build type; what is not one of the known places
// is left to the parameters.
func (f *facts) provenanceV1(p strictjson.Value) error {
	build, run := p.Get("buildDefinition"), p.Get("runDetails")
	builder := f.text(run.Get("builder", "id"))
	if !run.Get("builder", "id").IsString() {
		return errors.New("runDetails.builder.id is missing")
	}
	external := build.Get("externalParameters")
	meta := run.Get("metadata")
	pr := &evidence.Provenance{
		Builder: builder, BuildType: f.text(build.Get("buildType")),
		Invocation: f.text(meta.Get("invocationId")),
		Parameters: f.parameters(external),
		Materials:  f.materials(build.Get("resolvedDependencies")),
		Started:    moment(meta.Get("startedOn")), Finished: moment(meta.Get("finishedOn")),
	}
	if pr.Invocation == "" {
		pr.Invocation = f.text(meta.Get("invocationID")) // BuildKit
	}
	f.Kind, f.Provenance = evidence.KindProvenance, pr
	f.sourceV1(build, external)
	return nil
}

// sourceV1 finds what was built from.
func (f *facts) sourceV1(build, external strictjson.Value) {
	pr := f.Provenance
	workflow, config, source := external.Get("workflow"), external.Get("configSource"), external.Get("source")
	switch {
	case workflow.Get("repository").IsString(): // GitHub Actions
		pr.EntryPoint = f.text(workflow.Get("path"))
		uri := f.text(workflow.Get("repository"))
		setSource(pr, evidence.Material{URI: uri, Digests: materialDigests(pr, uri)})
		if ref := f.text(workflow.Get("ref")); ref != "" {
			pr.Ref = ref
		}
	case config.IsObject(): // BuildKit
		pr.EntryPoint = f.text(config.Get("path"))
		setSource(pr, f.material(config))
	case source.IsObject(): // slsa-github-generator
		pr.EntryPoint = f.text(external.Get("configPath"))
		setSource(pr, f.material(source))
	default:
		onlySource(pr)
		f.tektonEntry(build, external)
	}
}

// tektonEntry finds the pipeline or task that Tekton ran: in its resolver's
// parameters, else in its reference.
func (f *facts) tektonEntry(build, external strictjson.Value) {
	if !strings.HasPrefix(f.Provenance.BuildType, "https://tekton.dev/") {
		return
	}
	spec := external.Get("runSpec")
	for _, name := range []string{"pipelineRef", "taskRef"} {
		ref := spec.Get(name)
		for param := range ref.Get("params").Elements() {
			if param.Get("name").String() == "pathInRepo" {
				f.Provenance.EntryPoint = f.text(param.Get("value"))
			}
		}
		if f.Provenance.EntryPoint == "" {
			f.Provenance.EntryPoint = f.text(ref.Get("name"))
		}
	}
}
