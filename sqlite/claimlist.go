package sqlite

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/RC918/morningai"
)

// A claim is answered without waiting for the disk, and is written down twice.
// The next commit lists it, together with all others that it finds running, so
// that a crash leaves a trace of the attempt; Engine.unlisted has those that
// wait for it. A task that runs for longer has a row of its own, in leases, so
// that lists are short-lived; Engine.unmarked has those without one. Claims of
// workers in other processes are the exception: they have such a row at once.
const (
	// listAfter is how long a claim waits for a commit before it gets one of
	// its own. A handler that only takes a moment ends sooner, and is spared it.
	listAfter = time.Millisecond
	markAfter = 100 * time.Millisecond
)

// claimList is a row of claims. The writer owns it.
type claimList struct {
	n    int64
	live int // claims in it that have neither ended nor moved to leases
}

// flushMarks writes down the claims that no commit has.
func (t *txn) flushMarks() error {
	e := t.e
	e.mu.Lock()
	t.listed, t.looked = append(t.listed[:0], e.unlisted...), len(e.unlisted)
	late := t.late[:0]
	for _, en := range e.unmarked {
		if en.gone || en.marked {
			continue
		}
		if t.now.Sub(en.at) < markAfter && !t.markAll {
			break
		}
		late = append(late, en)
	}
	e.mu.Unlock()
	if t.markAll {
		late = append(late, t.listed...)
	}
	t.late = late
	for _, en := range late {
		it := t.bySeq[en.row.seq]
		if it == nil {
			it = t.trackRunning(en)
		}
		if it.running && it.entry == en {
			it.mark = true
		}
	}
	for _, it := range t.order {
		if it.mark {
			if err := t.putLease(it); err != nil {
				return err
			}
		}
		if en := it.entry; en != nil && en.list != nil && (it.mark || !it.running) {
			if err := t.unlist(en.list); err != nil {
				return err
			}
		}
	}
	return t.flushList()
}

// flushList writes one row for the claims that are new to the file and still
// run after this commit.
func (t *txn) flushList() error {
	e := t.e
	kept := t.listed[:0]
	buf, last := append(e.buf[:0], blobFormat), runState{}
	var seq int64
	for _, en := range t.listed {
		run := en.run
		if it := t.bySeq[en.row.seq]; it != nil && it.entry == en {
			if !it.running || it.installed || it.mark {
				continue
			}
			run = it.run
		}
		kept = append(kept, en)
		buf = appendClaim(buf, en.row.seq-seq, &run, &last)
		seq, last = en.row.seq, run
	}
	t.listed, e.buf = kept, buf
	if len(kept) == 0 {
		return nil
	}
	e.listN++
	t.list = &claimList{n: e.listN, live: len(kept)}
	s := e.sql.listPut
	s.int(1, e.listN)
	s.blob(2, buf)
	return s.exec()
}

// unlist takes one claim off a list, and the list's row away with its last one.
func (t *txn) unlist(l *claimList) error {
	t.unlisted[l]++
	if t.unlisted[l] < l.live {
		return nil
	}
	t.e.sql.listDel.int(1, l.n)
	return t.e.sql.listDel.exec()
}

// publishLists brings memory up to the commit. Engine.mu is held, and claims
// made since flushMarks are at the end of unlisted.
func (t *txn) publishLists() {
	e, looked := t.e, t.looked
	for _, en := range t.listed {
		en.list = t.list
	}
	for l, n := range t.unlisted {
		l.live -= n
	}
	if looked > 0 && len(e.unmarked) == 0 {
		e.look()
	}
	e.unmarked = append(e.unmarked, e.unlisted[:looked]...)
	clear(e.unlisted[:looked])
	if e.unlisted = e.unlisted[looked:]; len(e.unlisted) == 0 {
		e.unlisted = nil
	}
}

func appendClaim(b []byte, step int64, run, last *runState) []byte {
	b = binary.AppendVarint(b, step)
	b = binary.AppendVarint(b, run.claim)
	b = binary.LittleEndian.AppendUint64(b, uint64(run.lease))
	b = binary.AppendVarint(b, run.attempt)
	b = binary.AppendVarint(b, run.version)
	b = binary.AppendVarint(b, run.started-last.started)
	if run.node == last.node {
		return append(b, 0)
	}
	b = append(b, 1)
	return appendText(b, run.node)
}

// readClaims reads a row of claims.
func readClaims(raw []byte) ([]leaseRow, error) {
	d := decoder{b: raw}
	d.format()
	var out []leaseRow
	var last leaseRow
	for len(d.b) > 0 && !d.bad {
		l := leaseRow{seq: last.seq + d.int()}
		l.run.claim = d.int()
		if lease := d.take(8); lease != nil {
			l.run.lease = int64(binary.LittleEndian.Uint64(lease))
		}
		l.run.attempt, l.run.version = d.int(), d.int()
		l.run.started, l.run.node = last.run.started+d.int(), last.run.node
		if named := d.take(1); len(named) == 1 && named[0] == 1 {
			l.run.node = string(d.text())
		}
		out, last = append(out, l), l
	}
	if d.bad {
		return nil, errBadRow
	}
	return out, nil
}

// appendLists reads all rows of claims, and returns the number of the last.
func appendLists(c *conn, out []leaseRow) ([]leaseRow, int64, error) {
	s, err := c.prepare("SELECT n,data FROM claims ORDER BY n")
	if err != nil {
		return nil, 0, err
	}
	defer s.finalize()
	var last int64
	for {
		ok, err := s.step()
		if err != nil || !ok {
			return out, last, err
		}
		list, err := readClaims(s.colRaw(1))
		if err != nil {
			s.reset()
			return nil, 0, err
		}
		out, last = append(out, list...), s.colInt(0)
	}
}

// keep has the disk know claims before whoever they are for: a worker in another
// process goes on when this one dies. If the disk does not take them they count
// like those of this process.
func (e *Engine) keep(ctx context.Context, grants []morningai.Grant) {
	w := make(keepWork, len(grants))
	for i := range grants {
		w[i] = grants[i].Lease
	}
	_ = e.submit(ctx, w) // the writer logs what is wrong with the disk
}

type keepWork []morningai.Lease

func (w keepWork) size() int { return len(w) }
func (w keepWork) apply(t *txn) error {
	for _, l := range w {
		it, err := t.find(l.ID)
		if err != nil {
			return err
		}
		if it != nil && it.running && it.run.claim == l.Claim && it.run.lease == l.Lease {
			it.mark = true
		}
	}
	return nil
}

func (t *txn) putLease(it *item) error {
	s := t.e.sql.leasePut
	s.int(1, it.row.seq)
	s.int(2, it.run.claim)
	s.int(3, it.run.lease)
	s.text(4, it.run.node)
	s.int(5, it.run.attempt)
	s.int(6, it.run.version)
	s.int(7, it.run.started)
	s.int(8, it.run.grace)
	return s.exec()
}
