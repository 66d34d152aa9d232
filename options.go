package morningai

import (
	"maps"
	"time"
)

// Option changes one task before it is enqueued. What an option asks for is
// checked when the task is enqueued; a wrong value is an [ErrInvalidInput] that
// names the field.
type Option func(*TaskSpec)

// Queue puts the task into the named queue instead of [DefaultQueue].
func Queue(name string) Option { return func(s *TaskSpec) { s.Queue = name } }

// Priority orders tasks within a queue: 0 runs first, 9 last; [DefaultPriority]
// unless given.
func Priority(n int) Option { return func(s *TaskSpec) { s.Priority = n } }

// Delay makes the task due d from the moment it is enqueued, by the clock of
// the enqueuing process. Zero and less mean at once.
func Delay(d time.Duration) Option {
	return func(s *TaskSpec) {
		s.RunAt = time.Time{}
		if d > 0 {
			s.RunAt = time.Now().Add(d)
		}
	}
}

// At makes the task due at t. A time in the past means at once.
func At(t time.Time) Option { return func(s *TaskSpec) { s.RunAt = t } }

// MaxAttempts bounds how often the task may fail before it has failed for good.
// Executions that end without a failure (a snooze, a drained worker, a lost
// process) do not count.
func MaxAttempts(n int) Option { return func(s *TaskSpec) { s.MaxAttempts = n } }

// Timeout bounds one attempt. The handler's context has the deadline.
func Timeout(d time.Duration) Option { return func(s *TaskSpec) { s.Timeout = d } }

// UniqueKey makes enqueueing return the task that holds the key, if one that
// has not ended does, instead of adding another.
func UniqueKey(key string) Option { return func(s *TaskSpec) { s.UniqueKey = key } }

// Exclusive is for a task that must not run twice at the same time. Its handler's
// context is cancelled, with [ErrContactLost] as the cause, before the other
// members can call its worker dead and hand the task to another one: a quarter of
// the lease before that, counted from the sending of the last beat that the
// engine has answered. The attempt does not count as a failure, and the task runs
// again. A process that stands still does not notice the time, and a handler that
// ignores its context is not stopped.
func Exclusive() Option { return func(s *TaskSpec) { s.Exclusive = true } }

// TraceID joins the task to a trace; without it the trace id is the task's id.
func TraceID(id ID) Option { return func(s *TaskSpec) { s.TraceID = id } }

// Metadata attaches a named value to the task. It is returned with the task and
// never interpreted. May be given more than once.
func Metadata(key, value string) Option {
	return func(s *TaskSpec) {
		m := maps.Clone(s.Metadata)
		if m == nil {
			m = make(map[string]string, 1)
		}
		m[key] = value
		s.Metadata = m
	}
}

// Retention says how long the task stays readable after it has ended, instead
// of the engine's setting. With 0 it is gone at once, except for those who
// already wait for it.
func Retention(d time.Duration) Option { return func(s *TaskSpec) { s.Retention = &d } }

// TaskID gives the task its id, so that enqueueing can be repeated safely: the
// same id and the same request return the stored task, a different request is
// an [ErrConflict].
func TaskID(id ID) Option { return func(s *TaskSpec) { s.ID = id } }
