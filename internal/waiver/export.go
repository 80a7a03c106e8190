package waiver

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/internal/authz"
	"github.com/bonded-dev/bonded/internal/evidence"
	"github.com/bonded-dev/bonded/internal/oci"
	"github.com/bonded-dev/bonded/internal/repo"
)

// OpenVEX 0.2.0: https://github.com/openvex/spec.
const openVEX = "https://openvex.dev/ns/v0.2.0"

// vexDocument, with what is below it, is a document of OpenVEX as it is written:
// the keys in this order.
type vexDocument struct {
	Context    string         `json:"@context"`
	ID         string         `json:"@id"`
	Author     string         `json:"author"`
	Role       string         `json:"role"`
	Timestamp  time.Time      `json:"timestamp"`
	Version    int            `json:"version"`
	Statements []vexStatement `json:"statements"`
}

type vexStatement struct {
	ID            string           `json:"@id"`
	Vulnerability vexVulnerability `json:"vulnerability"`
	Timestamp     time.Time        `json:"timestamp"`
	Products      []vexProduct     `json:"products"`
	Status        string           `json:"status"`
	Supplier      string           `json:"supplier,omitempty"`
	Notes         string           `json:"status_notes,omitempty"`
	Justification string           `json:"justification,omitempty"`
	Impact        string           `json:"impact_statement,omitempty"`
	Action        string           `json:"action_statement,omitempty"`
	ActionAt      *time.Time       `json:"action_statement_timestamp,omitempty"`
}

type vexVulnerability struct {
	Name string `json:"name"`
}

type vexProduct struct {
	ID            string            `json:"@id"`
	Hashes        map[string]string `json:"hashes,omitempty"`
	Subcomponents []vexComponent    `json:"subcomponents,omitempty"`
}

type vexComponent struct {
	ID string `json:"@id"`
}

// maxExported bounds the waivers of a document.
const maxExported = 5000

