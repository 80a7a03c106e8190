package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Trust is the signing infrastructure that is part of the server: certificate
// authority, issuer of identity tokens, logs, timestamp authority, and the
// repository that clients take its keys from.
type Trust struct {
	// Origin is the host name that the logs go by, without a port. It never
	// changes once the keys are made: signatures out there name it. Optional.
	// Default: what the first start took, which is the host of url.
	Origin string `yaml:"origin" json:"origin"`
	// Organization is the O of certificates, for the first start. Optional.
	// Default "Bonded".
	Organization string `yaml:"organization" json:"organization"`
	// Dir is the folder with keys and certificates, made by the first start. It
	// belongs into backups. Optional. Default "trust" in the data folder.
	Dir Path `yaml:"dir" json:"dir"`
	// Keys says where private keys live that are not files of dir:
	// "credential:NAME" for one that systemd hands over, "PLUGIN://REFERENCE" for
	// one behind the program sigstore-kms-PLUGIN. Slots are ca-intermediate,
	// log-rekor, log-ct, log-audit, tsa, issuer, tuf-snapshot, tuf-timestamp,
	// sign and witness. For ca-root, tuf-root and tuf-targets, which are in offline_keys, it is
	// a PLUGIN that the first start, or a rotation, takes the key from. Optional.
	// Default: files.
	Keys map[string]string `yaml:"keys" json:"keys"`
	// OfflineKeys is where the first start writes the keys that sign other keys: a
	// removable disk. The server never needs that file again. Optional. Default: in
	// dir, and bonded health warns until it is moved away.
	OfflineKeys Path `yaml:"offline_keys" json:"offline_keys"`
	// PassphraseFile is a file with the passphrase that encrypts offline_keys.
	// Optional. Default: they are not encrypted.
	PassphraseFile Path `yaml:"passphrase_file" json:"passphrase_file"`

	// HeadStore is a folder that keeps the newest head of each log, on another
	// disk than the database and in no backup: a restored database is then found
	// out. It must exist. Optional. Default: none.
	HeadStore Path `yaml:"head_store" json:"head_store"`
	// Witnesses cosign the transparency log and the audit log. Optional. Default: none.
	Witnesses []Witness `yaml:"witnesses" json:"witnesses"`
	// Quorum is how many of the witnesses must cosign; with fewer nothing is
	// logged. Optional. Default: more than half of them.
	Quorum int `yaml:"quorum" json:"quorum"`
	// Witness makes this server a witness of the logs of others. Optional. Default:
	// it is none.
	Witness Witnessing `yaml:"witness" json:"witness"`

	// Issuers are those whose identity tokens get certificates, beside the
	// server's own. Optional. Default: none.
	Issuers []Issuer `yaml:"issuers" json:"issuers"`
	// Clients says whose TLS client certificates get identity tokens. Optional.
	Clients Clients `yaml:"clients" json:"clients"`

	// Requests is how many certificates, log entries and timestamps one address may
	// ask for in a minute, together; 0 bounds nothing. An IPv6 network of 64 bits is
	// one address, and so is a proxy that is not among proxies. A signature of
	// cosign's takes three. Optional. Default 600.
	Requests int `yaml:"requests" json:"requests"`

	// Freshness is how long clients trust the keys of this server without having
	// heard of it; 1h to 365d. It is signed again when a third is over. Optional.
	// Default 72h.
	Freshness Duration `yaml:"freshness" json:"freshness"`
}

// Witness is a witness of logs (c2sp.org/tlog-witness).
type Witness struct {
	// URL is its submission prefix, "https://host/…". Needed.
	URL string `yaml:"url" json:"url"`
	// Key is its key as it states it: NAME+ID+KEY. Needed.
	Key string `yaml:"key" json:"key"`
}

// Witnessing says whose logs this server cosigns, each while it goes on from what
// it was (c2sp.org/tlog-witness), at URL/witness/add-checkpoint.
type Witnessing struct {
	// Of are the keys of logs, NAME+ID+KEY, as "bonded trust logs" of their server
	// has them; a key that was replaced can stay beside its successor. Optional.
	// Default: none.
	Of []string `yaml:"of" json:"of"`
}

