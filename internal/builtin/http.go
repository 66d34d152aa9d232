package builtin

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Bounds of one request. The task's own timeout bounds it as a whole.
const (
	dialTimeout   = 10 * time.Second
	tlsTimeout    = 10 * time.Second
	headerTimeout = 5 * time.Minute // from the end of the request to the answer's header
	maxRedirects  = 10
	maxHeaderSize = 64 << 10

	// maxBody is how much of an answer's body a result keeps, in bytes. The
	// rest is not read.
	maxBody = 256 << 10
)

// caller runs http tasks. Every request makes its own connection, so that none
// outlives its task and each one passes the guard.
type caller struct {
	client *http.Client
	now    func() time.Time
}

// newCaller takes the resolver as a seam for tests; nil is the system's.
func newCaller(g guard, resolver *net.Resolver) *caller {
	dialer := &net.Dialer{Timeout: dialTimeout, Control: g.control, Resolver: resolver}
	return &caller{
		client: &http.Client{
			Transport: locations{&http.Transport{
				// A proxy would connect in our place, past the guard.
				Proxy:                  nil,
				DialContext:            dialer.DialContext,
				DisableKeepAlives:      true,
				TLSHandshakeTimeout:    tlsTimeout,
				ResponseHeaderTimeout:  headerTimeout,
				MaxResponseHeaderBytes: maxHeaderSize,
			}},
			CheckRedirect: checkRedirect,
		},
		now: time.Now,
	}
}

// handle sends the request and makes the answer the task's result. Answers
// that can change (408, 425, 429, 5xx) and failures of the network are errors
// that are tried again, after the time that Retry-After asks for if it is
// there; everything else fails the task for good.
func (c *caller) handle(ctx context.Context, task *morningai.Task) (json.RawMessage, error) {
	req, err := newRequest(ctx, task)
	if err != nil {
		return nil, err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, sendError(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, c.refused(resp)
	}
	result, err := readResult(resp)
	if err != nil {
		return nil, sendError(ctx, err)
	}
	return result, nil
}

// refused is the error for an answer other than 2xx.
func (c *caller) refused(resp *http.Response) error {
	err := &morningai.TaskError{Code: "http_status", Message: "the answer was " + statusText(resp.StatusCode)}
	code := resp.StatusCode
	passing := code == http.StatusRequestTimeout || code == http.StatusTooEarly ||
		code == http.StatusTooManyRequests || code >= 500 && code <= 599
	if !passing {
		return forGood(err)
	}
	if wait, ok := retryAfter(resp.Header.Get("Retry-After"), c.now()); ok {
		return morningai.RetryAfter(wait, err)
	}
	return err
}

// checkRedirect follows up to maxRedirects redirects to http and https. What
// the payload put into headers is meant for the origin it names: on the way to
// another one only the harmless ones are sent.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &morningai.TaskError{Code: "too_many_redirects", Message: "the answer was one redirect too many"}
	}
	if !webScheme(req.URL) {
		return badRedirect("the answer was a redirect to a scheme other than http and https")
	}
	if req.URL.Hostname() == "" || !validPort(req.URL) {
		return errBadLocation
	}
	if oddNumericHost(req.URL.Hostname()) {
		return errNumericHost
	}
	// As for the first address: credentials are the payload's to give.
	req.URL.User = nil
	// A query may carry secrets, and the next server is not meant to see them.
	req.Header.Del("Referer")
	left := slices.ContainsFunc(via, func(r *http.Request) bool {
		return r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host
	})
	if left || req.URL.Scheme != via[0].URL.Scheme || req.URL.Host != via[0].URL.Host {
		for name := range req.Header {
			if !slices.Contains(harmless, name) {
				req.Header.Del(name)
			}
		}
	}
	return nil
}

func badRedirect(message string) error {
	return &morningai.TaskError{Code: "http_redirect", Message: message}
}

var errBadLocation = badRedirect("the answer was a redirect to an address that cannot be read")

// locations refuses redirects whose address cannot be read. The client would
// do so too, with an error that looks like one of the network.
type locations struct{ http.RoundTripper }

func (l locations) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(req)
	if err != nil || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return resp, err
	}
	if _, err := resp.Location(); err != nil && !errors.Is(err, http.ErrNoLocation) {
		return nil, errors.Join(errBadLocation, resp.Body.Close())
	}
	return resp, nil
}

var harmless = []string{
	"Accept", "Accept-Language", "Content-Type", "User-Agent", headerTaskID, headerAttempt, headerTraceparent,
}

// sendError turns what the HTTP client says into words without the address,
// which may carry secrets and which the payload shows to those who may see it.
func sendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refused, ok := errors.AsType[*morningai.TaskError](err); ok {
		return forGood(refused)
	}
	return &morningai.TaskError{Code: "unreachable", Message: causeOf(err)}
}

func causeOf(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the name of the host could not be resolved"
	}
	if isTLS(err) {
		return "no secure connection could be made, or the certificate is not trusted"
	}
	if u, ok := errors.AsType[*url.Error](err); ok && u.Timeout() {
		return "the answer did not come in time"
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return "the answer did not come in time"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return "no connection could be made"
	}
	return "the connection broke, or the answer was not HTTP"
}
