package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/RC918/morningai"
)

// Rows of a long backlog are read before claims need them, and what was read
// while ready tasks were being written is not used.
func TestRowsAreReadAhead(t *testing.T) {
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"), func(c *config) { c.cacheMax = 4 })
	defer func() { shut(t, f.e) }()
	f.enqueue(3*aheadMax, nil)
	f.claim(8) // more than the cache has: the run is cold now
	cached := func() int {
		f.e.mu.Lock()
		defer f.e.mu.Unlock()
		return len(f.e.cache.rows)
	}
	if n := cached(); n != 0 {
		t.Fatalf("%d rows are in the cache", n)
	}
	read := func() (span, []*row) {
		spans := f.e.coldSpans()
		if len(spans) != 1 {
			t.Fatalf("%d runs are to be read ahead", len(spans))
		}
		return spans[0], f.e.readSpan(spans[0])
	}
	s, rows := read()
	if len(rows) != aheadMax {
		t.Fatalf("%d rows were read", len(rows))
	}
	if _, err := f.e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandCancel, ID: rows[3].id}}); err != nil {
		t.Fatal(err)
	}
	if f.e.keepAhead(s, rows); cached() != 0 {
		t.Error("rows are kept though a ready task was canceled meanwhile")
	}
	s, rows = read()
	if f.e.keepAhead(s, rows); cached() != aheadMax {
		t.Errorf("%d rows were kept", cached())
	}
	for _, g := range f.claim(aheadMax) {
		if g.Task.State != morningai.StateRunning || len(g.Task.Payload) == 0 {
			t.Fatalf("claimed %+v", g.Task)
		}
	}
	if n := cached(); n != 0 {
		t.Errorf("%d rows stay in the cache", n)
	}
}
