package custody

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/trust"
	"github.com/bonded-dev/bonded/internal/verify"
)

// OwnAnchor is the name of the anchor that the trusted root of the server is.
const OwnAnchor = "bonded"

// ErrGiven marks what a file is verified by and that cannot be used.
var ErrGiven = errors.New("cannot verify by it")

// VerifyOptions are what a file is verified by. None of it may come from the
// file.
type VerifyOptions struct {
	Root []byte // trusted_root.json of the server
	// Server is its URL. Optional: the one that Root names.
	Server string
	// Digest is what the file must be about. Optional: whatever it is about.
	Digest oci.Digest
	// Anchors are further ones, for evidence that the server did not sign.
	Anchors []verify.Anchor
	Clock   func() time.Time // for X.509 alone, whose certificates have no proven time
	Log     *slog.Logger     // told of libraries that panic
}

// verifier is one file being verified.
type verifier struct {
	*given
	file      *api.Custody
	parts     []*part
	steps     []api.CustodyStep
	indexes   map[string]oci.Descriptor // that name what the file is about
	attached  map[[2]string]bool        // what BuildKit put into one, and what that is about
	referrers map[string]bool
	said      map[[2]string]evidence.Signature // by referrer and envelope
	batches   map[int64]*proven
	broken    map[int64]bool // batches that are in the file and do not verify
	events    map[int64]*event
	decisions map[int64]*api.Decision
}

// part is one part of a file, as far as it was looked at.
type part struct{ api.CustodyChecked }

func (p *part) add(what string, s api.CustodyState, text string) {
	p.Items = append(p.Items, api.CustodyItem{What: what, State: s, Text: text})
	if rank(s) > rank(p.State) {
		p.State = s
	}
}

func (p *part) ok(what, text string)     { p.add(what, api.CustodyVerified, text) }
func (p *part) unsure(what, text string) { p.add(what, api.CustodyNotProvable, text) }
func (p *part) fail(what, format string, operands ...any) {
	p.add(what, api.CustodyFailed, fmt.Sprintf(format, operands...))
}

// rank orders states: the worst of its items is that of a part.
func rank(s api.CustodyState) int {
	return slices.Index([]api.CustodyState{api.CustodyNotRecorded, api.CustodyVerified, api.CustodyNotProvable, api.CustodyFailed}, s)
}

func (v *verifier) part(name string) *part {
	p := &part{api.CustodyChecked{Part: name, State: api.CustodyNotRecorded}}
	v.parts = append(v.parts, p)
	return p
}

// step adds a line to the timeline. Only what was verified becomes one.
func (v *verifier) step(s api.CustodyStep) { v.steps = append(v.steps, s) }

// Verify verifies a file, with nothing but what is given: no network and no
// server. Errors match ErrFile, ErrLarge and ErrGiven; what is wrong with a file
// that can be read is in the answer.
func Verify(ctx context.Context, raw []byte, o VerifyOptions) (*api.CustodyCheck, error) {
	g, err := prepare(o)
	if err != nil {
		return nil, err
	}
	return g.verify(ctx, raw)
}

// given is what files are verified by, read.
type given struct {
	VerifyOptions
	who   identity
	check *verify.Verifier
	open  func(*api.CustodyBatch) (*proven, error) // openBatch by the trusted root
}

func prepare(o VerifyOptions) (*given, error) {
	g := &given{VerifyOptions: o}
	if g.Server == "" {
		var err error
		if g.Server, err = trust.ServerIn(g.Root); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrGiven, err)
		}
	}
	g.who = serverOf(g.Server)
	own := verify.Anchor{Name: OwnAnchor, Kind: verify.KindSigstore, Roots: [][]byte{g.Root}}
	set, err := verify.NewAnchors(append([]verify.Anchor{own}, g.Anchors...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrGiven, err)
	}
	g.check = verify.New(verify.Options{Anchors: set, Statements: attest.NewReader(nil, 0), Remember: -1, Clock: g.Clock, Log: g.Log})
	g.open = func(b *api.CustodyBatch) (*proven, error) { return openBatch(own, g.who, b) }
	return g, nil
}

// verify verifies one file.
func (g *given) verify(ctx context.Context, raw []byte) (*api.CustodyCheck, error) {
	file, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	if !g.Digest.IsZero() && file.Digest != g.Digest.String() {
		return nil, fmt.Errorf("%w: it is about %s, and %s was asked for", ErrFile, file.Digest, g.Digest)
	}
	v := &verifier{
		given: g, file: file, indexes: map[string]oci.Descriptor{}, attached: map[[2]string]bool{}, referrers: map[string]bool{}, said: map[[2]string]evidence.Signature{},
		batches: map[int64]*proven{}, broken: map[int64]bool{}, events: map[int64]*event{}, decisions: map[int64]*api.Decision{},
	}
	return v.run(ctx), ctx.Err()
}

// run looks at each part. What others rest on comes first; the answer is in the
// order of the file.
func (v *verifier) run(ctx context.Context) *api.CustodyCheck {
	v.openBatches()
	v.audit()
	about := v.subjects()
	v.evidence(ctx, about)
	v.readDecisions()
	v.readEvents()
	v.source()
	v.build()
	v.acquire()
	v.analysis()
	v.approvals()
	v.promotions()
	v.deployments()
	v.revocations()
	v.epochs()
	v.leftOut()
	return v.answer()
}

// order is that of the parts in an answer.
var order = []string{
	"file", "subject", "source", "build", "acquire", "analysis", "evidence", "decisions", "approvals", "promotions", "deployments",
	"events", "revocations", "epochs", "audit", "batches",
}

// none is said of parts that have nothing: it is no proof that there was nothing.
const none = "nothing of it is in the file, which does not prove that there was none"

func (v *verifier) answer() *api.CustodyCheck {
	slices.SortStableFunc(v.parts, func(a, b *part) int { return cmp.Compare(slices.Index(order, a.Part), slices.Index(order, b.Part)) })
	out := &api.CustodyCheck{Digest: v.file.Digest, Server: strings.TrimSuffix(v.Server, "/"), State: api.CustodyNotRecorded, Parts: []api.CustodyChecked{}}
	for _, p := range v.parts {
		if len(p.Items) == 0 && p.Text == "" {
			p.Text = none
		}
		out.Parts = append(out.Parts, p.CustodyChecked)
		if rank(p.State) > rank(out.State) {
			out.State = p.State
		}
	}
	slices.SortStableFunc(v.steps, func(a, b api.CustodyStep) int { return a.At.Compare(b.At) })
	out.Steps = append([]api.CustodyStep{}, v.steps...)
	return out
}

// leftOut repeats what the file says that it does not have, and what it claims
// that nothing proves.
func (v *verifier) leftOut() {
	p := v.part("file")
	if server := strings.TrimSuffix(v.file.Server, "/"); server != strings.TrimSuffix(v.Server, "/") {
		p.fail("server", "it says that it is of %s, and is verified as one of %s", oci.Quote(server), v.Server)
	}
	if len(v.batches) == 0 {
		p.unsure("proof", "the server has signed no batch that is in it: nothing in it is proven to be of the server")
	}
	for _, text := range v.file.LeftOut {
		p.unsure("left out", text)
	}
	if len(p.Items) == 0 {
		p.Text = fmt.Sprintf("made %s by %s, as it says itself; it covers %s", v.file.At.UTC().Format(time.RFC3339), oci.Quote(v.file.By), strings.Join(v.file.Repositories, ", "))
	}
}
