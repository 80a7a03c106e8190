package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"github.com/bonded-dev/bonded/api"
)

func (c *Client) get(ctx context.Context, out any, path ...string) error {
	return c.do(ctx, request{method: http.MethodGet, path: path}, out)
}

// Zones lists the zones by name.
func (c *Client) Zones(ctx context.Context) ([]api.Zone, error) {
	var out []api.Zone
	return out, c.get(ctx, &out, "zones")
}

// Gates lists the gates by name.
func (c *Client) Gates(ctx context.Context) ([]api.Gate, error) {
	var out []api.Gate
	return out, c.get(ctx, &out, "gates")
}

// Gate returns one gate with its text.
func (c *Client) Gate(ctx context.Context, name string) (*api.Gate, error) {
	out := new(api.Gate)
	return out, c.get(ctx, out, "gates", name)
}

// Feeds lists the advisory feeds by name.
func (c *Client) Feeds(ctx context.Context) ([]api.Feed, error) {
	var out []api.Feed
	return out, c.get(ctx, &out, "feeds")
}

// Health says how the server is.
func (c *Client) Health(ctx context.Context) (*api.Health, error) {
	out := new(api.Health)
	return out, c.get(ctx, out, "health")
}

// maxLine bounds one line of a stream, in bytes.
const maxLine = 1 << 20

// UpdateFeeds loads the feeds and yields progress as it comes; the last
// element has Done set, or the error. Breaking off the loop stops the update.
func (c *Client) UpdateFeeds(ctx context.Context, req api.FeedUpdate) iter.Seq2[api.FeedProgress, error] {
	return func(yield func(api.FeedProgress, error) bool) {
		c.progress(ctx, yield, func() (*http.Response, error) {
			return c.send(ctx, request{method: http.MethodPost, path: []string{"feeds", "update"}, body: req})
		})
	}
}

// LoadFeed has the server load a folder of advisories, which is sent as a tar,
// and yields as UpdateFeeds does. force takes feeds although they lost many
// records. It is sent once: a server that is busy is not asked again.
func (c *Client) LoadFeed(ctx context.Context, folder io.Reader, force bool) iter.Seq2[api.FeedProgress, error] {
	return func(yield func(api.FeedProgress, error) bool) {
		c.progress(ctx, yield, func() (*http.Response, error) {
			q := url.Values{}
			if force {
				q.Set("force", "true")
			}
			res, err := c.stream(ctx, request{method: http.MethodPost, path: []string{"feeds", "load"}, query: q}, "application/x-tar", folder)
			if err == nil && res.StatusCode/100 != 2 {
				err = refused(res)
				res.Body.Close()
			}
			return res, err
		})
	}
}

// DropFeed has the server put out of force what was loaded from a folder.
func (c *Client) DropFeed(ctx context.Context, name string) (*api.Snapshot, error) {
	out := new(api.Snapshot)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"feeds", "drop"}, body: api.FeedDrop{Feed: name}}, out)
}

// progress yields the lines of an answer until it is done.
func (c *Client) progress(ctx context.Context, yield func(api.FeedProgress, error) bool, ask func() (*http.Response, error)) {
	res, err := ask()
	if err != nil {
		yield(api.FeedProgress{}, err)
		return
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		p, err := progress(lines.Bytes(), res.StatusCode)
		if !yield(p, err) || err != nil || p.Done != nil {
			return
		}
	}
	if ctx.Err() != nil {
		yield(api.FeedProgress{}, ctx.Err())
		return
	}
	err = lines.Err()
	if err == nil {
		err = errors.New("the answer ended before the update did")
	}
	yield(api.FeedProgress{}, unreachable(c.base.Host, err))
}

func progress(line []byte, status int) (api.FeedProgress, error) {
	var p api.FeedProgress
	if err := json.Unmarshal(line, &p); err != nil {
		return p, fmt.Errorf("reading progress of the update: %v", err)
	}
	if p.Error != nil {
		return p, fromAPI(*p.Error, status)
	}
	return p, nil
}

// EventQuery picks audit events: the newest that match the filter, newest
// first, or all after a sequence number in order.
type EventQuery struct {
	Repository, Digest, Principal, Kind string // "" matches all; not with Oldest

	Oldest bool  // in order, from After on
	After  int64 // only with Oldest
	Limit  int   // in all; 0 means 100 of the newest, and no limit with Oldest
}

// Events yields audit events. After an error it yields nothing more.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[api.Event, error] {
	v := url.Values{}
	for key, value := range map[string]string{"repository": q.Repository, "digest": q.Digest, "principal": q.Principal, "kind": q.Kind} {
		if value != "" {
			v.Set(key, value)
		}
	}
	if q.Oldest {
		v.Set("order", "oldest")
		v.Set("after", strconv.FormatInt(q.After, 10))
	}
	return pages[api.Event](ctx, c, []string{"audit"}, v, q.Limit)
}

// pages yields the items of a list page by page, at most limit of them unless
// it is 0.
func pages[T any](ctx context.Context, c *Client, path []string, v url.Values, limit int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		for left := limit; ; {
			if limit > 0 {
				v.Set("limit", strconv.Itoa(min(left, 1000)))
			}
			var p api.Page[T]
			if err := c.do(ctx, request{method: http.MethodGet, path: path, query: v}, &p); err != nil {
				yield(none, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			left -= len(p.Items)
			if p.Next == "" || limit > 0 && left <= 0 {
				return
			}
			v.Set("after", p.Next)
		}
	}
}

// VerifyAudit has the server verify its audit log, and its rows against it.
func (c *Client) VerifyAudit(ctx context.Context) (*api.AuditCheck, error) {
	out := new(api.AuditCheck)
	return out, c.do(ctx, request{method: http.MethodPost, path: []string{"audit", "verify"}}, out)
}
