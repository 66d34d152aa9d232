package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// diskImage is a server that starts from an image of its disk. The image was made in an
// outage and has tasks that Redis did not know then, and that have run since: the server
// has to notice that its journal is older than what Redis has on record of it, take
// another name, and run nothing again.
type diskImage struct{ held []morningai.ID }

func (d *diskImage) play(ctx context.Context, f *fleet) error {
	n, image := f.nodes[0], f.dir+"/image"
	was, err := f.journalOf(ctx, n)
	if err != nil {
		return err
	}
	d.held = nil
	if err := f.away(ctx, freeze, thaw, func() error {
		if err := f.degraded(ctx); err != nil {
			return err
		}
		spec := f.work(0)
		spec.DuringOutage = morningai.OutageHold // so that it waits in the image
		for range 20 {
			id, err := f.ask(n, spec)
			if err != nil {
				return fmt.Errorf("a task is not accepted by server %s: %w", n.name, err)
			}
			d.held = append(d.held, id)
		}
		n.crash()
		if err := os.CopyFS(image, os.DirFS(n.data)); err != nil {
			return err
		}
		return n.restart(ctx)
	}); err != nil {
		return err
	}
	for _, id := range d.held {
		if err := f.becomes(ctx, n, id, morningai.StateSucceeded); err != nil {
			return err
		}
	}
	// What its journal alone has acknowledged since the image goes with its disk: it is
	// delivered before. Then a beat tells how far the journal has come.
	if err := until(ctx, "server "+n.name+" to have delivered all", func() (bool, error) {
		h, err := n.client.Load().Health(ctx)
		return err == nil && h.Status == "ok" && h.Journal != nil && h.Journal.Entries == 0, ctx.Err()
	}); err != nil {
		return err
	}
	if err := wait(ctx, time.Second); err != nil {
		return err
	}
	lost := f.history.Begin(drill.Op{Kind: drill.DiskLost, Node: n.name})
	n.crash()
	f.goneWith(n)
	err = errors.Join(os.RemoveAll(n.data), os.CopyFS(n.data, os.DirFS(image)))
	lost.Return(nil)
	if err = errors.Join(err, n.restart(ctx)); err != nil {
		return err
	}
	if err := until(ctx, "server "+n.name+" to go on under another name", func() (bool, error) {
		now, err := f.journalOf(ctx, n)
		return err == nil && now != was, ctx.Err()
	}); err != nil {
		f.broke("server %s does not notice that its disk is an image of an earlier one: %v", n.name, err)
		return ctx.Err()
	}
	// The disk whose name it was will not come back. That is refused while its last
	// session may be alive.
	return until(ctx, "the name of the disk that was replaced to be forgotten", func() (bool, error) {
		_, err := f.nodes[1].client.Load().ForgetNode(ctx, was)
		return err == nil, ctx.Err()
	})
}

func (d *diskImage) after(_ context.Context, f *fleet) error {
	for _, id := range d.held {
		if ran := f.callee.ran(id); ran != 1 {
			f.broke("a task that waited in the image of a disk, and had run since, has run %d times", ran)
		}
	}
	return nil
}

// errNoJournal says that the fleet does not know a server, or knows it more than once.
var errNoJournal = errors.New("the server is not in contact under one name")

// journalOf is the name of a server's journal in the fleet.
func (f *fleet) journalOf(ctx context.Context, n *node) (id morningai.ID, err error) {
	all, _, err := n.client.Load().Nodes(ctx)
	if err != nil {
		return id, err
	}
	for i := range all {
		if all[i].Node != n.name || !all[i].Connected {
			continue
		}
		if !id.IsZero() {
			return id, errNoJournal // its last session is not known to be dead yet
		}
		id = all[i].ID
	}
	if id.IsZero() {
		return id, errNoJournal
	}
	return id, nil
}

// goneWith leaves out of the count what the journal alone of a server has acknowledged
// that is about to lose its disk, if it has not run: nobody may know it any more.
func (f *fleet) goneWith(n *node) {
	for op := range f.history.Ops() {
		if op.Kind == drill.Enqueue && op.Node == n.name && op.Durable == string(morningai.DurabilityJournal) && f.callee.ran(op.Task) == 0 {
			f.odd[op.Task] = true
		}
	}
}
