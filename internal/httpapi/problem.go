package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/strictjson"
	"github.com/RC918/morningai/internal/wire"
)

// Codes of errors that only the HTTP surface has.
const (
	codeUnauthenticated  morningai.Code = "unauthenticated"
	codeForbidden        morningai.Code = "forbidden"
	codeMethodNotAllowed morningai.Code = "method_not_allowed"
	codeNotAcceptable    morningai.Code = "not_acceptable"
	codeTimeout          morningai.Code = "request_timeout"
	codeUnsupportedType  morningai.Code = "unsupported_media_type"
	codeInternal         morningai.Code = "internal"
	// Codes of the Redis engine, which this package does not know.
	codeRedisUnavailable morningai.Code = "redis_unavailable"
	codeWrongRedis       morningai.Code = "wrong_redis"
)

// kind is what one code of an error means to a caller.
type kind struct {
	code   morningai.Code
	status int
	retry  time.Duration // the least that Retry-After says; 0: no such header
	doc    string
}

// kinds is the one table of error codes: answers and the OpenAPI document are
// made from it. A code that is not in it is answered as internal.
var kinds = []kind{
	{strictjson.CodeInvalidJSON, http.StatusBadRequest, 0, "the body is not acceptable as JSON text"},
	{codeUnauthenticated, http.StatusUnauthorized, 0, "a token is missing or unknown"},
	{codeForbidden, http.StatusForbidden, 0, "the token's scope is too small, or a web page of another origin asks"},
	{morningai.CodeNotFound, http.StatusNotFound, 0, "there is no such thing; a malformed id too"},
	{codeMethodNotAllowed, http.StatusMethodNotAllowed, 0, "the route has other methods, named by the header Allow"},
	{codeNotAcceptable, http.StatusNotAcceptable, 0, "the header Accept rules out what the route answers"},
	{codeTimeout, http.StatusRequestTimeout, 0, "the body did not arrive in time"},
	{morningai.CodeConflict, http.StatusConflict, 0, "the id is known with other content"},
	{morningai.CodeIdempotencyConflict, http.StatusConflict, 0, "the Idempotency-Key is known with other content"},
	{morningai.CodeWrongState, http.StatusConflict, 0, "the state of the task, or of the node, does not allow this"},
	{morningai.CodeStale, http.StatusConflict, 0, "the claim was superseded"},
	{morningai.CodeTooLarge, http.StatusRequestEntityTooLarge, 0, "over a size limit; nothing was done"},
	{codeUnsupportedType, http.StatusUnsupportedMediaType, 0, "the body must be application/json, not encoded"},
	{morningai.CodeInvalidInput, http.StatusUnprocessableEntity, 0, "fields are wrong; nothing was done"},
	{sessions.CodeTooMany, http.StatusTooManyRequests, 5 * time.Second, "there are too many workers, or another backup is being read"},
	{codeInternal, http.StatusInternalServerError, 0, "the server failed; its log says why"},
	{morningai.CodeStorageFailed, http.StatusServiceUnavailable, 5 * time.Second, "the disk did not confirm a write; repeat with the same id or key to learn"},
	{codeRedisUnavailable, http.StatusServiceUnavailable, 2 * time.Second, "Redis does not answer or takes no writes; repeat with the same id or key to learn"},
	{morningai.CodeStatusUnknown, http.StatusServiceUnavailable, 2 * time.Second, "it cannot be known while Redis is away: neither yes nor no"},
	{morningai.CodeAcceptUnknown, http.StatusServiceUnavailable, time.Second, "the task may have been accepted; repeat the request with the id given here to learn"},
	{codeWrongRedis, http.StatusServiceUnavailable, 10 * time.Second, "Redis refuses what the server needs of it"},
	{morningai.CodeClosed, http.StatusServiceUnavailable, time.Second, "the server is stopping"},
	{morningai.CodeStorageFull, http.StatusInsufficientStorage, 10 * time.Second, "the disk is full, or the journal's limit reached; nothing was accepted"},
}

func kindOf(code morningai.Code) kind {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.code == code })
	if i < 0 {
		return kindOf(codeInternal)
	}
	return kinds[i]
}

