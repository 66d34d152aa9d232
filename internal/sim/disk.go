package sim

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/enginetest"
)

// Disk is a model of a node's journal: what is on disk outlives a crash, what
// the contract lets be lazy may be lost, and the disk can be full or fail.
type Disk struct {
	*enginetest.Reference
	node   string
	now    func() time.Time
	random *rand.Rand
	rec    *recorder

	full    bool  // writes are refused
	failing bool  // the next write is not confirmed
	failed  error // set by that: nothing is written until a restart
	free    int64 // bytes free on the disk
	extra   int64 // bytes of the file beyond what it holds

	waiting time.Duration                 // the last call would have waited for so long
	erased  []erasure                     // not committed
	young   map[morningai.ID]int          // claims that are not committed, by attempt
	ghosts  []func(*enginetest.Reference) // what a failed write may have left behind
}

type erasure struct {
	note morningai.Note
	at   time.Time
}

// eraseWithin is how long an erasure may wait for the disk.
const eraseWithin = 50 * time.Millisecond

const roomy = 1 << 40

// NewDisk makes an empty journal.
func NewDisk(node string, id morningai.ID, now func() time.Time, random *rand.Rand) *Disk {
	return &Disk{
		Reference: enginetest.NewReference(enginetest.Setup{Name: "sqlite", Durable: "sqlite", Now: now, Random: random.Uint64, Journal: id}),
		node:      node, now: now, random: random, free: roomy, young: map[morningai.ID]int{},
	}
}

var (
	errFull error = &morningai.Error{Code: morningai.CodeStorageFull, Op: "write", Detail: "the disk is full"}
	errDisk error = &morningai.Error{Code: morningai.CodeStorageFailed, Op: "write", Detail: "the disk did not confirm a write"}
)

// commit is called first by all that writes durably. again repeats the call on
// the storage itself: a write that the disk did not confirm may be there later.
func (d *Disk) commit(again func(*enginetest.Reference)) error {
	switch {
	case d.failed != nil:
		return d.failed
	case d.full:
		return errFull
	case d.failing:
		d.failed = errDisk
		if chance(d.random, 0.5) {
			d.ghosts = append(d.ghosts, again)
		}
		return d.failed
	}
	d.erased = nil
	clear(d.young)
	return nil
}

// Crash loses what was not on disk, and starts the journal anew.
func (d *Disk) Crash() {
	for _, ghost := range d.ghosts {
		ghost(d.Reference)
	}
	var back []morningai.Note
	for _, e := range d.erased {
		if d.now().Sub(e.at) < eraseWithin && chance(d.random, 0.7) {
			back = append(back, e.note)
		}
	}
	d.Unerase(back)
	d.Reopen()
	for id, attempt := range d.young {
		if id[15]&1 == 0 { // no draw: the order of a map is random
			d.Edit(id, func(r *morningai.Record) {
				if n := len(r.Attempts); n > 0 && r.Attempts[n-1].Number == attempt {
					r.Attempts = r.Attempts[:n-1]
				}
			})
		}
	}
	clear(d.young)
	d.ghosts, d.erased, d.failed, d.failing = nil, nil, nil, false
}

func (d *Disk) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.Enqueue(ctx, specs) }); err != nil {
		return nil, err
	}
	out, err := d.Reference.Enqueue(ctx, specs)
	for i := range out {
		if r := &out[i]; r.Err == nil && !r.Task.Duplicate {
			d.rec.synced(d.node, r.Task.ID)
		}
	}
	return out, err
}

func (d *Disk) Claim(ctx context.Context, req morningai.ClaimRequest) (morningai.ClaimReply, error) {
	wait := req.Wait
	req.Wait = 0
	out, err := d.Reference.Claim(ctx, req)
	if err == nil && len(out.Grants)+len(out.Cancels) == 0 {
		d.waiting = wait
	}
	for i := range out.Grants {
		d.young[out.Grants[i].Task.ID] = out.Grants[i].Task.Attempt
	}
	d.rec.granted(d.node, out.Grants)
	return out, err
}

