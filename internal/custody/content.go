package custody

import (
	"context"
	"fmt"
	"strings"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/attest"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/verify"
)

// checkContent reports whether content is what its digest and size say, and
// whether its bytes are there at all.
func checkContent(c *api.CustodyContent) (there bool, err error) {
	d, err := oci.ParseDigest(c.Digest)
	switch {
	case err != nil:
		return false, err
	case c.LeftOut != "" && len(c.Bytes) > 0:
		return false, fmt.Errorf("%s says that it is left out, and is there", d.Short())
	case c.LeftOut != "":
		return false, nil
	}
	if got := d.Algorithm().DigestOf(c.Bytes); got != d {
		return false, fmt.Errorf("the content of %s is %s: it was changed or cut off", d.Short(), got.Short())
	}
	if c.Size != int64(len(c.Bytes)) {
		return false, fmt.Errorf("%s has %d bytes, and the file says %d", d.Short(), len(c.Bytes), c.Size)
	}
	return true, nil
}

// manifestOf reads a manifest that is there.
func manifestOf(c *api.CustodyContent) (*oci.Manifest, error) {
	d, err := oci.ParseDigest(c.Digest)
	if err != nil {
		return nil, err
	}
	return oci.ParseManifest(c.Bytes, c.MediaType, d.Algorithm())
}

// subjects checks what the file is about, and returns by digest what evidence may
// be about.
func (v *verifier) subjects() map[string]oci.Descriptor {
	p := v.part("subject")
	found := map[string]oci.Descriptor{}
	m := v.subject(p, found)
	if m != nil {
		v.children(p, m, found)
		v.beside(m)
	}
	for i := range v.file.Subject.Indexes {
		v.index(p, &v.file.Subject.Indexes[i])
	}
	return found
}

func (v *verifier) subject(p *part, found map[string]oci.Descriptor) *oci.Manifest {
	c := &v.file.Subject.Manifest
	if c.Digest != v.file.Digest {
		p.fail("manifest", "it is %s, and the file is about %s", oci.Quote(c.Digest), v.file.Digest)
		return nil
	}
	there, err := checkContent(c)
	if err != nil || !there {
		p.fail("manifest", "%v", orMissing(err))
		return nil
	}
	m, err := manifestOf(c)
	if err != nil {
		p.fail("manifest", "%v", err)
		return nil
	}
	found[c.Digest] = oci.Descriptor{Digest: m.Digest, MediaType: m.MediaType, Size: c.Size}
	p.ok("manifest", fmt.Sprintf("%s, %d bytes", m.MediaType, c.Size))
	return m
}

func orMissing(err error) error {
	if err == nil {
		return fmt.Errorf("its bytes are not in the file")
	}
	return err
}

// children holds the children in the file against those that the index names.
func (v *verifier) children(p *part, m *oci.Manifest, found map[string]oci.Descriptor) {
	have := map[string]*api.CustodyContent{}
	for i := range v.file.Subject.Children {
		c := &v.file.Subject.Children[i]
		if have[c.Digest] != nil {
			p.fail("child "+c.Digest, "it is in the file twice")
		}
		have[c.Digest] = c
	}
	for _, desc := range m.Manifests {
		d := desc.Digest.String()
		if _, again := found[d]; again {
			continue
		}
		found[d] = oci.Descriptor{Digest: desc.Digest, MediaType: desc.MediaType, Size: desc.Size}
		c := have[d]
		delete(have, d)
		what := "child " + d
		if c == nil {
			p.unsure(what, "the index names it, and it is not in the file")
			continue
		}
		switch there, err := checkContent(c); {
		case err != nil:
			p.fail(what, "%v", err)
		case !there:
			p.unsure(what, "left out: "+c.LeftOut)
		case c.Size != desc.Size:
			p.fail(what, "it has %d bytes, and the index says %d", c.Size, desc.Size)
		default:
			p.ok(what, platform(desc.Platform))
		}
	}
	for d := range have {
		p.fail("child "+d, "the manifest does not name it")
	}
}

// index checks that an index names the subject, or an index before it that does.
func (v *verifier) index(p *part, c *api.CustodyContent) {
	what := "index " + c.Digest
	there, err := checkContent(c)
	if err != nil {
		p.fail(what, "%v", err)
		return
	}
	if !there {
		p.unsure(what, "left out: "+c.LeftOut)
		return
	}
	m, err := manifestOf(c)
	if err != nil {
		p.fail(what, "%v", err)
		return
	}
	for _, desc := range m.Manifests {
		_, through := v.indexes[desc.Digest.String()]
		if !through && desc.Digest.String() != v.file.Digest {
			continue
		}
		if through {
			p.ok(what, "names it through "+desc.Digest.String())
		} else {
			p.ok(what, "names it")
		}
		v.indexes[c.Digest] = oci.Descriptor{Digest: m.Digest, MediaType: m.MediaType, Size: c.Size}
		v.beside(m)
		return
	}
	p.fail(what, "it does not name %s", v.file.Digest)
}

// beside notes what BuildKit put into an index, and what that is about.
func (v *verifier) beside(index *oci.Manifest) {
	for _, at := range attest.AttachedIn(index) {
		v.attached[[2]string{at.Manifest.Digest.String(), at.About.Digest.String()}] = true
	}
}

