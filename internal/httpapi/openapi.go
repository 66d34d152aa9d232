package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// task stands for morningai.Task in the document: that type writes itself. A
// test holds the two against each other.
type task struct {
	ID              morningai.ID         `json:"id" format:"uuid"`
	TraceID         morningai.ID         `json:"trace_id" format:"uuid"`
	Type            string               `json:"type"`
	Queue           string               `json:"queue"`
	Priority        int                  `json:"priority" doc:"0 runs first, 9 last"`
	State           morningai.State      `json:"state" enum:"scheduled,blocked,queued,running,succeeded,failed,canceled"`
	Attempt         int                  `json:"attempt" doc:"executions so far; only grows"`
	Failures        int                  `json:"failures" doc:"executions of this life that failed"`
	MaxAttempts     int                  `json:"max_attempts" doc:"bounds failures"`
	Timeout         wire.Duration        `json:"timeout" doc:"of one attempt"`
	Payload         json.RawMessage      `json:"payload" doc:"digit for digit what was sent"`
	Result          json.RawMessage      `json:"result" doc:"null until there is one"`
	Error           *morningai.TaskError `json:"error" doc:"of the last failure"`
	Progress        json.RawMessage      `json:"progress" doc:"what the handler reported last"`
	Metadata        map[string]string    `json:"metadata"`
	CreatedAt       *time.Time           `json:"created_at"`
	RunAt           *time.Time           `json:"run_at" doc:"when a scheduled task is due"`
	StartedAt       *time.Time           `json:"started_at" doc:"of the last attempt"`
	FinishedAt      *time.Time           `json:"finished_at"`
	Life            int64                `json:"life" doc:"from 1; raised when an ended task is retried"`
	Version         int64                `json:"version" doc:"grows with every visible change"`
	Fresh           morningai.Freshness  `json:"fresh" enum:"live,local,stale" doc:"live: from where the task lives; local: from the only server that can know it while Redis is away; stale: as it was known at as_of"`
	AsOf            *time.Time           `json:"as_of" doc:"the moment that this describes"`
	Exclusive       bool                 `json:"exclusive,omitempty" doc:"its handler is stopped before another server can be given the task"`
	Durable         string               `json:"durable,omitempty" doc:"receipts only: where the task is durable: sqlite, redis, journal or journal+redis"`
	Runs            string               `json:"runs,omitempty" doc:"receipts only: here, if nothing else is awaited, or when_redis_returns"`
	Duplicate       bool                 `json:"duplicate,omitempty" doc:"receipts only: a live task held the unique key, and this is it"`
	MaybeRepeated   bool                 `json:"maybe_repeated,omitempty" doc:"it may have run more often than is on record: Redis had lost data, and a server that could know was away"`
	CancelRequested bool                 `json:"cancel_requested,omitempty" doc:"a cancel waits for the handler to return"`
	Pending         bool                 `json:"pending,omitempty" doc:"what was asked holds on this server, and Redis has still to apply it"`
}

const (
	schemaPrefix = "#/components/schemas/"
	bearerName   = "token"
)

// openAPI makes the document from the table.
func openAPI(table []route, version string) ([]byte, error) {
	doc, err := describe(table, version)
	if err != nil {
		return nil, err
	}
	return marshal(doc)
}

// describe is openAPI before it is written. huma panics where a type cannot be
// described; that is a fault of the table, found when the handler is made.
func describe(table []route, version string) (doc *huma.OpenAPI, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("describe the routes: %v", p)
		}
	}()
	reg := huma.NewMapRegistry(schemaPrefix, huma.DefaultSchemaNamer)
	reg.RegisterTypeAlias(reflect.TypeFor[morningai.Task](), reflect.TypeFor[task]())
	doc = &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "MorningAI", Version: version,
			Description: "Background and AI tasks. Times are RFC 3339 in UTC, durations Go strings such as 1m30s. " +
				"Bodies are read strictly: unknown and duplicate fields are refused. " +
				"What is malformed as HTTP gets 400, 431, 501 or 505 in plain text, before it has a route.",
			License: &huma.License{Name: "MIT", Identifier: "MIT"}},
		Paths: map[string]*huma.PathItem{},
		Components: &huma.Components{
			Schemas: reg,
			SecuritySchemes: map[string]*huma.SecurityScheme{bearerName: {Type: "http", Scheme: "bearer",
				Description: "a token of the server's token file; each scope includes the ones before it: read, submit, admin. Without a token file none is needed"}},
		},
	}
	for _, rt := range table {
		item := doc.Paths[rt.path]
		if item == nil {
			item = &huma.PathItem{}
			doc.Paths[rt.path] = item
		}
		op := rt.operation(reg)
		switch rt.method {
		case http.MethodGet:
			item.Get = op
		case http.MethodPost:
			item.Post = op
		case http.MethodPatch:
			item.Patch = op
		case http.MethodDelete:
			item.Delete = op
		default:
			return nil, fmt.Errorf("describe the routes: no place for the method %s", rt.method)
		}
	}
	nullable(reg, "Task", "error")
	nullable(reg, "Attempt", "error")
	return doc, nil
}

