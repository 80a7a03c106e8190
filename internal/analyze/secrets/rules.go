package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// rule says what one kind of credential looks like.
type rule struct {
	id string
	// begins are the texts that it begins with, at least four bytes each and at
	// most behind.
	begins []string
	// within says that its beginning may stand inside a word.
	within bool
	// pattern is anchored at the beginning. Its first group is the secret, else
	// all of it. It sees window bytes.
	pattern *regexp.Regexp
	window  int
	// near stands in the first 64 bytes of what the pattern matches; it is looked
	// for before the pattern is asked. Optional.
	near []byte
	sieve
	// clean returns the secret without what it is wrapped in, nil when it is none.
	// Optional.
	clean func([]byte) []byte
}

// sieve sorts out what is no secret.
type sieve struct {
	entropy float64 // least, in bits a byte
	chosen  bool    // people choose it: there is no fingerprint, as it could be guessed by it
	known   bool    // what stands for a secret in examples is looked for
}

// keeps reports whether it is a secret as far as one can see.
func (s *sieve) keeps(secret []byte) bool {
	return entropy(secret) >= s.entropy && !(s.known && isExample(secret))
}

// beginning compiles the pattern of a rule.
func beginning(text string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + text + `)`) }

// token makes a rule for what a service makes up itself: a beginning of its own
// and random characters.
func token(id string, least float64, pattern string, begins ...string) rule {
	return rule{id: id, begins: begins, pattern: beginning(pattern), window: 512, sieve: sieve{entropy: least, known: true}}
}

// assigned makes a rule for a random text that is given to a name.
func assigned(id string, least float64, value string, names ...string) rule {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = regexp.QuoteMeta(n)
	}
	pattern := `(?:` + strings.Join(quoted, "|") + `)["']?\s{0,4}(?:=>|:=|[:=,])\s{0,4}["']?` + value
	return rule{id: id, begins: names, within: true, pattern: beginning(pattern), window: 512, sieve: sieve{entropy: least, known: true}}
}

// The rules are compiled when they are first asked: most commands never ask.

