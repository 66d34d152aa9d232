package resilient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// mirror is what this node has to know of the fleet while it cannot ask. It is
// kept in the journal, because a node may start in an outage.
type mirror struct {
	Queues   map[string]morningai.QueueConfig `json:"queues"`
	Members  []morningai.Member               `json:"members"`
	Verified time.Time                        `json:"verified"`          // when the shared engine was last found to have what it is to have
	Data     morningai.DataSet                `json:"data"`              // what the shared engine worked on when this node last relied on it
	Lost     bool                             `json:"lost,omitempty"`    // what the shared engine had lost before is not all put back
	Missing  []morningai.ID                   `json:"missing,omitempty"` // members that had not told what they had finished when work went on after a loss
	Running  bool                             `json:"running,omitempty"` // a process works on the journal; still set at a start: it has died
	Told     int64                            `json:"told,omitempty"`    // the shared engine has acknowledged the outcomes noted up to this one
	Trimmed  time.Time                        `json:"trimmed,omitzero"`  // when the latest outcome that was forgotten for want of room had ended
	Self     morningai.ID                     `json:"self,omitzero"`     // the name of the journal in the fleet, if it is not its own
	Older    bool                             `json:"older,omitempty"`   // the journal is a copy of an earlier state, and has not been compared yet

	next     time.Time
	looking  bool
	stirred  bool                             // something else than looking was asked of the shared engine
	settings string                           // as a beat has named them last; "" if it does not
	told     int                              // settings that this node has set
	given    time.Time                        // when the last change was given that could not be told at once
	applied  map[string]morningai.QueueConfig // the journal's own settings
	applying map[string][]func()              // of them, those that are being written, and what waits for that
	refused  map[string]bool                  // of them, those that could not be written; see overstepped
	retrying bool                             // soon
	written  []byte
}

const (
	lookAtFleetEvery = 3 * time.Second
	// lookAtRestEvery holds while this node asks for nothing, if beats tell when
	// settings change.
	lookAtRestEvery = 30 * time.Second
	// memberGone is when a member that has neither been in contact nor been
	// forgotten no longer takes its share of the limits.
	memberGone = time.Hour
)

var (
	mirrorKey = morningai.NoteKey{Kind: noteMirror, Key: keyOfName("mirror")}
	erasedKey = morningai.NoteKey{Kind: noteMirror, Key: keyOfName("erased")} // see eraseForGood
	marksKey  = morningai.NoteKey{Kind: noteMirror, Key: keyOfName("marks")}
)

// lookAtFleet learns the queues' settings, and keeps the last counts.
func (c *core) lookAtFleet() {
	m := &c.mirror
	if m.looking {
		return
	}
	m.looking = true
	told, settings, stirred := m.told, m.settings, m.stirred
	m.stirred = false
	onShared(c, "stats", c.cfg.limits.call, c.remote.Stats, func(stats morningai.Stats, err error) {
		m.looking, m.next = false, c.now.Add(lookAtFleetEvery)
		if err != nil || c.rebuild != nil {
			return
		}
		if settings != m.settings {
			m.next = c.now
		} else if settings != "" && !stirred && !m.stirred {
			m.next = c.now.Add(lookAtRestEvery)
		}
		if m.told != told || c.backlog.settings > 0 && !c.partly() {
			m.next = c.now.Add(retryPass) // it may be from before what this node has told
			return
		}
		c.seeStats(stats)
		c.applyMirror(func() {})
	})
}

// stir lets a node that works look at the fleet often.
func (m *mirror) stir(now time.Time) {
	m.stirred = true
	if soon := now.Add(lookAtFleetEvery); m.next.After(soon) {
		m.next = soon
	}
}

// noteSettings looks at the fleet at once if a beat tells of other settings.
func (m *mirror) noteSettings(settings string, now time.Time) {
	if settings != m.settings {
		m.settings, m.next = settings, now
	}
}

func (c *core) seeStats(stats morningai.Stats) {
	c.pages.stats = &stats
	queues := make(map[string]morningai.QueueConfig, len(stats.Queues))
	for i := range stats.Queues {
		q := stats.Queues[i].QueueConfig
		queues[q.Name] = q
	}
	for name, had := range c.mirror.Queues {
		q := queues[name] // what is later here was lost there; see restoreQueues
		q.Name = name
		queues[name] = latest(q, had)
	}
	c.mirror.Queues = queues
}

// applyMirror gives the journal the settings to obey in an outage: pauses as
// they are, limits shared out among the nodes. Then is called when it has them.
func (c *core) applyMirror(then func()) {
	open := 1
	done := func() {
		if open--; open == 0 {
			then()
		}
	}
	defer done()
	m := &c.mirror
	if m.applied == nil {
		m.applied = map[string]morningai.QueueConfig{}
	}
	nodes, rank := c.place()
	for _, name := range slices.Sorted(maps.Keys(m.Queues)) {
		q := m.Queues[name]
		want := shareOf(q, nodes, rank)
		if had, ok := m.applied[name]; ok && had == want && !m.busy(name) || !ok && want == (morningai.QueueConfig{Name: name}) {
			c.settingsTaken(name)
			continue
		}
		open++
		c.applyQueue(want, done)
	}
	c.writeMirror()
}

func (m *mirror) busy(name string) bool {
	_, busy := m.applying[name]
	return busy
}

