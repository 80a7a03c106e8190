package attest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/strictjson"
)

// The statuses of VEX, in OpenVEX's words.
const (
	notAffected        = "not_affected"
	affected           = "affected"
	fixed              = "fixed"
	underInvestigation = "under_investigation"
)

// ReadVEX reads a VEX document that is no predicate: OpenVEX, CSAF or CycloneDX.
// partial says that some lists were longer than is kept. Errors match
// ErrStatement or strictjson.ErrLimit.
func ReadVEX(raw []byte) (vex *evidence.VEX, partial bool, err error) {
	vex, partial, err = ReadAttachedVEX(raw)
	if err != nil {
		return nil, false, err
	}
	for _, s := range vex.Statements {
		if len(s.Products) == 0 {
			return nil, false, fmt.Errorf("%w: what it says of %s is about no product, and it has no subject either", ErrStatement, oci.Quote(s.Vulnerability))
		}
	}
	return vex, partial, nil
}

// ReadAttachedVEX is ReadVEX for a document that is to be attached: what it says
// of no product it says of what it is attached to.
func ReadAttachedVEX(raw []byte) (vex *evidence.VEX, partial bool, err error) {
	doc, err := strictjson.Parse(raw, strictjson.Limits{Bytes: maxStatement})
	if errors.Is(err, strictjson.ErrLimit) {
		return nil, false, fmt.Errorf("reading a VEX document: %w", err)
	}
	f := facts{Statement: &evidence.Statement{}}
	if err == nil {
		err = f.vex(doc)
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: %v", ErrStatement, err)
	}
	return f.VEX, f.Partial, nil
}

// vex reads a document of any of the three formats; it says itself which.
func (f *facts) vex(p strictjson.Value) error {
	f.Kind, f.VEX = evidence.KindVEX, &evidence.VEX{}
	switch {
	case strings.HasPrefix(p.Get("@context").String(), "https://openvex.dev/ns"):
		return f.openVEX(p)
	case p.Get("document", "csaf_version").Exists():
		return f.csaf(p)
	case p.Get("bomFormat").String() == "CycloneDX":
		return f.cycloneVEX(p)
	}
	return errors.New("it is neither OpenVEX, CSAF nor CycloneDX")
}

// add keeps a statement, if it says one of the four things.
func (f *facts) add(s evidence.VEXStatement) error {
	if f.full(len(f.VEX.Statements), 10*maxList) {
		return nil
	}
	if !slices.Contains([]string{notAffected, affected, fixed, underInvestigation}, s.Status) {
		return fmt.Errorf("the status of %.100q is %.100q", s.Vulnerability, s.Status)
	}
	if s.Vulnerability == "" {
		return errors.New("a statement names no vulnerability")
	}
	f.VEX.Statements = append(f.VEX.Statements, s)
	return nil
}

// openVEX reads https://github.com/openvex/spec, 0.0.1 and 0.2.0.
func (f *facts) openVEX(p strictjson.Value) error {
	f.VEX.Format, f.VEX.Author, f.VEX.At = "openvex", f.text(p.Get("author")), moment(p.Get("timestamp"))
	if last := moment(p.Get("last_updated")); !last.IsZero() {
		f.VEX.At = last
	}
	for e := range p.Get("statements").Elements() {
		s := evidence.VEXStatement{
			Vulnerability: f.text(e.Get("vulnerability", "name")), Aliases: f.texts(e.Get("vulnerability", "aliases")),
			Status: f.text(e.Get("status")), Justification: f.text(e.Get("justification")), Impact: f.text(e.Get("impact_statement")),
			At: moment(e.Get("timestamp")),
		}
		if last := moment(e.Get("last_updated")); !last.IsZero() {
			s.At = last
		}
		if old := e.Get("vulnerability"); old.IsString() { // 0.0.1
			s.Vulnerability = f.text(old)
		}
		if err := f.openVEXProducts(s, e.Get("products")); err != nil {
			return err
		}
	}
	return nil
}

