package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/strictjson"
)

type taskSubmitCmd struct {
	Type         string        `arg:"" help:"Type of the task, such as echo."`
	Payload      string        `default:"null" placeholder:"JSON" help:"Payload: JSON, @FILE, or - for standard input (null)."`
	Queue        string        `default:"default" placeholder:"QUEUE" help:"Queue to stand in (${default})."`
	Priority     int           `default:"5" placeholder:"N" help:"0 runs first, 9 last (${default})."`
	Delay        time.Duration `placeholder:"D" xor:"due" help:"Run this much later, such as 1m30s."`
	At           *string       `placeholder:"TIME" xor:"due" help:"Run at this time, such as 2030-01-31T08:00:00Z."`
	MaxAttempts  int           `default:"25" placeholder:"N" help:"Failures until the task has failed for good (${default})."`
	Timeout      time.Duration `default:"30m" placeholder:"D" help:"Of one attempt (${default})."`
	Unique       *string       `placeholder:"KEY" help:"If a live task holds this key, print that one and submit nothing."`
	TraceID      *string       `name:"trace-id" placeholder:"UUID" help:"Trace id; the task's id unless given."`
	DuringOutage string        `name:"during-outage" default:"" enum:",run,hold" placeholder:"run|hold" help:"While Redis is away: run on the server that takes the task, or wait (run)."`
	Exclusive    bool          `help:"Stop the handler before another server can be given the task, if the contact to Redis is lost."`
	Durability   string        `default:"" enum:",journal+redis,journal,redis" placeholder:"WHERE" help:"Where the task must be before it is acknowledged: journal+redis, journal or redis; the server's setting unless given."`
	Wait         bool          `help:"Wait for the end; exit 1 if the task failed or was canceled."`
	connection
}

// Run submits the task and prints its id at once, so that it is known whatever
// becomes of the wait.
func (c *taskSubmitCmd) Run(ctx context.Context, s streams) error {
	spec, err := c.spec(s.in)
	if err != nil {
		return err
	}
	l, task, err := c.submit(ctx, s, spec)
	if err != nil {
		return err
	}
	defer l.Close()
	if !c.JSON {
		if _, err := fmt.Fprintln(s.out, task.ID); err != nil {
			return err
		}
	}
	if !c.Wait {
		return nil
	}
	return follow(ctx, s, l, task.ID, func(end *morningai.Task) error {
		if c.JSON {
			return printJSON(s.out, l.body())
		}
		if end.State == morningai.StateSucceeded {
			fmt.Fprintf(s.err, "result: %s\n", short(orNull(end.Result)))
		}
		return nil
	})
}

// submit sends the task and prints what the caller should know about it.
func (c *taskSubmitCmd) submit(ctx context.Context, s streams, spec morningai.TaskSpec) (*link, *morningai.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	l, err := c.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	task, err := l.Enqueue(ctx, spec)
	if err == nil && c.JSON && !c.Wait {
		err = printJSON(s.out, l.body())
	}
	if err != nil {
		l.Close()
		return nil, nil, l.hint(err)
	}
	if task.Duplicate {
		fmt.Fprintln(s.err, "note: a live task holds the unique key; this is its id, and nothing was submitted")
	}
	noteUnhandled(ctx, s, l, task)
	return l, task, nil
}

// noteUnhandled says so if no worker could run the task. The task is accepted
// already, so that failing to find out is a note too.
func noteUnhandled(ctx context.Context, s streams, l *link, task *morningai.Task) {
	why, err := l.Why(ctx, task.ID)
	if err != nil {
		if !errors.Is(err, morningai.ErrNotFound) { // retention 0: it has ended, so somebody ran it
			fmt.Fprintf(s.err, "note: cannot tell whether a worker handles this type: %v\n", err)
		}
		return
	}
	for _, r := range why.Reasons {
		if r.Code == morningai.ReasonNoLiveHandler {
			fmt.Fprintf(s.err, "note: no live worker handles the type %s; the task waits for one\n", task.Type)
		}
	}
}

func (c *taskSubmitCmd) spec(in io.Reader) (morningai.TaskSpec, error) {
	payload, err := readPayload(c.Payload, in)
	if err != nil {
		return morningai.TaskSpec{}, err
	}
	spec := morningai.NewTaskSpec(c.Type, payload)
	spec.Queue, spec.Priority, spec.MaxAttempts = c.Queue, c.Priority, c.MaxAttempts
	spec.Timeout, spec.Exclusive = c.Timeout, c.Exclusive
	spec.DuringOutage, spec.Durability = morningai.OutagePolicy(c.DuringOutage), morningai.Durability(c.Durability)
	// What is given as "" is an unset variable in somebody's script.
	if c.Unique != nil {
		if spec.UniqueKey = *c.Unique; spec.UniqueKey == "" {
			return spec, usage("--unique must not be empty", "")
		}
	}
	switch {
	case c.Delay < 0:
		return spec, usage("--delay must not be negative", "")
	case c.Delay > 0:
		spec.RunAt = time.Now().Add(c.Delay)
	case c.At != nil:
		var ok bool
		if spec.RunAt, ok = strictjson.ParseTime(*c.At); !ok {
			return spec, usage("--at must be a time such as 2030-01-31T08:00:00Z", "")
		}
	}
	if c.TraceID != nil {
		if spec.TraceID, err = morningai.ParseID(*c.TraceID); err != nil {
			return spec, usage("--trace-id must be a UUID of 36 characters", "")
		}
	}
	checked := spec // normalizing makes an id, which is the server's to make
	return spec, checked.Normalize()
}

// readPayload takes the payload from where the flag says.
func readPayload(flag string, in io.Reader) (json.RawMessage, error) {
	var payload []byte
	var err error
	name, isFile := strings.CutPrefix(flag, "@")
	switch {
	case flag == "-":
		payload, err = readUpTo(in)
	case isFile:
		var f *os.File
		if f, err = os.Open(name); err == nil {
			payload, err = readUpTo(f)
			err = errors.Join(err, f.Close())
		}
	default:
		payload = []byte(flag)
	}
	if err != nil {
		return nil, usage("cannot read the payload: "+err.Error(), "")
	}
	payload = bytes.TrimSpace(payload)
	if len(payload) <= morningai.MaxPayload && !json.Valid(payload) {
		return nil, usage("the payload is not JSON", `give for example --payload '{"x":1}', --payload @FILE or --payload -`)
	}
	return payload, nil
}

// readUpTo reads a little more than a payload may have, so that an endless
// input is refused as too large.
func readUpTo(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, morningai.MaxPayload+1024))
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