// applyQueue gives the journal the settings of one queue. Of two changes the later
// one is written after the earlier.
func (c *core) applyQueue(want morningai.QueueConfig, then func()) {
	m, name := &c.mirror, want.Name
	if waiting, busy := m.applying[name]; busy {
		m.applying[name] = append(waiting, func() {
			if m.applied[name] == want {
				then()
				return
			}
			c.applyQueue(want, then)
		})
		return
	}
	if m.applying == nil {
		m.applying = map[string][]func(){}
	}
	m.applying[name] = nil
	change := morningai.QueueChange{Paused: &want.Paused, Concurrency: &want.Concurrency, Rate: &want.Rate}
	onJournal(c, "set queue", func(ctx context.Context) (morningai.QueueConfig, error) {
		return c.journal.SetQueue(ctx, name, change)
	}, func(_ morningai.QueueConfig, err error) {
		if err == nil {
			m.applied[name] = want
			c.settingsTaken(name)
		} else {
			c.settingsRefused(name)
		}
		waiting := m.applying[name]
		delete(m.applying, name)
		then()
		for _, next := range waiting {
			next()
		}
	})
}

// overstepped reports that the journal would hand out what settings forbid: its disk
// has not taken them, and Redis, which has, may have acknowledged them.
func (m *mirror) overstepped() bool { return len(m.refused) > 0 }

func (c *core) settingsRefused(name string) {
	if c.mirror.refused == nil {
		c.mirror.refused = map[string]bool{}
	}
	c.mirror.refused[name] = true
	for _, op := range c.waitingClaims() {
		if op.journal {
			c.end(op.call)
		}
	}
	if c.mirror.retrying {
		return
	}
	c.mirror.retrying = true
	c.after(retrySettings, func() {
		c.mirror.retrying = false
		if c.mirror.overstepped() && !c.closing {
			c.applyMirror(func() {})
		}
	})
}

func (c *core) settingsTaken(name string) {
	if !c.mirror.refused[name] {
		return
	}
	if delete(c.mirror.refused, name); !c.mirror.overstepped() {
		c.resumeClaims()
	}
}

// retrySettings is the pause before settings are written again that the journal
// could not take.
const retrySettings = 500 * time.Millisecond

func (c *core) writeMirror() {
	m := &c.mirror
	data, err := json.Marshal(m)
	if err != nil {
		c.log(slog.LevelError, "what is known of the fleet cannot be kept", "error", err)
		return
	}
	if bytes.Equal(data, m.written) {
		return
	}
	m.written = data
	c.noteInOrder([]morningai.Note{{NoteKey: mirrorKey, Data: data}}, func(err error) {
		if err != nil {
			m.written = nil
		}
	})
}

// shareOf is what a queue's settings leave to one of several nodes that cannot
// talk to each other. A limit that leaves it nothing is a pause.
func shareOf(q morningai.QueueConfig, nodes, rank int) morningai.QueueConfig {
	out := morningai.QueueConfig{Name: q.Name, Paused: q.Paused}
	if q.Concurrency > 0 {
		out.Concurrency = part(q.Concurrency, nodes, rank)
		out.Paused = out.Paused || out.Concurrency == 0
	}
	if !q.Rate.IsZero() {
		out.Rate = morningai.Rate{Count: part(q.Rate.Count, nodes, rank), Per: q.Rate.Per}
		if out.Rate.Count == 0 {
			out.Rate, out.Paused = morningai.Rate{}, true
		}
	}
	return out
}

func part(limit, nodes, rank int) int {
	n := limit / nodes
	if rank < limit%nodes {
		n++
	}
	return n
}

// place is how many nodes there are, and which of them this one is.
func (c *core) place() (nodes, rank int) {
	for i := range c.members {
		m := &c.members[i]
		if m.Journal != c.cfg.member && !m.Connected && c.now.Sub(m.ContactAt) > memberGone {
			continue
		}
		nodes++
		if string(m.Journal[:]) < string(c.cfg.member[:]) {
			rank++
		}
	}
	return max(nodes, 1), rank
}

// noteMembers takes the members as a beat has brought them.
func (c *core) noteMembers(members []morningai.Member) {
	slices.SortFunc(members, func(a, b morningai.Member) int { return cmp.Compare(string(a.Journal[:]), string(b.Journal[:])) })
	changed := len(members) != len(c.members)
	c.membersAt = c.now
	c.members = c.heardFrom(members)
	members = c.members
	if changed {
		c.mirror.next = c.now // the shares of the limits
	}
	c.mirror.Members = slices.Clone(members)
	for i := range members {
		c.heardOf(members[i].URL, members[i].ContactAt)
	}
	for i := range c.mirror.Members { // times of contact would make every beat a write
		m := &c.mirror.Members[i]
		m.ContactAt = m.ContactAt.Truncate(time.Minute)
	}
}

// member is this node as it is put on record.
func (c *core) member(session morningai.SessionID) *morningai.Member {
	return &morningai.Member{Journal: c.cfg.member, Node: c.cfg.node, URL: c.cfg.url(), Session: session, Version: c.cfg.version,
		Reported: c.reportedOn(), Crashed: c.crashedOn(), Edition: c.edition, Backlog: c.backlog.unknown(), ContactAt: c.now.UTC()}
}

// noteSessions remembers which nodes take part without a journal: what they
// accept has no protection against a loss in the shared engine.
func (c *core) noteSessions(sessions []morningai.Session) {
	c.alone = nil
	for i := range sessions {
		s := &sessions[i]
		protected := c.sessions[s.ID] != nil || slices.ContainsFunc(c.members, func(m morningai.Member) bool { return m.Session == s.ID })
		if !protected && !slices.Contains(c.alone, s.Node) {
			c.alone = append(c.alone, s.Node)
		}
	}
	c.nameUnprotected()
}
