package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// judge asks every anchor about one envelope. Libraries that parse hostile
// bytes have panicked before; one that does could not check, and nothing more.
func (v *Verifier) judge(ctx context.Context, anchors *Anchors, subject oci.Descriptor, p parcel) (f *findings) {
	defer func() {
		if r := recover(); r != nil {
			v.log.LogAttrs(ctx, slog.LevelError, "checking an envelope panicked", slog.String("envelope", p.layer.Digest.String()), slog.Any("panic", r))
			f = &findings{}
			f.doubt("", "reading it stopped in an error of ours or of a library; the server's log has more")
		}
	}()
	f = &findings{}
	if len(anchors.judges) == 0 {
		f.doubt("", "no anchor is configured: nothing says who is trusted")
		return f
	}
	if p.form == evidence.FormNotation {
		v.judgeNotation(ctx, f, anchors, subject, p)
		return f
	}
	s, err := p.open()
	if err != nil {
		f.refusals = append(f.refusals, refusal{why: err.Error(), unsure: unsure(err)})
		return f
	}
	for _, j := range anchors.judges {
		v.judgeSigned(f, &j, s, subject.Digest, p)
	}
	f.onlyFitting()
	return f
}

// unsure tells errors about what we can read from those about what was read.
func unsure(err error) bool {
	return errors.Is(err, errUnknownForm) || errors.Is(err, strictjson.ErrLimit) || errors.Is(err, errAway)
}

// open reads the envelope of a parcel in one of Sigstore's forms.
func (p parcel) open() (*signed, error) {
	if p.form == evidence.FormBundle {
		return readBundle(p.raw)
	}
	return readLegacy(p.layer, p.raw)
}

// errUnfit is what an anchor of another kind says; it is told only where all do.
// That is a no, and not a doubt: nobody who is trusted here signs like that.
var errUnfit = errors.New("it takes another kind of signature")

// judgeSigned asks one anchor about a signature in Sigstore's terms.
func (v *Verifier) judgeSigned(f *findings, j *judge, s *signed, subject oci.Digest, p parcel) {
	sig, err := j.check(s, subject)
	if err == nil {
		sig.Anchor, sig.Form, sig.Envelope = j.name, p.form, p.layer.Digest
		err = v.complete(&sig, s)
	}
	if err != nil {
		unfit := errors.Is(err, errUnfit)
		f.refusals = append(f.refusals, refusal{anchor: j.name, why: err.Error(), unsure: unsure(err), unfit: unfit})
		return
	}
	f.signatures = append(f.signatures, sig)
}

// errAway is what an anchor without its material says.
var errAway = errors.New("it is not there")

// check asks the anchor. Without material there is no yes.
func (j *judge) check(s *signed, subject oci.Digest) (evidence.Signature, error) {
	switch {
	case j.away != "":
		return evidence.Signature{}, fmt.Errorf("%w: %s", errAway, j.away)
	case j.kind == KindX509:
		return evidence.Signature{}, fmt.Errorf("%w: this is Sigstore's, and the anchor takes Notary Project's", errUnfit)
	case j.kind == KindKey && s.leaf != nil:
		return evidence.Signature{}, fmt.Errorf("%w: this is signed with a certificate, and the anchor holds bare keys", errUnfit)
	case j.kind != KindKey && s.leaf == nil:
		return evidence.Signature{}, fmt.Errorf("%w: this is signed with a bare key, and the anchor takes certificates", errUnfit)
	case j.kind == KindKey:
		return j.checkKeys(s, subject)
	}
	last := errStranger
	for _, r := range j.roots {
		sig, err := r.check(s, subject)
		if err == nil {
			return sig, nil
		}
		// Of several roots, one that knows the certificate says more.
		if errors.Is(last, errStranger) {
			last = err
		}
	}
	return evidence.Signature{}, last
}

func (j *judge) checkKeys(s *signed, subject oci.Digest) (evidence.Signature, error) {
	why := errOtherKey
	for _, k := range j.keys {
		sig, err := k.check(s, subject)
		if err == nil {
			return sig, nil
		}
		if errors.Is(why, errOtherKey) {
			why = err
		}
	}
	return evidence.Signature{}, why
}

// complete reads what a verified signature says.
func (v *Verifier) complete(sig *evidence.Signature, s *signed) error {
	if s.artifact != nil {
		return simpleSigning(s.artifact, sig.Subject)
	}
	if s.payload == nil {
		return nil
	}
	var err error
	if sig.Statement, err = v.statements.Read(s.payload, sig); err != nil {
		return fmt.Errorf("its signature is good and its statement is not taken: %w", err)
	}
	return nil
}

// onlyFitting drops what anchors of another kind said where one that fits spoke:
// "forged" must not become "could not be checked" because of a second anchor.
func (f *findings) onlyFitting() {
	var kept []refusal
	for _, r := range f.refusals {
		if !r.unfit {
			kept = append(kept, r)
		}
	}
	if len(kept) > 0 {
		f.refusals = kept
	}
}