// contentRules are those of secrets that are known by their form, wherever they
// stand.
var contentRules = sync.OnceValue(func() []rule {
	return []rule{
		{
			id: "private-key", begins: []string{"-----BEGIN "}, within: true, near: []byte("PRIVATE KEY"), window: ahead, clean: keyBody, sieve: sieve{entropy: 4},
			pattern: beginning(`-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----((?:[^-]|-[^-])*?)-----END `),
		},
		{
			id: "private-key", begins: []string{"PuTTY-User-Key-File-"}, window: ahead, sieve: sieve{entropy: 4},
			pattern: beginning(`PuTTY-User-Key-File-[23]: [^\x00]*?Private-Lines: \d{1,3}\s+([A-Za-z0-9+/=\s]{60,})`),
		},
		{
			id: "gcp-service-account", begins: []string{`"private_key"`}, within: true, window: ahead, clean: keyBody, sieve: sieve{entropy: 4},
			pattern: beginning(`"private_key"\s*:\s*"-----BEGIN (?:RSA )?PRIVATE KEY-----((?:[^-]|-[^-])*?)-----END `),
		},
		token("age-key", 3.5, `(AGE-SECRET-KEY-1[A-Z0-9]{58})\b`, "AGE-SECRET-KEY-1"),

		token("aws-access-key", 3, `(AKIA[A-Z2-7]{16})(?:[^A-Za-z0-9_/+=]|$)`, "AKIA"),
		assigned("aws-secret-key", 4.2, `([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)`,
			"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "aws_secret_key", "AWS_SECRET_KEY", "SecretAccessKey", "secretAccessKey", "secret_access_key"),
		token("gcp-oauth-secret", 3.5, `(GOCSPX-[A-Za-z0-9_-]{28})\b`, "GOCSPX-"),
		assigned("azure-storage-key", 4.5, `([A-Za-z0-9+/]{86}==)`, "AccountKey"),
		assigned("azure-shared-key", 4, `([A-Za-z0-9+/]{43}=)`, "SharedAccessKey"),
		assigned("azure-client-secret", 3.5, `([A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34})(?:[^A-Za-z0-9_~.-]|$)`,
			"AZURE_CLIENT_SECRET", "ARM_CLIENT_SECRET", "client_secret", "clientSecret", "ClientSecret"),

		token("github-token", 3.5, `(gh[pousr]_[A-Za-z0-9]{36})(?:[^A-Za-z0-9_]|$)`, "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
		token("github-token", 3.5, `(github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})(?:[^A-Za-z0-9_]|$)`, "github_pat_"),
		token("gitlab-token", 3, `(gl(?:pat|dt|rt|cbt|ptt|soat|ft)-[A-Za-z0-9_.-]{20,100})`, "glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glsoat-", "glft-"),
		token("slack-token", 3, `(xox[abprs]-(?:\d+-)?[A-Za-z0-9-]{20,200})`, "xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-"),
		token("slack-token", 3, `(xapp-\d-[A-Z0-9]{8,14}-\d{10,14}-[a-f0-9]{64})`, "xapp-"),
		token("slack-webhook", 3, `hooks\.slack\.com/services/(T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{24})`, "hooks.slack.com/services/"),
		token("npm-token", 3.5, `(npm_[A-Za-z0-9]{36})(?:[^A-Za-z0-9_]|$)`, "npm_"),
		assigned("npm-token", 3, `([A-Za-z0-9_.+/=-]{20,200})`, ":_authToken"),
		token("pypi-token", 4, `(pypi-AgE[A-Za-z0-9_-]{70,250})`, "pypi-AgE"),
		token("docker-token", 3.5, `(dckr_[op]at_[A-Za-z0-9_-]{27,40})`, "dckr_pat_", "dckr_oat_"),
		{
			id: "docker-auth", begins: []string{`"auths"`}, within: true, window: 4096, sieve: sieve{entropy: 2.5, chosen: true, known: true},
			pattern: beginning(`"auths"\s*:\s*\{[^{}]*\{[^{}]*"(?:auth|identitytoken|password)"\s*:\s*"([A-Za-z0-9+/=._-]{12,})"`),
		},
		{
			id: "kubernetes-key", begins: []string{"client-key-data"}, within: true, window: ahead, sieve: sieve{entropy: 4},
			pattern: beginning(`client-key-data["']?\s*:\s*["']?(LS0tLS1CRUdJTi[A-Za-z0-9+/=]{100,})`),
		},
		{
			id: "bearer-token", within: true, window: 4096, clean: jwt, sieve: sieve{entropy: 4, known: true},
			begins:  []string{"Bearer eyJ", "bearer eyJ", `TOKEN=eyJ`, `TOKEN="eyJ`, `token=eyJ`, `token: eyJ`, `token": "eyJ`, `token":"eyJ`, `Token": "eyJ`, `Token":"eyJ`, `token: "eyJ`},
			pattern: beginning(`[A-Za-z]+["']?(?: |=|: ?)["']?(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})`),
		},

		token("vault-token", 4, `(hv[sb]\.[A-Za-z0-9_-]{24,200})`, "hvs.", "hvb."),
		token("digitalocean-token", 3, `(do[opr]_v1_[a-f0-9]{64})`, "dop_v1_", "doo_v1_", "dor_v1_"),
		token("stripe-key", 3.5, `([sr]k_live_[A-Za-z0-9]{20,247})`, "sk_live_", "rk_live_"),
		token("openai-key", 4, `(sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200})`, "sk-proj-", "sk-svcacct-", "sk-admin-"),
		token("anthropic-key", 4, `(sk-ant-(?:api|admin)\d\d-[A-Za-z0-9_-]{80,120})`, "sk-ant-a"),
		token("rubygems-key", 3, `(rubygems_[a-f0-9]{48})\b`, "rubygems_"),
		token("grafana-token", 3.5, `(gl(?:sa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|c_[A-Za-z0-9+/]{50,400}=*))`, "glsa_", "glc_eyJ"),
	}
})

// fileRule says what a file holds that is known by its name.
type fileRule struct {
	id      string
	bases   []string // of the path
	ends    []string // of the path, from a component on
	pattern *regexp.Regexp
	sieve
}

func (r *fileRule) isNamed(name string) bool {
	return slices.Contains(r.bases, path.Base(name)) ||
		slices.ContainsFunc(r.ends, func(end string) bool { return strings.HasSuffix("/"+name, "/"+end) })
}

// chosen is the sieve of what people choose.
var chosen = sieve{chosen: true, known: true}

var namedRules = sync.OnceValue(func() []fileRule {
	return []fileRule{
		{id: "netrc", bases: []string{".netrc", "_netrc"}, pattern: regexp.MustCompile(`\bpassword\s+(\S+)`), sieve: chosen},
		{id: "pgpass", bases: []string{".pgpass", "pgpass.conf"}, pattern: regexp.MustCompile(`(?m)^[^#\s:][^\n:]*:[^\n:]*:[^\n:]*:[^\n:]*:([^\n]+)$`), sieve: chosen},
		{id: "git-credentials", bases: []string{".git-credentials"}, pattern: regexp.MustCompile(`(?m)^https?://[^\s:/]*:([^\s@]+)@`), sieve: chosen},
		{
			id: "docker-auth", bases: []string{".dockercfg", ".dockerconfigjson"}, ends: []string{".docker/config.json", "containers/auth.json"}, sieve: chosen,
			pattern: regexp.MustCompile(`"(?:auth|identitytoken|registrytoken|password)"\s*:\s*"([^"\s]{8,})"`),
		},
		{
			id: "kubernetes-token", bases: []string{"kubeconfig"}, ends: []string{".kube/config", "kubernetes/admin.conf", "kubernetes/kubelet.conf"}, sieve: chosen,
			pattern: regexp.MustCompile(`(?m)^\s*-?\s*(?:token|password):\s*["']?([^\s"']{8,})["']?\s*$`),
		},
		{id: "kubernetes-token", ends: []string{"kubernetes.io/serviceaccount/token"}, pattern: regexp.MustCompile(`^(eyJ[A-Za-z0-9_.-]{40,})`), sieve: sieve{entropy: 4}},
		{id: "npm-token", bases: []string{".npmrc"}, pattern: regexp.MustCompile(`(?m)(?:_auth|_password)\s*=\s*["']?([^\s"']{8,})`), sieve: chosen},
		{id: "pypi-password", bases: []string{".pypirc"}, pattern: regexp.MustCompile(`(?m)^\s*password\s*[:=]\s*(\S+)`), sieve: chosen},
		{id: "url-password", bases: []string{"pip.conf", ".pip/pip.conf", ".condarc", ".yarnrc.yml"}, pattern: regexp.MustCompile(`https?://[^\s:/@]+:([^\s@/]+)@`), sieve: chosen},
		{id: "maven-password", ends: []string{".m2/settings.xml"}, pattern: regexp.MustCompile(`<(?:password|passphrase)>\s*([^<\s]+)\s*</`), sieve: chosen},
		{id: "password-hash", ends: []string{"etc/shadow", "etc/shadow-"}, pattern: regexp.MustCompile(`(?m)^[^\n:]+:(\$[^\n:]{10,}):`), sieve: sieve{chosen: true}},
	}
})

// environmentRules are asked about each item of an image's configuration: a
// variable, or a step of its history that sets one.
var environmentRules = sync.OnceValue(func() []fileRule {
	return []fileRule{{
		id: "environment", sieve: sieve{entropy: 2.5, chosen: true, known: true},
		pattern: regexp.MustCompile(`(?:^|[\s|])[A-Z0-9_]*(?:PASSWORD|PASSWD|SECRET|SECRET_KEY|API_KEY|APIKEY|ACCESS_KEY|PRIVATE_KEY|AUTH_TOKEN|ACCESS_TOKEN|_TOKEN)=["']?([^\s"'/$][^\s"'$]{7,})`),
	}}
})

// keyBody returns the content of a private key without line ends, quotes and
// escapes; nil when it is none. Keys are DER (a sequence, 0x30), OpenSSH's own
// form, or packets of OpenPGP, and what is shorter than those of the shortest
// curve is an example.
func keyBody(text []byte) []byte {
	if i := bytes.LastIndex(text, []byte(": ")); i >= 0 && i < 512 { // headers of PEM: Proc-Type, DEK-Info, Version
		if nl := bytes.IndexAny(text[i:], "\n\\"); nl >= 0 {
			text = text[i+nl:]
		}
	}
	body := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++ // an escaped line end
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '/' || c == '+' || c == '=':
			body = append(body, c)
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '"' || c == '\'' || c == ',' || c == '`':
		default:
			return nil // nothing of this is base64
		}
	}
	body = bytes.TrimLeft(body, "+")
	if len(body) < 60 {
		return nil
	}
	first := make([]byte, 3)
	if _, err := base64.StdEncoding.Decode(first, body[:4]); err != nil {
		return nil
	}
	if first[0] != 0x30 && string(first) != "ope" && first[0]&0x80 == 0 {
		return nil
	}
	return body
}

// jwt returns a JSON Web Token that is signed, nil for what is none.
func jwt(text []byte) []byte {
	head, _, _ := bytes.Cut(text, []byte("."))
	raw, err := base64.RawURLEncoding.DecodeString(string(head))
	if err != nil {
		return nil
	}
	var h struct {
		Alg string `json:"alg"`
	}
	if json.Unmarshal(raw, &h) != nil || h.Alg == "" || strings.EqualFold(h.Alg, "none") {
		return nil
	}
	return text
}
