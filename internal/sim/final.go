package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// records are all tasks of the shared engine.
func (w *world) records() []morningai.Record {
	page, err := w.shared.ref.Export(context.Background(), "", 1<<20)
	if err != nil {
		panic(err) // it cannot fail
	}
	return page.Records
}

func (w *world) paused(queue string) bool {
	stats, err := w.shared.ref.Stats(context.Background())
	if err != nil {
		panic(err) // it cannot fail
	}
	for _, q := range stats.Queues {
		if q.Name == queue {
			return q.Paused
		}
	}
	return false
}

// final asks every node for everything.
func (w *world) final() (drill.Final, string) {
	final := drill.Final{At: w.now, Nodes: make([]drill.NodeFinal, len(w.hosts))}
	attempts := map[morningai.ID][]drill.AttemptFinal{}
	for _, r := range w.records() {
		for _, a := range r.Attempts {
			attempts[r.Task.ID] = append(attempts[r.Task.ID], drill.AttemptFinal{Number: int64(a.Number), Life: a.Life, Node: a.Node, Outcome: a.Outcome})
		}
	}
	var ids []morningai.ID
	seen := map[morningai.ID]bool{}
	for _, s := range w.clients.asked {
		if !seen[s.ID] {
			seen[s.ID] = true
			ids = append(ids, s.ID)
		}
	}
	var trouble string
	open := 0
	for i, h := range w.hosts {
		n := &final.Nodes[i]
		*n = drill.NodeFinal{Node: h.name, Tasks: map[morningai.ID]drill.TaskFinal{}, Queues: map[string]drill.QueueFinal{}}
		answer := func(what string, err error, take func()) {
			open--
			if err != nil {
				trouble = fmt.Sprintf("at the end %s cannot answer %s: %v", h.name, what, err)
				return
			}
			take()
		}
		tasks := func(list []morningai.Task) {
			for j := range list {
				if t := &list[j]; !t.ID.IsZero() {
					w.trace(h.name, "shows at the end %v: %s life %d v%d %s", t.ID, t.State, t.Life, t.Version, t.Fresh)
					n.Tasks[t.ID] = finalOf(t, attempts[t.ID])
				}
			}
		}
		open += 4
		h.event(func() {
			h.node.Get(morningai.GetRequest{IDs: ids, Lingering: true}, false, func(list []morningai.Task, err error) {
				answer("get", err, func() { tasks(list) })
			})
			h.node.List(morningai.Filter{Limit: 1000}, func(page morningai.Page, err error) {
				answer("list", err, func() { tasks(page.Tasks) })
			})
			h.node.Stats(func(s morningai.Stats, err error) {
				answer("stats", err, func() {
					for _, q := range s.Queues {
						f := drill.QueueFinal{Paused: q.Paused}
						if q.Concurrency > 0 {
							f.Settings = map[string]string{"concurrency": fmt.Sprint(q.Concurrency)}
						}
						n.Queues[q.Name] = f
					}
				})
			})
			h.node.Incidents(func(list []morningai.Incident, err error) {
				answer("incidents", err, func() {
					for _, in := range list {
						n.Lost += in.Lost
						n.SetAside = append(n.SetAside, in.SetAsideIDs...)
						n.Repeated = append(append(n.Repeated, in.RepeatedIDs...), in.MaybeRepeatedIDs...)
					}
				})
			})
		})
	}
	w.run(w.now + 5*time.Second)
	if open > 0 && trouble == "" {
		trouble = fmt.Sprintf("at the end %d questions are not answered within 5 s", open)
	}
	return final, trouble
}

func finalOf(t *morningai.Task, attempts []drill.AttemptFinal) drill.TaskFinal {
	f := drill.TaskFinal{State: t.State, Life: t.Life, Version: t.Version, Payload: drill.DigestOf(t.Payload), Result: drill.DigestOf(t.Result),
		Attempts: attempts, MaybeRepeated: t.MaybeRepeated, CancelRequested: t.CancelRequested, Pending: t.Pending}
	if t.Error != nil {
		f.Code = t.Error.Code
	}
	return f
}
