package sqlite

import (
	"slices"
	"sort"
)

// A backlog longer than the cache is claimed from rows that have to be read.
// They are read ahead of the claims, and while Engine.mu is free: the writer
// needs it all the time.
const (
	aheadMax   = 512     // rows in the cache at the head of a run; a claim seldom takes half of them
	aheadBytes = 4 << 20 // what they may take in the cache beyond its own limit
	coldMax    = 4       // runs read ahead for one claim
)

// readMissing reads a ready task's row under Engine.mu, and has those that
// follow it in its run read ahead by the next claim.
func (e *Engine) readMissing(k *run, seq int64) (*row, error) {
	if !slices.Contains(e.cold, k) {
		e.cold = append(e.cold[max(0, len(e.cold)-coldMax+1):], k)
	}
	e.claimsMu.Lock()
	defer e.claimsMu.Unlock()
	return e.rowBySeq(e.claims.bySeq, seq)
}

// span is a part of a run whose rows are read ahead, and when that was decided.
type span struct {
	k           *run
	first, last int64
	bytes       int // that there is room for
	turn        int64
}

// readCold fills the cache with the first rows of the runs that claims have
// found missing there. What cannot be read is left to the claim, which reports
// it.
func (e *Engine) readCold() {
	for _, s := range e.coldSpans() {
		e.keepAhead(s, e.readSpan(s))
	}
}

func (e *Engine) coldSpans() (spans []span) {
	e.mu.Lock()
	defer e.mu.Unlock()
	cold := e.cold[:0]
	for _, k := range e.cold {
		n := min(len(k.fifo), aheadMax)
		if n <= 1 {
			continue
		}
		cold = append(cold, k)
		missing := sort.Search(n, func(i int) bool { return e.cache.rows[k.fifo[i]] == nil })
		if room := cacheBytes + aheadBytes - e.cache.bytes; room > 0 && missing < n && missing <= aheadMax/2 {
			spans = append(spans, span{k, k.fifo[missing], k.fifo[n-1], min(room, aheadBytes/coldMax), e.readyTurn})
		}
	}
	clear(e.cold[len(cold):])
	e.cold = cold
	return spans
}

// keepAhead puts rows into the cache, unless ready tasks were written since it
// was decided to read them: what was read may be old then.
func (e *Engine) keepAhead(s span, rows []*row) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readyTurn != s.turn {
		return
	}
	head := s.k.fifo[:min(len(s.k.fifo), aheadMax)]
	for _, r := range rows {
		if _, in := slices.BinarySearch(head, r.seq); in && r.status == stQueued {
			e.cache.put(r, e.cfg.cacheMax+aheadMax*coldMax, cacheBytes+aheadBytes)
		}
	}
}

// readSpan reads rows until they are many or large.
func (e *Engine) readSpan(of span) []*row {
	e.claimsMu.Lock()
	defer e.claimsMu.Unlock()
	if e.claims == nil { // closed meanwhile
		return nil
	}
	s := e.claims.span
	s.int(1, of.first)
	s.int(2, of.last)
	s.int(3, 2*aheadMax)
	rows := make([]*row, 0, aheadMax)
	for bytes := 0; ; {
		ok, err := s.step()
		if err != nil || !ok {
			return rows
		}
		r, err := e.scanRow(s)
		if err != nil {
			s.reset()
			return rows
		}
		rows = append(rows, r)
		if bytes += rowSize(r); bytes > of.bytes {
			s.reset()
			return rows
		}
	}
}
