package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// Sizes of pages when the client does not say, and the most a referrers page
// holds: clients read no index larger than a manifest may be.
const (
	defaultTags      = maxN
	defaultReferrers = 100
	defaultCatalog   = 100
	referrersBytes   = oci.MaxManifest
)

// page is the page that the client asked for, and how to go on.
func (c *call) page(limit int) repo.Page {
	n := c.N
	if n < 0 {
		n = limit
	}
	// One more than is shown tells whether there is a next page.
	return repo.Page{After: c.Last, Limit: min(n+1, maxN)}
}

// next adds the Link to the page after last (RFC 8288, relation "next").
func (c *call) next(path, last string, n int) {
	q := url.Values{"last": {last}, "n": {strconv.Itoa(n)}}
	if c.ArtifactType != "" {
		q.Set("artifactType", c.ArtifactType)
	}
	c.w.Header().Set("Link", "<"+path+"?"+q.Encode()+`>; rel="next"`)
}

func (c *call) writeJSON(mediaType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	c.w.Write(b)
	return nil
}

type tagsBody struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

func (c *call) tagsList() error {
	v, err := c.read()
	if err != nil {
		return err
	}
	page := c.page(defaultTags)
	if c.N == 0 {
		// "When n is zero, this endpoint MUST return an empty list, and MUST NOT
		// include a Link header." Whether the repository exists is still asked.
		page.Limit = 1
	}
	tags, err := c.o.Reader.Tags(c.r.Context(), c.Repository, v, page)
	if errors.Is(err, repo.ErrNotFound) {
		return &fault{http.StatusNotFound, nameUnknown, "no repository " + c.Repository.String(), ""}
	}
	if err != nil {
		return err
	}
	switch shown := page.Limit - 1; {
	case c.N == 0:
		tags = nil
	case len(tags) > shown:
		tags = tags[:shown]
		c.next("/v2/"+c.Repository.String()+"/tags/list", tags[shown-1], shown)
	}
	if tags == nil {
		tags = []string{}
	}
	return c.writeJSON("application/json", tagsBody{c.Repository.String(), tags})
}

type referrersBody struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	Manifests     []oci.Descriptor `json:"manifests"`
}

// referrersList lists what speaks about a digest. A subject that is not there
// has no referrers, which is no error (distribution specification 1.1,
// "Listing Referrers").
func (c *call) referrersList() error {
	v, err := c.read()
	if err != nil {
		return err
	}
	page := c.page(defaultReferrers)
	found, err := c.o.Reader.Referrers(c.r.Context(), c.Repository, c.Digest, c.ArtifactType, v, page)
	if err != nil && !errors.Is(err, repo.ErrNotFound) {
		return err
	}
	if c.ArtifactType != "" {
		c.w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	shown := fits(found, page.Limit-1)
	if c.N != 0 && len(found) > shown {
		c.next("/v2/"+c.Repository.String()+"/referrers/"+c.Digest.String(), found[shown-1].Digest.String(), page.Limit-1)
	}
	body := referrersBody{2, oci.MediaTypeIndex, append([]oci.Descriptor{}, found[:shown]...)}
	return c.writeJSON(oci.MediaTypeIndex, body)
}

// fits returns how many of ds one answer shows: at most n, and no more than
// stay under referrersBytes together, though always one.
func fits(ds []oci.Descriptor, n int) int {
	bytes := 0
	for i := range ds {
		bytes += size(&ds[i])
		if i >= n || i > 0 && bytes > referrersBytes {
			return i
		}
	}
	return len(ds)
}

type catalogBody struct {
	Repositories []string `json:"repositories"`
}

// catalogReads bounds how many repositories one request looks at to find those
// that the caller may know of; after that it says how to go on.
const catalogReads = 20_000

// catalog lists the repositories in which the caller may pull. The endpoint is
// Docker's, and has a scope of its own: a token for it covers all of them.
func (c *call) catalog() error {
	p := c.p
	if p.Scope != nil {
		if !covers(p.Scope, authz.Pull) {
			_, refusal := authz.Check(p, authz.Pull, oci.Repository{}, nil)
			return &loginError{cause: refusal}
		}
		p.Scope = nil
	}
	if p.IsAnonymous() && c.o.Open == nil {
		return &loginError{}
	}
	n := c.N
	if n < 0 {
		n = defaultCatalog
	}
	names, more, err := c.repositories(c.o.Sight(p), n)
	if err != nil {
		return err
	}
	if more != "" && n > 0 {
		c.next("/v2/_catalog", more, n)
	}
	return c.writeJSON("application/json", catalogBody{names})
}

// covers reports whether a token was issued for verb on the server as a whole.
func covers(scope []authz.Scope, verb authz.Verb) bool {
	for _, s := range scope {
		if s.Repository.IsZero() {
			for _, v := range s.Verbs {
				if v == verb {
					return true
				}
			}
		}
	}
	return false
}

// repositories returns n names that s may see, and after which there is, or
// may be, more.
func (c *call) repositories(s repo.Sight, n int) (names []string, more string, err error) {
	names = []string{}
	page := repo.Page{After: c.Last, Limit: 1000}
	for read := 0; read < catalogReads; {
		rs, err := c.o.Reader.Repositories(c.r.Context(), page)
		if err != nil && !errors.Is(err, repo.ErrNotFound) {
			return nil, "", err
		}
		for _, r := range rs {
			if v, ok := s(r); ok && !v.Own { // whether it has brought something there is not looked up
				if len(names) == n {
					return names, page.After, nil
				}
				names = append(names, r.String())
			}
			page.After = r.String()
		}
		if len(rs) < page.Limit {
			return names, "", nil
		}
		read += len(rs)
	}
	return names, page.After, nil
}
