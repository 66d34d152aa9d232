package enginetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

// recorder is a test whose failure is a finding, not a failure.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failed   bool
	messages []string
	cleanups []func()
}

func (t *recorder) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed = true
	t.messages = append(t.messages, text)
}

func (t *recorder) Errorf(format string, args ...any) { t.note(fmt.Sprintf(format, args...)) }
func (t *recorder) Error(args ...any)                 { t.note(fmt.Sprint(args...)) }
func (t *recorder) Fatalf(format string, args ...any) { t.Errorf(format, args...); runtime.Goexit() }
func (t *recorder) Fatal(args ...any)                 { t.Error(args...); runtime.Goexit() }
func (t *recorder) FailNow()                          { t.note("failed"); runtime.Goexit() }
func (t *recorder) Fail()                             { t.note("failed") }
func (t *recorder) Logf(string, ...any)               {}
func (t *recorder) Log(...any)                        {}
func (t *recorder) Helper()                           {}
func (t *recorder) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }

func (t *recorder) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// findings runs one check against an engine and returns why it failed, "" if
// it did not.
func findings(t *testing.T, name string, h Harness) string {
	t.Helper()
	var run func(*rig)
	for _, g := range append(groups(), journalGroups()...) {
		for _, c := range g.checks {
			if g.name+"/"+c.name == name {
				run = c.run
			}
		}
	}
	if run == nil {
		t.Fatalf("no check is called %q", name)
	}
	rec := &recorder{TB: t}
	var done sync.WaitGroup
	done.Go(func() {
		defer func() {
			for _, f := range slices.Backward(rec.cleanups) {
				f()
			}
			if p := recover(); p != nil {
				rec.note(fmt.Sprint("panic: ", p))
			}
		}()
		run(newRig(rec, h))
	})
	done.Wait()
	return strings.Join(rec.messages, "\n")
}

// mutantHarness opens the reference with a bug planted around it.
func mutantHarness(plant func(e *Reference) morningai.Engine, patience time.Duration) Harness {
	return Harness{patience: patience, New: func(testing.TB) Storage {
		e := newReference(time.Now)
		return func(testing.TB) morningai.Engine {
			e.Reopen()
			return plant(e)
		}
	}}
}

// Each bug must be noticed by the checks that are there to notice it.
func TestMutantsAreNoticed(t *testing.T) {
	for name, m := range mutants() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patience := time.Duration(0)
			if m.hangs {
				patience = 2 * time.Second // it ends by that and nothing else
			}
			for _, c := range m.noticedBy {
				if findings(t, c, mutantHarness(m.plant, patience)) == "" {
					t.Errorf("%q passes", c)
				}
			}
		})
	}
}

// Without a bug nothing is noticed: it is the bug that these checks tell.
func TestReferenceHasNoFindings(t *testing.T) {
	same := mutantHarness(func(e *Reference) morningai.Engine { return e }, 0)
	tried := map[string]bool{}
	for _, m := range mutants() {
		for _, c := range m.noticedBy {
			if tried[c] {
				continue
			}
			tried[c] = true
			if found := findings(t, c, same); found != "" {
				t.Errorf("%q fails without a bug: %s", c, found)
			}
		}
	}
}
