package resilient_test

import (
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
	"github.com/RC918/morningai/resilient"
	"github.com/RC918/morningai/sqlite"
)

// harness is a node whose shared engine never fails: it has to be an engine
// like any other.
func harness() enginetest.Harness {
	storage := func(tb testing.TB, options ...sqlite.Option) enginetest.Storage {
		dir := tb.TempDir()
		return func(tb testing.TB) morningai.Engine {
			shared, err := sqlite.Open(tb.Context(), filepath.Join(dir, "shared.db"), options...)
			if err != nil {
				tb.Fatalf("open the shared engine: %v", err)
			}
			journal, err := sqlite.Open(tb.Context(), filepath.Join(dir, "journal.db"), options...)
			if err != nil {
				tb.Fatalf("open the journal: %v", err)
			}
			engine, err := resilient.Open(tb.Context(), shared, journal, resilient.WithLogger(slog.New(slog.DiscardHandler)), resilient.WithPatience(100))
			if err != nil {
				tb.Fatalf("open: %v", err)
			}
			info, err := journal.JournalInfo(tb.Context())
			if err != nil {
				tb.Fatal(err)
			}
			journals.Store(morningai.Engine(engine), info.ID)
			settle(tb, engine)
			return engine
		}
	}
	return enginetest.Harness{
		Self: self,
		New:  func(tb testing.TB) enginetest.Storage { return storage(tb) },
		NewWithClock: func(tb testing.TB, now func() time.Time) enginetest.Storage {
			return storage(tb, sqlite.WithClock(now))
		},
	}
}

func TestContractHealthy(t *testing.T) { enginetest.Run(t, harness()) }

func TestRestorer(t *testing.T) { enginetest.RunRestorer(t, harness()) }

// self is the journal of the node.
func self(engine morningai.Engine) morningai.ID {
	id, _ := journals.Load(engine)
	return id.(morningai.ID)
}

var journals sync.Map // from an engine to the id of its journal

// settle waits until what the journal holds from before has been compared with
// the shared engine: until then some things cannot be known, and are said to be.
func settle(tb testing.TB, engine *resilient.Engine) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !engine.Settled(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatal("the journal is not compared with the shared engine in a minute")
		}
	}
}
