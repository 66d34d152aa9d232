package morningai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what one task may carry. Requests beyond them are refused whole.
const (
	MaxPayload     = 1 << 20 // bytes of a payload or a result
	MaxName        = 128     // bytes of a type, queue, step or metadata name
	MaxUniqueKey   = 512     // bytes of a unique key
	MaxFingerprint = 64      // bytes of a request's fingerprint
	MaxMetadata    = 16 << 10
	MaxAttemptsCap = 10_000
	MaxTimeout     = 30 * 24 * time.Hour
	MaxRetention   = 10 * 365 * 24 * time.Hour
	MaxLogLines    = 1_000   // kept per task
	MaxLogLine     = 8 << 10 // bytes of one log line, attributes included
	MaxBatch       = 1_000   // tasks of one batch
	MaxPriority    = 9
)

// What a task has unless its producer says otherwise.
const (
	DefaultQueue       = "default"
	DefaultPriority    = 5
	DefaultMaxAttempts = 25
	DefaultTimeout     = 30 * time.Minute
)

// maxRunAt keeps due times inside what RFC 3339 can say.
var maxRunAt = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// TaskSpec is what a producer asks for. Start from [NewTaskSpec], which fills
// in the defaults.
type TaskSpec struct {
	ID          ID // zero: the engine makes one
	TraceID     ID // zero: the same as ID
	Type        string
	Queue       string
	Priority    int
	Payload     json.RawMessage // one JSON value; kept as it is
	RunAt       time.Time       // zero: at once
	MaxAttempts int
	Timeout     time.Duration
	UniqueKey   string            // at most one live task holds it
	Metadata    map[string]string // returned with the task; never interpreted
	Retention   *time.Duration    // how long the ended task stays readable; nil: the engine's setting
	// Exclusive has the handler stopped before another worker can be given the
	// task; see [Exclusive].
	Exclusive bool
	// Fingerprint of the request behind the spec, at most MaxFingerprint bytes.
	// Two specs with different ones never ask for the same work, whatever else
	// they say. It is stored, and not shown.
	Fingerprint string
	// DuringOutage and Durability concern the moment of acceptance on a node
	// with a journal; other engines have no choice and ignore them.
	DuringOutage OutagePolicy
	Durability   Durability

	checked checkedPayload
	made    ID // for this spec, by Normalize or SetFreshID
}

// FreshID reports whether the spec's id was made for it, so that nobody can
// have asked for it before.
func (s *TaskSpec) FreshID() bool { return !s.ID.IsZero() && s.made == s.ID }

// SetFreshID gives the spec an id that was made for it, where Normalize would
// otherwise make one: in a simulation, whose ids come from its seed.
func (s *TaskSpec) SetFreshID(id ID) { s.ID, s.made = id, id }

// checkedPayload remembers which bytes were found to be valid JSON, so that a
// spec that passes through several hands is checked once. A payload is not
// changed in place after it was handed over.
type checkedPayload struct {
	first *byte
	n     int
}

func (c checkedPayload) covers(p json.RawMessage) bool {
	return len(p) > 0 && c.n == len(p) && c.first == &p[0]
}

// NewTaskSpec returns a spec with every default in place. The payload is one
// JSON value; nil stands for null.
func NewTaskSpec(taskType string, payload json.RawMessage) TaskSpec {
	return TaskSpec{
		Type:        taskType,
		Queue:       DefaultQueue,
		Priority:    DefaultPriority,
		Payload:     payload,
		MaxAttempts: DefaultMaxAttempts,
		Timeout:     DefaultTimeout,
	}
}

// Normalize checks the spec and fills in its ids. It returns an
// [ErrInvalidInput] that names every wrong field, or an [ErrTooLarge]; the spec
// is then unchanged. Engines call it before anything is written, so a refused
// spec leaves no trace.
func (s *TaskSpec) Normalize() error {
	payload := s.Payload
	if len(payload) == 0 {
		payload = json.RawMessage("null")
	}
	if len(payload) > MaxPayload {
		return &Error{Code: CodeTooLarge, Op: "enqueue", Detail: fmt.Sprintf("the payload is over %d bytes", MaxPayload),
			Hint: "keep the data elsewhere and put its address into the payload"}
	}
	if bad := s.wrongFields(payload); len(bad) > 0 {
		return InvalidInput("enqueue", bad...)
	}
	id := s.ID
	if id.IsZero() {
		var err error
		if id, err = NewID(); err != nil {
			return err
		}
		s.made = id
	}
	s.ID, s.Payload = id, payload
	s.checked = checkedPayload{&payload[0], len(payload)}
	if s.TraceID.IsZero() {
		s.TraceID = id
	}
	return nil
}