// Issuer is an OpenID Connect issuer.
type Issuer struct {
	// URL is what its tokens have as "iss". Needed.
	URL string `yaml:"url" json:"url"`
	// Type says what its tokens are of: "email" for people, "uri" for anything by
	// a URL on the issuer's host, "github", "gitlab", "jenkins" or "kubernetes" for
	// builds and service accounts, "spiffe" for workloads. Optional. Default "email".
	Type string `yaml:"type" json:"type"`
	// Audience is what tokens must be for. Optional. Default "sigstore".
	Audience string `yaml:"audience" json:"audience"`
	// CAFile is a PEM file with the authority behind the issuer's TLS certificate.
	// Optional. Default: those of the system.
	CAFile Path `yaml:"ca_file" json:"ca_file"`
	// JWKSFile is a file with the issuer's keys, for one that this server cannot
	// reach. Optional. Default: they are fetched.
	JWKSFile Path `yaml:"jwks_file" json:"jwks_file"`
	// Site is where the repositories of github or gitlab are, "https://host".
	// Optional. Default: github.com, or the host of url.
	Site string `yaml:"site" json:"site"`
	// TrustDomain is that of a spiffe issuer. Needed for that type.
	TrustDomain string `yaml:"trust_domain" json:"trust_domain"`
	// EmailVerified takes addresses of an issuer that never says email_verified.
	// Optional. Default false.
	EmailVerified bool `yaml:"email_verified" json:"email_verified"`
}

// Clients says whose TLS client certificates are taken.
type Clients struct {
	// CAFile is a PEM file with the authorities of client certificates. It is read
	// again when it changes. Optional. Default: none are asked for.
	CAFile Path `yaml:"ca_file" json:"ca_file"`
	// CRLFile is a file with their revocation lists, in PEM, or with one in DER. It
	// is read again when it changes; a certificate whose authority has no list in
	// it, or one that ended, is refused. Optional; goes with ca_file. Default:
	// revocation is not looked at.
	CRLFile Path `yaml:"crl_file" json:"crl_file"`
	// OCSPDir is a folder of OCSP responses, one in DER for each certificate. It is
	// read again when it changes. A certificate needs one that says good and has not
	// ended; where crl_file is set too, a list that has not ended will do, and
	// whichever says revoked is believed. Optional; goes with ca_file. Default: none.
	OCSPDir Path `yaml:"ocsp_dir" json:"ocsp_dir"`
	// OCSPRequired wants a response that says good where there is a list too.
	// Optional; goes with ocsp_dir. Default false.
	OCSPRequired bool `yaml:"ocsp_required" json:"ocsp_required"`
	// SPIFFE are trust domains whose IDs certificates may have, of any authority of
	// ca_file: where several of those belong to different people, their certificates
	// need name constraints. Optional. Default: none.
	SPIFFE []string `yaml:"spiffe" json:"spiffe"`
	// Emails takes e-mail addresses in certificates for verified ones. Optional.
	// Default false.
	Emails bool `yaml:"emails" json:"emails"`
}

// IssuerTypes are the types of issuers.
var IssuerTypes = []string{"email", "uri", "github", "gitlab", "kubernetes", "jenkins", "spiffe"}

// Default of Issuer.Type.
const defaultIssuerType = "email"

// Kind is the type of the issuer, as it is or by default.
func (i Issuer) Kind() string {
	if i.Type == "" {
		return defaultIssuerType
	}
	return i.Type
}

// NeededWitnesses is how many witnesses must sign, 0 where there are none.
func (t *Trust) NeededWitnesses() int {
	if t.Quorum == 0 && len(t.Witnesses) > 0 {
		return len(t.Witnesses)/2 + 1
	}
	return t.Quorum
}

const (
	minFreshness = Duration(time.Hour)
	maxFreshness = Duration(365 * 24 * time.Hour)
	// DefaultFreshness is how long keys are trusted unheard.
	DefaultFreshness = Duration(72 * time.Hour)
	// DefaultRequests is how many requests one address has in a minute.
	DefaultRequests = 600
	maxRequests     = 1_000_000
)

// ed25519Slots are those whose keys sign checkpoints, which are Ed25519 alone.
var ed25519Slots = []string{"log-rekor", "log-audit", "witness"}

