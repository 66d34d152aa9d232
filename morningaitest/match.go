package morningaitest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// Lister is what tasks are looked up in: a [*morningai.App] or a
// [*morningai.Client].
type Lister interface {
	List(ctx context.Context, filter morningai.Filter) (morningai.Page, error)
}

// Matcher is a condition on a task.
type Matcher struct {
	want string
	test func(task morningai.Task) bool
}

// Where is the condition test; want says in words what it asks for.
func Where(want string, test func(task morningai.Task) bool) Matcher { return Matcher{want, test} }

// Payload asks for a payload that equals want once both are JSON: the order of
// fields and white space do not matter, numbers are compared as written.
func Payload(want any) Matcher {
	raw, err := json.Marshal(want)
	if err != nil {
		return Where("a payload that cannot be written as JSON: "+err.Error(), func(morningai.Task) bool { return false })
	}
	return Where("payload "+string(raw), func(t morningai.Task) bool { return sameJSON(raw, t.Payload) })
}

// PayloadWhere reads the payload into a T, passing over fields that T does not
// have, and asks test about it.
func PayloadWhere[T any](want string, test func(payload T) bool) Matcher {
	return Where("payload "+want, func(t morningai.Task) bool {
		var payload T
		return json.Unmarshal(t.Payload, &payload) == nil && test(payload)
	})
}

// InQueue asks for the queue.
func InQueue(name string) Matcher {
	return Where("queue "+name, func(t morningai.Task) bool { return t.Queue == name })
}

// InState asks for the state the task is in now.
func InState(state morningai.State) Matcher {
	return Where("state "+string(state), func(t morningai.Task) bool { return t.State == state })
}

// WithPriority asks for the priority.
func WithPriority(n int) Matcher {
	return Where(fmt.Sprintf("priority %d", n), func(t morningai.Task) bool { return t.Priority == n })
}

// WithMetadata asks for a named value.
func WithMetadata(key, value string) Matcher {
	return Where(fmt.Sprintf("metadata %s=%s", key, value), func(t morningai.Task) bool {
		got, ok := t.Metadata[key]
		return ok && got == value
	})
}

// DelayedBy asks for a task that waits and becomes due d after it was accepted,
// give or take a second.
func DelayedBy(d time.Duration) Matcher {
	return Where("delay "+d.String(), func(t morningai.Task) bool {
		return !t.RunAt.IsZero() && (t.RunAt.Sub(t.CreatedAt)-d).Abs() <= time.Second
	})
}

// Enqueued returns the tasks of a type that meet all conditions, oldest first,
// whatever has become of them since. Tasks that ended with retention 0 are not
// among them.
func Enqueued(ctx context.Context, from Lister, taskType string, conditions ...Matcher) ([]morningai.Task, error) {
	var found []morningai.Task
	filter := morningai.Filter{Type: taskType, Limit: morningai.MaxBatch}
	for {
		page, err := from.List(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("list tasks: %w", err)
		}
		for _, task := range page.Tasks {
			if len(unmet(task, conditions)) == 0 {
				found = append(found, task)
			}
		}
		if page.Next == "" {
			slices.Reverse(found)
			return found, nil
		}
		filter.Cursor = page.Next
	}
}

// RequireEnqueued ends the test unless a task of the type meets all conditions,
// and returns the oldest that does.
func RequireEnqueued(t testing.TB, from Lister, taskType string, conditions ...Matcher) morningai.Task {
	t.Helper()
	found := mustFind(t, from, taskType, conditions)
	if len(found) == 0 {
		t.Fatalf("no %s task was enqueued with %s\n%s", taskType, describe(conditions), near(t, from, taskType, conditions))
	}
	return found[0]
}

// RequireNotEnqueued ends the test if a task of the type meets all conditions.
func RequireNotEnqueued(t testing.TB, from Lister, taskType string, conditions ...Matcher) {
	t.Helper()
	if found := mustFind(t, from, taskType, conditions); len(found) > 0 {
		t.Fatalf("%d %s tasks were enqueued with %s, the first is %s", len(found), taskType, describe(conditions), line(found[0]))
	}
}

// RequireCount ends the test unless exactly n tasks of the type meet all
// conditions, and returns them, oldest first.
func RequireCount(t testing.TB, from Lister, n int, taskType string, conditions ...Matcher) []morningai.Task {
	t.Helper()
	found := mustFind(t, from, taskType, conditions)
	if len(found) != n {
		t.Fatalf("%d %s tasks were enqueued with %s, want %d\n%s", len(found), taskType, describe(conditions), n, near(t, from, taskType, conditions))
	}
	return found
}

func mustFind(t testing.TB, from Lister, taskType string, conditions []Matcher) []morningai.Task {
	t.Helper()
	found, err := Enqueued(context.Background(), from, taskType, conditions...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const shown = 10

// near says what there is instead, and what each task lacks.
func near(t testing.TB, from Lister, taskType string, conditions []Matcher) string {
	t.Helper()
	all := mustFind(t, from, taskType, nil)
	if len(all) == 0 {
		return "there are no tasks of this type"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "there are %d tasks of this type:", len(all))
	for _, task := range all[:min(len(all), shown)] {
		b.WriteString("\n  " + line(task))
		if wrong := unmet(task, conditions); len(wrong) > 0 {
			b.WriteString("\n    lacks " + strings.Join(wrong, ", "))
		}
	}
	if len(all) > shown {
		b.WriteString("\n  …")
	}
	return b.String()
}

func line(task morningai.Task) string {
	return fmt.Sprintf("%s queue %s, priority %d, %s, payload %s", task.ID, task.Queue, task.Priority, task.State, task.Payload)
}

func describe(conditions []Matcher) string {
	if len(conditions) == 0 {
		return "any properties"
	}
	words := make([]string, len(conditions))
	for i, c := range conditions {
		words[i] = c.want
	}
	return strings.Join(words, ", ")
}

func unmet(task morningai.Task, conditions []Matcher) []string {
	var wrong []string
	for _, c := range conditions {
		if !c.test(task) {
			wrong = append(wrong, c.want)
		}
	}
	return wrong
}

func sameJSON(a, b []byte) bool {
	x, errX := readJSON(a)
	y, errY := readJSON(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

func readJSON(raw []byte) (v any, err error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}
