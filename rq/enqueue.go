package rq

import (
	"context"
	"errors"
	"strconv"

	"github.com/RC918/morningai"
)

// ErrExists is matched by the error of an Enqueue whose id another job has.
var ErrExists = errors.New("the job exists")

// Enqueue hands a job to RQ in one atomic step and returns it. It is idempotent
// by id: if a job of that id is there, it is returned as it stands when it is the
// same call, and is an error that matches [ErrExists] when it is another.
//
// A job with a time waits in the queue's registry of scheduled jobs until a
// scheduler moves it: an RQ worker with --with-scheduler, or a [Worker]. One that
// comes after others waits as deferred until they have finished; a job that does
// not exist is a morningai.ErrNotFound.
func (c *Client) Enqueue(ctx context.Context, spec Spec) (*Job, error) {
	j, err := spec.prepare(c.serializer, c.now())
	if err != nil {
		return nil, err
	}
	reply, err := c.push(ctx, j, "", "", Mark{}, 0, "")
	if err != nil {
		return nil, err
	}
	switch word(reply[0]) {
	case "no parent":
		return nil, &morningai.Error{Code: morningai.CodeNotFound, Op: "enqueue job", Detail: "a job named by after does not exist",
			Hint: "its result may have been removed after result_ttl"}
	case "exists":
		return c.same(ctx, &spec, j)
	}
	return c.Get(ctx, j.id)
}

// push runs the script; see push.lua for the last five.
func (c *Client) push(ctx context.Context, j *job, sender, life string, known Mark, highest int64, fleet string) ([]any, error) {
	front := "0"
	if j.front {
		front = "1"
	}
	args := []string{j.id, j.queue, j.due, front, sender, life, known.Sender, strconv.FormatInt(known.Number, 10), strconv.FormatInt(highest, 10), fleet, strconv.Itoa(len(j.parents))}
	return c.eval(ctx, scriptPush, append(append(args, j.parents...), j.fields...)...)
}

// same returns the job that has the id if it makes the same call.
func (c *Client) same(ctx context.Context, spec *Spec, j *job) (*Job, error) {
	there, err := c.Get(ctx, j.id)
	if err != nil {
		return nil, err
	}
	args, kwargs, _ := encodeAll(spec, func(bool, string, string) {})
	if there.Func == spec.Func && there.Queue == spec.Queue && sameJSON(there.Args, args) && sameJSON(there.Kwargs, kwargs) {
		return there, nil
	}
	return nil, &morningai.Error{Code: morningai.CodeConflict, Op: "enqueue job", Detail: "another job has this id", Err: ErrExists}
}