// openVEXProducts adds s for its products: one statement for those that stand
// alone, and one for each of which only parts are meant.
func (f *facts) openVEXProducts(s evidence.VEXStatement, products strictjson.Value) error {
	alone := s
	parts := false
	for product := range products.Elements() {
		inner := s
		for sub := range product.Get("subcomponents").Elements() {
			f.product(&inner, sub)
		}
		if product.Get("subcomponents").Len() == 0 {
			f.product(&alone, product)
			continue
		}
		parts, inner.Within = true, productName(product)
		if inner.Within == "" || len(inner.Products) == 0 {
			return errNoProduct
		}
		if err := f.add(inner); err != nil {
			return err
		}
	}
	switch {
	case len(alone.Products) > 0, products.Len() == 0:
		return f.add(alone)
	case parts:
		return nil
	}
	return errNoProduct
}

// errNoProduct refuses a statement whose products cannot be read: without them
// it would be about everything.
var errNoProduct = errors.New("a statement names a product without a name")

// product adds a purl, else an id, to the products.
func (f *facts) product(s *evidence.VEXStatement, v strictjson.Value) {
	if name := productName(v); name != "" && !f.full(len(s.Products), maxList) {
		s.Products = append(s.Products, name)
	}
}

// productName is what OpenVEX calls a product; "" when it has no usable name.
func productName(v strictjson.Value) string {
	name := firstText(v.Get("identifiers", "purl"), v.Get("@id"), v)
	if len(name) > maxText {
		return ""
	}
	return name
}

// csafStatuses are the product statuses of CSAF 2.0, section 3.2.3.9, that say
// one of the four things.
var csafStatuses = []struct{ name, status string }{
	{"known_not_affected", notAffected},
	{"known_affected", affected}, {"first_affected", affected}, {"last_affected", affected},
	{"fixed", fixed}, {"first_fixed", fixed},
	{"under_investigation", underInvestigation},
}

// csaf reads https://docs.oasis-open.org/csaf/csaf/v2.0/.
func (f *facts) csaf(p strictjson.Value) error {
	doc := p.Get("document")
	f.VEX.Format, f.VEX.Author, f.VEX.At = "csaf", f.text(doc.Get("publisher", "name")), moment(doc.Get("tracking", "current_release_date"))
	products := map[string]csafProduct{}
	f.csafProducts(products, p.Get("product_tree"), 0)
	for rel := range p.Get("product_tree", "relationships").Elements() {
		// A product as a part of another: what is said is said of it there.
		part := products[rel.Get("product_reference").String()]
		whole := rel.Get("relates_to_product_reference").String()
		if name := products[whole].name; name != "" {
			whole = name
		}
		if part.name == "" || whole == "" {
			continue
		}
		part.within = whole
		f.csafName(products, rel.Get("full_product_name", "product_id").String(), part)
	}
	for v := range p.Get("vulnerabilities").Elements() {
		if err := f.csafVulnerability(products, v); err != nil {
			return err
		}
	}
	return nil
}

// csafProduct is what a product id stands for.
type csafProduct struct{ name, within string }

func (f *facts) csafName(products map[string]csafProduct, id string, p csafProduct) {
	if id == "" || f.full(len(products), 50*maxList) {
		return
	}
	products[id] = p
}

// csafProducts walks the product tree for ids and their purls.
func (f *facts) csafProducts(products map[string]csafProduct, node strictjson.Value, depth int) {
	if f.full(depth, 32) {
		return
	}
	name := func(v strictjson.Value) {
		name := firstText(v.Get("product_identification_helper", "purl"), v.Get("product_id"))
		f.csafName(products, v.Get("product_id").String(), csafProduct{name: name})
	}
	name(node.Get("product"))
	for v := range node.Get("full_product_names").Elements() {
		name(v)
	}
	for branch := range node.Get("branches").Elements() {
		f.csafProducts(products, branch, depth+1)
	}
}

