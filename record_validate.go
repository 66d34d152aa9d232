package morningai

import "math"

// Most that a record counts. No task comes near, and every engine can store it.
const (
	maxLife  = math.MaxUint16
	maxClaim = math.MaxUint32
)

// Spec is the request that led to a record.
func (r *Record) Spec() TaskSpec {
	t := &r.Task
	return TaskSpec{ID: t.ID, TraceID: t.TraceID, Type: t.Type, Queue: t.Queue, Priority: t.Priority, Payload: t.Payload, MaxAttempts: t.MaxAttempts, Exclusive: t.Exclusive,
		Timeout: t.Timeout, UniqueKey: r.UniqueKey, Metadata: t.Metadata, RunAt: t.RunAt, Retention: r.Retention, Fingerprint: r.Fingerprint}
}

// Validate returns an [ErrInvalidInput] that names what no engine would have
// exported, and none imports.
func (r *Record) Validate() error {
	t := &r.Task
	wrong := func(location, message string) error {
		return InvalidInput("import", FieldError{location, message})
	}
	if t.ID.IsZero() {
		return wrong("id", "must not be zero")
	}
	if !t.State.Valid() {
		return wrong("state", "must be a state")
	}
	if _, ok := packedOutcome(r.Settled); !ok {
		return wrong("settled", "must be an outcome")
	}
	if t.Life < 1 || t.Life > maxLife || t.Version < 1 || t.Version > maxClaim || t.Attempt < 0 || t.Failures < 0 || r.Claim < 0 || r.Claim > maxClaim {
		return wrong("life, version, attempt, failures, claim", "must not be negative, life and version at least 1")
	}
	spec := r.Spec()
	return spec.Normalize()
}
