package rq

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/RC918/morningai"
)

// Spec is a job to be enqueued. Only Func is needed. The time that a job may wait
// (RQ's ttl) cannot be set: RQ drops such a job silently when its workers are
// away for longer.
type Spec struct {
	ID          string // letters, digits, _ and -; a random UUID if ""
	Queue       string // "default" if ""
	Func        string // import path, such as app.tasks.resize
	Args        []any  // as JSON; a json.RawMessage stays as it is
	Kwargs      map[string]any
	Description string // for people; made from the call if ""
	Meta        map[string]any

	// Timeout bounds the run, in whole seconds: RQ's default of 180 s if 0, and
	// Forever for no bound.
	Timeout time.Duration
	// ResultTTL and FailureTTL say how long the ended job stays, in whole
	// seconds: RQ's defaults of 500 s and a year if 0, and Forever; Drop removes
	// a job at once that has succeeded.
	ResultTTL  time.Duration
	FailureTTL time.Duration

	At       time.Time // when it is due; at once if zero
	After    []string  // ids of jobs that must have finished before
	AnyEnd   bool      // those may have failed, too (RQ's allow_failure)
	AtFront  bool
	Retries  int             // after failures
	Interval []time.Duration // before each retry; the last one repeats; at once if none
}

// Durations with a meaning of their own.
const (
	Forever time.Duration = -1
	Drop    time.Duration = -2
)

const (
	defaultTimeout    = 180
	defaultResultTTL  = 500
	defaultFailureTTL = 31536000
	maxSeconds        = math.MaxInt32
	maxNumber         = 1_000_000
)

var (
	idForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,256}$`)
	funcForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$`)
)

// ValidID reports whether every version of RQ accepts s as the id of a job.
func ValidID(s string) bool { return idForm.MatchString(s) }

// ValidFunc reports whether s can be the import path of a function.
func ValidFunc(s string) bool { return len(s) <= 256 && funcForm.MatchString(s) }

func validQueue(s string) bool {
	return s != "" && len(s) <= 256 && utf8.ValidString(s) && !strings.ContainsAny(s, "\x00\r\n")
}

// job is a spec as it goes to Redis.
type job struct {
	id, queue string
	fields    []string // names and values of its hash
	due       string   // unix second; "" unless scheduled
	parents   []string
	front     bool
}

