package house

// tier says how far from the outside a package stands. A package imports lower
// tiers only; what else it may import is said with it.
type tier int

const (
	nouns   tier = iota // what things are; no I/O, but where a line of the table says why
	engines             // one ability each; they do not know each other
	flows               // what the product does, over engines
	shells              // who asks: protocols, people, identity
	wiring              // what knows everything, and the backends that only wiring knows
	tests               // support for tests; imported by tests alone
)

// room is one package of ours, with all below it unless those are listed
// themselves.
type room struct {
	tier tier
	// also are rooms of the same tier that this one may import, and why it may.
	also map[string]string
	// only, where set, replaces what the tier may import: rooms, and nothing else of ours.
	only []string
	why  string // of only
}

// rooms is the plan of the house. A package that is not in it has no place:
// add it with its tier, or move it.
var rooms = map[string]room{
	"api":                {tier: nouns, only: []string{}, why: "others import what we publish, and get nothing else with it"},
	"internal/oci":       {tier: nouns, only: []string{}, why: "the words of the specifications come before ours"},
	"internal/inventory": {tier: nouns, only: []string{"internal/oci"}, why: "what an image contains is said of digests, and of nothing else"},
	"internal/evidence":  {tier: nouns, only: []string{"internal/oci", "internal/inventory"}, why: "what is known is said of digests and their contents"},

	"internal/peer":       {tier: nouns, only: []string{}, why: "where a request comes from is asked by whoever limits, and is one thing"},
	"internal/strictjson": {tier: nouns, only: []string{}, why: "what is signed must mean one thing, whatever it says"},
	"internal/durable":    {tier: nouns, only: []string{}, why: "a small file outlives a power cut whatever is in it: keys, logins and logs ask for the same"},

	"internal/authz":   {tier: engines},
	"internal/blob":    {tier: engines},
	"internal/repo":    {tier: engines, also: acts},
	"internal/layer":   {tier: engines},
	"internal/analyze": {tier: engines, also: map[string]string{"internal/layer": "an analyzer is fed with the entries that layer reads"}},
	"internal/sbom":    {tier: engines},
	"internal/vuln":    {tier: engines, also: map[string]string{"internal/lifecycle": "when releases end comes by a feed, as advisories do"}},
	"internal/attest":  {tier: engines},
	"internal/verify":  {tier: engines},
	"internal/policy":  {tier: engines},
	// The test language of gates is for those who write gates, so it is in the program.
	"internal/policy/policytest": {tier: engines, also: map[string]string{"internal/policy": "runs it"}},
	"internal/gatefile":          {tier: engines, also: map[string]string{"internal/policy": "reads gates from files, which policy itself does not"}},
	"internal/trust":             {tier: engines},
	"internal/trust/answer":      {tier: engines, only: []string{}, why: "what it says is given to it"},
	"internal/trust/ca":          {tier: engines, also: ofTrust},
	"internal/trust/ct":          {tier: engines, also: map[string]string{"internal/trust/tlog": "its entries are in a tile log"}},
	"internal/trust/oidc":        {tier: engines, also: ofTrust},
	"internal/trust/rekor":       {tier: engines, also: map[string]string{"internal/trust/tlog": "its entries are in a tile log", "internal/trust/answer": ofTrust["internal/trust/answer"]}},
	"internal/trust/tlog":        {tier: engines, also: map[string]string{"internal/blob": "tiles are content, and nothing else keeps that"}},
	"internal/trust/tsa":         {tier: engines, also: ofTrust},
	"internal/trust/witness":     {tier: engines, also: map[string]string{"internal/trust/tlog": "keeps what it cosigns of such logs"}},
	"internal/trust/tuf":         {tier: engines, also: ofTrust},
	"internal/audit":             {tier: engines, also: map[string]string{"internal/authz": acts["internal/authz"], "internal/trust/tlog": "events are the entries of a tile log"}},
	"internal/job":               {tier: engines},
	"internal/config":            {tier: engines},
	"internal/pki":               {tier: engines},
	"internal/telemetry":         {tier: engines},
	"internal/lifecycle":         {tier: engines},

	"internal/push":    {tier: flows},
	"internal/acquire": {tier: flows},
	"internal/assess":  {tier: flows},
	"internal/waiver":  {tier: flows},
	"internal/promote": {tier: flows},
	"internal/revoke":  {tier: flows},
	"internal/sign":    {tier: flows},
	"internal/custody": {tier: flows},
	"internal/admit":   {tier: flows},
	"internal/fleet":   {tier: flows},
	"internal/fsck":    {tier: flows},

	"internal/registry": {tier: shells},
	"internal/httpapi":  {tier: shells},
	"internal/web":      {tier: shells},
	"internal/authn":    {tier: shells},

	"client": {tier: wiring, only: []string{"api"}, why: "whoever links the client gets the published types and no server"},

	"internal/db":        {tier: wiring},
	"internal/blob/disk": {tier: wiring, only: onlyBlobs, why: whyBackend},
	"internal/blob/s3":   {tier: wiring, only: onlyBlobs, why: whyBackend},
	"internal/blob/mem":  {tier: wiring, only: onlyBlobs, why: whyBackend},
	"internal/server":    {tier: wiring, also: map[string]string{"internal/db": "wires it", "internal/blob/disk": "wires it", "internal/blob/s3": "wires it", "internal/blob/mem": "wires it", "internal/cli": "gives the command the parts it declares"}},
	"internal/cli":       {tier: wiring, also: map[string]string{"client": "asks a server"}},
	"cmd/bonded":         {tier: wiring, also: map[string]string{"internal/cli": "is it", "internal/server": "starts it", "client": "asks a server"}},

	"internal/testparts": {tier: tests},
	"internal/cputest":   {tier: tests},
	"test":               {tier: tests},
}

