package sqlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RC918/morningai"
)

// pageLimit makes SQLite itself say that the file is full, a number of pages
// from now.
type pageLimit struct{ more int64 }

func (pageLimit) size() int { return 1 }

func (p pageLimit) apply(t *txn) error {
	all, _, err := first(t.e.sql.pages)
	if err != nil {
		return err
	}
	return t.e.w.run(fmt.Sprintf("PRAGMA max_page_count=%d", all+p.more))
}

func sized(n int) morningai.TaskSpec {
	return morningai.NewTaskSpec("work", json.RawMessage(`"`+strings.Repeat("x", n)+`"`))
}

// While tasks find no room, the probe says so, although a small row would fit;
// once there is room again it says that too, by itself.
func TestProbeIsAsLargeAsWhatWasRefused(t *testing.T) {
	e := open(t, filepath.Join(t.TempDir(), "tasks.db"))
	defer shut(t, e)
	limit := func(pages int64) {
		t.Helper()
		if err := e.submit(t.Context(), pageLimit{pages}); err != nil {
			t.Fatal(err)
		}
	}
	limit(10)
	if _, err := e.Enqueue(t.Context(), []morningai.TaskSpec{sized(300_000)}); !errors.Is(err, morningai.ErrStorageFull) {
		t.Fatalf("a task larger than the room: %v", err)
	}
	if _, err := e.Enqueue(t.Context(), []morningai.TaskSpec{sized(10)}); err != nil {
		t.Fatalf("a small task: %v", err)
	}
	for range 2 {
		if err := e.Probe(t.Context()); !errors.Is(err, morningai.ErrStorageFull) {
			t.Fatalf("the probe says %v", err)
		}
	}
	limit(200)
	if err := e.Probe(t.Context()); err != nil {
		t.Fatalf("the probe with room says %v", err)
	}
	if _, err := e.Enqueue(t.Context(), []morningai.TaskSpec{sized(300_000)}); err != nil {
		t.Fatalf("a task after the probe: %v", err)
	}
	limit(1)
	if err := e.Probe(t.Context()); err != nil {
		t.Fatalf("a probe that nothing was refused before says %v", err)
	}
}

// A file at its own size limit takes no task either.
func TestProbeKnowsTheSizeLimit(t *testing.T) {
	e := open(t, filepath.Join(t.TempDir(), "tasks.db"), WithMaxBytes(2<<20))
	defer shut(t, e)
	refused := false
	for range 100 {
		_, err := e.Enqueue(t.Context(), []morningai.TaskSpec{sized(100_000)})
		if refused = errors.Is(err, morningai.ErrStorageFull); refused {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Probe(t.Context()); !refused || !errors.Is(err, morningai.ErrStorageFull) {
		t.Fatalf("refused: %v; the probe says %v", refused, err)
	}
}
