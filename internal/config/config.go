// Package config holds the configuration of a server: one struct, read from a
// YAML file, overlaid by the environment and checked as a whole.
//
// Every field has a default, so an empty file and no file are the same, and a
// file written for an older binary stays valid: fields are added, never made
// necessary. Unknown keys are refused with line and column. Secrets are named by
// file and never written into the configuration.
package config

import (
	"cmp"
	"time"
)

// Config is the configuration of one server process.
type Config struct {
	// Listen is the address to listen on, "host:port" or ":port" for all
	// interfaces; port 0 takes a free one. Optional. Default ":8443".
	Listen string `yaml:"listen" json:"listen"`
	// URL is how clients reach this server, "https://host[:port]" without a
	// path. The host gets into the server's own certificate. Optional. Default:
	// the machine's host name and the port of listen.
	URL string `yaml:"url" json:"url"`
	// Data is the folder that holds everything this process keeps. One server
	// uses it at a time. Optional. Default "$XDG_DATA_HOME/bonded", else
	// "~/.local/share/bonded".
	Data Path `yaml:"data" json:"data"`
	// Drain is how long a stop waits for running requests, at most 10m.
	// Optional. Default 30s.
	Drain Duration `yaml:"drain" json:"drain"`

	// TLS says what clients are answered with. Optional. Default: a certificate
	// of the server's own authority.
	TLS TLS `yaml:"tls" json:"tls"`
	// Proxies are the addresses and networks, such as "10.0.0.0/8", of the proxies
	// before the server: what they say in X-Forwarded-For is where a request comes
	// from, for limits and logs. Client certificates do not pass a proxy that ends
	// TLS. Optional. Default: none, and the header means nothing.
	Proxies []string `yaml:"proxies" json:"proxies"`
	// Database holds the metadata. Optional. Default: SQLite in the data folder.
	Database Database `yaml:"database" json:"database"`
	// Content holds the bytes of blobs. Optional. Default: files in the data folder.
	Content Content `yaml:"content" json:"content"`

	// Zones are the levels of trust and the ways between them. Optional.
	// Default: quarantine → catalog, and dev → staging → production, which takes
	// from catalog too. A file that has any zone states all of them.
	Zones []Zone `yaml:"zones" json:"zones"`
	// Gates names the file of each gate that is not shipped, or that replaces a
	// shipped one of the same name. Optional. Default: the shipped gates alone.
	Gates map[string]Path `yaml:"gates" json:"gates"`
	// GateData names the files of the data that rules of gates look things up in,
	// as data.NAME. Optional. Default: none.
	GateData []Path `yaml:"gate_data" json:"gate_data"`
	// Feeds are where advisories come from, and what is known beside them. Optional.
	// Default: osv.dev, CISA, FIRST and endoflife.date. An empty list means no feed; packages are then "not checked", which gates do not
	// take for clean.
	Feeds []Feed `yaml:"feeds" json:"feeds"`

	// Trust says what the server signs with, and whom it signs for. Optional.
	Trust Trust `yaml:"trust" json:"trust"`

	// Anchors are the roots of trust that gates may name, beside the server's own.
	// Optional. Default: none.
	Anchors []Anchor `yaml:"anchors" json:"anchors"`
	// Builders is the table of builders. Optional. Default: GitHub's generators and
	// hosted runners, for the anchors of type sigstore and github. A file that has
	// any builder states all of them.
	Builders []Builder `yaml:"builders" json:"builders"`

	// Limits bound what clients may bring. Optional.
	Limits Limits `yaml:"limits" json:"limits"`
	// Analysis bounds what looking into layers may cost. Optional.
	Analysis Analysis `yaml:"analysis" json:"analysis"`

	// Log says what is logged, to standard error. Optional.
	Log Log `yaml:"log" json:"log"`
	// Trace sends traces. Optional. Default: none are made.
	Trace Trace `yaml:"trace" json:"trace"`
	// Metrics says where Prometheus finds metrics. Optional.
	Metrics Metrics `yaml:"metrics" json:"metrics"`
}

// TLS says what clients are answered with.
type TLS struct {
	// Cert is a PEM file with the server's certificate and its chain. It is read
	// again when it changes. Optional; goes with key. Default: a certificate of
	// the server's own authority (bonded trust ca), renewed by itself.
	Cert Path `yaml:"cert" json:"cert"`
	// Key is a PEM file with the private key of cert. Optional; goes with cert.
	Key Path `yaml:"key" json:"key"`
	// Hosts are more names and addresses for the certificate of the server's own
	// authority, beside those of url and listen, the host name and localhost.
	// Optional. Default: none.
	Hosts []string `yaml:"hosts" json:"hosts"`
	// Off answers plain HTTP, on a loopback address only: for a proxy on the same
	// machine. Optional. Default false.
	Off bool `yaml:"plain_http" json:"plain_http"`
}

// Database holds the metadata: at most one of its fields is set.
type Database struct {
	// SQLite keeps it in one file, for one server. Optional.
	SQLite *SQLite `yaml:"sqlite,omitempty" json:"sqlite,omitempty"`
	// Postgres keeps it on a PostgreSQL server, 15 or newer. Optional.
	Postgres *Postgres `yaml:"postgres,omitempty" json:"postgres,omitempty"`
}

