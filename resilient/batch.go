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

// round enqueues what has no id in common, each durability apart, and returns
// what is left: repeats of an id whose first task was not accepted.
func (b *batch) round(ctx context.Context, todo []int) []int {
	first := map[morningai.ID]int{}
	groups := map[morningai.Durability][]int{}
	var order []morningai.Durability
	var repeats []int
	for _, i := range todo {
		s := &b.specs[i]
		if _, ok := first[s.ID]; ok {
			repeats = append(repeats, i)
			continue
		}
		first[s.ID] = i
		if groups[s.Durability] == nil {
			order = append(order, s.Durability)
		}
		groups[s.Durability] = append(groups[s.Durability], i)
	}
	for _, d := range order {
		b.send(ctx, d, groups[d])
	}
	var left []int
	for _, i := range repeats {
		k := first[b.specs[i].ID]
		switch r := &b.receipts[k]; {
		case r.Err != nil || r.Task.ID != b.specs[i].ID:
			left = append(left, i)
		case b.specs[k].SameRequest(&b.specs[i]):
			b.receipts[i] = morningai.Receipt{Task: r.Task, Existing: true}
		default:
			b.receipts[i].Err = &morningai.Error{Code: morningai.CodeConflict, Op: "enqueue", Detail: "another task has this id"}
		}
	}
	return left
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
