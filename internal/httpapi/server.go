package httpapi

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/bonded-dev/bonded/api"
	"github.com/bonded-dev/bonded/api/openapi"
	"github.com/bonded-dev/bonded/internal/audit"
	"github.com/bonded-dev/bonded/internal/oci"
)

// stream writes JSON objects, one a line, as they come. The answer's status is
// decided by the first.
type stream struct {
	c     *call
	begun bool
}

// streamIdle is how long the client may take to read one line, or to send
// something more.
const streamIdle = time.Minute

func (s *stream) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding progress: %v", err)
	}
	control := http.NewResponseController(s.c.w)
	// A connection that knows no deadlines is bounded by the server alone.
	_ = control.SetWriteDeadline(s.c.o.Clock().Add(streamIdle))
	if !s.begun {
		s.begun = true
		s.c.w.Header().Set("Content-Type", "application/x-ndjson")
		s.c.w.Header().Set("X-Accel-Buffering", "no") // proxies would hold lines back
		s.c.w.WriteHeader(http.StatusOK)
	}
	if _, err := s.c.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return control.Flush()
}

func (c *call) updateFeeds() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	var req api.FeedUpdate
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.changeFeeds(func(ctx context.Context, progress func(api.FeedProgress)) (*api.Snapshot, error) {
		return c.o.Feeds.Update(ctx, act, req, progress)
	})
}

func (c *call) loadFeed() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	if t, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type")); err != nil || t != tarType {
		return errTar
	}
	return c.changeFeeds(func(ctx context.Context, progress func(api.FeedProgress)) (*api.Snapshot, error) {
		control := http.NewResponseController(c.w)
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
		return c.o.Feeds.Load(ctx, act, &patient{control: control, c: c}, c.query.Get("force") == "true", progress)
	})
}

// tarType is the media type of a folder of advisories.
const tarType = "application/x-tar"

// patient reads a body that may take hours, as long as bytes keep coming.
type patient struct {
	control *http.ResponseController
	c       *call
}

func (p *patient) Read(b []byte) (int, error) {
	// A connection that knows no deadlines is bounded by the server alone.
	_ = p.control.SetReadDeadline(p.c.o.Clock().Add(streamIdle))
	n, err := p.c.r.Body.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: it ended before it was complete: %v", errBody, err)
	}
	return n, err
}

func (c *call) dropFeed() error {
	act, err := c.administer()
	if err != nil {
		return err
	}
	var req api.FeedDrop
	if err := c.decode(&req); err != nil {
		return err
	}
	return c.write(c.o.Feeds.Drop(c.r.Context(), act, req.Feed))
}

// changeFeeds answers with the progress of what changes the advisories.
func (c *call) changeFeeds(change func(ctx context.Context, progress func(api.FeedProgress)) (*api.Snapshot, error)) error {
	s := &stream{c: c}
	ctx := c.r.Context()
	done, err := change(ctx, func(p api.FeedProgress) {
		// A client that went away ends ctx, and the update with it.
		_ = s.send(p)
	})
	last := api.FeedProgress{Done: done}
	if err == nil {
		last.Feeds, err = c.o.Feeds.Feeds(ctx)
	}
	switch {
	case err != nil && !s.begun:
		return outside(c, err)
	case err != nil:
		a := c.answerTo(outside(c, err))
		last = api.FeedProgress{Error: &a.Error}
	}
	// Nothing is left to tell a client that is gone.
	_ = s.send(last)
	return nil
}

// elsewhere is a fault that an administrator can do more about than we, told
// as it is.
type elsewhere struct{ cause error }

func (e *elsewhere) Error() string { return e.cause.Error() }

// outside makes what went wrong with a feed, and is in no row of the table, a
// fault of the feed's.
func outside(c *call, err error) error {
	if c.answerTo(err).status != http.StatusInternalServerError {
		return err
	}
	return &elsewhere{err}
}

func (c *call) events() error {
	if _, err := c.readAudit(); err != nil {
		return err
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	filter, err := c.filter()
	if err != nil {
		return err
	}
	var entries []audit.Entry
	if c.query.Get("order") == "oldest" {
		var after int64
		if after, err = c.number("after", 0); err != nil {
			return err
		}
		entries, err = c.o.Audit.Entries(c.r.Context(), after, limit)
	} else {
		entries, err = c.o.Audit.Latest(c.r.Context(), filter, limit)
	}
	if err != nil {
		return err
	}
	page := api.Page[api.Event]{Items: make([]api.Event, len(entries))}
	for i, e := range entries {
		if page.Items[i], err = event(e); err != nil {
			return err
		}
	}
	if c.query.Get("order") == "oldest" && len(entries) == limit {
		page.Next = strconv.FormatInt(entries[limit-1].Seq, 10)
	}
	return c.write(page, nil)
}

// filter reads what picks the newest events. From the oldest on, all are told.
func (c *call) filter() (audit.Filter, error) {
	f := audit.Filter{Repository: c.query.Get("repository"), Digest: c.query.Get("digest"), Principal: c.query.Get("principal"), Kind: c.query.Get("kind")}
	oldest := c.query.Get("order") == "oldest"
	switch {
	case oldest && f != audit.Filter{}:
		return f, fmt.Errorf("%w: order=oldest lists all events; a filter goes with order=newest", errQuery)
	case !oldest && c.query.Has("after"):
		return f, fmt.Errorf("%w: after goes with order=oldest", errQuery)
	}
	if f.Repository != "" {
		if _, err := oci.ParseRepository(f.Repository); err != nil {
			return f, err
		}
	}
	if f.Digest != "" {
		if _, err := oci.ParseDigest(f.Digest); err != nil {
			return f, err
		}
	}
	return f, nil
}

// event decodes an entry of the log.
func event(e audit.Entry) (api.Event, error) {
	var in audit.Event
	if err := json.Unmarshal(e.Bytes, &in); err != nil {
		return api.Event{}, fmt.Errorf("decoding audit event %d: %v; run: bonded fsck", e.Seq, err)
	}
	leaf := e.Leaf()
	return api.Event{
		Seq: e.Seq, Hash: hex.EncodeToString(leaf[:]), ID: in.ID, At: in.At, Kind: in.Kind, Principal: in.Principal, Method: in.Method,
		Repository: in.Repository, Digest: in.Digest, Details: in.Details,
	}, nil
}

func (c *call) verifyAudit() error {
	if _, err := c.readAudit(); err != nil {
		return err
	}
	return c.write(c.o.Audit.Verify(c.r.Context()))
}

func (c *call) describe() error {
	c.writeBytes(http.StatusOK, "application/json", openapi.JSON)
	return nil
}
