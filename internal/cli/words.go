package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bonded-dev/bonded/internal/oci"
)

// dash stands for zero and for nothing.
const dash = "–"

// words says values as people do. Programs get the values.
type words struct{ now time.Time }

// ago says how far a time is from now: "2 min ago", "in 3 days".
func (w words) ago(t time.Time) string {
	if t.IsZero() {
		return dash
	}
	d := w.now.Sub(t)
	switch {
	case d.Abs() < 5*time.Second:
		return "just now"
	case d < -time.Minute: // what was to be good for a day is so a moment later
		return "in " + span(d.Abs().Round(time.Minute))
	case d < 0:
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span says a length of time in one unit, rounded down.
func span(d time.Duration) string {
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 2*day:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	case d < 120*day:
		return fmt.Sprintf("%d days", int(d/day))
	case d < 730*day:
		return fmt.Sprintf("%d months", int(d/(30*day)))
	}
	return fmt.Sprintf("%d years", int(d/(365*day)))
}

// validity says how long something is still good, to the nearest minute: it was
// made a moment ago.
func (w words) validity(until time.Time) string { return span(until.Sub(w.now).Round(time.Minute)) }

// moment says a time for people who compare: in UTC, to the second.
func moment(t time.Time) string {
	if t.IsZero() {
		return dash
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// count groups digits by three, with spaces that no line is broken at, and
// shows zero as a dash.
func count[T int | int64](n T) string {
	if n == 0 {
		return dash
	}
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u00a0" + s[i:]
	}
	return sign + s
}

// refer is a reference that can be pasted: with a tag where there is one.
func refer(repository string, tags []string, digest string) string {
	if len(tags) > 0 {
		return repository + ":" + tags[0]
	}
	return repository + "@" + digest
}

// askedFirst puts the tag that ref asks by before the others: it is the name
// that people know the artifact by.
func askedFirst(tags []string, ref string) []string {
	ref, _, _ = strings.Cut(ref, "@")
	_, tag, ok := strings.Cut(ref[strings.LastIndexByte(ref, '/')+1:], ":")
	if i := slices.Index(tags, tag); ok && i > 0 {
		return slices.Concat(tags[i:i+1], tags[:i], tags[i+1:])
	}
	return tags
}

// many is "1 package", "2 packages", "no packages".
func many[T int | int64](n T, one, several string) string {
	switch n {
	case 0:
		return "no " + several
	case 1:
		return "1 " + one
	}
	return count(n) + " " + several
}

// bytesOf says a size in powers of 1000, as disks and lines are sold.
func bytesOf(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	v, i := float64(n), 0
	for v >= 999.95 && i < len(units)-1 {
		v /= 1000
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// short is a digest for eyes: "sha256:9c1e…41f7". What is none stays as it is.
func short(digest string) string {
	d, err := oci.ParseDigest(digest)
	if err != nil {
		return digest
	}
	return d.Short()
}

// or is s, or a dash for nothing.
func or(s string) string {
	if s == "" {
		return dash
	}
	return s
}

// list joins with commas; a dash for nothing.
func list(items []string) string { return or(strings.Join(items, ", ")) }

// pathOf is a repository without its zone.
func pathOf(repository string) string {
	if _, path, ok := strings.Cut(repository, "/"); ok {
		return path
	}
	return repository
}

// named is a repository path with its first tag, or with its digest for eyes
// where it has none.
func named(repository string, tags []string, digest string) string {
	if len(tags) > 0 {
		return repository + ":" + tags[0]
	}
	return repository + "@" + short(digest)
}
