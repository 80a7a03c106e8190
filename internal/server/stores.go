package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/bonded-dev/bonded/internal/blob"
	"github.com/bonded-dev/bonded/internal/blob/disk"
	"github.com/bonded-dev/bonded/internal/blob/s3"
	"github.com/bonded-dev/bonded/internal/config"
	"github.com/bonded-dev/bonded/internal/db"
	"github.com/bonded-dev/bonded/internal/oci"
)

// readSecret returns the content of a secret's file; field says which.
func readSecret(field string, path config.Path) (string, error) {
	secret, err := path.ReadSecret()
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", field, err)
	}
	return secret, nil
}

// openDB opens the database that the configuration names; o says the rest.
func openDB(ctx context.Context, c *config.Config, o db.Options) (*db.DB, error) {
	switch {
	case c.Database.Postgres != nil:
		var err error
		if o.URL, err = postgresURL(c.Database.Postgres); err != nil {
			return nil, err
		}
	default:
		o.Folder = databaseDir(c)
	}
	return db.Open(ctx, o)
}

func postgresURL(p *config.Postgres) (string, error) {
	if p.URLFile != "" {
		return readSecret("database.postgres.url_file", p.URLFile)
	}
	if p.PasswordFile == "" {
		return p.URL, nil
	}
	password, err := readSecret("database.postgres.password_file", p.PasswordFile)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		return "", errors.New("reading database.postgres.url: it is no URL")
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}

// content is the content store and the uploads that commit into it.
type content struct {
	blobs   blob.Store
	uploads blob.Uploads
	// minChunk is what OCI-Chunk-Min-Length asks for, 0 for nothing.
	minChunk int64
}

// check asks the content store about a blob that it need not have.
func (c *content) check(ctx context.Context) error {
	if _, err := c.blobs.Stat(ctx, probe); err != nil && !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	return nil
}

// probe is the digest of nothing.
var probe = oci.FromBytes(nil)

func openContent(ctx context.Context, c *config.Config, log *slog.Logger) (*content, error) {
	if c.Content.S3 == nil {
		store, err := disk.Open(contentDir(c), disk.Options{})
		if err != nil {
			return nil, err
		}
		return &content{blobs: store, uploads: store.Uploads()}, nil
	}
	o := c.Content.S3
	access, err := readSecret("content.s3.access_key_file", o.AccessKeyFile)
	if err != nil {
		return nil, err
	}
	secret, err := readSecret("content.s3.secret_key_file", o.SecretKeyFile)
	if err != nil {
		return nil, err
	}
	store, err := s3.Open(ctx, s3.Config{
		Endpoint: o.Endpoint, Bucket: o.Bucket, Prefix: o.Prefix, Region: o.Region, AccessKey: access, SecretKey: secret, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return &content{blobs: store, uploads: store.Uploads(), minChunk: s3MinChunk}, nil
}

// s3MinChunk: smaller parts have to be joined before S3 can compose them.
const s3MinChunk = 5 << 20
