package redis

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// session is what the engine knows of a worker that claims through it.
type session struct {
	mu       sync.Mutex
	node     string
	beaten   bool
	granted  int64 // the last claim that may have brought grants; 0 after a beat that settled it
	seq      int64
	inflight map[int64]chan struct{} // claims under way
	doubts   map[int64]int           // claims that are over here, by the partition in which they may still be applied
	turn     int
	counters map[int]int64 // by partition: the counter of the last beat
	most     int64         // of them, when the beat under way began
}

func (e *Engine) session(id morningai.SessionID) *session {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sessions[id]
	if s == nil {
		s = &session{inflight: map[int64]chan struct{}{}, doubts: map[int64]int{}}
		e.sessions[id] = s
	}
	return s
}

// begin numbers a claim.
func (s *session) begin() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	s.inflight[s.seq] = make(chan struct{})
	return s.seq
}

func (s *session) end(seq int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ended := s.inflight[seq]; ended != nil {
		close(ended)
	}
	delete(s.inflight, seq)
	delete(s.doubts, seq)
}

func (s *session) nodeName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

func (s *session) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beaten
}

// brought notes that a claim may have brought grants.
func (s *session) brought(seq int64) {
	s.mu.Lock()
	s.granted = max(s.granted, seq)
	s.mu.Unlock()
}

// quiet reports whether there is nothing to look for among the grants: none
// were made since a beat that held nothing and had seen all replies.
func (s *session) quiet(holding int, through int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.granted == 0 && holding == 0 {
		return true
	}
	if holding == 0 && through >= s.granted && s.beaten {
		s.granted = 0 // this beat looks, the next need not
	} else if holding > 0 {
		s.granted = max(s.granted, 1)
	}
	return false
}

// firstPartition takes turns, so that no partition is always served last.
func (s *session) firstPartition(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn++
	return s.turn % n
}

// settled waits for the claims up to a number whose callers may have left while
// the call was under way, and returns the number up to which none can bring
// grants any more.
func (s *session) settled(ctx context.Context, through int64) int64 {
	for {
		s.mu.Lock()
		free, wait := through, (chan struct{})(nil)
		for seq, done := range s.inflight {
			if seq <= through {
				free, wait = min(free, seq-1), done
			}
		}
		s.mu.Unlock()
		if wait == nil {
			return free
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return free
		}
	}
}

// packDetails is what the others are told of a session.
func packDetails(req *morningai.BeatRequest) string {
	b := binary.AppendUvarint(nil, uint64(req.LeaseTime))
	b = binary.AppendUvarint(b, uint64(max(0, req.Concurrency)))
	b = appendText(b, req.Node)
	for _, list := range [][]string{req.Types, req.Queues} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, name := range list {
			b = appendText(b, name)
		}
	}
	return string(b)
}

// readSession also returns what follows: how far the node's clock is ahead of that
// of Redis, 8 bytes if it knows.
func readSession(id, text string) (morningai.Session, string, bool) {
	if len(id) != 16 || len(text) < 6 {
		return morningai.Session{}, "", false
	}
	r := &reader{rest: text[6:], ok: true}
	s := morningai.Session{ID: morningai.SessionID([]byte(id)), Counter: int64(u48(text)),
		LeaseTime: time.Duration(r.uvarint()), Concurrency: int(r.uvarint()), Node: r.text()}
	for _, list := range []*[]string{&s.Types, &s.Queues} {
		for range r.uvarint() {
			if !r.ok {
				return s, "", false
			}
			*list = append(*list, r.text())
		}
	}
	return s, r.rest, r.ok
}

// readSessions reads the members and how much each runs.
func readSessions(fields map[string]string) ([]morningai.Session, error) {
	count := map[morningai.SessionID]int{}
	for field, value := range fields {
		if len(field) > memberField { // unfinished grants of one reply
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, errCorrupt
			}
			count[morningai.SessionID([]byte(field[:16]))] += n
		}
	}
	out := make([]morningai.Session, 0, len(fields))
	for field, value := range fields {
		if len(field) != 16 {
			continue
		}
		s, _, ok := readSession(field, value)
		if !ok {
			return nil, errCorrupt
		}
		s.Running = count[s.ID]
		out = append(out, s)
	}
	return out, nil
}

