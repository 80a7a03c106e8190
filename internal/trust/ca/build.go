package ca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/sigstore/fulcio/pkg/certificate"
)

// build is a principal that a CI system vouches for.
type build struct {
	subject string
	name    *url.URL
	ext     certificate.Extensions
}

// Name is the challenge that a caller signs.
func (b build) Name(context.Context) string { return b.subject }

// Embed writes the build into a certificate.
func (b build) Embed(_ context.Context, cert *x509.Certificate) error {
	cert.URIs = []*url.URL{b.name}
	var err error
	cert.ExtraExtensions, err = b.ext.Render()
	return err
}

// builds say which claims of a CI system make which extensions. They are those
// that Sigstore's public authority makes, so that the same policy fits both.
// Where repositories are is not a claim: a token cannot choose it.
var builds = map[Kind]func(site string, c *claimed) (name string, ext certificate.Extensions){
	GitHub: githubBuild, GitLab: gitlabBuild, Jenkins: jenkinsBuild,
}

// claimed are the claims of a token as text, and which of them were missed.
type claimed struct {
	all     map[string]any
	missing []string
}

// get returns a claim that must be there.
func (c *claimed) get(name string) string {
	v := c.maybe(name)
	if v == "" && !slices.Contains(c.missing, name) {
		c.missing = append(c.missing, name)
	}
	return v
}

// maybe returns a claim, or "".
func (c *claimed) maybe(name string) string {
	switch v := c.all[name].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

func githubBuild(site string, c *claimed) (string, certificate.Extensions) {
	signer, repository, run := site+"/"+c.get("job_workflow_ref"), site+"/"+c.get("repository"), c.get("run_id")
	return signer, certificate.Extensions{
		GithubWorkflowTrigger:               c.get("event_name"),
		GithubWorkflowSHA:                   c.get("sha"),
		GithubWorkflowName:                  c.get("workflow"),
		GithubWorkflowRepository:            c.get("repository"),
		GithubWorkflowRef:                   c.get("ref"),
		BuildSignerURI:                      signer,
		BuildSignerDigest:                   c.get("job_workflow_sha"),
		RunnerEnvironment:                   c.get("runner_environment"),
		SourceRepositoryURI:                 repository,
		SourceRepositoryDigest:              c.get("sha"),
		SourceRepositoryRef:                 c.get("ref"),
		SourceRepositoryIdentifier:          c.get("repository_id"),
		SourceRepositoryOwnerURI:            site + "/" + c.get("repository_owner"),
		SourceRepositoryOwnerIdentifier:     c.get("repository_owner_id"),
		BuildConfigURI:                      site + "/" + c.get("workflow_ref"),
		BuildConfigDigest:                   c.get("workflow_sha"),
		BuildTrigger:                        c.get("event_name"),
		RunInvocationURI:                    repository + "/actions/runs/" + run + "/attempts/" + c.get("run_attempt"),
		SourceRepositoryVisibilityAtSigning: c.get("repository_visibility"),
		DeploymentEnvironment:               c.maybe("environment"),
	}
}

func gitlabBuild(site string, c *claimed) (string, certificate.Extensions) {
	signer, project := "https://"+c.get("ci_config_ref_uri"), site+"/"+c.get("project_path")
	ref := "refs/tags/" + c.get("ref")
	if c.get("ref_type") == "branch" {
		ref = "refs/heads/" + c.get("ref")
	}
	return signer, certificate.Extensions{
		BuildSignerURI:                      signer,
		BuildSignerDigest:                   c.maybe("ci_config_sha"), // absent where the pipeline is of another instance
		RunnerEnvironment:                   c.get("runner_environment"),
		SourceRepositoryURI:                 project,
		SourceRepositoryDigest:              c.get("sha"),
		SourceRepositoryRef:                 ref,
		SourceRepositoryIdentifier:          c.get("project_id"),
		SourceRepositoryOwnerURI:            site + "/" + c.get("namespace_path"),
		SourceRepositoryOwnerIdentifier:     c.get("namespace_id"),
		BuildConfigURI:                      signer,
		BuildConfigDigest:                   c.maybe("ci_config_sha"),
		BuildTrigger:                        c.get("pipeline_source"),
		RunInvocationURI:                    project + "/-/jobs/" + c.get("job_id"),
		SourceRepositoryVisibilityAtSigning: c.get("project_visibility"),
		DeploymentEnvironment:               c.maybe("environment"),
	}
}

// jenkinsBuild takes the job's URL for what signs; its host was checked.
func jenkinsBuild(_ string, c *claimed) (string, certificate.Extensions) {
	job := c.get("sub")
	run := job
	if n := c.maybe("build_number"); n != "" {
		run = strings.TrimSuffix(job, "/") + "/" + n + "/"
	}
	return job, certificate.Extensions{BuildSignerURI: job, BuildConfigURI: job, RunInvocationURI: run}
}

// newBuild makes a principal of the token of a CI system.
func newBuild(kind Kind, site string, t *oidc.IDToken) (build, error) {
	var raw json.RawMessage
	c := claimed{}
	if err := t.Claims(&raw); err != nil {
		return build{}, err
	}
	if err := json.Unmarshal(raw, &c.all); err != nil {
		return build{}, err
	}
	name, ext := builds[kind](site, &c)
	if len(c.missing) > 0 {
		return build{}, fmt.Errorf("it has no %s", strings.Join(c.missing, ", "))
	}
	u, err := url.Parse(name)
	if err != nil || u.Host == "" {
		return build{}, fmt.Errorf("%.200q is no URL", name)
	}
	if at, err := url.Parse(site); err != nil || u.Host != at.Host || u.User != nil {
		return build{}, fmt.Errorf("%.200q is not on %s, where the repositories of this issuer are (site)", name, site)
	}
	ext.Issuer, ext.Subject = t.Issuer, t.Subject
	return build{subject: t.Subject, name: u, ext: ext}, nil
}
