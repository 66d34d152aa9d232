package httpapi

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// contacts are the states of the circuit.
var contacts = []morningai.Contact{morningai.ContactUp, morningai.ContactSuspect, morningai.ContactDown, morningai.ContactRecovering}

// readings asks for everything that is told of tasks and outages. What cannot be
// known is left out: 0 would be an answer.
func (a *api) readings(ctx context.Context) readings {
	var r readings
	r.gauge("morningai_accepting", "Whether tasks are accepted now, as GET /readyz says.", oneIf(a.accepting(ctx) == nil))
	if a.redis {
		_, err := a.redisProber.check(ctx)
		r.gauge("morningai_redis_up", "Whether Redis takes real writes, as GET /health/redis says.", oneIf(err == nil))
	}
	if a.fleet != nil {
		a.readFleet(ctx, &r)
	}
	a.readTasks(ctx, &r)
	if a.backups != nil {
		readBackups(&r, a.backups())
	}
	const ended = "Attempts whose outcome was recorded through this server, by outcome and by who ran them: handlers of this process, or workers over HTTP."
	if a.metrics.attempts != nil {
		readAttempts(&r, ended, "here", a.metrics.attempts())
	}
	if a.keeper != nil {
		readAttempts(&r, ended, "http", a.keeper.Attempts())
	}
	return r
}

