package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
	"github.com/RC918/morningai/sqlite"
)

func harness() enginetest.Harness {
	storage := func(tb testing.TB, options ...sqlite.Option) enginetest.Storage {
		path := filepath.Join(tb.TempDir(), "tasks.db")
		return func(tb testing.TB) morningai.Engine {
			engine, err := sqlite.Open(tb.Context(), path, options...)
			if err != nil {
				tb.Fatalf("open: %v", err)
			}
			return engine
		}
	}
	return enginetest.Harness{
		EventsKept: 1 << 16,
		New:        func(tb testing.TB) enginetest.Storage { return storage(tb) },
		NewWithClock: func(tb testing.TB, now func() time.Time) enginetest.Storage {
			return storage(tb, sqlite.WithClock(now))
		},
	}
}

func TestContract(t *testing.T) { enginetest.Run(t, harness()) }

func TestJournal(t *testing.T) { enginetest.RunJournal(t, harness()) }

func TestRestorer(t *testing.T) { enginetest.RunRestorer(t, harness()) }
