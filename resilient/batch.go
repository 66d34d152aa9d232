package resilient

import (
	"context"
	"slices"

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
	if b.namesTwice(todo) {
		for _, i := range todo {
			b.send(ctx, b.specs[i].Durability, []int{i})
		}
		return
	}
	for len(todo) > 0 {
		d := b.specs[todo[0]].Durability
		var same, others []int
		for k, i := range todo {
			switch {
			case b.specs[i].Durability != d && others == nil:
				same, others = slices.Clone(todo[:k]), []int{i}
			case b.specs[i].Durability != d:
				others = append(others, i)
			case others != nil:
				same = append(same, i)
			}
		}
		if others == nil {
			same = todo
		}
		b.send(ctx, d, same)
		todo = others
	}
}

// namesTwice looks for an id that is there twice.
func (b *batch) namesTwice(todo []int) bool {
	if len(todo) < 2 {
		return false
	}
	seen := make(map[morningai.ID]struct{}, len(todo))
	for _, i := range todo {
		seen[b.specs[i].ID] = struct{}{}
	}
	return len(seen) < len(todo)
}

func (b *batch) send(ctx context.Context, d morningai.Durability, at []int) {
	op := &enqueueOp{durability: d, specs: b.specs, fresh: b.fresh}
	if len(at) < len(b.specs) {
		op.specs, op.fresh = pick(b.specs, at), pick(b.fresh, at)
	}
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
