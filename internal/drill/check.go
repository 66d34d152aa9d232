package drill

import (
	"fmt"
	"slices"
	"strings"

	"github.com/RC918/morningai"
)

// Violation is one broken promise.
type Violation struct {
	Invariant int
	Task      morningai.ID // zero if it is not about one task
	What      string       // a sentence
	Ops       []Op         // the lines of the history that show it, in their order
}

// String is the sentence and the lines.
func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "invariant %d: ", v.Invariant)
	if !v.Task.IsZero() {
		fmt.Fprintf(&b, "task %s: ", v.Task)
	}
	b.WriteString(v.What)
	for _, op := range v.Ops {
		b.WriteString("\n  " + op.String())
	}
	return b.String()
}

// Check returns every promise that the history and the final state show to be
// broken, by invariant and then by place in the history. It takes the time of
// sorting the history.
func Check(h *History, final Final) []Violation {
	c := newChecker(h, final)
	for _, f := range c.families() {
		f()
	}
	slices.SortStableFunc(c.found, func(a, b Violation) int {
		if a.Invariant != b.Invariant {
			return a.Invariant - b.Invariant
		}
		return int(firstSeq(a) - firstSeq(b))
	})
	return c.found
}

func firstSeq(v Violation) int64 {
	if len(v.Ops) == 0 {
		return 0
	}
	return v.Ops[0].Seq
}

// checker is one history under examination.
type checker struct {
	h     *History
	final Final
	found []Violation
}

func newChecker(h *History, final Final) *checker { return &checker{h: h, final: final} }

// families are the checks, each over the whole history.
func (c *checker) families() []func() { return nil }
