package drive

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonded-dev/bonded/internal/testparts"
)

// Shape is one way to keep what a server keeps.
type Shape struct {
	Name   string
	config []func(tb testing.TB) string
}

// Shapes are all of them; what is true of one is to be true of each.
var Shapes = []Shape{
	{Name: "sqlite+disk"},
	{Name: "postgres+disk", config: []func(testing.TB) string{postgres}},
	{Name: "sqlite+s3", config: []func(testing.TB) string{s3}},
	{Name: "postgres+s3", config: []func(testing.TB) string{postgres, s3}},
}

// Config is the part of the configuration that makes the shape. A test whose
// shape needs what is absent ends here.
func (s Shape) Config(tb testing.TB) string {
	tb.Helper()
	text := ""
	for _, part := range s.config {
		text += part(tb)
	}
	return text
}

// Advisories is the part of the configuration that takes advisories from the
// excerpts in testdata, when it is told to. root is the root of this module.
func Advisories(tb testing.TB, root string) string {
	tb.Helper()
	dir, err := filepath.Abs(filepath.Join(root, "testdata", "osv"))
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("feeds:\n  - {name: excerpt, dir: %q, interval: 0s}\n", dir)
}

func postgres(tb testing.TB) string {
	tb.Helper()
	return fmt.Sprintf("database:\n  postgres: {url_file: %s}\n", secret(tb, testparts.Postgres(tb)))
}

func s3(tb testing.TB) string {
	tb.Helper()
	c := testparts.S3(tb)
	return fmt.Sprintf("content:\n  s3: {endpoint: %q, region: %q, bucket: %q, prefix: %q, access_key_file: %s, secret_key_file: %s}\n",
		c.Endpoint, c.Region, c.Bucket, c.Prefix, secret(tb, c.AccessKey), secret(tb, c.SecretKey))
}

// secret writes a secret to a file, which is how configurations name them.
func secret(tb testing.TB, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