func (k *checker) trust(c *Config) {
	t := &c.Trust
	if t.Origin != "" && !isHost(t.Origin) {
		k.bad("trust.origin", "%q is no host name: lower case, without a port", t.Origin)
	}
	for slot, place := range t.Keys {
		if place == "" || strings.ContainsAny(slot, " .") {
			k.bad("trust.keys", "%q: %q does not say where a key is, such as credential:NAME", slot, place)
		}
		if strings.HasPrefix(place, "bonded-pkcs11://") && slices.Contains(ed25519Slots, slot) {
			k.bad("trust.keys", "%s: its key is Ed25519, which cannot be in a PKCS #11 token: leave it out for a file, or write credential:%s", slot, slot)
		}
	}
	if t.PassphraseFile != "" && t.PassphraseFile == t.OfflineKeys {
		k.clash("trust.passphrase_file", "trust.offline_keys", "both are "+string(t.OfflineKeys))
	}
	if t.Freshness < minFreshness || t.Freshness > maxFreshness {
		k.bad("trust.freshness", "is %s, want %s to 365d", t.Freshness, minFreshness)
	}
	if t.Requests < 0 || t.Requests > maxRequests {
		k.bad("trust.requests", "is %d, want 0 to %d", t.Requests, maxRequests)
	}
	k.witnesses(t)
	at := map[string]int{}
	for i, is := range t.Issuers {
		field := fmt.Sprintf("trust.issuers[%d]", i)
		if first, ok := at[is.URL]; ok {
			k.clash(field, fmt.Sprintf("trust.issuers[%d]", first), "both are "+is.URL)
		}
		at[is.URL] = i
		k.issuer(field, is)
	}
	if t.Clients.CRLFile != "" && t.Clients.CAFile == "" {
		k.clash("trust.clients.crl_file", "trust.clients.ca_file", "no client certificates are taken")
	}
	if t.Clients.OCSPDir != "" && t.Clients.CAFile == "" {
		k.clash("trust.clients.ocsp_dir", "trust.clients.ca_file", "no client certificates are taken")
	}
	if t.Clients.OCSPRequired && t.Clients.OCSPDir == "" {
		k.clash("trust.clients.ocsp_required", "trust.clients.ocsp_dir", "there is no folder of responses")
	}
	if t.Clients.CAFile != "" && c.TLS.Off {
		k.clash("trust.clients.ca_file", "tls.plain_http", "client certificates come with TLS")
	}
}

func (k *checker) witnesses(t *Trust) {
	for i, w := range t.Witnesses {
		field := fmt.Sprintf("trust.witnesses[%d]", i)
		k.secureURL(field+".url", w.URL)
		if strings.Count(w.Key, "+") < 2 {
			k.bad(field+".key", "%.80q is no key of a witness: want NAME+ID+KEY", w.Key)
		}
	}
	for i, key := range t.Witness.Of {
		if strings.Count(key, "+") < 2 {
			k.bad(fmt.Sprintf("trust.witness.of[%d]", i), "%.80q is no key of a log: want NAME+ID+KEY", key)
		}
	}
	switch {
	case t.Quorum < 0 || t.Quorum > len(t.Witnesses):
		k.bad("trust.quorum", "is %d of %d witnesses", t.Quorum, len(t.Witnesses))
	case t.Quorum == 0 && len(t.Witnesses) == 0:
	case 2*t.NeededWitnesses() <= len(t.Witnesses):
		k.bad("trust.quorum", "%d of %d witnesses: two histories could each find that many; want more than half", t.Quorum, len(t.Witnesses))
	}
}

func (k *checker) issuer(field string, is Issuer) {
	k.secureURL(field+".url", is.URL)
	if !slices.Contains(IssuerTypes, is.Kind()) {
		k.bad(field+".type", "%q is not one of %s", is.Type, strings.Join(IssuerTypes, ", "))
	}
	if is.CAFile != "" && is.JWKSFile != "" {
		k.clash(field+".ca_file", field+".jwks_file", "keys that are in a file are not fetched")
	}
	if (is.Kind() == "spiffe") != (is.TrustDomain != "") {
		k.bad(field+".trust_domain", "goes with type spiffe, and with no other")
	}
	if is.Site != "" && is.Kind() != "github" && is.Kind() != "gitlab" {
		k.bad(field+".site", "goes with type github or gitlab")
	}
	if is.EmailVerified && is.Kind() != defaultIssuerType {
		k.bad(field+".email_verified", "goes with type email")
	}
	if u, err := url.Parse(is.Site); is.Site != "" && (err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "") {
		k.bad(field+".site", "%q is no site, want https://host", is.Site)
	}
}

// HostOf returns the host name of a URL for an origin, "" where it has none
// that can be one: an address of the IPv6 kind has colons.
func HostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() || !isHost(host) {
		return ""
	}
	return host
}