// readBackups tells of scheduled backups. Without one there is no age.
func readBackups(r *readings, b wire.Backups) {
	if b.LastAt != nil {
		r.gauge("morningai_backup_age_seconds", "Time since the newest scheduled backup was begun; absent while there is none.", time.Since(*b.LastAt).Seconds())
		r.gauge("morningai_backup_bytes", "Size of the newest scheduled backup.", float64(b.Bytes))
	}
	r.counter("morningai_backups_total", "Scheduled backups that this process has tried to make, by what became of them.", float64(b.Made), "outcome", "made")
	r.counter("morningai_backups_total", "Scheduled backups that this process has tried to make, by what became of them.", float64(b.Failed), "outcome", "failed")
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func readAttempts(r *readings, help, ran string, counts map[morningai.Outcome]int64) {
	for _, o := range slices.Sorted(maps.Keys(counts)) {
		r.counter("morningai_attempts_total", help, float64(counts[o]), "outcome", string(o), "ran", ran)
	}
}

// readFleet tells of the journal and of outages.
func (a *api) readFleet(ctx context.Context, r *readings) {
	ctx, cancel := context.WithTimeout(ctx, metricsPatience)
	defer cancel()
	if st, err := a.fleet.Status(ctx); err == nil {
		for _, c := range contacts {
			r.gauge("morningai_circuit_state", "1 for the state in which the circuit to Redis is: down and recovering mean that this server works on its own.",
				oneIf(st.Contact == c), "state", string(c))
		}
		r.gauge("morningai_redis_partitions_away", "Partitions of a Redis Cluster that cannot be reached while others can.", float64(len(st.Away)))
		r.gauge("morningai_journal_undelivered_entries", "Entries of the journal that Redis has still to get.", float64(st.Backlog))
		r.gauge("morningai_journal_bytes", "Size of the journal.", float64(st.Journal.Bytes))
		if st.JournalLimit > 0 {
			r.gauge("morningai_journal_limit_bytes", "Size at which the journal takes no more tasks.", float64(st.JournalLimit))
		}
		if st.Journal.Free >= 0 {
			r.gauge("morningai_journal_disk_free_bytes", "Space that is free on the disk of the journal.", float64(st.Journal.Free))
		}
	}
	if all, err := a.fleet.Incidents(ctx); err == nil {
		a.metrics.outages.learn(all, time.Now())
		a.metrics.outages.read(r)
	}
}

// readTasks tells how many tasks there are. In an outage they are those known
// last, and the metrics say from when.
func (a *api) readTasks(ctx context.Context, r *readings) {
	ctx, cancel := context.WithTimeout(ctx, metricsPatience)
	defer cancel()
	stats, err := a.client.Stats(ctx)
	if err != nil {
		return
	}
	if !stats.AsOf.IsZero() {
		r.gauge("morningai_tasks_as_of_timestamp_seconds", "When the tasks were counted; in an outage that was before it.", float64(stats.AsOf.UnixMilli())/1e3)
	}
	r.gauge("morningai_sessions", "Live workers, as counted then.", float64(len(stats.Sessions)))
	for _, q := range a.metrics.fold(stats.Queues) {
		for _, state := range slices.Sorted(maps.Keys(q.Counts)) {
			if state == morningai.StateRetrying {
				continue // they are scheduled too
			}
			r.gauge("morningai_tasks", "Tasks by queue and state.", float64(q.Counts[state]), "queue", q.Name, "state", string(state))
		}
		r.gauge("morningai_tasks_retrying", "Scheduled tasks that have failed before; they count as scheduled too.", float64(q.Counts[morningai.StateRetrying]), "queue", q.Name)
		r.gauge("morningai_queue_paused", "Whether a queue is paused.", oneIf(q.Paused), "queue", q.Name)
		age := 0.0
		if !q.OldestQueuedAt.IsZero() {
			age = max(0, time.Since(q.OldestQueuedAt).Seconds())
			r.gauge("morningai_oldest_queued_timestamp_seconds", "When the oldest queued task of a queue was accepted; absent while none is queued.",
				float64(q.OldestQueuedAt.UnixMilli())/1e3, "queue", q.Name)
		}
		r.gauge("morningai_oldest_queued_age_seconds", "Age of the oldest queued task of a queue; 0 while none is queued.", age, "queue", q.Name)
	}
}

// fold adds up the queues beyond those that are told apart.
func (m *metrics) fold(queues []morningai.QueueInfo) []morningai.QueueInfo {
	var out []morningai.QueueInfo
	var rest *morningai.QueueInfo
	for _, q := range queues {
		if m.queues.value(q.Name) == q.Name {
			out = append(out, q)
			continue
		}
		if rest == nil {
			rest = &morningai.QueueInfo{QueueConfig: morningai.QueueConfig{Name: otherValues}, Counts: map[morningai.State]int64{}}
		}
		for state, n := range q.Counts {
			rest.Counts[state] += n
		}
		rest.Paused = rest.Paused || q.Paused
		if at := q.OldestQueuedAt; !at.IsZero() && (rest.OldestQueuedAt.IsZero() || at.Before(rest.OldestQueuedAt)) {
			rest.OldestQueuedAt = at
		}
	}
	if rest != nil {
		out = append(out, *rest)
	}
	return out
}

// tallies are what an incident counts.
var tallies = [...]struct {
	name, help string
	of         func(*morningai.Incident) int64
}{
	{"accepted", "Tasks accepted into the journal alone.", func(i *morningai.Incident) int64 { return i.Accepted }},
	{"ran_locally", "Attempts that ran here without Redis.", func(i *morningai.Incident) int64 { return i.RanLocally }},
	{"delivered", "Outcomes, checkpoints and commands delivered afterwards.", func(i *morningai.Incident) int64 { return i.Delivered }},
	{"forwarded", "Tasks handed to Redis afterwards.", func(i *morningai.Incident) int64 { return i.Forwarded }},
	{"replayed", "Writes that were sent again, because they were in doubt or Redis had lost them.", func(i *morningai.Incident) int64 { return i.Replayed }},
	{"repeated", "Tasks that ran more than once.", func(i *morningai.Incident) int64 { return i.Repeated }},
	{"maybe_repeated", "Tasks that may have run more than once.", func(i *morningai.Incident) int64 { return i.MaybeRepeated }},
	{"superseded", "Tasks that gave way to another holder of their unique key.", func(i *morningai.Incident) int64 { return i.Superseded }},
	{"set_aside", "Entries that Redis refuses for good.", func(i *morningai.Incident) int64 { return i.SetAside }},
	{"refused", "Requests refused because neither journal nor Redis could take them.", func(i *morningai.Incident) int64 { return i.Refused }},
	{"lost", "Acknowledged tasks known to be lost.", func(i *morningai.Incident) int64 { return i.Lost }},
}

// outages remembers what each incident has counted: the journal forgets the
// oldest, and a total must not fall for that.
type outages map[morningai.ID]*outageTally

type outageTally struct {
	counts  [len(tallies)]int64
	seconds float64
}

func (o outages) learn(all []morningai.Incident, now time.Time) {
	for i := range all {
		t := o[all[i].ID]
		if t == nil {
			t = &outageTally{}
			o[all[i].ID] = t
		}
		end := all[i].EndedAt
		if end.IsZero() {
			end = now
		}
		t.seconds = max(t.seconds, end.Sub(all[i].StartedAt).Seconds())
		for k := range tallies {
			t.counts[k] = max(t.counts[k], tallies[k].of(&all[i]))
		}
	}
}

func (o outages) read(r *readings) {
	seconds := 0.0
	var sums [len(tallies)]int64
	for _, t := range o {
		seconds += t.seconds
		for k, n := range t.counts {
			sums[k] += n
		}
	}
	r.counter("morningai_incidents_total", "Outages of Redis that this server has seen, the one that lasts among them.", float64(len(o)))
	r.counter("morningai_outage_seconds_total", "Time for which they lasted.", seconds)
	for k := range tallies {
		r.counter("morningai_outage_"+tallies[k].name+"_total", tallies[k].help, float64(sums[k]))
	}
}
