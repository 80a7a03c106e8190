// Package verify checks envelopes: it says which signatures over a digest
// verify for the anchors that are trusted, and why the others do not.
//
// Three forms come in: Sigstore bundles, cosign's older annotations, and Notary
// Project envelopes. What comes out are evidence.Signature values, made of what
// was verified and of nothing else, and evidence.Refusal values with the reason
// of each anchor. A check that could not be made is a third answer (Unsure),
// never folded into "forged" and never into "fine".
//
// Cryptography and the formats' rules are those of sigstore-go and notation-go.
// A yes is theirs; this package refuses more than they do (identities that can
// be read in two ways, payloads that two parsers understand differently, log
// keys past their time) and finds the words for a no.
package verify

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
)

// Statements reads what a verified statement says. It is called with the
// signature that was verified, so that it can grant by who signed; the payload
// is a DSSE payload of type application/vnd.in-toto+json. A nil Statement means
// that it says nothing but "this". An error that matches strictjson.ErrLimit
// means that it could not be read, any other that it must not be believed.
type Statements interface {
	Read(payload []byte, sig *evidence.Signature) (*evidence.Statement, error)
}

// Options are what a Verifier is made of.
type Options struct {
	Anchors    *Anchors   // needed; may hold none
	Statements Statements // needed
	// Policy names how Statements reads: results are remembered under it. It
	// changes when Statements would answer differently. Optional.
	Policy string
	// Remember bounds, in bytes, what is remembered of earlier checks. Default
	// 64 MiB; negative remembers nothing.
	Remember int64
	Clock    func() time.Time // needed
	Log      *slog.Logger     // needed; told of libraries that panic
}

// Limits of what is looked at. A referrer over one of them is Unsure.
const (
	MaxEnvelope = 24 << 20 // bytes of a layer; a statement of 16 MiB in base64 fits
	MaxLayers   = 64       // signatures in one referrer
	maxReasons  = 32       // anchors that a refusal lists
)

// Verifier checks referrers. It is safe for concurrent use.
type Verifier struct {
	anchors    atomic.Pointer[Anchors]
	statements Statements
	policy     string
	clock      func() time.Time
	log        *slog.Logger
	memory     *memory
}

// New returns a Verifier.
func New(o Options) *Verifier {
	if o.Remember == 0 {
		o.Remember = 64 << 20
	}
	v := &Verifier{statements: o.Statements, policy: o.Policy, clock: o.Clock, log: o.Log, memory: newMemory(o.Remember)}
	v.anchors.Store(o.Anchors)
	return v
}

// Trust puts other anchors into force. Checks under way end with those they
// began with; what was remembered under others is not used.
func (v *Verifier) Trust(a *Anchors) { v.anchors.Store(a) }

// Anchors returns the anchors in force.
func (v *Verifier) Anchors() *Anchors { return v.anchors.Load() }

// Referrer is evidence as the registry holds it.
type Referrer struct {
	Manifest *oci.Manifest
	// Layers are the contents of Manifest.Layers, in order. nil stands for one
	// that the caller did not fetch because it is larger than MaxEnvelope. They
	// must not change, and their digests are taken anew.
	Layers [][]byte
}

// Result is what one referrer says. Both lists are empty for a referrer that
// carries no envelope (see IsEnvelope). Statements are shared and must not be
// changed.
type Result struct {
	Signatures []evidence.Signature
	Refusals   []evidence.Refusal
}

// Check verifies all that a referrer carries. subject is the descriptor of
// what the signatures must be over: its digest, and for Notation also its media
// type and size. Each envelope gives one Signature for each anchor it verifies
// for, or else one Refusal.
func (v *Verifier) Check(ctx context.Context, subject oci.Descriptor, ref Referrer) Result {
	var out Result
	anchors := v.Anchors()
	if len(ref.Manifest.Layers) > MaxLayers {
		return v.unread(ref, fmt.Sprintf("it has %d layers, at most %d are looked at", len(ref.Manifest.Layers), MaxLayers))
	}
	seen := map[string]bool{}
	for i, layer := range ref.Manifest.Layers {
		form := formOf(ref.Manifest, layer)
		if form == "" || seen[sameLayer(form, layer)] {
			continue
		}
		seen[sameLayer(form, layer)] = true
		var raw []byte
		if i < len(ref.Layers) {
			raw = ref.Layers[i]
		}
		one := v.layer(ctx, anchors, subject, parcel{form: form, layer: layer, raw: raw})
		for j := range one.Signatures {
			one.Signatures[j].Referrer = ref.Manifest.Digest
		}
		for j := range one.Refusals {
			one.Refusals[j].Referrer = ref.Manifest.Digest
		}
		out.Signatures = append(out.Signatures, one.Signatures...)
		out.Refusals = append(out.Refusals, one.Refusals...)
	}
	return out
}

