package policy

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Messages of the compiler and of the YAML library that name a word which is
// not known.
var (
	unknownMember = regexp.MustCompile(`^undefined field '([^']*)'$`)
	unknownKey    = regexp.MustCompile(`^unknown field "([^"]*)"$`)
)

// Texts of the compiler about one character that is written twice.
const (
	singleEquals = "token recognition error at: '= '"
	singleAnd    = "token recognition error at: '& '"
	singleOr     = "token recognition error at: '| '"
)

// hint says what a fault of an expression, or of the document around it,
// probably comes from.
func hint(text string) string {
	switch {
	case strings.Contains(text, singleEquals):
		return `"=" is no operator: write "==" to compare`
	case strings.Contains(text, singleAnd):
		return `"&" is no operator: write "&&" for and`
	case strings.Contains(text, singleOr):
		return `"|" is no operator: write "||" for or`
	}
	for _, of := range []struct {
		form  *regexp.Regexp
		words func() []string
	}{{unknownMember, memberNames}, {unknownKey, keyNames}} {
		if m := of.form.FindStringSubmatch(text); m != nil {
			if near := nearest(m[1], of.words()); near != "" {
				return text + " (did you mean '" + near + "'?)" // as the compiler says it of variables
			}
		}
	}
	return text
}

func memberNames() []string {
	var names []string
	for _, t := range objectTypes {
		for _, m := range t.members {
			names = append(names, m.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// keyNames are the keys of a gate and of its rules.
func keyNames() []string {
	var names []string
	for _, t := range []reflect.Type{reflect.TypeFor[document](), reflect.TypeFor[ruleText](), reflect.TypeFor[withinText](), reflect.TypeFor[signedByText](), reflect.TypeFor[signerText](), reflect.TypeFor[provenanceText](), reflect.TypeFor[statementText]()} {
		for i := range t.NumField() {
			name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			names = append(names, name)
		}
	}
	return names
}

// nearest returns the word that is at most two slips away, "" when there is
// none. Of equally near ones the first counts.
func nearest(word string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := slips(strings.ToLower(word), strings.ToLower(w)); d < least && d < len(word)/2 {
			best, least = w, d
		}
	}
	return best
}

// slips counts the letters to add, leave out or change on the way from a to b.
func slips(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3 // too far to tell
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
