package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SandboxZone is the zone that only a development server has; no
// configuration may name it.
const SandboxZone = "sandbox"

// Bounds of fields, beyond which a value is a mistake.
const (
	minBlob        = 1 << 20
	maxDrain       = Duration(10 * time.Minute)
	minInterval    = Duration(time.Minute)
	minConnections = 2 // one would let a waiting writer starve readers
	maxConnections = 1000
)

// sqliteFile is the name of the database in its folder.
const sqliteFile = "bonded.db"

// namePattern is one segment of a repository name.
var namePattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// checker collects problems.
type checker struct{ ps Problems }

func (k *checker) bad(field, format string, operands ...any) {
	k.ps = append(k.ps, Problem{Field: field, Why: fmt.Sprintf(format, operands...)})
}

// clash reports two fields that contradict each other.
func (k *checker) clash(one, other, why string) {
	k.bad(one, "contradicts %s: %s", other, why)
}

// Check returns all that is wrong with the configuration. It reads no file.
func (c *Config) Check() Problems {
	var k checker
	k.address("listen", c.Listen)
	k.publicURL(c)
	if c.Data == "" {
		k.bad("data", "is empty, want a folder")
	}
	if c.Drain > maxDrain {
		k.bad("drain", "is %s, at most %s", c.Drain, maxDrain)
	}
	k.tls(c)
	for _, text := range c.Proxies {
		if _, ok := network(text); !ok {
			k.bad("proxies", "%q is no address and no network such as 10.0.0.0/8", text)
		}
	}
	k.database(&c.Database)
	k.content(&c.Content)
	k.zones(c.Zones)
	for name, file := range c.Gates {
		if !namePattern.MatchString(name) {
			k.bad("gates", "%q is no name for a gate: lower-case letters, digits and single - _ . only", name)
		}
		if file == "" {
			k.bad("gates."+name, "is empty, want a file")
		}
	}
	if slices.Contains(c.GateData, "") {
		k.bad("gate_data", "has an empty entry, want files")
	}
	k.feeds(c.Feeds)
	k.trust(c)
	k.anchors(c)
	k.limits(&c.Limits)
	k.analysis(&c.Analysis)
	k.telemetry(c)
	slices.SortStableFunc(k.ps, func(a, b Problem) int { return strings.Compare(a.Field, b.Field) })
	return k.ps
}

// address checks "host:port" with a host that is empty, a name or an address.
func (k *checker) address(field, text string) {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		k.bad(field, "%q is no address, want host:port or :port", text)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.bad(field, "port %q is not one of 0 to 65535", port)
	} else if n == 0 && field == "metrics.listen" {
		k.bad(field, "port 0 would be found by nobody")
	}
}

func (k *checker) publicURL(c *Config) {
	if c.URL == "" {
		return
	}
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		k.bad("url", "%q is no URL, want https://host[:port]", c.URL)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		k.bad("url", "%q has more than scheme, host and port: the registry protocol lives at the root of a host", c.URL)
	case u.Scheme == "http" && !c.TLS.Off:
		k.clash("url", "tls.plain_http", "url is http:// while the server answers TLS")
	}
}

func (k *checker) tls(c *Config) {
	t := &c.TLS
	if (t.Cert == "") != (t.Key == "") {
		k.clash("tls.cert", "tls.key", "one is set without the other")
	}
	if t.Off && t.Cert != "" {
		k.clash("tls.plain_http", "tls.cert", "plain HTTP needs no certificate")
	}
	if t.Off && len(t.Hosts) > 0 {
		k.clash("tls.plain_http", "tls.hosts", "plain HTTP needs no certificate")
	}
	if t.Cert != "" && len(t.Hosts) > 0 {
		k.clash("tls.cert", "tls.hosts", "hosts are for a certificate of the server's own")
	}
	if t.Off && !LoopbackAddress(c.Listen) {
		k.clash("tls.plain_http", "listen", fmt.Sprintf("plain HTTP is for a loopback address only, and %q is none", c.Listen))
	}
	for i, h := range t.Hosts {
		if _, err := netip.ParseAddr(h); err != nil && !isHost(h) {
			k.bad(fmt.Sprintf("tls.hosts[%d]", i), "%q is neither a host name nor an address", h)
		}
	}
}

