package rq

import (
	"context"
	_ "embed"
	"errors"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/redis"
)

//go:embed lua/import.lua
var importLua string

var scriptImport = redis.NewScript(commonLua + importLua)

// Import says which jobs another system takes over.
type Import struct {
	Queues   []string
	Statuses []Status // of Queued, Scheduled and Failed; empty: all three
	// Decide returns why a job stays where it is; "" if it is taken over.
	Decide func(*Job) string
	// Submit hands a job over. It must be safe to repeat for the same job. An
	// error that is a refusal of the job puts it back where it was; another one
	// ends the import and leaves the job to the next. nil: nothing is changed, and
	// the jobs that would be taken over are returned.
	Submit func(context.Context, *Job) error
	// Refused reports whether an error of Submit is a refusal.
	Refused func(error) bool
}

// Taken is what became of one job in an import.
type Taken struct {
	Job    *Job
	Was    Status // where it was
	Reason string // why it stays; "" if it was or would be taken over
}

// Import takes jobs over. Each is first taken out of where RQ would run it, then
// submitted, then removed from RQ, so that it runs in one of the two systems only.
// An import that was cut off is taken up by the next one. What was done is
// returned with an error too.
func (c *Client) Import(ctx context.Context, im Import) ([]Taken, error) {
	statuses := im.Statuses
	if len(statuses) == 0 {
		statuses = []Status{Queued, Scheduled, Failed}
	}
	places := map[Status]Registry{Queued: Waiting, Scheduled: ScheduledRegistry, Failed: FailedRegistry}
	var out []Taken
	for _, q := range im.Queues {
		if !validQueue(q) {
			return out, morningai.InvalidInput("rq import", morningai.FieldError{Location: "queues", Message: "each must be 1 to 256 bytes of text in one line"})
		}
		ids, err := c.all(ctx, q, DeferredRegistry) // those of an import that was cut off
		if err != nil {
			return out, err
		}
		for _, status := range statuses {
			place, ok := places[status]
			if !ok {
				return out, morningai.InvalidInput("rq import", morningai.FieldError{Location: "statuses", Message: "must be of queued, scheduled and failed"})
			}
			more, err := c.all(ctx, q, place)
			if err != nil {
				return out, err
			}
			ids = append(ids, more...)
		}
		for _, id := range ids {
			t, err := c.takeOver(ctx, &im, statuses, id)
			if t != nil {
				out = append(out, *t)
			}
			if err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// all returns every id of a registry.
func (c *Client) all(ctx context.Context, queue string, r Registry) ([]string, error) {
	const page = 1000
	var out []string
	for {
		ids, err := c.IDs(ctx, queue, r, len(out), page)
		if err != nil {
			return nil, err
		}
		if out = append(out, ids...); len(ids) < page {
			return out, nil
		}
	}
}

func (c *Client) takeOver(ctx context.Context, im *Import, statuses []Status, id string) (*Taken, error) {
	job, err := c.Get(ctx, id)
	if errors.Is(err, morningai.ErrNotFound) {
		return nil, nil // it has run meanwhile
	}
	if err != nil {
		return nil, err
	}
	reply, err := c.conn.Read(ctx, []string{"HGET", jobKey(id), "morningai_import"}, []string{"HEXISTS", jobKey(id), "morningai_sent"}, []string{"SCARD", "rq:job:" + id + ":dependents"})
	if err != nil {
		return nil, err
	}
	t := &Taken{Job: job, Was: job.Status}
	held := word(reply[0])
	if held != "" {
		was, due, _ := strings.Cut(held, " ")
		if t.Was = Status(was); t.Was == Scheduled {
			job.DueAt = unixTime(due)
		}
	}
	wanted := false
	for _, s := range statuses {
		wanted = wanted || t.Was == s
	}
	if !wanted {
		return nil, nil
	}
	switch {
	case job.Unreadable != nil:
		t.Reason = "its arguments are " + job.Unreadable.Error()
	case len(job.callbacks) > 0:
		t.Reason = "it calls back into Python when it ends"
	case number(reply[1]) > 0:
		t.Reason = "a server has delivered it and follows it"
	case number(reply[2]) > 0:
		t.Reason = "other jobs wait for it"
	default:
		t.Reason = im.Decide(job)
	}
	if t.Reason != "" || im.Submit == nil {
		if t.Reason != "" && held != "" && im.Submit != nil {
			return t, c.settle(ctx, "back", id)
		}
		return t, nil
	}
	answer, err := c.eval(ctx, scriptImport, "hold", id)
	if err != nil || word(answer[0]) != "held" {
		return nil, err
	}
	if err := im.Submit(ctx, job); err != nil {
		if !im.Refused(err) {
			return nil, err // it may have been accepted: the next import tells
		}
		t.Reason = err.Error()
		return t, c.settle(ctx, "back", id)
	}
	return t, c.settle(ctx, "remove", id)
}

func (c *Client) settle(ctx context.Context, what, id string) error {
	_, err := c.eval(ctx, scriptImport, what, id)
	return err
}
