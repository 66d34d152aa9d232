package resilient

import (
	"context"

	"github.com/RC918/morningai"
)

// finishOp records outcomes. Those of tasks that the journal owns go there; the
// others go to the shared engine, and as whole records to the journal, so that
// what has been done is not done again whatever becomes of either.
type finishOp struct {
	parts[morningai.Verdict]
	here    bool // of a session that takes only what the journal owns
	reports []morningai.Report
}

func (c *core) finish(op *finishOp) {
	op.c, op.all, op.open = c, make([]morningai.Verdict, len(op.reports)), 1
	var local, shared []int
	for i := range op.reports {
		l := op.reports[i].Lease
		h := c.held[l.ID]
		switch {
		case c.owns(l):
			local = append(local, i)
		case h != nil && h.lease.Claim > l.Claim:
			op.all[i].Err = &morningai.Error{Code: morningai.CodeStale, Op: "finish", Detail: "the task was handed out again"}
		case op.here: // a repeat, or the journal has taken it back
			local = append(local, i)
		default:
			shared = append(shared, i)
		}
	}
	if len(local) > 0 {
		op.open++
		op.local(local)
	}
	there, gone := c.split(shared, func(i int) morningai.ID { return op.reports[i].Lease.ID })
	op.deliver(there)
	op.deliver(gone)
	op.part(nil, nil, nil)
}

func (op *finishOp) deliver(at []int) {
	if len(at) > 0 {
		op.open++
		(&delivery{op: op, at: at, reports: pick(op.reports, at)}).begin()
	}
}

// parts gathers the answers to items that went different ways. If some could not
// be recorded the whole is repeated by the caller, which changes nothing for the
// others.
type parts[T any] struct {
	c    *core
	done func([]T, error)
	all  []T
	open int
	err  error
}

func (p *parts[T]) part(at []int, some []T, err error) {
	for k, i := range at {
		if err == nil {
			p.all[i] = some[k]
		}
	}
	if err != nil {
		p.err = err
	}
	if p.open--; p.open > 0 {
		return
	}
	p.c.reply(func() {
		if p.err != nil {
			p.done(nil, p.err)
			return
		}
		p.done(p.all, nil)
	})
}

func (op *finishOp) local(at []int) {
	c, reports := op.c, pick(op.reports, at)
	for i := range reports {
		c.disk.written += int64(len(reports[i].Result))
	}
	onJournal(c, "finish", func(ctx context.Context) ([]morningai.Verdict, error) { return c.journal.Finish(ctx, reports) },
		func(verdicts []morningai.Verdict, err error) {
			var gone []int
			for i := range verdicts {
				l, verdict := reports[i].Lease, verdicts[i].Err
				was, running := c.mine[l.ID]
				if running && (was == l && settledBy(verdict) || was == leftBehind(l.ID) && verdict == nil) {
					delete(c.mine, l.ID)
					c.backlog.leaves(c) // it may have to leave the journal now
				} else if op.here && morningai.CodeOf(verdict) == morningai.CodeNotFound {
					gone = append(gone, at[i]) // it has left already
				}
			}
			there, gone := c.split(gone, func(i int) morningai.ID { return op.reports[i].Lease.ID })
			op.deliver(there)
			op.deliver(gone)
			op.part(at, verdicts, err)
		})
}

// settledBy reports whether a verdict is final.
func settledBy(err error) bool {
	switch morningai.CodeOf(err) {
	case morningai.CodeStale, morningai.CodeNotFound:
		return true
	}
	return err == nil
}

// delivery is the part of a finishOp that concerns the shared engine.
type delivery struct {
	op      *finishOp
	at      []int
	reports []morningai.Report
	noted   result
	shared  result
	replied bool
	amended []morningai.Note // to be written once the outcomes are; see amend
}

func (d *delivery) begin() {
	c := d.op.c
	var notes []morningai.Note
	for i := range d.reports {
		r := &d.reports[i]
		h := c.held[r.Lease.ID]
		if _, kept := c.backlog.kept[r.Lease.ID]; kept && h == nil {
			continue // it was told before, and the journal has more of it than a repeat says
		}
		if h != nil && h.lease == r.Lease && h.decided != "" && h.decided != r.Outcome {
			continue // the first one counts, if any
		}
		if h == nil || h.lease != r.Lease {
			h = &holding{lease: r.Lease}
			if c.held[r.Lease.ID] == nil {
				c.held[r.Lease.ID] = h
			}
		}
		if h.decided == "" {
			c.backlog.outcomes++
		}
		h.decided, h.sending = r.Outcome, !c.away(r.Lease.ID)
		delete(c.backlog.kept, r.Lease.ID)
		note, err := outcomeNote(h, r)
		if err != nil {
			d.noted = result{true, err} // whoever records it will say what is wrong
		}
		notes = append(notes, note)
		if h.again = r.Attempt > 1 || h.task.Life > 1; h.again {
			notes = append(notes, morningai.Note{NoteKey: keyOf(noteAgain, r.Lease.ID), Data: []byte{1}})
		}
	}
	if len(notes) == 0 {
		d.noted.done = true
	}
	if !d.noted.done {
		c.noteInOrder(notes, func(err error) {
			d.noted = result{true, err}
			if err == nil {
				c.amend(d.amended)
			}
			d.decide()
		})
	}
	if c.away(d.reports[0].Lease.ID) {
		d.shared = result{true, errSilent}
		d.decide()
		return
	}
	reports := d.reports
	onShared(c, "finish", c.cfg.limits.call, func(ctx context.Context) ([]morningai.Verdict, error) { return c.remote.Finish(ctx, reports) },
		func(verdicts []morningai.Verdict, err error) {
			d.shared = result{true, err}
			for i := range reports {
				if h := c.held[reports[i].Lease.ID]; h != nil && h.lease == reports[i].Lease {
					h.sending = false
				}
			}
			if err == nil {
				d.settle(verdicts)
				return
			}
			d.decide()
		})
}

