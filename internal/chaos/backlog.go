package chaos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// What is promised of a backlog.
const (
	backlogSize  = 100_000
	backlogBatch = 1_000
	backlogTime  = 30 * time.Second
	backlogSlow  = 250 * time.Millisecond // of 99 in 100 requests meanwhile
	backlogQueue = "bulk"
	backlogRest  = 200 // entries that traffic leaves at any time
	// backlogPatience is when a machine is too slow to find anything out.
	backlogPatience = 5 * time.Minute
)

// backlog is what one server has accepted in an outage, and Redis is told after it.
type backlog struct {
	began, through time.Duration
	others         float64 // the share of the machine that other programs used meanwhile
}

func (b *backlog) play(ctx context.Context, f *fleet) error {
	n := f.nodes[0]
	if _, err := f.pause(ctx, n, backlogQueue, true); err != nil { // that it comes to Redis is what counts
		return err
	}
	f.from = time.Now()
	if err := f.away(ctx, freeze, thaw, func() error {
		if err := f.degraded(ctx); err != nil {
			return err
		}
		for from := 0; from < backlogSize; from += backlogBatch {
			if err := f.bulk(ctx, n, from); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	b.began = f.now()
	before := f.usage()
	err := longUntil(ctx, backlogPatience, "a backlog to be delivered", func() (bool, error) {
		h, err := n.client.Load().Health(ctx)
		return err == nil && h.Journal != nil && h.Journal.Entries < backlogRest, ctx.Err()
	})
	b.through, b.others = f.now(), others(before, f.usage())
	return err
}

// bulk enqueues a batch of tasks of 1 KB.
func (f *fleet) bulk(ctx context.Context, n *node, from int) error {
	specs, calls := make([]morningai.TaskSpec, backlogBatch), make([]drill.Call, backlogBatch)
	for i := range specs {
		text := fmt.Sprintf("%d ", from+i)
		specs[i] = morningai.NewTaskSpec("echo", fmt.Appendf(nil, "%q", text+strings.Repeat("x", 1000-len(text))))
		specs[i].Queue = backlogQueue
		var err error
		if specs[i].ID, err = morningai.NewID(); err != nil {
			return err
		}
		f.odd[specs[i].ID] = true
		calls[i] = f.history.Begin(drill.Op{Kind: drill.Enqueue, Node: n.name, Client: "bulk", Task: specs[i].ID, Queue: backlogQueue, Payload: drill.DigestOf(specs[i].Payload)})
	}
	tasks, err := n.client.Load().EnqueueBatch(ctx, specs)
	for i := range calls {
		receipt := morningai.Receipt{Err: err}
		if err == nil {
			receipt.Task = tasks[i]
		}
		calls[i].Return(func(o *drill.Op) { o.Receive(&receipt) })
	}
	return err
}

func (b *backlog) after(ctx context.Context, f *fleet) error {
	if took := b.through - b.began; took > backlogTime {
		f.late(b.others, "the backlog of %d tasks was through after %v, and not within %v", backlogSize, took.Round(time.Millisecond), backlogTime)
	}
	var took []time.Duration
	for op := range f.history.Ops() {
		if (op.Kind == drill.Enqueue || op.Kind == drill.Read) && op.Client != "bulk" && op.Call > b.began && op.Call < b.through && op.End > 0 {
			took = append(took, op.Return-op.Call)
		}
	}
	if slices.Sort(took); len(took) == 0 {
		f.broke("nobody asked for anything while the backlog was delivered")
	} else if slow := took[len(took)*99/100]; slow > backlogSlow {
		f.late(b.others, "while the backlog was delivered one in a hundred of %d requests took %v or more, and not at most %v", len(took), slow.Round(time.Millisecond), backlogSlow)
	}
	for _, n := range f.nodes {
		if err := until(ctx, "all of a backlog to be counted on server "+n.name, func() (bool, error) {
			q, err := n.client.Load().Queue(ctx, backlogQueue)
			return err == nil && q.Counts[morningai.StateQueued] == backlogSize, ctx.Err()
		}); err != nil {
			return err
		}
	}
	return nil
}
