package redis

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

var errConflict = &morningai.Error{Code: morningai.CodeConflict, Op: "enqueue", Detail: "another task has this id"}

// repeated is the receipt of a spec whose id is stored: the stored task if it
// asks for the same work.
func repeated(spec *morningai.TaskSpec, had *stored, now time.Time) morningai.Receipt {
	if had == nil || had.has(flagDeleted) {
		return morningai.Receipt{Err: errConflict}
	}
	t, err := had.task(now)
	if err != nil {
		return morningai.Receipt{Err: err}
	}
	if had.has(flagBare) {
		sum := sha1.Sum([]byte(spec.UniqueKey + "\x00" + canonical(spec) + salt(spec.ID)))
		if had.canon != hex.EncodeToString(sum[:]) || had.kind != spec.Type || had.queue != spec.Queue || int(had.priority) != spec.Priority {
			return morningai.Receipt{Err: errConflict}
		}
		t.MaxAttempts, t.Timeout, t.Exclusive = spec.MaxAttempts, spec.Timeout, spec.Exclusive
		t.Payload, t.Metadata = cloneBytes(spec.Payload), cloneMap(spec.Metadata)
		return morningai.Receipt{Task: t, Existing: true}
	}
	first := requestOf(&t, had.uniqueKey, had.fingerprint)
	if !first.SameRequest(spec) {
		return morningai.Receipt{Err: errConflict}
	}
	return morningai.Receipt{Task: t, Existing: true}
}

// requestOf rebuilds the request that led to a task.
func requestOf(t *morningai.Task, uniqueKey, fingerprint string) morningai.TaskSpec {
	return morningai.TaskSpec{
		ID: t.ID, TraceID: t.TraceID, Type: t.Type, Queue: t.Queue, Priority: t.Priority, Payload: t.Payload,
		MaxAttempts: t.MaxAttempts, Timeout: t.Timeout, UniqueKey: uniqueKey, Metadata: t.Metadata, Exclusive: t.Exclusive, Fingerprint: fingerprint,
	}
}

func cloneBytes(b []byte) []byte { return bytes.Clone(b) }

func cloneMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return maps.Clone(m)
}

func uniqueStrings(list []string) []string {
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