// SQLite is a database in one file.
type SQLite struct {
	// Path is the file, which is named bonded.db. It must be on a local disk.
	// Optional. Default: in the data folder.
	Path Path `yaml:"path" json:"path"`
}

// Postgres is a database on a PostgreSQL server.
type Postgres struct {
	// URL is "postgres://user@host:port/database?sslmode=verify-full&…" without
	// a password. Exactly one of url and url_file is needed.
	URL string `yaml:"url" json:"url"`
	// URLFile is a file with such a URL, which may hold the password. Optional.
	URLFile Path `yaml:"url_file" json:"url_file"`
	// PasswordFile is a file with the password. Optional; goes with url.
	PasswordFile Path `yaml:"password_file" json:"password_file"`
	// Connections is how many connections this process may hold, 2 to 1000.
	// Optional. Default 16.
	Connections int `yaml:"connections" json:"connections"`
}

// Content holds the bytes of blobs: at most one of its fields is set.
type Content struct {
	// Disk keeps them as files. Optional.
	Disk *Disk `yaml:"disk,omitempty" json:"disk,omitempty"`
	// S3 keeps them in a bucket. Optional.
	S3 *S3 `yaml:"s3,omitempty" json:"s3,omitempty"`
}

// Disk is content in files.
type Disk struct {
	// Path is the folder. Optional. Default "content" in the data folder.
	Path Path `yaml:"path" json:"path"`
}

// S3 is content in a bucket of an S3-compatible store with read-after-write
// consistency.
type S3 struct {
	// Endpoint is "https://host[:port]"; "http://" on loopback addresses only.
	// Needed.
	Endpoint string `yaml:"endpoint" json:"endpoint"`
	// Region is the region of the bucket. Optional. Default "us-east-1".
	Region string `yaml:"region" json:"region"`
	// Bucket exists and is used by nobody else below prefix. Needed.
	Bucket string `yaml:"bucket" json:"bucket"`
	// Prefix is put before every key; it ends in "/". Optional. Default "".
	Prefix string `yaml:"prefix" json:"prefix"`
	// AccessKeyFile is a file with the access key. Needed.
	AccessKeyFile Path `yaml:"access_key_file" json:"access_key_file"`
	// SecretKeyFile is a file with the secret key. Needed.
	SecretKeyFile Path `yaml:"secret_key_file" json:"secret_key_file"`
}

// Zone is one zone.
type Zone struct {
	// Name is the first path segment of the zone's repositories: lower-case
	// letters, digits and single "-", "_" or ".". Needed.
	Name string `yaml:"name" json:"name"`
	// Gate names the gate that judges what stands here: a shipped one or one of
	// gates. Optional. Default: the zone's name.
	Gate string `yaml:"gate" json:"gate"`
	// From lists the zones that artifacts may be promoted from. Optional.
	// Default: none, so that artifacts get in by push alone.
	From []string `yaml:"from" json:"from"`
}

// Feed is a source of advisories in the layout of osv.dev (a folder per ecosystem
// with all.zip or with one JSON file per record), or of what is known beside them.
// Exactly one of url and dir is needed.
type Feed struct {
	// Name tells feeds apart; not "loaded", which is what bonded feed load loads.
	// Needed.
	Name string `yaml:"name" json:"name"`
	// Format is "osv"; "kev" for CISA's catalog of what is exploited
	// (known_exploited_vulnerabilities.json); "epss" for FIRST's daily scores of
	// what is likely to be (epss_scores-DATE.csv.gz); "endoflife" for when
	// releases end (the folder of PRODUCT.json and all.json that is the API of
	// endoflife.date); or "vex" for a folder of VEX documents, which counts where a
	// gate names the feed under vex. Of several feeds of one format
	// other than "osv" the one published last counts. Optional. Default "osv".
	Format string `yaml:"format" json:"format"`
	// URL is an "https://…" address: that above the ecosystems' folders, of another
	// format that of the file, or of the folder.
	URL string `yaml:"url" json:"url"`
	// Dir is a folder instead, for an air gap. Of another format than "osv" it may be
	// the file.
	Dir Path `yaml:"dir" json:"dir"`
	// Ecosystems are the ecosystems to take, as OSV spells them, such as
	// "Debian", "Alpine", "Go", "npm", "PyPI". Optional. Default: for url, those
	// that the analysis knows; for dir, all there are.
	Ecosystems []string `yaml:"ecosystems" json:"ecosystems"`
	// Interval is the time between two updates, at least 1m; 0s updates by hand
	// alone (bonded feed update). Optional. Default 1h, of "epss" 6h, of "endoflife" 24h.
	Interval *Duration `yaml:"interval,omitempty" json:"interval,omitempty"`
}

// LoadedFeed names the source of advisories that people load by hand, which no
// configured feed has.
const LoadedFeed = "loaded"

// The formats of feeds.
const (
	FormatOSV       = "osv"
	FormatKEV       = "kev"
	FormatEPSS      = "epss"
	FormatVEX       = "vex"
	FormatEndOfLife = "endoflife"
)