// Beat registers a session or keeps it alive; see [morningai.Engine].
func (e *Engine) Beat(ctx context.Context, req morningai.BeatRequest) (morningai.BeatReply, error) {
	if err := e.enter(ctx); err != nil {
		return morningai.BeatReply{}, err
	}
	defer e.active.Done()
	s := e.session(req.Session)
	bounded, cancel := e.bounded(ctx)
	defer cancel()
	// A claim under way could otherwise be granted after this beat has looked.
	through := s.settleFor(bounded, req.Through)
	least := through
	for _, p := range e.parts {
		least = min(least, s.free(p.n, through))
	}
	quiet := s.quiet(len(req.Holding), least)
	held := make(map[*partition][]morningai.Lease)
	for _, l := range req.Holding {
		held[e.of(l.ID)] = append(held[e.of(l.ID)], l)
	}
	s.begun()
	var reply morningai.BeatReply
	members := map[morningai.SessionID]morningai.Session{}
	for _, p := range e.parts {
		if p.gone() != nil {
			reply.Missed = append(reply.Missed, p.n)
			continue
		}
		counter, err := p.beat(bounded, &req, s.free(p.n, through), quiet, held[p], &reply, members)
		if err != nil {
			e.suspect(err)
			return morningai.BeatReply{}, e.failed(ctx, "beat", err)
		}
		if reply.Counter == 0 || counter < reply.Counter {
			reply.Counter = counter
		}
	}
	reply.Sessions = slices.Collect(maps.Values(members))
	s.mu.Lock()
	s.node, s.beaten = req.Node, true
	s.mu.Unlock()
	if req.Leaving {
		e.mu.Lock()
		delete(e.sessions, req.Session)
		e.mu.Unlock()
	}
	return reply, nil
}

func (p *partition) beat(ctx context.Context, req *morningai.BeatRequest, through int64, quiet bool, held []morningai.Lease,
	reply *morningai.BeatReply, members map[morningai.SessionID]morningai.Session) (int64, error) {
	leaving := "0"
	switch {
	case req.Leaving:
		leaving = "1"
	case quiet:
		leaving = "-"
	}
	if p.n == 0 {
		p.eng.clock.look(ctx, p.eng)
	}
	known := p.dataSet()
	marks := p.marksDue(known)
	args := append([]string{known.lineage, "0", p.eng.session(req.Session).atLeast(p.n)}, p.eng.clockArgs()...)
	args = append(args, string(req.Session[:]), packDetails(req)+p.eng.clock.text(), strconv.FormatInt(through, 10), leaving,
		strconv.Itoa(len(marks)/2), strconv.Itoa(len(held)))
	args = append(args, marks...)
	args = append(args, packLeases(held)...)
	if p.n == 0 {
		args = append(args, memberArgs(req)...)
	}
	got, err := p.eng.eval(ctx, scriptBeat, p.with([]string{p.controlKey(req.Session)}), args)
	if err != nil {
		return 0, err
	}
	if len(got) < 6 {
		return 0, errCorrupt
	}
	if first, _ := got[0].ToString(); first == "!gap" {
		if err := p.noticed(ctx, known); err != nil {
			return 0, err
		}
		if p.dataSet() == known {
			return 0, errCorrupt
		}
		return p.beat(ctx, req, through, quiet, held, reply, members)
	}
	counter, err := got[0].AsInt64()
	if err != nil {
		return 0, err
	}
	cancels, err := got[1].AsStrSlice()
	if err != nil {
		return 0, err
	}
	for _, id := range cancels {
		reply.Cancels = append(reply.Cancels, morningai.ID([]byte(id)))
	}
	lost, err := got[2].AsStrSlice()
	if err != nil {
		return 0, err
	}
	for _, l := range lost {
		reply.Lost = append(reply.Lost, unpackLease(l))
	}
	fields, err := got[3].AsStrMap()
	if err != nil {
		return 0, err
	}
	sessions, err := readSessions(fields)
	if err != nil {
		return 0, err
	}
	for _, s := range sessions {
		if had, ok := members[s.ID]; ok { // of several partitions: the sum, and what all have seen
			s.Running += had.Running
			s.Counter = min(s.Counter, had.Counter)
		}
		members[s.ID] = s
	}
	reply.Settings += readSettings(fields)
	p.wakeLines(got[4])
	if p.n == 0 {
		p.eng.clock.judge(p.eng, clocksOf(fields, string(req.Session[:])))
		if reply.Members, err = readMembers(fields); err != nil {
			return 0, err
		}
		for i := range reply.Members {
			_, reply.Members[i].Connected = members[reply.Members[i].Session]
		}
	}
	behind, err := got[5].AsStrSlice()
	if err != nil {
		return 0, err
	}
	generation, lineage := readLineage(fields)
	if len(behind) > 0 {
		err = p.noticed(ctx, known)
	} else {
		err = p.compareData(ctx, known, generation, lineage)
	}
	if err != nil {
		return 0, err
	}
	if p.eng.session(req.Session).wentBack(p.n, counter) { // or the others have declared it dead
		return counter, p.probe(ctx)
	}
	return counter, nil
}