// Export renders the waivers in force that p may know of as OpenVEX, those about
// repositories that the pattern takes, "" for all. A statement has the images that
// stand by the waiver now. Only one with a justification says that they are not
// affected. The same state gives the same bytes. Errors match repo.ErrNotFound
// where nothing stands by a waiver: a document has a statement at least.
func (f *Flow) Export(ctx context.Context, p authz.Principal, repositories string) ([]byte, error) {
	pattern, err := evidence.ParsePattern(cmp.Or(repositories, "**"))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", evidence.ErrWaiverInvalid, err)
	}
	var held []Record
	err = f.View(ctx, func(tx Tx) error {
		held = held[:0]
		for before := int64(1<<63 - 1); len(held) < maxExported; {
			found, err := tx.Waivers(ctx, "", true, before, judgedAtOnce)
			if err != nil {
				return err
			}
			for i := range found {
				if r := &found[i]; r.HoldsAt(f.Clock()) && shows(p, r) && f.state(r) == "granted" {
					held = append(held, *r)
				}
			}
			if len(found) < judgedAtOnce {
				break
			}
			before = found[len(found)-1].Number
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	doc := vexDocument{Context: openVEX, Author: "bonded", Role: "registry", Version: 1, Statements: []vexStatement{}}
	slices.SortFunc(held, func(a, b Record) int { return cmp.Compare(a.Number, b.Number) })
	for i := range held {
		if err := f.stateOne(ctx, &doc, &held[i], pattern); err != nil {
			return nil, err
		}
	}
	if len(doc.Statements) == 0 {
		return nil, fmt.Errorf("a fault that is waived in %s: %w; see: bonded waiver list --open", pattern, repo.ErrNotFound)
	}
	return doc.encode()
}

// encode writes the document, whose name is that of what it says.
func (d *vexDocument) encode() ([]byte, error) {
	for _, s := range d.Statements {
		if s.Timestamp.After(d.Timestamp) {
			d.Timestamp = s.Timestamp
		}
	}
	said, err := json.Marshal(d.Statements)
	if err != nil {
		return nil, fmt.Errorf("encoding OpenVEX: %v", err)
	}
	d.ID = fmt.Sprintf("https://bonded.dev/openvex/waivers/%x", sha256.Sum256(said))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(d); err != nil {
		return nil, fmt.Errorf("encoding OpenVEX: %v", err)
	}
	return b.Bytes(), nil
}

// stood is what a waiver lets stand: by advisory, where it has which packages.
type stood map[string]map[place]map[string]bool

type place struct{ repository, digest string }

// stateOne adds the statements of one waiver.
func (f *Flow) stateOne(ctx context.Context, doc *vexDocument, rec *Record, pattern evidence.Pattern) error {
	all := stood{}
	err := f.each(ctx, rec, f.View, func(tx Tx, some []repo.Placement) (bool, error) {
		for i := range some {
			if !pattern.Match(some[i].Repository.String()) {
				continue
			}
			d, err := tx.DecisionInForce(ctx, &some[i])
			if err != nil || d == nil {
				return true, err
			}
			all.add(d, rec)
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, advisory := range sortedKeys(all) {
		doc.Statements = append(doc.Statements, statement(rec, advisory, all[advisory]))
	}
	return nil
}

// add notes what a decision allows by a waiver.
func (s stood) add(d *api.Decision, rec *Record) {
	for _, r := range d.Reasons {
		for _, w := range r.Waived {
			if w.Waiver != rec.ID {
				continue
			}
			for _, fact := range w.Facts {
				if fact.Package == "" { // it is about no fault
					continue
				}
				if s[fact.ID] == nil {
					s[fact.ID] = map[place]map[string]bool{}
				}
				at := place{d.Repository, d.Digest}
				if s[fact.ID][at] == nil {
					s[fact.ID][at] = map[string]bool{}
				}
				s[fact.ID][at][rec.component(fact)] = true
			}
		}
	}
}

// component names the package of a fact: by its purl where the waiver has it.
func (r *Record) component(f api.Fact) string {
	if name, _, _ := strings.Cut(r.Package, "?"); name != "" {
		if r.AnyVersion().Package == name && f.Version != "" {
			return name + "@" + url.PathEscape(f.Version)
		}
		return name
	}
	return "pkg:generic/" + url.PathEscape(f.Package) + "@" + url.PathEscape(f.Version)
}

func statement(rec *Record, advisory string, where map[place]map[string]bool) vexStatement {
	at := rec.Granted[len(rec.Granted)-1].At
	s := vexStatement{
		ID: "https://bonded.dev/openvex/waiver/" + rec.ID + "/" + url.PathEscape(advisory), Vulnerability: vexVulnerability{advisory}, Timestamp: at,
		Notes: fmt.Sprintf("waiver %s until %s, granted by %s; %s answers for it", rec.ID, rec.Until.Format(time.RFC3339), names(rec.Granted), rec.Owner),
	}
	if rec.Justification != "" {
		s.Status, s.Justification, s.Impact = "not_affected", rec.Justification, rec.Reason
	} else {
		s.Status, s.Action, s.ActionAt = "affected", fmt.Sprintf("It is accepted until %s: %s", rec.Until.Format(time.RFC3339), rec.Reason), &at
	}
	for at, packages := range where {
		s.Products = append(s.Products, product(at, packages))
	}
	slices.SortFunc(s.Products, func(a, b vexProduct) int { return cmp.Compare(a.ID, b.ID) })
	return s
}

func product(at place, packages map[string]bool) vexProduct {
	name := at.repository[strings.LastIndexByte(at.repository, '/')+1:]
	p := vexProduct{ID: "pkg:oci/" + name + "@" + url.QueryEscape(at.digest) + "?repository_url=" + url.QueryEscape(at.repository)}
	if d, err := oci.ParseDigest(at.digest); err == nil && d.Algorithm() == "sha256" {
		p.Hashes = map[string]string{"sha-256": d.Hex()}
	}
	for _, c := range sortedKeys(packages) {
		p.Subcomponents = append(p.Subcomponents, vexComponent{c})
	}
	return p
}

func names(by []evidence.Grantor) string {
	all := make([]string, len(by))
	for i := range by {
		all[i] = by[i].Name
	}
	return strings.Join(all, " and ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