// hostPattern is a host name in lower case, without a closing dot, of labels of
// any length: with their 63 in it, every start of the program would pay for it.
var hostPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// isHost reports whether text is a host name in lower case.
func isHost(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		if len(label) > 63 {
			return false
		}
	}
	return hostPattern.MatchString(text)
}

// LoopbackAddress reports whether "host:port" is on this machine alone,
// whatever the resolver says: a literal loopback address, or localhost.
func LoopbackAddress(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	return loopbackHost(host)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

func (k *checker) database(d *Database) {
	if d.SQLite != nil && d.Postgres != nil {
		k.clash("database.sqlite", "database.postgres", "metadata is kept in one of them")
	}
	if s := d.SQLite; s != nil && s.Path != "" && filepath.Base(string(s.Path)) != sqliteFile {
		k.bad("database.sqlite.path", "%q is not named %s", s.Path, sqliteFile)
	}
	p := d.Postgres
	if p == nil {
		return
	}
	switch {
	case p.URL != "" && p.URLFile != "":
		k.clash("database.postgres.url", "database.postgres.url_file", "one says where the server is")
	case p.URL == "" && p.URLFile == "":
		k.bad("database.postgres", "neither url nor url_file says where the server is")
	case p.URLFile != "" && p.PasswordFile != "":
		k.clash("database.postgres.url_file", "database.postgres.password_file", "the URL in the file holds the password")
	case p.URL != "":
		k.postgresURL(p.URL)
	}
	if p.Connections != 0 && (p.Connections < minConnections || p.Connections > maxConnections) {
		k.bad("database.postgres.connections", "is %d, want %d to %d", p.Connections, minConnections, maxConnections)
	}
}

func (k *checker) postgresURL(text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		k.bad("database.postgres.url", "is no URL, want postgres://user@host:port/database")
		return
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		k.bad("database.postgres.url", "holds a password: write it to a file that password_file names")
	}
}

func (k *checker) content(c *Content) {
	if c.Disk != nil && c.S3 != nil {
		k.clash("content.disk", "content.s3", "content is kept in one of them")
	}
	s := c.S3
	if s == nil {
		return
	}
	for _, f := range []struct{ name, value string }{
		{"endpoint", s.Endpoint}, {"bucket", s.Bucket}, {"access_key_file", string(s.AccessKeyFile)}, {"secret_key_file", string(s.SecretKeyFile)},
	} {
		if f.value == "" {
			k.bad("content.s3", "%s is missing", f.name)
		}
	}
	if s.Endpoint != "" {
		k.secureURL("content.s3.endpoint", s.Endpoint)
	}
	if s.Prefix != "" && (!strings.HasSuffix(s.Prefix, "/") || strings.HasPrefix(s.Prefix, "/")) {
		k.bad("content.s3.prefix", "%q must end in / and not start with it", s.Prefix)
	}
}

// secureURL wants https, or http on a loopback host.
func (k *checker) secureURL(field, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		k.bad(field, "%q is no URL, want https://host[:port]", text)
	case u.User != nil:
		k.bad(field, "holds a user or password, which belong into files")
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		k.bad(field, "%q is plain HTTP, which is for a loopback address only", text)
	}
}

func (k *checker) zones(zones []Zone) {
	at := map[string]int{}
	for i, z := range zones {
		field := fmt.Sprintf("zones[%d]", i)
		if !namePattern.MatchString(z.Name) {
			k.bad(field, "%q is no name for a zone: lower-case letters, digits and single - _ . only", z.Name)
		}
		if z.Name == SandboxZone {
			k.bad(field, "the name %s is for development servers (bonded serve --dev)", SandboxZone)
		}
		if first, ok := at[z.Name]; ok {
			k.clash(field, fmt.Sprintf("zones[%d]", first), "both are named "+z.Name)
		}
		at[z.Name] = i
		if z.Gate != "" && !namePattern.MatchString(z.Gate) {
			k.bad(field+".gate", "%q is no name for a gate; its file is named in gates", z.Gate)
		}
	}
	for i, z := range zones {
		for j, from := range z.From {
			field := fmt.Sprintf("zones[%d].from[%d]", i, j)
			if _, ok := at[from]; !ok {
				k.bad(field, "%q is no zone of this file", from)
			} else if from == z.Name {
				k.bad(field, "a zone is not promoted from itself")
			}
		}
	}
}

