package wire

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/RC918/morningai"
)

// TaskRequest is the body of POST /v1/tasks. What is left out has its default.
type TaskRequest struct {
	Type        string            `json:"type" pattern:"^[A-Za-z0-9_.:-]{1,128}$" doc:"names the handler that runs the task" example:"echo"`
	Payload     json.RawMessage   `json:"payload,omitempty" doc:"any JSON value of up to 1 MiB, handed to the handler as it is; null if absent"`
	Queue       *string           `json:"queue,omitempty" pattern:"^[A-Za-z0-9_.:-]{1,128}$" doc:"the line to stand in; default if absent"`
	Priority    *int              `json:"priority,omitempty" minimum:"0" maximum:"9" doc:"0 runs first, 9 last; 5 if absent"`
	Delay       *Duration         `json:"delay,omitempty" doc:"run this much later; not together with run_at" example:"1m30s"`
	RunAt       *time.Time        `json:"run_at,omitempty" doc:"run at this moment; one in the past is now"`
	MaxAttempts *int              `json:"max_attempts,omitempty" minimum:"1" maximum:"10000" doc:"failures until the task is failed for good; 25 if absent"`
	Timeout     *Duration         `json:"timeout,omitempty" doc:"of one attempt, from 1ms to 720h; 30m if absent" example:"30m0s"`
	UniqueKey   *string           `json:"unique_key,omitempty" minLength:"1" maxLength:"512" doc:"at most one live task holds it; a second request is answered with the holder"`
	TraceID     *morningai.ID     `json:"trace_id,omitempty" format:"uuid" doc:"goes through logs, events and documents; the task's id if absent"`
	Metadata    map[string]string `json:"metadata,omitempty" doc:"returned with the task, never interpreted; at most 16 KiB"`
	Retention   *Duration         `json:"retention,omitempty" doc:"how long the ended task stays readable, from 0s to 87600h; the server's setting if absent" example:"24h0m0s"`
	ID          *morningai.ID     `json:"id,omitempty" format:"uuid" doc:"of the task; repeating a request with its id makes one task"`

	Exclusive *bool `json:"exclusive,omitempty" doc:"stop the handler before another server can be given the task, if the contact to Redis is lost; false if absent"`

	DuringOutage *morningai.OutagePolicy `json:"during_outage,omitempty" enum:"run,hold" doc:"what becomes of a task that is accepted while Redis is away: it runs on the server that took it, or waits; run if absent. Servers without a journal have no choice"`
	Durability   *morningai.Durability   `json:"durability,omitempty" enum:"journal+redis,journal,redis" doc:"where the task must be before it is acknowledged; the server's setting if absent. Servers without a journal have no choice"`
}

// NewTaskRequest says all that spec says, so that the defaults are the
// sender's. A zero id stays with the server.
func NewTaskRequest(spec morningai.TaskSpec) TaskRequest {
	timeout := Duration(spec.Timeout)
	r := TaskRequest{
		Type: spec.Type, Payload: spec.Payload, Queue: &spec.Queue, Priority: &spec.Priority,
		MaxAttempts: &spec.MaxAttempts, Timeout: &timeout, Metadata: spec.Metadata,
		RunAt: timeOrNil(spec.RunAt), TraceID: idOrNil(spec.TraceID), ID: idOrNil(spec.ID),
	}
	if spec.UniqueKey != "" {
		r.UniqueKey = &spec.UniqueKey
	}
	if spec.Retention != nil {
		retention := Duration(*spec.Retention)
		r.Retention = &retention
	}
	if spec.Exclusive {
		r.Exclusive = &spec.Exclusive
	}
	if spec.DuringOutage != "" {
		r.DuringOutage = &spec.DuringOutage
	}
	if spec.Durability != "" {
		r.Durability = &spec.Durability
	}
	return r
}

func idOrNil(id morningai.ID) *morningai.ID {
	if id.IsZero() {
		return nil
	}
	return &id
}