func (d *Disk) Finish(ctx context.Context, reports []morningai.Report) ([]morningai.Verdict, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.Finish(ctx, reports) }); err != nil {
		return nil, err
	}
	out, err := d.Reference.Finish(ctx, reports)
	for i := range out {
		d.rec.finished(d.node, &reports[i], out[i])
	}
	return out, err
}

func (d *Disk) Checkpoint(ctx context.Context, points []morningai.Checkpoint) ([]error, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.Checkpoint(ctx, points) }); err != nil {
		return nil, err
	}
	return d.Reference.Checkpoint(ctx, points)
}

func (d *Disk) Command(ctx context.Context, cmds []morningai.Command) ([]morningai.CommandResult, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.Command(ctx, cmds) }); err != nil {
		return nil, err
	}
	return d.Reference.Command(ctx, cmds)
}

func (d *Disk) SetQueue(ctx context.Context, name string, change morningai.QueueChange) (morningai.QueueConfig, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.SetQueue(ctx, name, change) }); err != nil {
		return morningai.QueueConfig{}, err
	}
	return d.Reference.SetQueue(ctx, name, change)
}

func (d *Disk) Import(ctx context.Context, records []morningai.Record) ([]morningai.ImportResult, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.Import(ctx, records) }); err != nil {
		return nil, err
	}
	out, err := d.Reference.Import(ctx, records)
	for i := range out {
		if out[i].Err == nil {
			d.rec.synced(d.node, records[i].Task.ID)
		}
	}
	return out, err
}

func (d *Disk) Note(ctx context.Context, notes []morningai.Note) error {
	write := func(r *enginetest.Reference) error {
		err := r.Note(ctx, notes)
		if err == nil {
			d.noted(notes)
		}
		return err
	}
	if err := d.commit(func(r *enginetest.Reference) { write(r) }); err != nil {
		return err
	}
	return write(d.Reference)
}

// noted records which tasks the notes have put on the disk.
func (d *Disk) noted(notes []morningai.Note) {
	for _, n := range notes {
		if r, err := morningai.ParseRecord(n.Data); err == nil && r.Task.ID == n.Key {
			d.rec.synced(d.node, n.Key)
		}
	}
}

// Erase does not wait for the disk.
func (d *Disk) Erase(ctx context.Context, keys []morningai.NoteKey) error {
	if d.failed != nil {
		return d.failed
	}
	was, err := d.Noted(ctx, keys)
	if err == nil {
		err = d.Reference.Erase(ctx, keys)
	}
	for _, n := range was {
		if err == nil && n.Kind != 0 {
			d.erased = append(d.erased, erasure{n, d.now()})
		}
	}
	return err
}

func (d *Disk) Withdraw(ctx context.Context, kind morningai.NoteKind, limit int) ([]morningai.Note, error) {
	if err := d.commit(func(r *enginetest.Reference) { r.Withdraw(ctx, kind, limit) }); err != nil {
		return nil, err
	}
	return d.Reference.Withdraw(ctx, kind, limit)
}

func (d *Disk) Events(ctx context.Context, req morningai.EventsRequest) (morningai.EventsPage, error) {
	wait := req.Wait
	req.Wait = 0
	out, err := d.Reference.Events(ctx, req)
	if err == nil && len(out.Events) == 0 {
		d.waiting = wait
	}
	return out, err
}

func (d *Disk) Probe(ctx context.Context) error {
	if err := d.commit(func(*enginetest.Reference) {}); err != nil {
		return err
	}
	return d.Reference.Probe(ctx)
}

func (d *Disk) JournalInfo(ctx context.Context) (morningai.JournalInfo, error) {
	info, err := d.Reference.JournalInfo(ctx)
	info.Bytes += d.extra
	info.Free = d.free
	return info, err
}