// evidence checks each referrer, and keeps the statements that verify.
func (v *verifier) evidence(ctx context.Context, about map[string]oci.Descriptor) {
	p := v.part("evidence")
	for i := range v.file.Evidence {
		e := &v.file.Evidence[i]
		what := "referrer " + e.Manifest.Digest
		subject, ok := about[e.About]
		if !ok {
			subject, ok = v.indexes[e.About]
		}
		switch {
		case !ok:
			p.fail(what, "it is about %s, which is neither what the file is about nor a child of it, nor an index that names it", oci.Quote(e.About))
		case v.referrers[e.Manifest.Digest]:
			p.fail(what, "it is in the file twice")
		default:
			v.referrers[e.Manifest.Digest] = true
			v.referrer(ctx, p, what, subject, e)
		}
	}
}

func (v *verifier) referrer(ctx context.Context, p *part, what string, subject oci.Descriptor, e *api.CustodyEvidence) {
	there, err := checkContent(&e.Manifest)
	if err != nil || !there {
		p.fail(what, "%v", orMissing(err))
		return
	}
	m, err := manifestOf(&e.Manifest)
	if err != nil {
		p.fail(what, "%v", err)
		return
	}
	if m.Subject != nil && m.Subject.Digest != subject.Digest {
		p.fail(what, "it says itself that it is about %s, and the file has it under %s", m.Subject.Digest, subject.Digest)
		return
	}
	if len(m.Layers) != len(e.Layers) {
		p.fail(what, "its manifest names %d layers, and the file has %d", len(m.Layers), len(e.Layers))
		return
	}
	ref := verify.Referrer{Manifest: m, Layers: make([][]byte, len(m.Layers))}
	missing := ""
	for i := range e.Layers {
		l := &e.Layers[i]
		if l.Digest != m.Layers[i].Digest.String() {
			p.fail(what, "layer %d is %s, and the file has %s", i+1, m.Layers[i].Digest, oci.Quote(l.Digest))
			return
		}
		there, err := checkContent(l)
		if err != nil {
			p.fail(what, "layer %d: %v", i+1, err)
			return
		}
		if !there {
			missing = fmt.Sprintf("layer %d is left out: %s", i+1, l.LeftOut)
			continue
		}
		ref.Layers[i] = l.Bytes
	}
	if missing != "" {
		p.unsure(what, missing)
		return
	}
	if !verify.IsEnvelope(m) {
		p.unsure(what, "it is not signed: the bytes are those of its digest, and nothing proves who made them"+v.unsigned(subject.Digest, m, ref.Layers))
		return
	}
	v.signatures(ctx, p, what, subject, ref)
}

// unsigned tells what the statements say that BuildKit put beside an image; "" for
// a manifest that is none of those.
func (v *verifier) unsigned(about oci.Digest, m *oci.Manifest, layers [][]byte) string {
	if !v.attached[[2]string{m.Digest.String(), about.String()}] {
		return ""
	}
	var says []string
	for i, l := range m.Layers {
		if !attest.IsUnsigned(l) {
			continue
		}
		if st := attest.Unsigned(layers[i], about); st != nil {
			says = append(says, string(st.Kind)+" ("+st.Type+"): "+st.Says())
		}
	}
	if len(says) == 0 {
		return ". It is BuildKit's, and no statement in it can be read"
	}
	return ". It is BuildKit's about " + about.Short() + " and says: " + strings.Join(says, "; ")
}

// signatures checks the envelopes of a referrer. One that verifies for no anchor
// proves nothing; whether it is forged or of an anchor that was not given is not
// told apart.
func (v *verifier) signatures(ctx context.Context, p *part, what string, subject oci.Descriptor, ref verify.Referrer) {
	found := v.check.Check(ctx, subject, ref)
	_, lent := v.indexes[subject.Digest.String()]
	for _, sig := range found.Signatures {
		if lent {
			sig.Index = subject.Digest
		}
		v.said[[2]string{sig.Referrer.String(), sig.Envelope.String()}] = sig
		text := "signed by " + sig.Identity.String() + " (anchor " + sig.Anchor + ")"
		if v.own(&sig) {
			text = "signed by the server"
		}
		if sig.Statement != nil {
			text += ": " + sig.Statement.Type
		}
		if lent && !sig.Vouches() {
			p.ok(what, text+", of its index "+sig.Index.String()+" and not of what that names")
			continue
		}
		if lent {
			text += ", by its index " + sig.Index.String()
		}
		p.ok(what, text)
		v.step(api.CustodyStep{At: sig.At, What: signedWhat(&sig), Who: sig.Identity.String(), ProvenBy: "signature, anchor " + sig.Anchor})
	}
	for _, r := range found.Refusals {
		p.unsure(what, strings.Join(r.Reasons, "; "))
	}
	if len(found.Signatures)+len(found.Refusals) == 0 {
		p.unsure(what, "it has no signature that is known here")
	}
}

func (v *verifier) own(sig *evidence.Signature) bool {
	return sig.Anchor == OwnAnchor && v.who.signed(sig)
}

func signedWhat(sig *evidence.Signature) string {
	what := "signed"
	if sig.Statement != nil {
		what = "attested: " + string(sig.Statement.Kind)
	}
	if !sig.Index.IsZero() {
		what += ", of its index"
	}
	return what
}