// Spec turns the request into a normalized spec; a delay counts from now. It
// returns an [morningai.ErrInvalidInput] that names every wrong field, or an
// [morningai.ErrTooLarge].
func (r *TaskRequest) Spec(now time.Time) (morningai.TaskSpec, error) {
	spec := morningai.NewTaskSpec(r.Type, r.Payload)
	set(&spec.Queue, r.Queue)
	set(&spec.Priority, r.Priority)
	set(&spec.MaxAttempts, r.MaxAttempts)
	set(&spec.UniqueKey, r.UniqueKey)
	set(&spec.TraceID, r.TraceID)
	set(&spec.ID, r.ID)
	set(&spec.Timeout, (*time.Duration)(r.Timeout))
	set(&spec.RunAt, r.RunAt)
	set(&spec.Exclusive, r.Exclusive)
	set(&spec.DuringOutage, r.DuringOutage)
	set(&spec.Durability, r.Durability)
	spec.Metadata = r.Metadata
	spec.Retention = (*time.Duration)(r.Retention)

	bad := r.contradictions()
	if r.Delay != nil && *r.Delay > 0 {
		spec.RunAt = now.Add(time.Duration(*r.Delay))
	}
	err := spec.Normalize()
	if len(bad) == 0 || errors.Is(err, morningai.ErrTooLarge) {
		return spec, err
	}
	if e, ok := errors.AsType[*morningai.Error](err); ok {
		bad = append(bad, e.Fields...)
	}
	return spec, morningai.InvalidInput("enqueue", bad...)
}

// contradictions finds what a spec cannot express.
func (r *TaskRequest) contradictions() []morningai.FieldError {
	var bad []morningai.FieldError
	add := func(wrong bool, location, message string) {
		if wrong {
			bad = append(bad, morningai.FieldError{Location: location, Message: message})
		}
	}
	add(r.Delay != nil && *r.Delay < 0, "delay", "must not be negative")
	add(r.Delay != nil && r.RunAt != nil, "delay", "must not be given together with run_at")
	add(r.RunAt != nil && r.RunAt.IsZero(), "run_at", "must be a time between the years 1970 and 9998")
	add(r.UniqueKey != nil && *r.UniqueKey == "", "unique_key", "must not be empty; leave it out for none")
	add(r.DuringOutage != nil && *r.DuringOutage == "", "during_outage", "must be run or hold")
	add(r.Durability != nil && *r.Durability == "", "durability", "must be journal+redis, journal or redis")
	add(r.ID != nil && r.ID.IsZero(), "id", "must not be the nil UUID")
	add(r.TraceID != nil && r.TraceID.IsZero(), "trace_id", "must not be the nil UUID")
	return bad
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// BatchRequest is the body of POST /v1/tasks/batch.
type BatchRequest struct {
	Tasks []TaskRequest `json:"tasks" minItems:"1" maxItems:"1000" doc:"accepted or refused as a whole"`
}

// Tasks answers a batch. Once one task is accepted the answer is not an error;
// those that could not be taken are named beside the others.
type Tasks struct {
	Tasks   []morningai.Task `json:"tasks" doc:"the accepted ones, in the order of the batch"`
	Refused []Refused        `json:"refused,omitempty" doc:"those whose id is known with other content, and those in doubt"`
}

// Refused is a task of a batch that was not taken.
type Refused struct {
	Index  int            `json:"index" doc:"of the task in the batch, from 0"`
	Code   morningai.Code `json:"code"`
	Detail string         `json:"detail"`
	ID     morningai.ID   `json:"id,omitzero" format:"uuid" doc:"with accept_unknown: the task's; repeat the request with it to learn"`
}

// Aligned returns the tasks in the places of the n requests. A refused one has
// a zero ID there.
func (t Tasks) Aligned(n int) []morningai.Task {
	if len(t.Refused) == 0 {
		return t.Tasks
	}
	out := make([]morningai.Task, n)
	refused := map[int]bool{}
	for _, r := range t.Refused {
		refused[r.Index] = true
	}
	rest := t.Tasks
	for i := range out {
		if !refused[i] && len(rest) > 0 {
			out[i], rest = rest[0], rest[1:]
		}
	}
	return out
}

// TaskPage answers a list of tasks.
type TaskPage struct {
	Tasks      []morningai.Task    `json:"tasks"`
	NextCursor *string             `json:"next_cursor" doc:"of the next page; null at the end"`
	Fresh      morningai.Freshness `json:"fresh" enum:"live,local,stale"`
}

// NewTaskPage is the JSON form of a page.
func NewTaskPage(p morningai.Page) TaskPage {
	page := TaskPage{Tasks: p.Tasks, Fresh: p.Fresh}
	if page.Tasks == nil {
		page.Tasks = []morningai.Task{}
	}
	if p.Next != "" {
		page.NextCursor = &p.Next
	}
	return page
}

// Page is the way back.
func (p TaskPage) Page() morningai.Page {
	page := morningai.Page{Tasks: p.Tasks, Fresh: p.Fresh}
	set(&page.Next, p.NextCursor)
	return page
}
