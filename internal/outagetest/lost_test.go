package outagetest

import (
	"slices"
	"testing"

	"github.com/RC918/morningai/internal/drill"
)

// Tasks that Redis alone had acknowledged and that it has lost are counted and named,
// and so are the servers without a journal. What a journal has is put back.
func TestLostTasksAreNamed(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	a, b := f.startNode("a"), f.startNode("b")
	f.acquainted()
	bare := f.startNode("bare", "--no-journal")
	until(t, patience, "the server without a journal to be known", func() bool {
		return slices.Equal(f.health(a).Journal.Unprotected, []string{"bare"})
	})
	due := f.echo("later").with("delay", "1h")
	var lost []string
	var kept []receipt
	for range 3 {
		alone := f.must(a, due.with("durability", "redis"))
		if alone.task.Durable != "redis" {
			t.Fatalf("a task for Redis alone is durable in %s", alone.task.Durable)
		}
		lost = append(lost, alone.id.String())
		kept = append(kept, f.must(a, due), f.must(b, due))
		f.must(bare, due)
	}
	deleted := f.must(a, due.with("durability", "redis"))
	if r, _ := f.command(a, drill.Delete, deleted.id); r.status != 200 {
		t.Fatalf("a delete is answered with %s", r)
	}
	ended := f.must(a, f.echo("now").with("durability", "redis"))
	f.waitFor(a, ended.id, "succeeded")
	f.loses(flushed)
	named := func() []string {
		var ids []string
		for _, i := range f.incidents(a) {
			ids = append(ids, i.LostIDs...)
			if int(i.Lost) != len(i.LostIDs) || !slices.Equal(i.Unprotected, []string{"bare"}) {
				return nil
			}
		}
		slices.Sort(ids)
		return ids
	}
	slices.Sort(lost)
	if !within(patience, func() bool { return slices.Equal(named(), lost) }) {
		t.Fatalf("tasks %v are lost, and %s reports %+v", lost, a.name, f.incidents(a))
	}
	for _, r := range append(kept, ended) {
		for _, n := range f.nodes {
			if got, _ := f.look(n, r.id); got.status != 200 {
				t.Errorf("a task that a journal has is on %s: %s", n.name, got)
			}
		}
	}
	if s := f.incidents(b); len(s) != 1 || s[0].Lost != 0 {
		t.Errorf("%s has accepted nothing for Redis alone, and reports %+v", b.name, s)
	}
}