// settle takes the shared engine's verdicts. A task that it does not know is
// not settled: it has been lost there, and is put back with its outcome.
func (d *delivery) settle(verdicts []morningai.Verdict) {
	c := d.op.c
	lost := false
	for i := range verdicts {
		l := d.reports[i].Lease
		switch err := verdicts[i].Err; morningai.CodeOf(err) {
		case morningai.CodeNotFound:
			if h := c.held[l.ID]; h == nil || h.lease != l || h.task.ID.IsZero() {
				c.settled(l, verdicts[i])
				continue
			}
			lost = true
			verdicts[i] = morningai.Verdict{State: stateAfter(d.reports[i].Outcome)}
		default:
			if err == nil && overruled(d.reports[i].Outcome, verdicts[i].State) {
				d.overrule(&d.reports[i])
			}
			if settledBy(err) {
				c.settled(l, verdicts[i])
			}
		}
	}
	if d.noted.ok() {
		c.amend(d.amended)
	}
	if lost {
		c.backlog.again(c)
	}
	if !d.replied {
		d.replied = true
		d.op.part(d.at, verdicts, nil)
	}
}

// decide answers from the journal when the shared engine has not taken the
// outcomes.
func (d *delivery) decide() {
	c := d.op.c
	if d.replied || !d.shared.done || d.shared.err == nil || !d.noted.done {
		return
	}
	d.replied = true
	switch {
	case !outage(d.shared.err):
		d.op.part(d.at, nil, d.shared.err) // it says what is wrong with the reports
	case d.noted.err != nil:
		d.op.part(d.at, nil, d.noted.err)
	default:
		verdicts := make([]morningai.Verdict, len(d.reports))
		for i := range d.reports {
			verdicts[i].State = stateAfter(d.reports[i].Outcome)
		}
		d.op.part(d.at, verdicts, nil)
		c.backlog.again(c)
	}
}

// settled notes that the shared engine knows the outcome of a claim, whether it
// took it or had moved on.
func (c *core) settled(l morningai.Lease, v morningai.Verdict) {
	if h := c.held[l.ID]; h != nil {
		if h.lease != l {
			return // the note is, or will be, that of a later claim
		}
		if h.decided != "" {
			c.backlog.outcomes--
		}
		if h.again {
			c.erase(keyOf(noteAgain, l.ID))
		}
		delete(c.held, l.ID)
	}
	key := keyOf(noteOutcome, l.ID)
	if v.Err != nil {
		c.known.refusedOutcomes.add(leaseKey(l), c.now)
		if _, kept := c.backlog.kept[l.ID]; !kept { // else the note is that of the outcome that was taken
			c.erase(key)
		}
		return
	}
	c.backlog.keep(l.ID, c.now, v.State.Terminal())
	if v.State.Terminal() {
		c.backlog.settled(l.ID)
		c.erase(keyOf(noteTask, l.ID))
	}
}

// leaseKey names a claim among ids.
func leaseKey(l morningai.Lease) morningai.ID {
	key := l.ID
	for i := range 8 {
		key[i] ^= byte(l.Claim >> (8 * i))
		key[8+i] ^= byte(l.Lease >> (8 * i))
	}
	return key
}

// checkpointOp records checkpoints where their tasks are.
type checkpointOp struct {
	parts[error]
	here   bool // of a session that takes only what the journal owns
	points []morningai.Checkpoint
}

func (c *core) checkpoint(op *checkpointOp) {
	op.c, op.all, op.open = c, make([]error, len(op.points)), 1
	var local, shared []int
	for i := range op.points {
		l := op.points[i].Lease
		if op.here || c.owns(l) {
			local = append(local, i)
		} else {
			shared = append(shared, i)
		}
	}
	if len(local) > 0 {
		op.open++
		points := pick(op.points, local)
		onJournal(c, "checkpoint", func(ctx context.Context) ([]error, error) { return c.journal.Checkpoint(ctx, points) },
			func(errs []error, err error) { op.part(local, errs, err) })
	}
	there, gone := c.split(shared, func(i int) morningai.ID { return op.points[i].Lease.ID })
	for _, at := range [][]int{there, gone} {
		if len(at) > 0 {
			op.open++
			op.send(at)
		}
	}
	op.part(nil, nil, nil)
}

// send gives points to the shared engine, or keeps them if it does not take
// them: what a handler has reached is not lost with the contact.
func (op *checkpointOp) send(at []int) {
	c, points := op.c, pick(op.points, at)
	if c.away(points[0].Lease.ID) {
		op.keep(at, points)
		return
	}
	onShared(c, "checkpoint", c.cfg.limits.call, func(ctx context.Context) ([]error, error) { return c.remote.Checkpoint(ctx, points) },
		func(errs []error, err error) {
			if outage(err) {
				op.keep(at, points)
				return
			}
			op.part(at, errs, err)
		})
}

func (op *checkpointOp) keep(at []int, points []morningai.Checkpoint) {
	c := op.c
	notes := make([]morningai.Note, len(points))
	for i := range points {
		var err error
		if notes[i], err = jsonNote(keyOf(notePoint, c.sequenceKey()), "", &points[i]); err != nil {
			op.part(at, nil, err)
			return
		}
	}
	c.backlog.points += int64(len(points))
	c.note(notes, func(err error) {
		if err != nil {
			c.backlog.points -= int64(len(points))
		}
		op.part(at, make([]error, len(points)), err)
		c.backlog.again(c)
	})
}