func (k *checker) feeds(feeds []Feed) {
	at := map[string]int{}
	for i, f := range feeds {
		field := fmt.Sprintf("feeds[%d]", i)
		if !namePattern.MatchString(f.Name) {
			k.bad(field, "%q is no name for a feed: lower-case letters, digits and single - _ . only", f.Name)
		}
		if f.Name == LoadedFeed {
			k.bad(field, "%q is the name of what bonded feed load loads", f.Name)
		}
		if first, ok := at[f.Name]; ok {
			k.clash(field, fmt.Sprintf("feeds[%d]", first), "both are named "+f.Name)
		}
		at[f.Name] = i
		switch {
		case f.URL != "" && f.Dir != "":
			k.clash(field+".url", field+".dir", "a feed comes from one of them")
		case f.URL == "" && f.Dir == "":
			k.bad(field, "neither url nor dir says where it comes from")
		case f.URL != "":
			k.secureURL(field+".url", f.URL)
		}
		if _, ok := intervals[f.Formatted()]; !ok {
			k.bad(field+".format", "%q is no format, want one of %s", f.Format, strings.Join(slices.Sorted(maps.Keys(intervals)), ", "))
		}
		if f.Formatted() == FormatVEX && f.URL != "" {
			k.clash(field+".url", field+".format", "VEX documents come from a dir")
		}
		if f.Formatted() != FormatOSV && len(f.Ecosystems) > 0 {
			k.clash(field+".ecosystems", field+".format", "ecosystems are those of osv")
		}
		if f.Interval != nil && *f.Interval != 0 && *f.Interval < minInterval {
			k.bad(field+".interval", "is %s, want 0s or at least %s", *f.Interval, minInterval)
		}
	}
}

func (k *checker) limits(l *Limits) {
	if l.Blob < minBlob {
		k.bad("limits.blob", "is %s, at least %s", l.Blob, Size(minBlob))
	}
	k.positive("limits.referrers", l.Referrers)
	k.positive("limits.uploads", l.Uploads)
	for _, d := range []struct {
		field string
		value Duration
	}{{"limits.lease", l.Lease}, {"limits.idle", l.Idle}} {
		if d.value < Duration(time.Minute) {
			k.bad(d.field, "is %s, at least 1m: a slow client would lose what it sent", d.value)
		}
	}
}

func (k *checker) analysis(a *Analysis) {
	if a.Workers < 0 {
		k.bad("analysis.workers", "is %d, want 1 or more, or 0 for the number of processors", a.Workers)
	}
	for _, s := range []struct {
		field string
		value Size
	}{{"analysis.bytes", a.Bytes}, {"analysis.file", a.File}} {
		if s.value < 1<<20 {
			k.bad(s.field, "is %s, at least 1MiB", s.value)
		}
	}
	k.positive("analysis.ratio", a.Ratio)
	k.positive("analysis.entries", a.Entries)
	if a.Time < Duration(time.Second) {
		k.bad("analysis.time", "is %s, at least 1s", a.Time)
	}
}

func (k *checker) positive(field string, n int) {
	if n < 1 {
		k.bad(field, "is %d, at least 1", n)
	}
}

func (k *checker) telemetry(c *Config) {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		k.bad("log.level", "%q is not one of debug, info, warn, error", c.Log.Level)
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		k.bad("log.format", "%q is not one of auto, text, json", c.Log.Format)
	}
	if c.Trace.Endpoint != "" {
		u, err := url.Parse(c.Trace.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			k.bad("trace.endpoint", "%q is no URL, want http[s]://host:port", c.Trace.Endpoint)
		}
	}
	if !(c.Trace.Sample >= 0 && c.Trace.Sample <= 1) {
		k.bad("trace.sample", "is %v, want 0 to 1", c.Trace.Sample)
	}
	if c.Metrics.Listen != "" {
		k.address("metrics.listen", c.Metrics.Listen)
		if c.Metrics.Listen == c.Listen {
			k.clash("metrics.listen", "listen", "both are "+c.Listen)
		}
	}
}