// acts says why an engine may know authz: its values are the permission that a
// change of state carries, which nothing else can make.
var acts = map[string]string{"internal/authz": "mutating methods take the act that permits them"}

// ofTrust says why the services of an instance may know its keys.
var ofTrust = map[string]string{
	"internal/trust":        "signs with the keys of the instance",
	"internal/trust/answer": "answers as Sigstore's clients read it",
	"internal/authz":        "a token, and a certificate, is of a principal",
}

var onlyBlobs = []string{"internal/blob", "internal/oci"}

const whyBackend = "a backend knows the guarantee it gives and nothing of who uses it"

// reasons say, per tier of the importer, why the edges that are left out are
// forbidden.
var reasons = map[tier]string{
	nouns:   "nouns say what things are and import what table.go names; move what does something into an engine",
	engines: "engines meet through nouns, or through a small interface that the caller declares and server wires",
	flows:   "flows meet through interfaces that the caller declares and server wires; else two of them cannot change apart",
	shells:  "a face holds no rule and needs no other face: what both need belongs into a flow",
	wiring:  "only server and the command know the backends",
	tests:   "",
}

// library says where packages that are not ours, or not everywhere welcome, may
// be imported.
type library struct {
	prefixes []string // import paths with all below them; one that ends in "$" is that path alone
	only     []string // the rooms that may import it, with all below them
	not      []string // where only is nil: the rooms that may not
	why      string
}

// everywhere is the list of rooms that a library banned altogether may not be in.
var everywhere = []string{"api", "client", "cmd", "internal"}

// libraries are those that would spread if nobody looked.
var libraries = []library{
	{
		prefixes: []string{"database/sql", "github.com/jackc/pgx", "modernc.org/sqlite", "github.com/pressly/goose"},
		only:     []string{"internal/db", "internal/testparts"},
		why:      "SQL is written once, in db; above it a Store is a Store",
	},
	{
		prefixes: []string{"github.com/minio/minio-go"},
		only:     []string{"internal/blob/s3"},
		why:      "nothing above the blob store knows where the bytes are",
	},
	{
		prefixes: []string{"k8s.io", "sigs.k8s.io"},
		only:     []string{"internal/admit", "internal/fleet"},
		why:      "a cluster is one of several that ask; its types stay where it is spoken to",
	},
	{
		prefixes: []string{"html/template"},
		only:     []string{"internal/web"},
		why:      "pages are made in one place, where their rules of safety are kept",
	},
	{
		prefixes: []string{"cel.dev/cel-go", "cel.dev/expr"},
		only:     []string{"internal/policy"},
		why:      "one gate, one language, one cost limit",
	},
	{
		prefixes: []string{"github.com/google/osv-scalibr"},
		only:     []string{"internal/analyze", "internal/vuln"},
		why:      "its surface breaks at each minor version: extractors are wrapped in analyze, version order in vuln",
	},
	{
		prefixes: []string{"github.com/CycloneDX", "github.com/spdx"},
		only:     []string{"internal/sbom"},
		why:      "formats render what analysis emitted; none is the model inside",
	},
	{
		prefixes: []string{"net$", "net/http", "os$", "os/exec$", "os/user$", "log/slog", "math/rand", "crypto/rand"},
		not:      []string{"api", "internal/oci", "internal/inventory", "internal/evidence", "internal/authz", "internal/policy"},
		why:      "these are pure: the same arguments give the same answer anywhere, later and in a proof",
	},
	{
		prefixes: []string{"unsafe$"},
		only:     []string{"cmd/bonded/calm"},
		why:      "memory is looked after by Go; calm alone takes a function of the runtime by its link name (docs/adr/0017)",
	},
	{
		prefixes: []string{"log$", "io/ioutil$", "math/rand$", "plugin$", "testing"},
		not:      everywhere,
		why:      "use log/slog through the constructor, math/rand/v2 or crypto/rand; tests stay out of the program",
	},
}
