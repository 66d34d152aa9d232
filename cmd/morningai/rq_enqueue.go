package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"time"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai/internal/strictjson"
	"github.com/RC918/morningai/rq"
)

type rqEnqueueCmd struct {
	Func          string          `arg:"" help:"Import path of the function, such as app.tasks.resize."`
	Args          string          `default:"[]" placeholder:"JSON" help:"Arguments, as a JSON array; @FILE, or - for standard input."`
	Kwargs        string          `default:"{}" placeholder:"JSON" help:"Keyword arguments, as a JSON object; @FILE, or - for standard input."`
	Queue         string          `default:"default" placeholder:"QUEUE" help:"RQ queue (${default})."`
	ID            string          `name:"id" placeholder:"ID" help:"Id of the job: enqueueing it again changes nothing. A random UUID unless given."`
	Description   string          `placeholder:"TEXT" help:"What RQ's tools show of the job."`
	Meta          string          `placeholder:"JSON" help:"What the job's meta has, as a JSON object."`
	Timeout       time.Duration   `default:"180s" placeholder:"D" help:"Of a run, in whole seconds; 0 for none (${default})."`
	ResultTTL     time.Duration   `name:"result-ttl" default:"500s" placeholder:"D" help:"How long RQ keeps the result, in whole seconds; -1s for ever, 0 not at all (${default})."`
	FailureTTL    time.Duration   `name:"failure-ttl" default:"8760h" placeholder:"D" help:"How long RQ keeps the job if it fails, in whole seconds; -1s for ever (${default})."`
	Delay         time.Duration   `placeholder:"D" xor:"due" help:"Run this much later; needs an RQ scheduler."`
	At            *string         `placeholder:"TIME" xor:"due" help:"Run at this time, such as 2030-01-31T08:00:00Z; needs an RQ scheduler."`
	After         []string        `placeholder:"ID" help:"Run after this job has finished; may be repeated."`
	AnyEnd        bool            `name:"any-end" help:"Run after those jobs have failed, too."`
	Front         bool            `help:"Go to the front of the queue."`
	Retries       int             `placeholder:"N" help:"How often RQ tries again after a failure (0)."`
	RetryInterval []time.Duration `name:"retry-interval" placeholder:"D" help:"Wait before a retry, in whole seconds; may be repeated, the last one holds for the rest."`
	Serializer    string          `default:"json" enum:"json,pickle" placeholder:"json|pickle" help:"What the workers read: json, or pickle, which RQ uses unless told otherwise (${default})."`
	Wait          bool            `help:"Wait for the end; exit 1 if the job failed."`
	JSON          bool            `name:"json" help:"Print the job as JSON."`
	rqRedis
}

// Run enqueues the job and prints its id.
func (c *rqEnqueueCmd) Run(ctx context.Context, s streams, line *kong.Context) (err error) {
	spec, err := c.spec(s)
	if err != nil {
		return err
	}
	client, err := c.open(s, line, rq.WithSerializer(rq.Serializer(c.Serializer)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	job, err := client.Enqueue(ctx, spec)
	if err != nil {
		return err
	}
	if !c.JSON {
		if _, err := fmt.Fprintln(s.out, job.ID); err != nil {
			return err
		}
	}
	if c.Wait {
		if job, err = client.Wait(ctx, job.ID); err != nil {
			return err
		}
	}
	if c.JSON {
		if err := printValue(s, jobJSON(job)); err != nil {
			return err
		}
	}
	return c.tell(s, job)
}

// tell says how a job ended that was waited for.
func (c *rqEnqueueCmd) tell(s streams, job *rq.Job) error {
	switch {
	case !c.Wait:
		return nil
	case job.Status == rq.Finished && job.Result != nil && job.Result.Unreadable == nil:
		fmt.Fprintf(s.err, "finished\nresult: %s\n", short(job.Result.Value))
		return nil
	case job.Status == rq.Finished:
		fmt.Fprintln(s.err, "finished; the result is kept nowhere, or is an object that only Python can read")
		return nil
	case job.Result != nil && job.Result.Trace != "":
		fmt.Fprintf(s.err, "%s: %s\n", job.Status, printable(job.Result.Exception()))
	default:
		fmt.Fprintln(s.err, job.Status)
	}
	return ended(exitFailed)
}

func (c *rqEnqueueCmd) spec(s streams) (rq.Spec, error) {
	spec := rq.Spec{ID: c.ID, Queue: c.Queue, Func: c.Func, Description: c.Description, Timeout: c.Timeout, ResultTTL: c.ResultTTL, FailureTTL: c.FailureTTL,
		After: c.After, AnyEnd: c.AnyEnd, AtFront: c.Front, Retries: c.Retries, Interval: c.RetryInterval}
	if spec.Timeout == 0 {
		spec.Timeout = rq.Forever
	}
	switch c.ResultTTL {
	case 0:
		spec.ResultTTL = rq.Drop
	case -time.Second:
		spec.ResultTTL = rq.Forever
	}
	if c.FailureTTL == -time.Second {
		spec.FailureTTL = rq.Forever
	}
	for _, part := range []struct {
		flag, text, want string
		into             any
	}{{"--args", c.Args, "a JSON array", &spec.Args}, {"--kwargs", c.Kwargs, "a JSON object", &spec.Kwargs}, {"--meta", c.Meta, "a JSON object", &spec.Meta}} {
		if part.text == "" {
			continue
		}
		raw, err := readPayload(part.text, s.in)
		if err != nil {
			return spec, err
		}
		if err := decodeRaw(raw, part.into); err != nil {
			return spec, usage(part.flag+" must be "+part.want, "")
		}
	}
	switch {
	case c.Delay < 0:
		return spec, usage("--delay must not be negative", "")
	case c.Delay > 0:
		spec.At = time.Now().Add(c.Delay)
	case c.At != nil:
		var ok bool
		if spec.At, ok = strictjson.ParseTime(*c.At); !ok {
			return spec, usage("--at must be a time such as 2030-01-31T08:00:00Z", "")
		}
	}
	return spec, nil
}

// decodeRaw reads an array or an object and leaves its values as they are
// written, so that no digit is lost.
func decodeRaw(raw json.RawMessage, into any) error {
	switch into := into.(type) {
	case *[]any:
		var list []json.RawMessage
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
		for _, v := range list {
			*into = append(*into, v)
		}
	case *map[string]any:
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil {
			return err
		}
		*into = make(map[string]any, len(object))
		for k, v := range object {
			(*into)[k] = v
		}
	}
	return nil
}

// jobJSON is a job as --json prints it.
func jobJSON(j *rq.Job) map[string]any {
	out := map[string]any{"id": j.ID, "queue": j.Queue, "status": j.Status, "func": j.Func, "args": j.Args, "kwargs": j.Kwargs, "description": j.Description,
		"created_at": orNil(j.CreatedAt), "started_at": orNil(j.StartedAt), "ended_at": orNil(j.EndedAt), "due_at": orNil(j.DueAt), "worker": j.Worker, "result": nil, "exception": nil}
	if r := j.Result; r != nil {
		if r.Unreadable == nil {
			out["result"] = r.Value
		}
		if r.Trace != "" {
			out["exception"] = r.Exception()
		}
	}
	return out
}

func orNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}