// wentBack reports that the counter of a session is not larger than at its last
// beat.
func (s *session) wentBack(part int, counter int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counters == nil {
		s.counters = map[int]int64{}
	}
	was := s.counters[part]
	s.counters[part] = counter
	return counter <= was
}

// begun notes that a beat begins.
func (s *session) begun() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.counters {
		s.most = max(s.most, n)
	}
}

// atLeast is where a partition which the last beat did not reach takes the counter
// up: whoever calls the session dead has to name one that holds in all. "" for one
// that has kept up.
func (s *session) atLeast(part int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counters[part] >= s.most {
		return ""
	}
	return strconv.FormatInt(s.most, 10)
}

// readLineage finds which data there are among the sessions.
func readLineage(sessions map[string]string) (generation int64, lineage string) {
	data := sessions["*"]
	if len(data) != 16 {
		return 0, ""
	}
	return be64(data[8:]), data[:8]
}

// marksEvery is how often marks that have not changed are compared again.
const marksEvery = 30 * time.Second

// marksDue returns the marks, if they have changed since they were last compared,
// or it is time to compare them again.
func (p *partition) marksDue(known dataSet) []string {
	marks := p.marks(known)
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(marks, p.compared) && time.Since(p.comparedAt) < marksEvery {
		return nil
	}
	p.compared, p.comparedAt = marks, time.Now()
	return marks
}

// marks are what Redis must have stored at least of the lanes that go on. One from
// before the last loss ends with its next call.
func (p *partition) marks(known dataSet) []string {
	var marks []string
	for _, l := range p.lanes() {
		if id, acked := l.mark(); acked > 0 && strings.HasPrefix(id, known.lineage) {
			marks = append(marks, id, strconv.FormatUint(acked, 10))
		}
	}
	return marks
}

const reapAtOnce = 1024 // tasks of one call

// Reap declares sessions dead; see [morningai.Engine].
func (e *Engine) Reap(ctx context.Context, observed []morningai.Observation) ([]morningai.SessionID, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.active.Done()
	var out []morningai.SessionID
	for _, o := range observed {
		reaped := false
		for _, p := range e.here() {
			done, err := p.reap(ctx, o)
			if err != nil {
				return nil, e.failed(ctx, "reap", err)
			}
			reaped = reaped || done
		}
		if reaped {
			out = append(out, o.Session)
		}
	}
	return out, nil
}

func (p *partition) reap(ctx context.Context, o morningai.Observation) (bool, error) {
	for {
		call, cancel := p.eng.bounded(ctx)
		reply, err := p.others.call(call, scriptReap, []string{p.controlKey(o.Session)},
			[]string{string(o.Session[:]), strconv.FormatInt(o.Counter, 10), strconv.Itoa(reapAtOnce)})
		cancel()
		if err != nil {
			return false, err
		}
		p.wakeLines(reply[1])
		if letter, _ := reply[0].ToString(); letter != "m" {
			return letter == "r", nil
		}
	}
}

// endSessions returns what the sessions of this engine run to the queues: the
// process that ran it is about to end. What cannot be told now is noticed by
// the other members.
func (e *Engine) endSessions(ctx context.Context) {
	e.mu.Lock()
	sessions := maps.Clone(e.sessions)
	e.mu.Unlock()
	for id, s := range sessions {
		if !s.known() {
			continue
		}
		for _, p := range e.here() {
			if _, err := p.reap(ctx, morningai.Observation{Session: id, Counter: -1}); err != nil {
				return
			}
		}
	}
}
