package redis_test

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// exact are the keys that hold the same again, field by field, once they are mended.
var exact = []string{"names", "ready", "bits", "waiting", "counts", "cells", "index", "unique", "queues"}

// peopled is an engine with tasks in every state, and a server of its own.
type peopled struct {
	t       *testing.T
	server  *redistest.Server
	e       *redis.Engine
	ahead   atomic.Int64 // of the wall clock
	session morningai.SessionID
	running []morningai.Grant
	due     morningai.ID
	key     morningai.TaskSpec
}

func people(t *testing.T) *peopled {
	p := &peopled{t: t, server: redistest.Start(t)}
	p.e = open(t, p.server.URL(), redis.WithClock(func() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }), redis.WithSweep(time.Hour), redis.WithTimeout(5*time.Second))
	p.session = join(t, p.e, 1)
	list := specs(700) // more than two chunks
	for i := range list {
		list[i].Payload = []byte(strconv.Itoa(i))
		switch {
		case i%50 == 7:
			list[i].UniqueKey = "k" + strconv.Itoa(i)
		case i%90 == 8:
			list[i].RunAt = time.Now().Add(time.Hour)
		case i > 400 && i%3 == 0:
			list[i].Priority = 1
		}
	}
	p.key, p.due = list[657], list[638].ID
	for part := range slices.Chunk(list, 100) {
		enqueue(t, p.e, part)
	}
	grants := claim(t, p.e, p.session, 100, 0)
	var reports []morningai.Report
	for i, g := range grants[:80] {
		r := morningai.Report{Lease: g.Lease, Node: "n", Attempt: g.Task.Attempt, StartedAt: g.Task.StartedAt, FinishedAt: time.Now()}
		switch i % 4 {
		case 0, 1:
			r.Outcome, r.Result = morningai.OutcomeSucceeded, []byte(`1`)
		case 2:
			r.Outcome, r.Error = morningai.OutcomeFailed, &morningai.TaskError{Code: "x", Message: "y"}
		case 3:
			r.Outcome, r.Error, r.RunAt = morningai.OutcomeRetry, &morningai.TaskError{Code: "x", Message: "y"}, time.Now().Add(time.Hour)
		}
		reports = append(reports, r)
	}
	var points []morningai.Checkpoint
	for i := range reports {
		points = append(points, morningai.Checkpoint{Lease: reports[i].Lease, Kind: morningai.CheckpointLog, Data: []byte(`"a line"`)},
			morningai.Checkpoint{Lease: reports[i].Lease, Kind: morningai.CheckpointStep, Name: "one", Data: []byte(`1`)})
	}
	if _, err := p.e.Checkpoint(t.Context(), points); err != nil {
		t.Fatal(err)
	}
	if _, err := p.e.Finish(t.Context(), reports); err != nil {
		t.Fatal(err)
	}
	p.running = grants[80:]
	var cmds []morningai.Command
	for i := 300; i < 340; i++ {
		cmds = append(cmds, morningai.Command{Kind: []morningai.CommandKind{morningai.CommandCancel, morningai.CommandDelete}[i%2], ID: list[i].ID})
	}
	cmds = append(cmds, morningai.Command{Kind: morningai.CommandRetry, ID: grants[3].Task.ID}, morningai.Command{Kind: morningai.CommandCancel, ID: p.running[0].Task.ID})
	if _, err := p.e.Command(t.Context(), cmds); err != nil {
		t.Fatal(err)
	}
	paused := true
	if _, err := p.e.SetQueue(t.Context(), "other", morningai.QueueChange{Paused: &paused}); err != nil {
		t.Fatal(err)
	}
	return p
}

// dumpText lists what a key holds, sorted. A count of 0 is none; what happened of late,
// with longer names, nobody can count again.
const dumpText = `
local out, kind = {}, redis.call('TYPE', KEYS[1]).ok
local function hex(s) return (string.gsub(s, '.', function(c) return string.format('%02x', string.byte(c)) end)) end
if kind == 'zset' then
  for i, v in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do out[i] = hex(v) end
else
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    if all[i + 1] ~= '0' and not (string.find(KEYS[1], 'counts', 1, true) and #all[i] > 6) then out[#out + 1] = hex(all[i]) .. ' ' .. hex(all[i + 1]) end
  end
end
table.sort(out)
return table.concat(out, '\n')`

func (p *peopled) dump(keys ...string) map[string]string {
	out := map[string]string{}
	for _, key := range keys {
		out[key] = p.server.Do("EVAL", dumpText, "1", "mai:{0}:"+key)
	}
	return out
}