func (f *facts) csafVulnerability(products map[string]csafProduct, v strictjson.Value) error {
	base := evidence.VEXStatement{Vulnerability: f.text(v.Get("cve"))}
	for e := range v.Get("ids").Elements() {
		if alias := f.text(e.Get("text")); base.Vulnerability == "" {
			base.Vulnerability = alias
		} else if alias != "" && !f.full(len(base.Aliases), maxList) {
			base.Aliases = append(base.Aliases, alias)
		}
	}
	reasons := map[string]string{} // product id to justification
	for flag := range v.Get("flags").Elements() {
		for product := range flag.Get("product_ids").Elements() {
			reasons[product.String()] = f.text(flag.Get("label"))
		}
	}
	for _, s := range csafStatuses {
		base.Status = s.status
		if err := f.csafStatus(products, reasons, base, v.Get("product_status", s.name)); err != nil {
			return err
		}
	}
	return nil
}

// csafStatus adds base for a list of product ids: one statement for each
// justification and whole.
func (f *facts) csafStatus(products map[string]csafProduct, reasons map[string]string, base evidence.VEXStatement, ids strictjson.Value) error {
	type group struct{ reason, within string }
	grouped := map[group][]string{}
	for id := range ids.Elements() {
		p := products[id.String()]
		if p.name == "" {
			p.name = f.text(id)
		}
		g := group{within: p.within}
		if base.Status == notAffected {
			g.reason = reasons[id.String()]
		}
		if p.name != "" && !f.full(len(grouped[g]), 10*maxList) {
			grouped[g] = append(grouped[g], p.name)
		}
	}
	groups := slices.SortedFunc(maps.Keys(grouped), func(a, b group) int {
		return cmp.Or(strings.Compare(a.reason, b.reason), strings.Compare(a.within, b.within))
	})
	for _, g := range groups {
		s := base
		s.Products, s.Justification, s.Within = grouped[g], g.reason, g.within
		if err := f.add(s); err != nil {
			return err
		}
	}
	return nil
}

// cycloneStates are the analysis states of CycloneDX 1.6 in OpenVEX's words.
var cycloneStates = map[string]string{
	"resolved": fixed, "resolved_with_pedigree": fixed, "exploitable": affected,
	"in_triage": underInvestigation, "false_positive": notAffected, "not_affected": notAffected,
}

// isCycloneVEX reports whether a BOM says something about faults and nothing
// about what there is.
func isCycloneVEX(p strictjson.Value) bool {
	if p.Get("components").Len() > 0 {
		return false
	}
	for v := range p.Get("vulnerabilities").Elements() {
		if v.Get("analysis", "state").Exists() {
			return true
		}
	}
	return false
}

// cycloneVEX reads https://cyclonedx.org/capabilities/vex/.
func (f *facts) cycloneVEX(p strictjson.Value) error {
	f.VEX.Format, f.VEX.At = "cyclonedx", moment(p.Get("metadata", "timestamp"))
	f.VEX.Author = firstText(p.Get("metadata", "supplier", "name"), p.Get("metadata", "manufacturer", "name"))
	purls := map[string]string{}
	for c := range p.Get("components").Elements() {
		if purl := c.Get("purl").String(); purl != "" && !f.full(len(purls), 50*maxList) {
			purls[c.Get("bom-ref").String()] = purl
		}
	}
	for v := range p.Get("vulnerabilities").Elements() {
		analysis := v.Get("analysis")
		if !analysis.Get("state").Exists() {
			continue // a finding, not a statement about one
		}
		s := evidence.VEXStatement{
			Vulnerability: f.text(v.Get("id")), Status: cycloneStates[analysis.Get("state").String()],
			Justification: f.text(analysis.Get("justification")), Impact: f.text(analysis.Get("detail")),
		}
		for e := range v.Get("affects").Elements() {
			ref := f.text(e.Get("ref"))
			if purl := purls[ref]; purl != "" {
				ref = purl
			}
			if ref != "" && !f.full(len(s.Products), maxList) {
				s.Products = append(s.Products, ref)
			}
		}
		if len(s.Products) == 0 && v.Get("affects").Len() > 0 {
			return errNoProduct
		}
		if err := f.add(s); err != nil {
			return err
		}
	}
	return nil
}
