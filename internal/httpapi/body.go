package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/strictjson"
)

const (
	maxRequest = 8 << 20 // bytes of a body
	// defaultBodyTime is how long a body may take to arrive. Where the server has
	// set another deadline for reading, this one replaces it meanwhile.
	defaultBodyTime = 30 * time.Second
	// maxUnread bounds, in bytes, what is read of a body only to be dropped.
	maxUnread = 64 << 20
)

// readBody returns the whole body of a request that has been let in, or the
// reason to refuse it. Routes that take none accept an empty one.
func (a *api) readBody(w http.ResponseWriter, r *http.Request, wanted bool) ([]byte, error) {
	present := r.ContentLength != 0
	if err := checkType(r.Header, wanted || present); err != nil {
		return nil, err
	}
	if !present {
		return nil, nil
	}
	if r.ContentLength > maxRequest {
		return nil, requestTooLarge(w, r)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	var large *http.MaxBytesError
	switch {
	case err == nil:
		// The route has no deadline; a broken connection ends its context.
		deadline(w, time.Time{})
		return data, nil
	case errors.As(err, &large):
		return nil, requestTooLarge(w, r)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refusal(codeTimeout, fmt.Sprintf("the body did not arrive within %s", a.bodyTime), "")
	}
	return nil, refusal(strictjson.CodeInvalidJSON, "the body ended early", "")
}

// refuseBody lets a request pass that has no body, however it says so: what a
// caller sends with a GET would have no effect, and it should know.
func (a *api) refuseBody(w http.ResponseWriter, r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	waits := r.Header.Get("Expect") != "" // for leave to send what it announces
	if r.ContentLength < 0 || !waits {
		n, err := io.ReadFull(r.Body, make([]byte, 1))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return refusal(codeTimeout, fmt.Sprintf("the body did not arrive within %s", a.bodyTime), "")
		case n == 0:
			deadline(w, time.Time{})
			return nil
		}
		_, _ = io.CopyN(io.Discard, r.Body, maxUnread) // as in requestTooLarge
	}
	w.Header().Set("Connection", "close")
	return wrongField("body", "must be empty: the method takes none")
}

// deadline bounds reading from the connection. A recorder in place of one knows
// none, and needs none.
func deadline(w http.ResponseWriter, at time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(at)
}

// requestTooLarge also closes the connection. Most clients send a whole body
// before they read the answer, and would see a broken connection instead of it:
// the rest is read first, unless it is absurd or waits to be asked for.
func requestTooLarge(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Connection", "close")
	if r.ContentLength <= maxUnread && r.Header.Get("Expect") == "" {
		_, _ = io.CopyN(io.Discard, r.Body, maxUnread) // whatever ends it
	}
	return refusal(morningai.CodeTooLarge, fmt.Sprintf("the request is over %d bytes", maxRequest), "")
}

// checkType lets application/json in UTF-8 pass and nothing else. No web form
// can send it without asking first, and what is not compressed cannot be a
// bomb.
func checkType(h http.Header, required bool) error {
	for _, encoding := range h.Values("Content-Encoding") {
		if !strings.EqualFold(encoding, "identity") {
			return refusal(codeUnsupportedType, "an encoded body is not accepted", "send it without Content-Encoding")
		}
	}
	given := h.Values("Content-Type")
	if len(given) == 0 && !required {
		return nil
	}
	if len(given) == 1 {
		kind, params, err := mime.ParseMediaType(given[0])
		charset, named := params["charset"]
		if err == nil && kind == "application/json" && (!named || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return refusal(codeUnsupportedType, "the body must be application/json in UTF-8", "send the header Content-Type: application/json")
}

// decode reads a body into v, and lets the caller judge the fields that could
// be read: what it finds is reported together with what could not. check may be
// nil.
func decode(body []byte, v any, check func() error) error {
	wrong, err := strictjson.Decode(body, v)
	if err != nil {
		return err
	}
	if check != nil {
		err = within("body.", check())
	}
	if len(wrong) == 0 {
		return err
	}
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		wrong = merge(wrong, e.Fields)
	}
	return morningai.InvalidInput("read body", wrong...)
}

// merge adds what was found about fields that are not wrong already, neither
// themselves nor as part of something that is.
func merge(wrong, more []morningai.FieldError) []morningai.FieldError {
	seen := map[string]bool{}
	for _, f := range wrong {
		seen[f.Location] = true
	}
	known := func(at string) bool {
		for i, c := range at {
			if (c == '.' || c == '[') && seen[at[:i]] {
				return true
			}
		}
		return seen[at]
	}
	for _, f := range more {
		if !known(f.Location) {
			wrong = append(wrong, f)
		}
	}
	return wrong
}
