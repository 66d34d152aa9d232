package sqlite

import "github.com/RC918/morningai"

// begin starts a transaction on about n tasks. It works in the room that the
// one before has left.
func (e *Engine) begin(n int) *txn {
	now := e.now()
	if e.last == nil {
		n = min(n, batchMax)
		e.last = &txn{bySeq: make(map[int64]*item, n), byID: make(map[morningai.ID]*item, n), deltas: map[countKey]int64{}, expiries: map[int64][]int64{}, unlisted: map[*claimList]int{}}
	}
	t := e.last
	e.last = nil
	t.e, t.now, t.nowUS = e, now, now.UnixMicro()
	return t
}

// reuse ends the use of a transaction and keeps its room for the next. Nothing
// that others may hold on to is part of it: rows are not.
func (t *txn) reuse() {
	if len(t.order) > 2*batchMax {
		return
	}
	clear(t.bySeq)
	clear(t.byID)
	clear(t.deltas)
	clear(t.expiries)
	clear(t.order)
	clear(t.held)
	clear(t.found)
	clear(t.late)
	clear(t.listed)
	clear(t.unlisted)
	clear(t.room[:min(t.used, len(t.room))])
	t.e.last = &txn{bySeq: t.bySeq, byID: t.byID, deltas: t.deltas, expiries: t.expiries,
		order: t.order[:0], held: t.held[:0], found: t.found[:0], events: t.events[:0], room: t.room,
		late: t.late[:0], listed: t.listed[:0], unlisted: t.unlisted}
}

func (t *txn) newItem() *item {
	if t.used < len(t.room) {
		t.used++
		return &t.room[t.used-1]
	}
	// Items have addresses, so what is full stays where it is.
	t.room, t.used = make([]item, min(max(8, 2*len(t.room)), batchMax)), 1
	return &t.room[0]
}
