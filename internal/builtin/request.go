package builtin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/otel/trace"

	"github.com/RC918/morningai"
)

// httpPayload is the payload of an http task.
type httpPayload struct {
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	Body    jsontext.Value    `json:"body"`
}

const httpRule = `the payload of http must be like {"url": "https://example.com/hook", "method": "POST", ` +
	`"headers": {"Accept": "text/plain"}, "body": "text or any JSON value"}, all but url optional`

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// ownHeaders are set by the sender or belong to one connection; a payload
// cannot set them.
var ownHeaders = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization",
	"Proxy-Authenticate", "Te", "Trailer", "Upgrade", "Expect", "Http2-Settings",
	headerTaskID, headerAttempt, headerTraceparent,
}

const (
	headerTaskID      = "Morningai-Task-Id"
	headerAttempt     = "Morningai-Attempt"
	headerTraceparent = "Traceparent"

	maxURL     = 8 << 10
	maxHeaders = 100
)

// newRequest builds the request that a task's payload asks for, or says what is
// wrong with the payload.
func newRequest(ctx context.Context, task *morningai.Task) (*http.Request, error) {
	var in httpPayload
	if err := decode(task.Payload, &in, httpRule); err != nil {
		return nil, err
	}
	target, err := parseTarget(in.URL)
	if err != nil {
		return nil, err
	}
	body, contentType, err := bodyOf(in.Body)
	if err != nil {
		return nil, err
	}
	method := strings.ToUpper(in.Method)
	switch {
	case method == "" && body != nil:
		method = http.MethodPost
	case method == "":
		method = http.MethodGet
	case !slices.Contains(methods, method):
		return nil, badPayload("method must be one of " + strings.Join(methods, ", "))
	}
	header, err := headerOf(in.Headers)
	if err != nil {
		return nil, err
	}
	if contentType != "" && header.Get("Content-Type") == "" {
		header.Set("Content-Type", contentType)
	}
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "MorningAI")
	}
	parent, err := traceparent(ctx, task)
	if err != nil {
		return nil, err
	}
	header.Set(headerTaskID, task.ID.String())
	header.Set(headerAttempt, strconv.Itoa(task.Attempt))
	header.Set(headerTraceparent, parent)

	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body) // a kind that NewRequest can send again after a redirect
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil {
		return nil, badPayload(httpRule)
	}
	req.Header = header
	return req, nil
}

// parseTarget reads the address of a request. Credentials inside a URL are
// refused because URLs end up in logs along the way; headers do not.
func parseTarget(raw string) (*url.URL, error) {
	if raw == "" || len(raw) > maxURL {
		return nil, badPayload(fmt.Sprintf("url must be an absolute http or https URL of at most %d bytes", maxURL))
	}
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || !webScheme(u) {
		return nil, badPayload("url must be an absolute http or https URL such as https://example.com/path")
	}
	if !validPort(u) {
		return nil, badPayload("the port in url must be 1 to 65535")
	}
	if u.User != nil {
		return nil, badPayload("url must not carry a user name or password; use the header Authorization")
	}
	if oddNumericHost(u.Hostname()) {
		return nil, forGood(errNumericHost)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// validPort accepts an address without a port too.
func validPort(u *url.URL) bool {
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && n > 0
}

func webScheme(u *url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// bodyOf returns the bytes to send: a string as it is, any other JSON value as
// it was written.
func bodyOf(v jsontext.Value) (body []byte, contentType string, err error) {
	switch v.Kind() {
	case 0, 'n': // absent, null
		return nil, "", nil
	case '"':
		text, err := jsontext.AppendUnquote(nil, bytes.TrimSpace(v))
		if err != nil {
			return nil, "", badPayload(httpRule)
		}
		if text == nil {
			text = []byte{}
		}
		return text, "text/plain; charset=utf-8", nil
	default:
		return slices.Clone(v), "application/json", nil
	}
}

func headerOf(in map[string]string) (http.Header, error) {
	if len(in) > maxHeaders {
		return nil, badPayload(fmt.Sprintf("headers must be at most %d", maxHeaders))
	}
	out := make(http.Header, len(in)+5)
	for name, value := range in {
		key := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !headerName(name):
			return nil, badPayload("the names in headers must be made of letters, digits and any of !#$%&'*+-.^_`|~")
		case slices.Contains(ownHeaders, key):
			return nil, badPayload("headers must not contain any of " + strings.Join(ownHeaders, ", ") + "; the server sets them itself")
		case out[key] != nil:
			return nil, badPayload("headers must not contain a name twice in different case")
		case !headerValue(value):
			return nil, badPayload("the values in headers must not contain line breaks or other control characters")
		}
		out[key] = []string{value}
	}
	return out, nil
}

// headerName checks for an RFC 9110 token.
func headerName(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

func headerValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// traceparent is the header of the W3C Trace Context recommendation: the task's
// trace id, and the id of the attempt's span, or one made for it.
func traceparent(ctx context.Context, task *morningai.Task) (string, error) {
	if own := trace.SpanContextFromContext(ctx); own.IsValid() {
		return fmt.Sprintf("00-%s-%s-%s", own.TraceID(), own.SpanID(), own.TraceFlags()), nil
	}
	var span [8]byte
	for span == [8]byte{} {
		if _, err := rand.Read(span[:]); err != nil {
			return "", fmt.Errorf("make a span id: %w", err)
		}
	}
	return "00-" + hex.EncodeToString(task.TraceID[:]) + "-" + hex.EncodeToString(span[:]) + "-01", nil
}