func (p *peopled) states() map[morningai.State]int64 {
	p.t.Helper()
	stats, err := p.e.Stats(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return stats.States
}

// all are the ids of all tasks, as a list shows them.
func (p *peopled) all() (ids []string) {
	p.t.Helper()
	req := morningai.Filter{Limit: 100}
	for {
		page, err := p.e.List(p.t.Context(), req)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, t := range page.Tasks {
			ids = append(ids, t.ID.String()+" "+string(t.State))
		}
		if page.Next == "" {
			return ids
		}
		req.Cursor = page.Next
	}
}

// A key that somebody deletes is missed at the next beat even when a write has made
// it anew, and what it said is written again from the records.
func TestADeletedKeyIsMended(t *testing.T) {
	t.Parallel()
	for _, key := range redis.KeyNames() {
		switch key {
		case "tasks", "specs", "lanes": // records themselves; and what is noticed at once
			continue
		}
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			p := people(t)
			counts, list, was := p.states(), p.all(), p.dump(exact...)
			generation := p.e.Capabilities().Data.Generation
			p.server.Do("DEL", "mai:{0}:"+key)
			var holding []morningai.Lease
			for _, g := range p.running {
				holding = append(holding, g.Lease)
			}
			if err := p.e.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			reply := beat(t, p.e, morningai.BeatRequest{Session: p.session, Holding: holding, Through: 1 << 40})
			if len(reply.Lost) > 0 {
				t.Errorf("%d leases are not held any more", len(reply.Lost))
			}
			if key != "events" && key != "cancels" && p.e.Capabilities().Data.Generation == generation {
				t.Error("nobody has noticed")
			}
			for name, text := range p.dump(exact...) {
				if text != was[name] && !(name == "queues" && key == "queues") {
					t.Errorf("%s holds\n%s\nit was\n%s", name, text, was[name])
				}
			}
			if now := p.states(); !maps.Equal(now, counts) {
				t.Errorf("%v, and before it was %v", now, counts)
			}
			if now := p.all(); !slices.Equal(now, list) {
				t.Errorf("%d tasks are listed, and before there were %d", len(now), len(list))
			}
			// What is acknowledged while nobody has missed the key stays.
			p.server.Do("DEL", "mai:{0}:"+key)
			more := specs(40)
			got, err := p.e.Enqueue(t.Context(), more)
			if err == nil {
				counts[morningai.StateQueued] += int64(len(got))
			}
			if err := p.e.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if now := p.states(); err == nil && !maps.Equal(now, counts) {
				t.Errorf("%v, and before it was %v", now, counts)
			}
			beat(t, p.e, morningai.BeatRequest{Session: p.session, Holding: holding, Through: 1 << 40})
			p.goesOn()
		})
	}
}

// goesOn checks that all that waits is handed out, in order, that what is due comes,
// and that nothing is left of it in the end.
func (p *peopled) goesOn() {
	t := p.t
	t.Helper()
	again := specs(1)
	again[0].UniqueKey = p.key.UniqueKey
	r, err := p.e.Enqueue(t.Context(), again)
	if err != nil || !r[0].Existing || r[0].Task.ID != p.key.ID {
		t.Errorf("the unique key that a task holds is free: %+v, %v", r, err)
	}
	for _, v := range finish(t, p.e, p.running...) {
		if v.Err != nil {
			t.Errorf("what ran meanwhile has ended: %v", v.Err)
		}
	}
	queued := p.states()[morningai.StateQueued]
	done, before := int64(0), morningai.Task{}
	run := func() {
		for {
			grants := claim(t, p.e, p.session, 64, 0)
			if len(grants) == 0 {
				return
			}
			for i := range grants {
				g := &grants[i].Task
				if g.Priority < before.Priority || g.Priority == before.Priority && g.CreatedAt.Before(before.CreatedAt) {
					t.Fatalf("task %d of %d is handed out in another order than they came", done, queued)
				}
				before = *g
				done++
			}
			finish(t, p.e, grants...)
		}
	}
	run()
	if done != queued {
		t.Errorf("%d of %d tasks are handed out", done, queued)
	}
	p.ahead.Add(int64(2 * time.Hour))
	before = morningai.Task{}
	due := p.states()[morningai.StateScheduled]
	queued, done = due, 0
	run()
	if due == 0 || done != due {
		t.Errorf("%d of %d tasks that are due are handed out", done, due)
	}
	beat(t, p.e, morningai.BeatRequest{Session: p.session, Leaving: true})
	for range 40 {
		p.ahead.Add(int64(8 * time.Hour))
		if err := p.e.SweepAll(); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"tasks", "specs", "extra", "chunks", "bits", "cells", "unique", "waiting", "ready", "index", "grants", "due", "purge"} {
		if n := size(p.server, "mai:{0}:"+key); n != "1" {
			t.Errorf("%s of %s are left", n, key)
		}
	}
}