// prepare checks a spec and completes it. Nothing has been written when it
// refuses; the error names every wrong field.
func (s *Spec) prepare(serializer Serializer, now time.Time) (*job, error) {
	var bad []morningai.FieldError
	check := func(ok bool, location, message string) {
		if !ok {
			bad = append(bad, morningai.FieldError{Location: location, Message: message})
		}
	}
	if s.ID == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return nil, fmt.Errorf("make a job id: %w", err)
		}
		s.ID = id.String()
	}
	if s.Queue == "" {
		s.Queue = "default"
	}
	check(ValidID(s.ID), "id", "must be 1 to 256 of the characters A-Z a-z 0-9 _ -: others end a Python worker")
	check(validQueue(s.Queue), "queue", "must be 1 to 256 bytes of text in one line")
	check(ValidFunc(s.Func), "func", "must be the import path of a function, such as app.tasks.resize")
	check(!strings.Contains(s.Description, "\x00") && utf8.ValidString(s.Description), "description", "must be text")
	timeout := seconds(s.Timeout, defaultTimeout, check, "timeout", false)
	result := seconds(s.ResultTTL, defaultResultTTL, check, "result_ttl", true)
	failure := seconds(s.FailureTTL, defaultFailureTTL, check, "failure_ttl", false)
	check(s.Retries >= 0 && s.Retries <= maxNumber, "retries", "must be 0 to 1000000")
	check(len(s.Interval) == 0 || s.Retries > 0, "interval", "must not be given without retries")
	var intervals []string
	for _, d := range s.Interval {
		check(d >= 0 && d%time.Second == 0 && d/time.Second <= maxSeconds, "interval", "each must be whole seconds: RQ reads no others")
		intervals = append(intervals, strconv.FormatInt(int64(d/time.Second), 10))
	}
	for _, id := range s.After {
		check(ValidID(id) && id != s.ID, "after", "must be ids of other jobs")
	}
	check(len(s.After) == 0 || s.At.IsZero(), "at", "must not be given together with after: RQ does one or the other")
	check(s.At.IsZero() || s.At.Year() >= 1970 && s.At.Year() < 9998, "at", "must be a time between the years 1970 and 9998")
	args, kwargs, meta := encodeAll(s, check)
	if len(bad) > 0 {
		return nil, morningai.InvalidInput("enqueue job", bad...)
	}
	data, err := serializer.packCall(call{function: s.Func, args: args, kwargs: kwargs})
	if err != nil {
		return nil, err
	}
	if s.Description == "" {
		s.Description = describe(s.Func, args, kwargs)
	}
	j := &job{id: s.ID, queue: s.Queue, parents: s.After, front: s.AtFront}
	j.set("created_at", stamp(now), "data", string(data), "origin", s.Queue, "description", s.Description, "timeout", timeout,
		"result_ttl", result, "failure_ttl", failure,
		"success_callback_name", "", "failure_callback_name", "", "stopped_callback_name", "",
		"started_at", "", "ended_at", "", "last_heartbeat", "", "worker_name", "", "group_id", "")
	if s.Retries > 0 {
		j.set("retries_left", strconv.Itoa(s.Retries))
		if len(intervals) == 0 {
			intervals = []string{"0"}
		}
		j.set("retry_intervals", "["+strings.Join(intervals, ", ")+"]")
	}
	if meta != nil {
		raw, err := serializer.pack(meta)
		if err != nil {
			return nil, err
		}
		j.set("meta", string(raw))
	}
	if s.AtFront {
		j.set("enqueue_at_front", "1")
	}
	if len(s.After) > 0 {
		list, err := json.Marshal(s.After)
		if err != nil {
			return nil, err
		}
		j.set("dependency_id", s.After[0], "dependency_ids", string(list))
		if s.AnyEnd {
			j.set("allow_dependency_failures", "1")
		}
	}
	if !s.At.IsZero() {
		// A part of a second later, never before.
		at := s.At.Add(time.Second - 1)
		j.due = strconv.FormatInt(at.Unix(), 10)
	}
	return j, nil
}

func (j *job) set(pairs ...string) { j.fields = append(j.fields, pairs...) }

func encodeAll(s *Spec, check func(bool, string, string)) (args, kwargs, meta json.RawMessage) {
	encode := func(location string, v any, empty string) json.RawMessage {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err := e.Encode(v)
		check(err == nil, location, "must be values that JSON has a form for")
		if out := bytes.TrimSpace(b.Bytes()); err == nil && string(out) != "null" {
			return out
		}
		return json.RawMessage(empty)
	}
	args, kwargs = encode("args", s.Args, "[]"), encode("kwargs", s.Kwargs, "{}")
	if len(s.Meta) > 0 {
		meta = encode("meta", s.Meta, "{}")
	}
	return args, kwargs, meta
}

func seconds(d time.Duration, standard int, check func(bool, string, string), location string, drop bool) string {
	switch {
	case d == 0:
		return strconv.Itoa(standard)
	case d == Forever:
		return "-1"
	case d == Drop && drop:
		return "0"
	}
	check(d > 0 && d%time.Second == 0 && d/time.Second <= maxSeconds, location, "must be whole seconds: RQ reads no others")
	return strconv.FormatInt(int64(d/time.Second), 10)
}

const maxDescription = 500

// describe shows a call about as RQ does.
func describe(function string, args, kwargs json.RawMessage) string {
	text := function + "(" + strings.TrimSuffix(strings.TrimPrefix(string(args), "["), "]")
	if string(kwargs) != "{}" {
		if string(args) != "[]" {
			text += ", "
		}
		text += "**" + string(kwargs)
	}
	if len(text) > maxDescription {
		text = strings.ToValidUTF8(text[:maxDescription], "") + "…"
	}
	return text + ")"
}

const timeForm = "2006-01-02T15:04:05.000000Z"

// stamp writes a time as every version of RQ reads it.
func stamp(t time.Time) string { return t.UTC().Format(timeForm) }