// nullable lets a field be null that refers to another schema.
func nullable(reg huma.Registry, schema, field string) {
	properties := reg.Map()[schema].Properties
	properties[field] = &huma.Schema{AnyOf: []*huma.Schema{properties[field], {Type: "null"}}}
}

func (rt route) operation(reg huma.Registry) *huma.Operation {
	op := &huma.Operation{OperationID: rt.id, Summary: rt.summary, Tags: []string{rt.tag()},
		Responses: map[string]*huma.Response{}}
	if rt.scope != scopeOpen {
		op.Security = []map[string][]string{{bearerName: {rt.scope.String()}}, {}}
		op.Description = "Scope: " + rt.scope.String()
	}
	for _, part := range strings.Split(rt.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			op.Parameters = append(op.Parameters, &huma.Param{Name: strings.TrimSuffix(name, "}"), In: "path",
				Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	for _, p := range rt.params {
		op.Parameters = append(op.Parameters, p.describe())
	}
	if rt.reads() {
		op.Parameters = append(op.Parameters, hereParam.describe())
	}
	if rt.body != nil {
		op.RequestBody = &huma.RequestBody{Required: !rt.bodyOptional, Content: jsonContent(reg, "application/json", rt.body)}
	}
	for _, a := range rt.answers {
		res := &huma.Response{Description: a.doc}
		if c, ok := a.body.(content); ok {
			res.Content = map[string]*huma.MediaType{c.kind: {Schema: &huma.Schema{Type: huma.TypeString}}}
		} else {
			res.Content = jsonContent(reg, "application/json", a.body)
		}
		op.Responses[strconv.Itoa(a.status)] = res
	}
	for _, code := range rt.errorCodes() {
		rt.describeFailure(reg, op, kindOf(code))
	}
	return op
}

func (rt route) tag() string {
	switch {
	case rt.agent:
		return "earlier systems"
	case strings.HasPrefix(rt.path, "/v1/tasks"):
		return "tasks"
	case rt.claims():
		return "workers"
	case strings.HasPrefix(rt.path, "/v1/nodes"), strings.HasPrefix(rt.path, "/v1/incidents"):
		return "fleet"
	case strings.HasPrefix(rt.path, "/v1/"):
		return "queues"
	}
	return "server"
}

// errorCodes are those of the route and those that come with what it takes.
func (rt route) errorCodes() []morningai.Code {
	codes := []morningai.Code{codeMethodNotAllowed, codeNotAcceptable, codeInternal}
	if rt.scope != scopeOpen {
		codes = append(codes, codeUnauthenticated, codeForbidden, morningai.CodeInvalidInput, morningai.CodeClosed)
	}
	if rt.method != http.MethodGet && !rt.claims() {
		codes = append(codes, morningai.CodeWrongState) // of a server that takes no orders
	}
	if rt.method != http.MethodGet {
		codes = append(codes, "invalid_json", morningai.CodeTooLarge, codeUnsupportedType, codeTimeout)
	}
	return append(codes, rt.fails...)
}

func (rt route) describeFailure(reg huma.Registry, op *huma.Operation, k kind) {
	status, media, body := k.status, wire.ProblemType, any(wire.Problem{})
	if rt.agent && k.code != codeMethodNotAllowed {
		status, _ = failure{kind: k}.agent()
		media, body = "application/json", agentError{}
	}
	key := strconv.Itoa(status)
	line := string(k.code) + ": " + k.doc
	if res, ok := op.Responses[key]; ok {
		if !strings.Contains(res.Description, line) {
			res.Description += "; " + line
		}
		if _, ok := res.Content[media]; !ok {
			res.Content[media] = jsonContent(reg, media, body)[media]
		}
		return
	}
	res := &huma.Response{Description: line, Content: jsonContent(reg, media, body)}
	if k.retry > 0 {
		res.Headers = map[string]*huma.Param{"Retry-After": {Description: "seconds", Schema: &huma.Schema{Type: huma.TypeInteger}}}
	}
	op.Responses[key] = res
}

func (p param) describe() *huma.Param {
	out := &huma.Param{Name: p.name, In: "query", Description: p.doc, Schema: &huma.Schema{Type: huma.TypeString}}
	if p.header {
		out.In = "header"
	}
	for _, v := range p.enum {
		out.Schema.Enum = append(out.Schema.Enum, v)
	}
	if p.most > 0 {
		least, most := 1.0, float64(p.most)
		out.Schema = &huma.Schema{Type: huma.TypeInteger, Minimum: &least, Maximum: &most}
	}
	return out
}

func jsonContent(reg huma.Registry, media string, body any) map[string]*huma.MediaType {
	t := reflect.TypeOf(body)
	return map[string]*huma.MediaType{media: {Schema: reg.Schema(t, true, t.Name())}}
}
