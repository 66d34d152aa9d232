// Package client makes the calls of a morningai.Client over HTTP, to a server
// that runs elsewhere.
//
// Tasks, queues and pages are the types of package morningai. Every error that
// the server answers, and every failure to reach it, is a *morningai.Error to
// branch on with errors.Is or morningai.CodeOf; behind an answer stands an
// *AnswerError with the HTTP status. A call that failed with [ErrUnreachable]
// may have been applied: repeating an enqueue with the same id, or the same
// idempotency key, tells.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// Codes of errors that arise on the way to a server, or that only servers
// return.
const (
	CodeUnreachable     morningai.Code = "unreachable"     // no server, or none that speaks this API, answered
	CodeUnauthenticated morningai.Code = "unauthenticated" // no token, or an unknown one
	CodeForbidden       morningai.Code = "forbidden"       // the token's scope does not allow it
)

// Errors to compare with [errors.Is].
var (
	ErrUnreachable     error = &morningai.Error{Code: CodeUnreachable}
	ErrUnauthenticated error = &morningai.Error{Code: CodeUnauthenticated}
	ErrForbidden       error = &morningai.Error{Code: CodeForbidden}
)

// AnswerError is the cause of an error that a server answered.
type AnswerError struct {
	Status int // the HTTP status
	// TaskIDs, of a batch that is in doubt (morningai.ErrAcceptUnknown), are the
	// ids of those of its tasks that may have been accepted, in the places of
	// the specs: repeating these with their ids tells.
	TaskIDs []morningai.ID
}

// Error names the status.
func (e *AnswerError) Error() string {
	return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
}

// Client calls one server. Its methods may be called from any number of
// goroutines.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	seen  func([]byte)
}

// Option adjusts a client.
type Option func(*Client)

// WithToken sends the token with every call.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithHTTPClient makes the calls through h, which must not follow redirects to
// addresses that the token is not meant for. Its timeout, if any, must be
// longer than the 30 seconds for which Wait asks the server to hold an answer.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithBody calls seen with the JSON body of every answer that is not an error,
// before it is decoded. Calls that run at the same time call it at the same
// time.
func WithBody(seen func(body []byte)) Option { return func(c *Client) { c.seen = seen } }

// New returns a client for the server at address, such as
// http://127.0.0.1:8080. It does not connect yet. A malformed address or token
// is a morningai.ErrInvalidInput.
func New(address string, opts ...Option) (*Client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" ||
		base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "connect",
			Detail: "the server's address must be a URL such as http://127.0.0.1:8080"}
	}
	c := &Client{base: base, http: defaultHTTP()}
	for _, opt := range opts {
		opt(c)
	}
	if strings.ContainsFunc(c.token, func(r rune) bool { return r < '!' || r > '~' }) {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: "connect",
			Detail: "the token must consist of visible ASCII characters", Hint: "look for a line's end or a space in it"}
	}
	return c, nil
}

// defaultHTTP gives up on servers that do not answer, and leaves redirects to
// the error handling: no route of a server redirects.
func defaultHTTP() *http.Client {
	const connectTime, answerTime = 10 * time.Second, 90 * time.Second
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: connectTime}).DialContext,
			TLSHandshakeTimeout:   connectTime,
			ResponseHeaderTimeout: answerTime,
			IdleConnTimeout:       answerTime,
			MaxIdleConnsPerHost:   16,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Address is the address given to New.
func (c *Client) Address() string { return c.base.String() }

// Close closes connections that wait to be used again. The client itself stays
// usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request.
type call struct {
	op     string
	method string
	path   []string // segments, escaped here
	query  url.Values
	body   any // nil: none
	header http.Header
}

// do sends one request and decodes the answer into out.
func (c *Client) do(ctx context.Context, r call, out any) error {
	status, body, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	return c.accept(r.op, status, body, out)
}

// accept shows and decodes the body of an answer that is not an error.
func (c *Client) accept(op string, status int, body []byte, out any) error {
	if err := json.Unmarshal(body, out); err != nil {
		return c.foreign(op, status)
	}
	if c.seen != nil {
		c.seen(body)
	}
	return nil
}

// send returns status and body of an answer below 300, and an error for
// everything else.
func (c *Client) send(ctx context.Context, r call) (int, []byte, error) {
	req, err := c.request(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.unreachable(ctx, r.op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil, c.unreachable(ctx, r.op, err)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode >= 300 && kind == wire.ProblemType:
		return resp.StatusCode, body, c.problem(r.op, resp, body)
	case kind != "application/json":
		return resp.StatusCode, nil, c.foreign(r.op, resp.StatusCode)
	case resp.StatusCode >= 300:
		return resp.StatusCode, body, c.foreign(r.op, resp.StatusCode)
	}
	return resp.StatusCode, body, nil
}

func (c *Client) request(ctx context.Context, r call) (*http.Request, error) {
	u := c.base.JoinPath(escape(r.path)...)
	u.RawQuery = r.query.Encode()
	var body io.Reader
	if r.body != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false) // payloads go as they are
		if err := enc.Encode(r.body); err != nil {
			return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: r.op,
				Detail: "the request cannot be written as JSON", Hint: "payloads must be one JSON value each", Err: err}
		}
		body = &b
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), body)
	if err != nil {
		return nil, &morningai.Error{Code: morningai.CodeInvalidInput, Op: r.op, Detail: "the request is malformed", Err: err}
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}

func escape(segments []string) []string {
	out := make([]string, len(segments))
	for i, s := range segments {
		out[i] = url.PathEscape(s)
	}
	return out
}

// problem turns a problem document into the error it stands for.
func (c *Client) problem(op string, resp *http.Response, body []byte) error {
	var p wire.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return c.foreign(op, resp.StatusCode)
	}
	e := &morningai.Error{Code: p.Code, Op: op, Detail: p.Detail, Fields: p.Errors, TaskID: p.ID, Err: &AnswerError{resp.StatusCode, p.IDs}}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// foreign is an answer that no server of this API gives.
func (c *Client) foreign(op string, status int) error {
	return &morningai.Error{Code: CodeUnreachable, Op: op, Err: &AnswerError{Status: status},
		Detail: "what answers at " + c.base.Host + " does not look like a MorningAI server",
		Hint:   "check the address; if a proxy stands in front, check that it reaches the server"}
}

func (c *Client) unreachable(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL around it is in Detail already
	}
	return &morningai.Error{Code: CodeUnreachable, Op: op, Detail: "cannot reach the server at " + c.base.Host, Err: err}
}