// failure is an error as it is answered.
type failure struct {
	kind   kind
	detail string
	fields []morningai.FieldError
	retry  time.Duration
	id     morningai.ID   // of the task in doubt
	ids    []morningai.ID // of the batch in doubt
}

// failureOf decides how an error is answered. Texts of causes stay inside: they
// are for the log.
func failureOf(err error) failure {
	e, ok := errors.AsType[*morningai.Error](err)
	switch {
	case !ok && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		e = &morningai.Error{Code: morningai.CodeClosed, Detail: "the request was given up before its end"}
	case !ok:
		e = &morningai.Error{Code: codeInternal}
	}
	f := failure{kind: kindOf(e.Code), detail: e.Detail, fields: e.Fields}
	switch {
	case f.kind.code == codeInternal:
		f.detail, f.fields = "the server failed to do this; its log says why", nil
	case f.detail == "":
		f.detail = f.kind.doc
	}
	if e.Hint != "" && f.kind.code != codeInternal {
		f.detail += "; " + e.Hint
	}
	if f.kind.retry > 0 {
		f.retry = max(f.kind.retry, e.RetryAfter)
	}
	if f.kind.code == morningai.CodeAcceptUnknown {
		f.id = e.TaskID
	}
	if b, ok := errors.AsType[*batchInDoubt](err); ok {
		f.id, f.ids = morningai.ID{}, b.ids
	}
	if e.Code == morningai.CodeInvalidInput && len(e.Fields) >= strictjson.MaxWrong {
		f.fields = f.fields[:strictjson.MaxWrong]
		f.detail = fmt.Sprintf("%d fields or more are wrong", strictjson.MaxWrong)
	}
	return f
}

// headers sets what goes with the status.
func (f failure) headers(h http.Header) {
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((f.retry+time.Second-1)/time.Second)))
	}
}

func (f failure) problem() wire.Problem {
	return wire.Problem{Title: http.StatusText(f.kind.status), Status: f.kind.status, Code: f.kind.code,
		Detail: f.detail, Errors: f.fields, ID: f.id, IDs: f.ids}
}

// agentError is the shape of errors under /api/agent, as in the system that
// this one replaces.
type agentError struct {
	Error agentErrorBody `json:"error"`
}

type agentErrorBody struct {
	Code    morningai.Code `json:"code"`
	Message string         `json:"message"`
	TaskID  morningai.ID   `json:"task_id,omitzero" format:"uuid" doc:"with accept_unknown: of the task that may have been accepted"`
}

// agent gives the older shape, which knows one code and status for all that is
// wrong with a body.
func (f failure) agent() (int, agentError) {
	status, code := f.kind.status, f.kind.code
	if code == morningai.CodeInvalidInput || code == strictjson.CodeInvalidJSON {
		status, code = http.StatusBadRequest, morningai.CodeInvalidInput
	}
	message := f.detail
	for i, field := range f.fields {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		message += sep + strings.TrimPrefix(field.Location, "body.") + " " + field.Message
	}
	return status, agentError{agentErrorBody{code, message, f.id}}
}

// batchInDoubt is a batch of which nothing is known.
type batchInDoubt struct {
	ids []morningai.ID
	err error
}

func (b *batchInDoubt) Error() string { return b.err.Error() }

func (b *batchInDoubt) Unwrap() error { return b.err }

// inDoubt names the task in an error that leaves open whether it was accepted.
func inDoubt(err error, id morningai.ID) error {
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok || e.Code != morningai.CodeAcceptUnknown || !e.TaskID.IsZero() {
		return err
	}
	named := *e
	named.TaskID = id
	return &named
}

// within puts a prefix such as "body." before the location of every wrong
// field.
func within(prefix string, err error) error {
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok || len(e.Fields) == 0 {
		return err
	}
	located := *e
	located.Fields = slices.Clone(e.Fields)
	for i := range located.Fields {
		located.Fields[i].Location = prefix + located.Fields[i].Location
	}
	return &located
}

func wrongField(location, message string) error {
	return morningai.InvalidInput("read request", morningai.FieldError{Location: location, Message: message})
}

func refusal(code morningai.Code, detail, hint string) error {
	return &morningai.Error{Code: code, Op: "read request", Detail: detail, Hint: hint}
}
