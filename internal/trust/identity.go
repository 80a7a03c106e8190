package trust

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Server is the URL that the server is known by to those who verify what it
// signs: where it was when it was made, or https://ORIGIN where that was another
// host. It never changes, as the origin does not, wherever the server moves to.
func (i *Instance) Server() string {
	if s := i.now.Load().rec.Server; s != "" {
		return s
	}
	return i.o.URL // it was made before that was recorded
}

func (o Options) server() string {
	if u, err := url.Parse(o.URL); err == nil && u.Hostname() == o.Origin {
		return o.URL
	}
	return "https://" + o.Origin
}

// PathServer ends the identity of a server.
const PathServer = "/server"

// IdentityOf is what the certificates of a server's own say, by the URL that it
// is known by: who signed, and the issuer that vouches for that.
func IdentityOf(server string) (subject, issuer string) {
	server = strings.TrimSuffix(server, "/")
	return server + PathServer, server + PathOIDC
}

// ServerIn returns the URL that a server is known by, as its trusted_root.json
// says it.
func ServerIn(trustedRoot []byte) (string, error) {
	var doc struct {
		CertificateAuthorities []struct {
			URI string `json:"uri"`
		} `json:"certificateAuthorities"`
	}
	if err := json.Unmarshal(trustedRoot, &doc); err != nil {
		return "", fmt.Errorf("reading the trusted root: %v", err)
	}
	server := ""
	for _, ca := range doc.CertificateAuthorities {
		url, ok := strings.CutSuffix(ca.URI, PathFulcio)
		if !ok || server != "" && url != server {
			return "", errors.New("the trusted root does not say whose it is: name the server")
		}
		server = url
	}
	if server == "" {
		return "", errors.New("the trusted root has no certificate authority")
	}
	return server, nil
}