func (s *TaskSpec) wrongFields(payload json.RawMessage) []FieldError {
	var bad []FieldError
	add := func(ok bool, location, message string) {
		if !ok {
			bad = append(bad, FieldError{location, message})
		}
	}
	add(ValidName(s.Type), "type", NameRule)
	add(ValidName(s.Queue), "queue", NameRule)
	add(s.Priority >= 0 && s.Priority <= MaxPriority, "priority", "must be 0 to 9")
	add(s.MaxAttempts >= 1 && s.MaxAttempts <= MaxAttemptsCap, "max_attempts", attemptsRule)
	add(s.Timeout >= time.Millisecond && s.Timeout <= MaxTimeout, "timeout", "must be a duration from 1ms to 720h")
	add(s.RunAt.IsZero() || s.RunAt.Unix() >= 0 && s.RunAt.Before(maxRunAt), "run_at", "must be a time between the years 1970 and 9998")
	add(len(s.UniqueKey) <= MaxUniqueKey && validText(s.UniqueKey), "unique_key", uniqueKeyRule)
	add(s.Retention == nil || *s.Retention >= 0 && *s.Retention <= MaxRetention, "retention", "must be a duration from 0s to 87600h")
	add(len(s.Fingerprint) <= MaxFingerprint && validText(s.Fingerprint), "fingerprint", fingerprintRule)
	add(s.checked.covers(payload) || validJSON(payload), "payload", "must be one JSON value in UTF-8 without \\u0000")
	add(slices.Contains([]OutagePolicy{"", OutageRun, OutageHold}, s.DuringOutage), "during_outage", "must be run or hold")
	add(slices.Contains([]Durability{"", DurabilityBoth, DurabilityJournal, DurabilityRedis}, s.Durability), "durability", "must be journal+redis, journal or redis")
	size := 0
	for k, v := range s.Metadata {
		size += len(k) + len(v)
		if k == "" || len(k) > MaxName || !validText(k) || !validText(v) {
			add(false, "metadata", metadataRule)
			break
		}
	}
	add(size <= MaxMetadata, "metadata", metadataSizeRule)
	return bad
}

// Made once: most specs are right.
var (
	attemptsRule     = fmt.Sprintf("must be 1 to %d", MaxAttemptsCap)
	uniqueKeyRule    = fmt.Sprintf("must be at most %d bytes of UTF-8 without NUL", MaxUniqueKey)
	fingerprintRule  = fmt.Sprintf("must be at most %d bytes of UTF-8 without NUL", MaxFingerprint)
	metadataRule     = fmt.Sprintf("names must be 1 to %d bytes; names and values UTF-8 without NUL", MaxName)
	metadataSizeRule = fmt.Sprintf("must be at most %d bytes in all", MaxMetadata)
)

// InvalidInput builds the error for wrong fields.
func InvalidInput(op string, fields ...FieldError) error {
	detail := "1 field is wrong"
	if len(fields) != 1 {
		detail = fmt.Sprintf("%d fields are wrong", len(fields))
	}
	return &Error{Code: CodeInvalidInput, Op: op, Detail: detail, Fields: fields}
}

// NameRule says in words what [ValidName] checks.
const NameRule = "must be 1 to 128 of the characters A-Z a-z 0-9 _ . : -, and not . or .."

// ValidName reports whether s can name a type, a queue, a step or a schedule:
// one to 128 of the characters A-Z a-z 0-9 _ . : - that are not "." or "..",
// which mean something else where a name is part of a path.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxName || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '_', c == '.', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

func validText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// validJSON accepts one JSON value in valid UTF-8 whose strings have no NUL.
func validJSON(raw json.RawMessage) bool { return json.Valid(raw) && validStrings(raw) }

// validStrings looks for what JSON allows and a payload must not have: invalid
// UTF-8 and NUL. An escaped NUL counts, an escaped backslash before "u0000" does
// not.
func validStrings(raw json.RawMessage) bool {
	if !utf8.Valid(raw) {
		return false
	}
	for rest := raw; ; {
		i := bytes.Index(rest, []byte(`\u0000`))
		if i < 0 {
			return true
		}
		slashes := 0
		for j := i; j >= 0 && rest[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 1 {
			return false
		}
		rest = rest[i+1:]
	}
}

// SameRequest reports whether two specs ask for the same work, which decides
// whether an enqueue with a known id is a repeat or a conflict. Times and
// retention do not count: a repeat may compute them anew.
func (s *TaskSpec) SameRequest(o *TaskSpec) bool {
	return s.Fingerprint == o.Fingerprint && s.Type == o.Type && s.Queue == o.Queue && s.Priority == o.Priority &&
		s.MaxAttempts == o.MaxAttempts && s.Timeout == o.Timeout && s.UniqueKey == o.UniqueKey && s.Exclusive == o.Exclusive &&
		bytes.Equal(s.Payload, o.Payload) && maps.Equal(s.Metadata, o.Metadata)
}