// intervals are the times between two updates of a feed that states none, by format.
var intervals = map[string]time.Duration{FormatOSV: time.Hour, FormatKEV: time.Hour, FormatEPSS: 6 * time.Hour, FormatVEX: time.Hour, FormatEndOfLife: 24 * time.Hour}

// Formatted is the format of a feed.
func (f Feed) Formatted() string { return cmp.Or(f.Format, FormatOSV) }

// Every is the time between two updates, 0 for none.
func (f Feed) Every() time.Duration {
	if f.Interval == nil {
		return intervals[f.Formatted()]
	}
	return time.Duration(*f.Interval)
}

// Limits bound what clients may bring.
type Limits struct {
	// Blob is the largest blob. Optional. Default 64GiB.
	Blob Size `yaml:"blob" json:"blob"`
	// Referrers is how many referrers one subject may have; half of them may be of
	// one principal. Optional. Default 1000.
	Referrers int `yaml:"referrers" json:"referrers"`
	// Lease is how long an uploaded blob waits for a manifest that uses it.
	// Optional. Default 24h.
	Lease Duration `yaml:"lease" json:"lease"`
	// Idle is how long an unfinished upload may rest before it is removed.
	// Optional. Default 24h.
	Idle Duration `yaml:"idle" json:"idle"`
	// Uploads is how many unfinished uploads a principal may have. Optional.
	// Default 100.
	Uploads int `yaml:"uploads" json:"uploads"`
}

// Analysis bounds what looking into layers may cost. A layer that would cost
// more counts as partly analysed, which gates can see. Facts are kept per budget:
// with another one every layer is analysed again.
type Analysis struct {
	// Workers is how many layers are analysed at once. Optional. Default 0, which
	// stands for the number of processors.
	Workers int `yaml:"workers" json:"workers"`
	// Temp is the folder for files that are looked into and larger than 4MiB.
	// Optional. Default "tmp" in the data folder, which is emptied at each start.
	Temp Path `yaml:"temp" json:"temp"`
	// Bytes is the most a layer may unpack to. Optional. Default 32GiB.
	Bytes Size `yaml:"bytes" json:"bytes"`
	// Ratio is how many times its own size a layer may unpack to, once past
	// 1GiB. Optional. Default 200.
	Ratio int `yaml:"ratio" json:"ratio"`
	// Entries is how many files a layer may have. Optional. Default 1000000.
	Entries int `yaml:"entries" json:"entries"`
	// File is the largest file that is looked into. Optional. Default 256MiB.
	File Size `yaml:"file" json:"file"`
	// Time is how long a layer may take, not counting waits for its bytes.
	// Optional. Default 15m.
	Time Duration `yaml:"time" json:"time"`
}

// Log says what is logged.
type Log struct {
	// Level is the least that is logged: "debug", "info", "warn" or "error".
	// Optional. Default "info".
	Level string `yaml:"level" json:"level"`
	// Format is "text", "json", or "auto": text for a terminal, JSON otherwise.
	// Optional. Default "auto".
	Format string `yaml:"format" json:"format"`
}

// Trace sends traces by OTLP over HTTP.
type Trace struct {
	// Endpoint is the collector's URL, such as "http://127.0.0.1:4318". Optional.
	// Default "", which makes no traces.
	Endpoint string `yaml:"endpoint" json:"endpoint"`
	// Sample is the share of requests that are traced when the caller's own trace
	// does not say, 0 to 1. Optional. Default 1.
	Sample float64 `yaml:"sample" json:"sample"`
}

// Metrics says where Prometheus finds metrics.
type Metrics struct {
	// Listen is an address of its own that answers /metrics over plain HTTP to
	// anyone who reaches it. Optional. Default "": /metrics is on the main
	// address, for principals with the verb administer.
	Listen string `yaml:"listen" json:"listen"`
}

// Default returns what an empty file stands for, but for what depends on the
// environment: Data and the host of URL.
func Default() Config {
	return Config{
		Listen: ":8443",
		Drain:  Duration(30 * time.Second),
		Feeds: []Feed{
			{Name: "osv", URL: "https://osv-vulnerabilities.storage.googleapis.com"},
			{Name: "kev", Format: FormatKEV, URL: "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"},
			{Name: "epss", Format: FormatEPSS, URL: "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"},
			{Name: "endoflife", Format: FormatEndOfLife, URL: "https://endoflife.date/api"},
		},
		Trust: Trust{Freshness: DefaultFreshness, Requests: DefaultRequests},
		Limits: Limits{
			Blob:      64 << 30,
			Referrers: 1000,
			Lease:     Duration(24 * time.Hour),
			Idle:      Duration(24 * time.Hour),
			Uploads:   100,
		},
		Analysis: Analysis{
			Bytes:   32 << 30,
			Ratio:   200,
			Entries: 1_000_000,
			File:    256 << 20,
			Time:    Duration(15 * time.Minute),
		},
		Log:   Log{Level: "info", Format: "auto"},
		Trace: Trace{Sample: 1},
	}
}
