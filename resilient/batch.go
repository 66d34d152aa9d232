package resilient

import (
	"context"

	"github.com/RC918/morningai"
)

// batch is what one call of Enqueue was given.
type batch struct {
	e        *Engine
	specs    []morningai.TaskSpec
	fresh    []bool // the id was made for this call
	receipts []morningai.Receipt
	accepted bool
	failed   error
}

// sendAll enqueues each durability apart, in order. A batch that names an id
// twice goes one by one, because what becomes of the first decides.
func (b *batch) sendAll(ctx context.Context, todo []int) {
	seen := map[morningai.ID]bool{}
	groups := map[morningai.Durability][]int{}
	var order []morningai.Durability
	for _, i := range todo {
		s := &b.specs[i]
		if seen[s.ID] {
			for _, i := range todo {
				b.send(ctx, b.specs[i].Durability, []int{i})
			}
			return
		}
		seen[s.ID] = true
		if groups[s.Durability] == nil {
			order = append(order, s.Durability)
		}
		groups[s.Durability] = append(groups[s.Durability], i)
	}
	for _, d := range order {
		b.send(ctx, d, groups[d])
	}
}

func (b *batch) send(ctx context.Context, d morningai.Durability, at []int) {
	op := &enqueueOp{durability: d, specs: pick(b.specs, at), fresh: pick(b.fresh, at)}
	some, err := ask(ctx, b.e, func(done func([]morningai.Receipt, error)) {
		op.done = done
		b.e.core.enqueue(op)
	}, nil)
	for k, i := range at {
		if err != nil {
			b.receipts[i].Err = err
		} else {
			b.receipts[i] = some[k]
		}
	}
	if err != nil {
		b.failed = err
	} else {
		b.accepted = true
	}
}
