package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/rq"
)

type rqCmd struct {
	Enqueue rqEnqueueCmd `cmd:"" help:"Enqueue a Python function, which an RQ worker runs."`
	Worker  rqWorkerCmd  `cmd:"" help:"Run jobs of RQ queues as tasks of a server."`
	Import  rqImportCmd  `cmd:"" help:"Take over what waits in RQ queues. Changes nothing without --apply."`
}

// rqRedis names the Redis that RQ uses.
type rqRedis struct {
	Redis string `placeholder:"URL" env:"MORNINGAI_REDIS,REDIS_URL" help:"The Redis that RQ uses. A password belongs into the environment variable: command lines are public."`
}

func (c *rqRedis) open(s streams, line *kong.Context, opts ...rq.Option) (*rq.Client, error) {
	if c.Redis == "" {
		return nil, usage("the address of a Redis is missing", "give it with --redis, MORNINGAI_REDIS or REDIS_URL, such as redis://127.0.0.1:6379/0")
	}
	fmt.Fprintf(s.err, "rq at %s (from %s)\n", redisHost(c.Redis), redisSource(line))
	return rq.Open(c.Redis, opts...)
}

// rqMap says which task types stand for which Python functions.
type rqMap struct {
	Map         []string `placeholder:"FUNC=TYPE" sep:"none" help:"Task type, or http(s) address to post to, for a function; FUNC may be * for all others, and a * in TYPE is the function's path. May be repeated."`
	PayloadForm string   `name:"payload" default:"call" enum:"call,kwargs" placeholder:"call|kwargs" help:"Payload of the task: call is {\"args\":[…],\"kwargs\":{…}}, kwargs the keyword arguments alone, for jobs without others (${default})."`
}

// targets reads the map: task types by function, "*" for all others.
func (m *rqMap) targets() (map[string]string, error) {
	out := map[string]string{}
	for _, pair := range m.Map {
		function, target, ok := strings.Cut(pair, "=")
		switch {
		case !ok || target == "":
			return nil, usage("--map must be FUNC=TYPE", "such as --map app.tasks.resize=resize")
		case function != "*" && !rq.ValidFunc(function):
			return nil, usage("--map names what is no path of a Python function", "such as --map app.tasks.resize=resize, or * for all others")
		case out[function] != "":
			return nil, usage("--map names a function twice", "")
		case !isAddress(target) && !morningai.ValidName(strings.ReplaceAll(target, "*", "x")):
			return nil, usage("--map names what is no task type: it "+morningai.NameRule, "")
		}
		out[function] = target
	}
	return out, nil
}

func isAddress(target string) bool {
	return strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://")
}

// spec is the task that stands for a job; reason says why there is none.
func (m *rqMap) spec(targets map[string]string, j *rq.Job) (spec morningai.TaskSpec, reason string) {
	target := targets[j.Func]
	if target == "" {
		target = targets["*"]
	}
	if target == "" {
		return spec, "no --map for " + j.Func
	}
	payload := json.RawMessage(`{"args":` + string(j.Args) + `,"kwargs":` + string(j.Kwargs) + `}`)
	if m.PayloadForm == "kwargs" {
		if string(j.Args) != "[]" {
			return spec, "it has arguments without a name, and --payload is kwargs"
		}
		payload = j.Kwargs
	}
	if isAddress(target) {
		body, err := json.Marshal(map[string]any{"url": target, "method": "POST", "headers": map[string]string{"Content-Type": "application/json"}, "body": payload})
		if err != nil {
			return spec, "its arguments cannot be written"
		}
		target, payload = "http", body
	}
	spec = morningai.NewTaskSpec(strings.ReplaceAll(target, "*", j.Func), payload)
	spec.MaxAttempts = 1
	spec.Timeout = j.Timeout
	if j.Timeout == rq.Forever || j.Timeout > morningai.MaxTimeout {
		spec.Timeout = morningai.MaxTimeout
	}
	spec.Metadata = map[string]string{"rq_job": j.ID, "rq_queue": j.Queue}
	if !morningai.ValidName(spec.Type) {
		return spec, "its function's path does not fit into the name of a task type"
	}
	return spec, ""
}
