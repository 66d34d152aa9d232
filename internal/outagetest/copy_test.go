package outagetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/sqlite"
)

// copyOf copies a data folder.
func copyOf(t *testing.T, data string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", data, to).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

// yesterday adds to a journal what it would hold if it had been copied long ago: tasks
// like one that waits in it, accepted so long before, of which Redis knows nothing.
func yesterday(t *testing.T, data string, like morningai.ID, ago time.Duration, n int) (ids []morningai.ID) {
	t.Helper()
	journal, err := sqlite.Open(t.Context(), filepath.Join(data, "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := journal.Close(); err != nil {
			t.Error(err)
		}
	}()
	const noteOwn, noteMirror morningai.NoteKind = 2, 9 // of a task that Redis cannot have; of what was known of the fleet
	notes, err := journal.Noted(t.Context(), []morningai.NoteKey{{Kind: noteOwn, Key: like}})
	if err != nil || notes[0].Seq == 0 {
		t.Fatalf("task %s does not wait in the journal (%v)", like, err)
	}
	known, err := journal.Notes(t.Context(), noteMirror, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range known {
		var m map[string]json.RawMessage
		if json.Unmarshal(note.Data, &m) != nil || m["verified"] == nil {
			continue
		}
		if m["verified"], err = json.Marshal(time.Now().Add(-ago)); err != nil {
			t.Fatal(err)
		}
		if note.Data, err = json.Marshal(m); err == nil {
			note.Seq = 0
			err = journal.Note(t.Context(), []morningai.Note{note})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		r, err := morningai.ParseRecord(notes[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		r.Task.ID = mustID(t)
		r.Task.CreatedAt = r.Task.CreatedAt.Add(-ago)
		packed, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := journal.Note(t.Context(), []morningai.Note{{NoteKey: morningai.NoteKey{Kind: noteOwn, Key: r.Task.ID}, Data: packed}}); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.Task.ID)
	}
	return ids
}

// A server is started from a copy of its disk that was made before some of its work:
// it takes another name, runs nothing again, and sets aside what may have run since.
func TestStartFromACopyOfTheDisk(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"killed", "stopped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t)
			a, b := f.startNode("a"), f.startNode("b")
			f.acquainted()
			f.away(killed)
			f.degraded(a, b)
			var made []receipt
			for range 3 {
				made = append(made, f.must(a, f.counted(f.callee.atOnce()).with("during_outage", "hold")))
			}
			a.stop()
			copied := copyOf(t, a.data)
			old := yesterday(t, copied, made[0].id, 26*time.Hour, 2)
			for _, id := range old {
				f.history.Add(drill.Op{Kind: drill.Enqueue, Node: a.name, Client: "yesterday", Task: id, Outcome: drill.Unknown})
			}
			f.back(killed)
			f.again(a)
			for range 10 {
				made = append(made, f.must(a, f.counted(f.callee.atOnce())))
			}
			f.settle()
			was := ""
			until(t, patience, "a to be there once", func() bool { was = self(f, a); return was != "" })
			if how == "killed" {
				rest(time.Second) // a beat tells how far the journal has come
				f.kill(a)
			} else {
				a.stop()
			}
			if err := os.RemoveAll(a.data); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(copied, a.data); err != nil {
				t.Fatal(err)
			}
			f.again(a)
			until(t, patience, "a to see that its journal is a copy", func() bool { return strings.Contains(a.saidNow(), "copy of an earlier state") })
			until(t, patience, "a to go on under another name", func() bool { now := self(f, a); return now != "" && now != was })
			for _, id := range old {
				until(t, patience, "what may have run to be set aside", func() bool {
					_, v := f.look(a, id)
					return v.Error != nil && v.Error.Code == "set_aside"
				})
			}
			if how == "killed" { // the other one's last word is what a later journal held
				until(t, patience, "the name of the journal that was lost to be forgotten", func() bool {
					_, _, code := a.command("node", "forget", was, "--server", *b.url.Load())
					return code == 0 // not before its session is dead
				})
			}
			made = append(made, f.must(a, f.counted(f.callee.atOnce())), f.must(b, f.counted(f.callee.atOnce())))
			f.settle()
			f.succeededOnce(f.everyStatusAgrees(), made)
			for _, id := range old {
				if ran := f.callee.of(id); len(ran) > 0 {
					t.Errorf("a task that may have run long ago runs %d times", len(ran))
				}
			}
		})
	}
}

// self is the name of a server's journal in the fleet.
func self(f *fleet, n *node) string {
	f.t.Helper()
	var all struct {
		Nodes []struct {
			ID        string `json:"id"`
			Node      string `json:"node"`
			Connected bool   `json:"connected"`
		} `json:"nodes"`
	}
	n.call("GET", "/v1/nodes", nil).into(f.t, &all)
	id := ""
	for _, m := range all.Nodes {
		if m.Node == n.name && m.Connected {
			if id != "" {
				return "" // one of them has just ended
			}
			id = m.ID
		}
	}
	return id
}
