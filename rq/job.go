package rq

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// Status is where a job is, in RQ's words.
type Status string

// The statuses of a job.
const (
	Created   Status = "created"
	Queued    Status = "queued"
	Started   Status = "started"
	Deferred  Status = "deferred"
	Scheduled Status = "scheduled"
	Finished  Status = "finished"
	Failed    Status = "failed"
	Stopped   Status = "stopped"
	Canceled  Status = "canceled"
)

// Ended reports whether nothing more will come of the job by itself.
func (s Status) Ended() bool {
	return s == Finished || s == Failed || s == Stopped || s == Canceled
}

// Job is what is known of a job.
type Job struct {
	ID     string
	Queue  string
	Status Status
	Func   string
	Args   json.RawMessage // an array; nil if they cannot be read
	Kwargs json.RawMessage // an object; nil if they cannot be read
	// Unreadable says why the arguments cannot be read.
	Unreadable error

	Description string
	Meta        json.RawMessage // an object; nil if there is none or it cannot be read
	CreatedAt   time.Time
	EnqueuedAt  time.Time
	StartedAt   time.Time
	EndedAt     time.Time
	DueAt       time.Time     // of a scheduled job
	Worker      string        // that runs it, or ran it last
	Timeout     time.Duration // Forever: no bound
	RetriesLeft int
	After       []string

	// Result is the newest one, nil if there is none.
	Result *Result

	callbacks  []string
	serializer Serializer // that it came with
}

// Result is what a run left.
type Result struct {
	Type  ResultType
	At    time.Time
	Value json.RawMessage // what the function returned; null for None
	Trace string          // of a failure: the traceback that Python shows
	// Unreadable says why there is a value that cannot be read.
	Unreadable error
}

// ResultType says how a run ended.
type ResultType int

// How runs end. RQ 2 has written the last two since 2.1 and 2.8.
const (
	Successful     ResultType = 1
	Unsuccessful   ResultType = 2
	Interrupted    ResultType = 3
	Retried        ResultType = 4
	RetriesUsedUp  ResultType = 5
	unknownOutcome ResultType = 0
)

// Exception is the last line of the traceback, such as "ValueError: no such
// size".
func (r *Result) Exception() string {
	lines := strings.Split(strings.TrimSpace(r.Trace), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// Get returns a job, or a morningai.ErrNotFound.
func (c *Client) Get(ctx context.Context, id string) (*Job, error) {
	if !ValidID(id) {
		return nil, notFound()
	}
	reply, err := c.eval(ctx, scriptRead, id)
	if err != nil {
		return nil, err
	}
	j := parseJob(id, reply)
	if j == nil {
		return nil, notFound()
	}
	return j, nil
}

func notFound() error {
	return &morningai.Error{Code: morningai.CodeNotFound, Op: "get job", Detail: "there is no such job",
		Hint: "RQ removes ended jobs after their result_ttl"}
}

// parseJob reads what read.lua answers; nil if there is no job.
func parseJob(id string, reply []any) *Job {
	if len(reply) < 3 {
		return nil
	}
	h := pairs(reply[0])
	if len(h) == 0 {
		return nil
	}
	j := parseHash(id, h)
	if due := word(reply[1]); due != "" {
		j.DueAt = unixTime(due)
	}
	if entry, ok := reply[2].([]any); ok && len(entry) == 2 {
		j.Result = parseResult(word(entry[0]), pairs(entry[1]))
	} else if h["result"] != "" || h["exc_info"] != "" { // RQ on a Redis older than 5
		j.Result = oldResult(h)
	}
	return j
}

func parseHash(id string, h map[string]string) *Job {
	j := &Job{ID: id, Queue: h["origin"], Status: Status(h["status"]), Description: h["description"], Worker: h["worker_name"],
		CreatedAt: readTime(h["created_at"]), EnqueuedAt: readTime(h["enqueued_at"]), StartedAt: readTime(h["started_at"]), EndedAt: readTime(h["ended_at"]),
		Timeout: readSeconds(h["timeout"]), RetriesLeft: int(readInt(h["retries_left"], 0)),
		serializer: serializerOf([]byte(h["data"]))}
	c, err := unpackCall([]byte(h["data"]))
	j.Func, j.Args, j.Kwargs, j.Unreadable = c.function, c.args, c.kwargs, err
	if meta := h["meta"]; meta != "" {
		if value, err := unpack([]byte(meta)); err == nil {
			j.Meta = value
		}
	}
	if err := json.Unmarshal([]byte(h["dependency_ids"]), &j.After); err != nil && h["dependency_id"] != "" {
		j.After = []string{h["dependency_id"]}
	}
	for _, kind := range []string{"success", "failure", "stopped"} {
		if h[kind+"_callback_name"] != "" {
			j.callbacks = append(j.callbacks, kind)
		}
	}
	return j
}

func parseResult(at string, fields map[string]string) *Result {
	r := &Result{Type: ResultType(readInt(fields["type"], int64(unknownOutcome)))}
	if ms, _, ok := strings.Cut(at, "-"); ok {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
			r.At = time.UnixMilli(n).UTC()
		}
	}
	r.Value, r.Unreadable = unpackResult(fields["return_value"])
	if text := fields["exc_string"]; text != "" {
		r.Trace = unpackTrace(text)
	}
	return r
}

func oldResult(h map[string]string) *Result {
	r := &Result{Type: Successful, At: readTime(h["ended_at"])}
	if text := h["exc_info"]; text != "" {
		r.Type = Unsuccessful
		raw, err := inflate([]byte(text))
		if err != nil {
			raw = []byte(text)
		}
		r.Trace = strings.ToValidUTF8(string(raw), "\uFFFD")
		return r
	}
	r.Value, r.Unreadable = unpack([]byte(h["result"]))
	return r
}

// pairs reads a hash, or a list of names and values.
func pairs(v any) map[string]string {
	out := map[string]string{}
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			out[k] = word(v[k])
		}
	case []any:
		for i := 0; i+1 < len(v); i += 2 {
			out[word(v[i])] = word(v[i+1])
		}
	}
	return out
}

func readTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func unixTime(text string) time.Time {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.Abs(f) > 253402300799 {
		return time.Time{}
	}
	return time.UnixMicro(int64(f * 1e6)).UTC()
}

func readInt(text string, standard int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return standard
	}
	return n
}

func readSeconds(text string) time.Duration {
	n := readInt(text, defaultTimeout)
	if n < 0 || n > maxSeconds {
		return Forever
	}
	return time.Duration(n) * time.Second
}

// sameJSON compares values, whatever spaces are between them.
func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}
