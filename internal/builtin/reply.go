package builtin

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/RC918/morningai"
)

// httpResult is the result of an http task.
type httpResult struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	// Encoding is "base64" if the body is not text that JSON can carry.
	Encoding string `json:"encoding,omitempty"`
	// Truncated says that the body was longer than what is kept.
	Truncated bool `json:"truncated,omitempty"`
}

// readResult keeps up to maxBody bytes of the body: as text if JSON can carry
// it, else in base64.
func readResult(resp *http.Response) (json.RawMessage, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	out := httpResult{Status: resp.StatusCode}
	if len(body) > maxBody {
		body, out.Truncated = wholeRunes(body[:maxBody]), true
	}
	out.Body = quote(body)
	if out.Body == nil {
		out.Encoding = "base64"
		out.Body = json.RawMessage(`"` + base64.StdEncoding.EncodeToString(body) + `"`)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // would make six bytes of one
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// quote returns text as a JSON string, or nil if a result cannot carry it:
// invalid UTF-8, a NUL, or so many escapes that it would be too large.
func quote(text []byte) json.RawMessage {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	quoted, err := jsontext.AppendQuote(make([]byte, 0, len(text)+2), text)
	if err != nil || len(quoted) > morningai.MaxPayload/2 {
		return nil
	}
	return quoted
}

// wholeRunes cuts off a character that the cap has split.
func wholeRunes(b []byte) []byte {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}

// Bounds of what Retry-After can ask for.
const (
	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Hour
)

// retryAfter reads the header of RFC 9110, section 10.2.3: seconds or a date.
// The answer lies within the bounds; ok is false if the header is absent or
// neither.
func retryAfter(header string, now time.Time) (wait time.Duration, ok bool) {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0, false
	}
	if strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true
		}
		wait = time.Duration(seconds) * time.Second
	} else {
		at, err := http.ParseTime(header)
		if err != nil {
			return 0, false
		}
		wait = at.Sub(now)
	}
	return min(max(wait, minRetryAfter), maxRetryAfter), true
}

func statusText(code int) string {
	if text := http.StatusText(code); text != "" {
		return strconv.Itoa(code) + " " + text
	}
	return strconv.Itoa(code)
}

func isTLS(err error) bool {
	_, a := errors.AsType[*tls.CertificateVerificationError](err)
	_, b := errors.AsType[tls.RecordHeaderError](err)
	_, c := errors.AsType[tls.AlertError](err)
	_, d := errors.AsType[x509.UnknownAuthorityError](err)
	_, e := errors.AsType[x509.HostnameError](err)
	return a || b || c || d || e || errors.Is(err, http.ErrSchemeMismatch)
}
