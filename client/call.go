package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxAnswer bounds an answer that is read whole, in bytes.
const maxAnswer = 256 << 20

// A request that the server had no time for is sent up to attempts times, with
// pauses of what it asked for, at most maxPause, or else of firstPause doubling.
const (
	attempts   = 4
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
)

// request is one call of the API.
type request struct {
	method string
	path   []string // segments after /api/v1, not escaped
	query  url.Values
	body   any // nil for none
}

// do sends r and decodes the answer into out, unless out is nil.
func (c *Client) do(ctx context.Context, r request, out any) error {
	b, err := c.read(ctx, r)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("reading the answer to %s %s: %v", r.method, c.base.JoinPath(r.path...).Path, err)
	}
	return nil
}

// read sends r and returns the body of the answer.
func (c *Client) read(ctx context.Context, r request) ([]byte, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, unreachable(c.base.Host, err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the answer to %s has more than %d bytes", res.Request.URL.Path, maxAnswer)
	}
	return b, nil
}

// send returns an answer of 2xx, whose body the caller closes.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("encoding the request: %v", err)
		}
	}
	for attempt := 1; ; attempt++ {
		res, err := c.once(ctx, r, body)
		if err != nil {
			return nil, err
		}
		if res.StatusCode/100 == 2 {
			return res, nil
		}
		busy := res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable
		err = refused(res)
		res.Body.Close()
		if !busy || attempt == attempts {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.pause(c.delay(retryAfter(res), attempt)):
		}
	}
}

// delay is how long to wait after the attempt: never less than the server
// asked for, unless that is very long.
func (c *Client) delay(asked time.Duration, attempt int) time.Duration {
	d := min(max(asked, firstPause<<(attempt-1)), maxPause)
	return d + time.Duration(c.rand()*float64(d)/4)
}

func (c *Client) once(ctx context.Context, r request, body []byte) (*http.Response, error) {
	mediaType := ""
	if body != nil {
		mediaType = "application/json"
	}
	return c.stream(ctx, r, mediaType, bytes.NewReader(body))
}

// stream sends r once with a body of that media type, "" for none. A body that
// is long is not sent before the server has asked for it, so that one who may
// not send it gets the reason and no broken connection.
func (c *Client) stream(ctx context.Context, r request, mediaType string, body io.Reader) (*http.Response, error) {
	escaped := make([]string, len(r.path))
	for i, s := range r.path {
		escaped[i] = url.PathEscape(s)
	}
	u := c.base.JoinPath(escaped...)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %v", u.Redacted(), err)
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	if req.ContentLength < 0 || req.ContentLength == 0 && req.Body != nil && req.Body != http.NoBody {
		req.Header.Set("Expect", "100-continue")
	}
	if c.o.Secret != "" {
		req.SetBasicAuth(c.o.Name, c.o.Secret)
	}
	res, err := c.http.Do(req)
	if ctx.Err() != nil {
		if err == nil {
			res.Body.Close()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, unreachable(c.base.Host, err)
	}
	return res, nil
}

// retryAfter reads the Retry-After of an answer where it is a number of
// seconds, as Bonded sends it; 0 otherwise.
func retryAfter(res *http.Response) time.Duration {
	s, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || s < 0 || s > 86400 {
		return 0
	}
	return time.Duration(s) * time.Second
}
