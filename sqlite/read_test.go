package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/RC918/morningai"
)

// A task that is claimed and written while it is being read is not shown as
// queued in a version in which it runs.
func TestReadDuringAClaim(t *testing.T) {
	f := newFixture(t, filepath.Join(t.TempDir(), "tasks.db"))
	defer func() { shut(t, f.e) }()
	id := f.enqueue(1, nil)[0].ID
	l := lister{e: f.e, f: morningai.Filter{Limit: 10}, now: f.e.now(), us: f.e.now().UnixMicro(), limit: 10}
	l.remember() // nothing runs yet
	f.claim(1)
	if _, err := f.e.Command(t.Context(), []morningai.Command{{Kind: morningai.CommandCancel, ID: id}}); err != nil {
		t.Fatal(err)
	}
	r := <-f.e.readers
	defer func() { f.e.readers <- r }()
	found, err := f.e.rowByID(r.byID, id)
	if err != nil {
		t.Fatal(err)
	}
	if l.add(found); len(l.tasks) != 1 || l.tasks[0].State != morningai.StateRunning || l.tasks[0].Version != found.version {
		t.Errorf("the task is listed as %+v, its row has version %d", l.tasks, found.version)
	}
}