// sameLayer names a layer with all of its descriptor that is read. One that is
// listed again says nothing more, and costs as much.
func sameLayer(form evidence.Form, layer oci.Descriptor) string {
	name := string(form) + " " + layer.Digest.String()
	switch form {
	case evidence.FormNotation:
		name += " " + layer.MediaType
	case evidence.FormLegacy:
		name += " " + layer.MediaType
		for _, read := range []string{annotationSignature, annotationCert, annotationRekor, annotationTimestamp} {
			name += "\x00" + layer.Annotations[read]
		}
	}
	return name
}

func (v *Verifier) unread(ref Referrer, why string) Result {
	form := evidence.Form("")
	if len(ref.Manifest.Layers) > 0 {
		form = formOf(ref.Manifest, ref.Manifest.Layers[0])
	}
	return Result{Refusals: []evidence.Refusal{{Referrer: ref.Manifest.Digest, Form: form, Reasons: []string{why}, Unsure: true}}}
}

// parcel is one envelope as it came.
type parcel struct {
	form  evidence.Form
	layer oci.Descriptor
	raw   []byte
}

// layer checks one envelope, or remembers.
func (v *Verifier) layer(ctx context.Context, anchors *Anchors, subject oci.Descriptor, p parcel) Result {
	if why := p.unreadable(); why != "" {
		return refuse(p.form, []refusal{{why: why, unsure: true}})
	}
	digest := p.layer.Digest.Algorithm().DigestOf(p.raw)
	if digest != p.layer.Digest {
		return refuse(p.form, []refusal{{why: fmt.Sprintf("the content of layer %s is %s: it was changed in storage or on its way", p.layer.Digest.Short(), digest.Short())}})
	}
	key := v.key(anchors, subject, p)
	if known, ok := v.memory.get(key, v.clock); ok {
		return known
	}
	found := v.judge(ctx, anchors, subject, p)
	result := found.result(p.form)
	if found.lasting() && ctx.Err() == nil {
		v.memory.put(key, result, found.until)
	}
	return result.clone()
}

func (p parcel) unreadable() string {
	switch {
	case p.layer.Size > MaxEnvelope, len(p.raw) > MaxEnvelope:
		return fmt.Sprintf("it is %d bytes, at most %d are read", max(p.layer.Size, int64(len(p.raw))), MaxEnvelope)
	case p.raw == nil:
		return "its content was not fetched"
	case p.layer.Digest.IsZero():
		return "its layer has no digest"
	}
	return ""
}

// refusal is one anchor's no, or that of all.
type refusal struct {
	anchor string // "" for a reason that holds for all
	why    string
	unsure bool
	unfit  bool // the anchor takes another kind of signature
}

// findings collects what anchors said of one envelope.
type findings struct {
	signatures []evidence.Signature
	refusals   []refusal
	until      time.Time // when a yes must be asked again; zero for never
	fleeting   bool      // a no depends on the hour
}

func (f *findings) doubt(anchor, why string) {
	f.refusals = append(f.refusals, refusal{anchor: anchor, why: why, unsure: true})
}

// lasting reports whether the same bytes would be judged alike tomorrow: yes
// for what verified, and for a no that does not depend on the hour.
func (f *findings) lasting() bool {
	if f.fleeting && len(f.signatures) == 0 {
		return false
	}
	for _, r := range f.refusals {
		if r.unsure {
			return false
		}
	}
	return true
}

func (f *findings) result(form evidence.Form) Result {
	if len(f.signatures) > 0 {
		return Result{Signatures: f.signatures}
	}
	return refuse(form, f.refusals)
}

// refuse folds the noes of anchors into one Refusal. One of them that could
// not be sure makes it so.
func refuse(form evidence.Form, refusals []refusal) Result {
	out := evidence.Refusal{Form: form}
	for _, r := range refusals {
		out.Unsure = out.Unsure || r.unsure
		if len(out.Reasons) == maxReasons {
			continue
		}
		if r.anchor != "" {
			r.why = "anchor " + r.anchor + ": " + r.why
		}
		out.Reasons = append(out.Reasons, r.why)
	}
	return Result{Refusals: []evidence.Refusal{out}}
}

// clone keeps what is remembered from those who set the referrer.
func (r Result) clone() Result {
	return Result{
		Signatures: append([]evidence.Signature(nil), r.Signatures...),
		Refusals:   append([]evidence.Refusal(nil), r.Refusals...),
	}
}
