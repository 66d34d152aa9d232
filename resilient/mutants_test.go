package resilient

import (
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/sim"
)

// mutants are cores with one guard removed each, as a replacement in one file.
// They must break promises on seeds on which the true core keeps them.
var mutants = []struct {
	name, simulation, file string
	first                  uint64
	seeds                  int
	old, new               string
}{
	{"an answer does not wait for the journal", "crashes", "acknowledge.go", 1, 40,
		"\t\tif op.durability == morningai.DurabilityRedis || op.noted.done {\n\t\t\top.acknowledgeShared()",
		"\t\tif true {\n\t\t\top.acknowledgeShared()"},
	{"what the journal shall hold is acknowledged before it is written", "no faults", "enqueue.go", 1, 40,
		"\tif op.durability != morningai.DurabilityRedis && !op.noted.done {\n\t\top.note(op.specs)\n",
		"\tif op.durability != morningai.DurabilityRedis && !op.noted.done {\n\t\top.note(op.specs)\n\t\top.noted = result{done: true}\n"},
	{"at the end of the budget the answer does not wait for the journal", "outages and crashes", "acknowledge.go", 16, 1,
		"\tcase !op.noted.done:\n\tcase op.noted.err == nil:",
		"\tcase op.noted.err == nil:"},
	{"a receipt says both although the journal has failed", "everything", "acknowledge.go", 69, 8,
		"if op.durability == morningai.DurabilityRedis || !op.noted.ok() {",
		"if op.durability == morningai.DurabilityRedis {"},
	{"an outcome is erased when it was sent once, taken or not", "losses and crashes", "settle.go", 542, 1,
		"\t\t\t\tc.failedDelivery(err, page)\n\t\t\t\treturn\n\t\t\t}\n\t\t\tvar lost, late",
		"\t\t\t\tfor _, r := range records {\n\t\t\t\t\tc.erase(keyOf(noteOutcome, r.Task.ID))\n\t\t\t\t}\n\t\t\t\tthen()\n\t\t\t\treturn\n\t\t\t}\n\t\t\tvar lost, late"},
	{"an end is shown before the shared engine has taken it", "outages", "command.go", 154, 1,
		"\tif h := c.held[id]; h != nil && !h.task.ID.IsZero() &&",
		"\tif r := f.ended[id]; r != nil && (t == nil || laterThan(&r.Task, t)) {\n\t\tt = &r.Task\n\t}\n\tif h := c.held[id]; h != nil && !h.task.ID.IsZero() &&"},
	{"a task is not marked as sent before it is sent", "outages and crashes", "forward.go", 1238, 1,
		"\tc.note(sent, func(err error) {",
		"\tfunc(_ []morningai.Note, then func(error)) { then(nil) }(sent, func(err error) {"},
	{"what has ended and is not delivered is not reported as held", "outages and crashes", "beat.go", 399, 1,
		"\tshared.Holding = append(shared.Holding, c.unsettled(s.id, req.Holding)...)",
		"\tshared.Holding = slices.DeleteFunc(shared.Holding, func(l morningai.Lease) bool { h := c.held[l.ID]; return h != nil && h.decided != \"\" })"},
	{"a doubt whether a task was accepted is a no", "everything", "acknowledge.go", 291, 1,
		"\tif len(specs) == 1 {\n\t\te.TaskID",
		"\tif len(specs) == 1 {\n\t\treturn &morningai.Error{Code: morningai.CodeStorageFull, Op: \"enqueue\", Err: cause}\n\t}\n\tif len(specs) == 1 {\n\t\te.TaskID"},
	{"a repeat that Redis refuses takes back what the first request was told", "outages and crashes", "enqueue.go", 52357, 1,
		"acked := op.before || c.backlog.doubt[id]",
		"acked := c.backlog.doubt[id]"},
	{"one mark for both engines", "outages", "beat.go", 1, 60,
		"\tlocal.Through, shared.Through = s.throughJournal, s.throughShared\n",
		""},
	{"the journal is not told what runs of its own", "outages", "beat.go", 24, 1,
		"\t\tif here || c.owns(l) {\n\t\t\tlocal.Holding",
		"\t\tif false {\n\t\t\tlocal.Holding"},
	{"no other node is asked", "outages", "ask.go", 1, 60,
		"live && m.cleared(id)",
		"true || m.cleared(id)"},
	{"an unknown page is an empty one", "outages", "list.go", 1, 60,
		"\t\terr := c.statusUnknown(\"list\", cause)\n\t\tc.reply(func() { op.done(morningai.Page{}, err) })",
		"\t\tc.reply(func() { op.done(morningai.Page{Fresh: morningai.FreshLive}, nil) })"},
	{"orders of an outage are not journaled", "outages", "command.go", 1, 60,
		"\tc.note(notes, func(err error) {\n\t\tif err != nil {\n\t\t\tc.backlog.commands",
		"\tc.note(nil, func(err error) {\n\t\tif err != nil {\n\t\t\tc.backlog.commands"},
	{"settings of an outage are not journaled", "outages", "setqueue.go", 1, 60,
		"\tc.note([]morningai.Note{note}, func(err error) {\n\t\tif err != nil {\n\t\t\tc.backlog.settings--",
		"\tc.note([]morningai.Note{note}[:0], func(err error) {\n\t\tif err != nil {\n\t\t\tc.backlog.settings--"},
	{"a pause of an outage is not obeyed here", "outages", "setqueue.go", 1, 60,
		"\t\tc.obey(q, func() {\n\t\t\tq.Pending = true",
		"\t\tfunc(then func()) { then() }(func() {\n\t\t\tq.Pending = true"},
	{"what is in doubt is taken for accepted", "outages", "forward.go", 1, 60,
		"\tif len(keys) == 0 {\n\t\tc.next(true)\n\t\treturn\n\t}\n\tonJournal(c, \"noted\"",
		"\tif true {\n\t\tfor id := range b.doubt {\n\t\t\tb.settled(id)\n\t\t}\n\t\tc.next(true)\n\t\treturn\n\t}\n\tonJournal(c, \"noted\""},
	{"outcomes of the journal's own tasks go to the shared engine", "outages", "finish.go", 1, 60,
		"\t\tcase c.owns(l):\n\t\t\tlocal = append(local, i)",
		"\t\tcase false:\n\t\t\tlocal = append(local, i)"},
	{"the journal's own tasks stay there", "outages", "forward.go", 1, 60,
		"\tif !b.local {\n\t\tc.next(true)",
		"\tif true {\n\t\tc.next(true)"},
	{"what an earlier process left is not delivered", "outages and crashes", "deliver.go", 1, 29,
		"\t\tb.started, b.full, b.local = true, true, true",
		"\t\tb.started = true"},
	{"another request under a known id is the same", "outages", "repeat.go", 1, 60,
		"\t\treturn had.Deleted || !asksFor(had, s, ofGrant)",
		"\t\treturn had.Deleted"},
	{"the circuit stays open", "outages", "detector.go", 1, 60,
		"d.passed >= healthyProbes &&",
		"d.passed >= 1000*healthyProbes &&"},
	{"a rival for a unique key is taken for accepted", "outages", "forward.go", 1, 60,
		"\t\t\t\t\trivals = append(rivals, rival{keyed[i], r.Task})",
		"\t\t\t\t\tf.arrived(keyed[i], &r.Task)"},
	{"what is unknown in an outage is not found", "outages", "ask.go", 1, 450,
		"op.doubt = op.doubt || !live || !c.acquainted()",
		"op.doubt = op.doubt || !c.acquainted()"},
	{"no outcome is stale", "outages and crashes", "../record.go", 1, 29,
		"\t\treturn FenceAccept\n\t}\n\treturn FenceStale\n}",
		"\t\treturn FenceAccept\n\t}\n\treturn FenceAccept\n}"},
	{"a session is dead after half its lease time", "crashes", "../observer.go", 1, 40,
		"was.still >= s.LeaseTime",
		"was.still >= s.LeaseTime/2"},
	{"an unknown outcome of a call is an answer", "outages", "core.go", 1, 60,
		"\treturn err != nil\n}",
		"\treturn false\n}"},
	{"outcomes are not written to the journal", "outages and crashes", "finish.go", 1, 29,
		"\t\tc.noteInOrder(notes, func(err error) {",
		"\t\tfunc(_ []morningai.Note, then func(error)) {\n\t\t\tc.write(\"note\", func(context.Context) error { return nil }, then)\n\t\t}(notes, func(err error) {"},
	{"nobody waits for the others after a loss", "losses", "rebuild.go", 1, 69,
		"(len(r.awaited) == 0 && waited >= rebuildLeast ||",
		"(true ||"},
	{"a loss is not noticed", "losses", "rebuild.go", 1, 11,
		"\tdefault:\n\t\tc.beginRebuild(d)",
		"\tdefault:\n\t\tc.mirror.Data = d"},
	{"what runs here is not put back as running", "losses", "putback.go", 1, 69,
		"if c.rebuild != nil && h.decided == \"\" && !h.task.ID.IsZero() {",
		"if false && h.decided == \"\" {"},
	{"what had ended is not put back", "losses", "putback.go", 1, 11,
		"\tfor _, r := range records {\n\t\tif r.Retention",
		"\tfor _, r := range records[:0] {\n\t\tif r.Retention"},
	{"orders are forgotten once they are carried out", "losses", "reorder.go", 1, 69,
		"\tc.noteInOrder(notes, func(error) { then() })\n}",
		"\tthen()\n}"},
	{"settings that were lost stay lost", "losses", "putback.go", 1, 69,
		"since(c.mirror.Queues[name], queueOf(stats, name))",
		"since(queueOf(stats, name), queueOf(stats, name))"},
	{"ends of the journal's own tasks are not kept", "losses", "forward.go", 15, 1,
		"if (r.Task.State.Terminal() && r.Task.State == res.Task.State || r.Deleted) && res.Status",
		"if false && res.Status"},
	{"the end of a task that an order brought is not kept", "losses and crashes", "verify.go", 368, 1,
		"\tif kept || t.State != morningai.StateCanceled && len(c.alone) == 0 {",
		"\tif kept || len(c.alone) >= 0 {"},
	{"what nobody can know is not marked", "losses", "rebuild.go", 2518, 1,
		"\tif len(m.Missing) == 0 || g.Task.MaybeRepeated",
		"\tif true || g.Task.MaybeRepeated"},
	{"the end that a cancel brought is put back as its outcome", "losses", "overrule.go", 342, 1,
		"return state == morningai.StateCanceled && o != morningai.OutcomeCanceled",
		"return false"},
	{"a restarted node does not know what it was acknowledged", "losses and crashes", "marks.go", 108, 1,
		"\tif c.cfg.marks == nil || c.marking || c.closing {",
		"\tif true {"},
	{"the life before a retry is put back and begun", "losses", "reorder.go", 4148, 1,
		"\t\t\tcase r.Task.Life > 1:\n",
		"\t\t\tcase false:\n"},
	{"the shared engine says when settings were changed", "outages", "setqueue.go", 5864, 1,
		"\tif now && op.tries < surpassTries {",
		"\tif false {"},
	{"replies from before a loss are told to have been received", "losses", "claim.go", 1063, 1,
		"\ts.throughShared = 0\n",
		""},
	{"an outcome that was on its way to lost data is not put back", "losses", "rebuild.go", 1054, 1,
		"\t\th.sending = false // it was told to data that are gone\n",
		"\t\t_ = h\n"},
	{"who died while Redis was told what it had lost thinks that it was", "losses and crashes", "engine.go", 53724, 1,
		"\tif known.Lost {",
		"\tif false {"},
	{"what ends while the journal is asked what leaves stays there", "outages and crashes", "backlog.go", 10930, 1,
		"b.local, b.left = true, true",
		"b.local = true"},
	{"what is put back does not ask who has its unique key", "losses and crashes", "putback.go", 8628, 1,
		"\t\t\tc.takeKeys(page, func(err error) {",
		"\t\t\tfunc(_ []morningai.Record, then func(error)) { then(nil) }(page, func(err error) {"},
	{"the note of a refused task counts until it is gone", "losses", "lookup.go", 612, 1,
		"c.backlog.undecided(id) || c.known.refused.has(id, c.now)",
		"c.backlog.undecided(id)"},
	{"a pause that the disk has not taken is overstepped", "everything", "claim.go", 50459, 1,
		"\tcase c.contact.open() && !c.mirror.overstepped():",
		"\tcase c.contact.open():"},
	{"what turns out without an outage is not reported", "losses and crashes", "incident.go", 9124, 1,
		"\tif i.current.ID.IsZero() {\n\t\thad",
		"\tif false {\n\t\thad"},
	{"a task is shown as Redis has it while half of it is there", "outages and crashes", "read.go", 53193, 1,
		"!op.found.here(shared[i].ID)",
		"op.found.owned[shared[i].ID] == nil"},
	{"a refusal is certain although the disk did not confirm it", "everything", "acknowledge.go", 74476, 1,
		"\t\tif err != nil {\n\t\t\top.leftBehind(op.receipts, err)",
		"\t\tif false {\n\t\t\top.leftBehind(op.receipts, err)"},
}

func TestMutants(t *testing.T) {
	type span struct {
		simulation string
		first      uint64
		seeds      int
	}
	checked := map[span]bool{}
	for _, m := range mutants {
		s := span{m.simulation, m.first, m.seeds}
		if checked[s] {
			continue
		}
		checked[s] = true
		i := slices.IndexFunc(simulations, func(s simulation) bool { return s.name == m.simulation })
		for seed := m.first; seed < m.first+uint64(m.seeds); seed++ {
			if sim.Run(simConfig(simulations[i].faults), seed).Failed() {
				t.Errorf("%s: the true core breaks promises on seed %d, so the mutants prove nothing on it", m.simulation, seed)
			}
		}
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			sim.Mutant{File: m.file, First: m.first, Seeds: m.seeds, Old: m.old, New: m.new, Only: []string{"sim_test.go", "simulation_test.go"},
				Test: "^TestSimulation$/^" + strings.ReplaceAll(m.simulation, " ", "_") + "$"}.Check(t)
		})
	}
}