// What a record said cannot be known any more. A task that has none, and waits in
// its place, has not started; any other goes, and so does what nobody knows the
// request of: journals put it back.
func TestDeletedRecords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, too string }{{"tasks", ""}, {"tasks", "bits"}, {"specs", ""}, {"names", "meta"}} {
		t.Run(c.key+c.too, func(t *testing.T) {
			t.Parallel()
			p := people(t)
			queued, before, list := p.states()[morningai.StateQueued], p.states(), p.all()
			var records []morningai.Record
			for cursor, done := "", false; !done; {
				page, err := p.e.Export(t.Context(), cursor, 1000)
				if err != nil {
					t.Fatal(err)
				}
				records, cursor, done = append(records, page.Records...), page.Next, page.Next == ""
			}
			known := p.e.Capabilities().Data
			p.server.Do("DEL", "mai:{0}:"+c.key)
			if c.too != "" {
				p.server.Do("DEL", "mai:{0}:"+c.too)
			}
			if c.too != "meta" {
				enqueue(t, p.e, specs(3)) // as somebody does before it is missed
			}
			if err := p.e.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := queued + 3
			switch {
			case c.key == "specs", c.too == "bits": // missed before they are accepted
				want = 3
			case c.too != "":
				want = 0
			}
			stats := p.states()
			if got := stats[morningai.StateQueued]; got != want {
				t.Errorf("%d are queued, not %d", got, want)
			}
			delete(stats, morningai.StateQueued)
			for state, n := range stats {
				if n != 0 {
					t.Errorf("%d are %s", n, state)
				}
			}
			for part := range slices.Chunk(records, 50) { // as journals do
				if _, err := p.e.Import(t.Context(), part); err != nil {
					t.Fatal(err)
				}
			}
			before[morningai.StateQueued] += want - queued
			if want < queued {
				before[morningai.StateQueued] += queued
			}
			if now := p.states(); !maps.Equal(now, before) {
				t.Errorf("with what journals put back there are %v, not %v", now, before)
			}
			there := p.all()
			for _, line := range list {
				if !slices.Contains(there, line) {
					t.Errorf("%s is not there", line)
				}
			}
			session := join(t, p.e, 3)
			_, err := p.e.Claim(t.Context(), morningai.ClaimRequest{Session: session, Types: []string{"work"}, N: 1, Known: known})
			if !errors.Is(err, redis.ErrUnavailable) {
				t.Errorf("a claim after a loss is answered with %v", err)
			}
			if got := claim(t, p.e, session, 1000, 0); len(got) != int(before[morningai.StateQueued]) {
				t.Errorf("%d of %d tasks are handed out", len(got), before[morningai.StateQueued])
			}
		})
	}
}

// What is put back, or reported, while nobody has missed a key does not take the place
// of anything, nor make a wrong record of a task that has none.
func TestWritesBeforeAKeyIsMissed(t *testing.T) {
	t.Parallel()
	for _, key := range redis.KeyNames() {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			p := people(t)
			list := p.all()
			page, err := p.e.Export(t.Context(), "", 1000)
			if err != nil {
				t.Fatal(err)
			}
			records := page.Records[100:130]
			for i := range records {
				if records[i].Task.ID, err = morningai.NewID(); err != nil {
					t.Fatal(err)
				}
				records[i].UniqueKey = ""
				list = append(list, records[i].Task.ID.String()+" "+string(records[i].Task.State))
			}
			p.server.Do("DEL", "mai:{0}:"+key)
			if _, err := p.e.Import(t.Context(), records); err != nil {
				t.Fatal(err)
			}
			switch verdicts := finish(t, p.e, p.running...); key {
			case "tasks", "specs": // nobody knows of them any more
			default:
				for _, v := range verdicts {
					if v.Err != nil {
						t.Fatal(v.Err)
					}
				}
			}
			if err := p.e.Probe(t.Context()); err != nil {
				t.Fatal(err)
			}
			there := p.all()
			for _, line := range list {
				id, state, _ := strings.Cut(line, " ")
				keeps := key != "specs" && (key != "tasks" || state == "queued") || slices.Contains(list[len(list)-len(records):], line)
				if keeps && !slices.ContainsFunc(there, func(l string) bool { return strings.HasPrefix(l, id) }) {
					t.Errorf("%s is not there", line)
				}
			}
			if _, err := p.e.Import(t.Context(), page.Records[200:230]); err != nil {
				t.Errorf("a later import: %v", err)
			}
		})
	}
}

// A read that does not find a task notices that Redis has less than it acknowledged
// to this node, before anything is written again.
func TestAMissNoticesALoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	enqueue(t, e, specs(1))
	look := func() {
		if got, err := e.Get(t.Context(), morningai.GetRequest{IDs: []morningai.ID{specs(1)[0].ID}}); err != nil || !got[0].ID.IsZero() {
			t.Fatalf("a task that nobody knows is read as %+v, %v", got, err)
		}
	}
	generation := e.Capabilities().Data.Generation
	look()
	if now := e.Capabilities().Data.Generation; now != generation {
		t.Fatal("a loss is noticed where there was none")
	}
	server.Do("EVAL", "for _, l in ipairs(redis.call('HKEYS', KEYS[1])) do if l ~= '*' then redis.call('HDEL', KEYS[1], l) end end return 1", "1", "mai:{0}:lanes")
	look()
	if now := e.Capabilities().Data.Generation; now == generation {
		t.Error("nobody has noticed")
	}
}
