package redis_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

// imports bring back records as they were before, as a journal does.
func (c *comparison) imports() {
	real, model := c.export(c.real), c.export(c.model)
	for id, r := range real {
		m, ok := model[id]
		if !ok || len(c.kept) >= 40 {
			continue
		}
		c.kept = append(c.kept, [2]morningai.Record{r, m})
	}
	if len(c.kept) == 0 {
		return
	}
	slices.SortFunc(c.kept, func(a, b [2]morningai.Record) int { return slices.Compare(a[0].Task.ID[:], b[0].Task.ID[:]) })
	pick := c.kept[c.random.IntN(len(c.kept))]
	if c.is(0.3) { // and went on elsewhere
		for i := range pick {
			r := &pick[i]
			r.Claim, r.Lease, r.Settled = r.Claim+5, 77, morningai.OutcomeSucceeded
			r.Task.Attempt, r.Task.State, r.Task.FinishedAt, r.Task.RunAt = r.Task.Attempt+1, morningai.StateSucceeded, time.Now().UTC(), time.Time{}
			r.Task.Result, r.Task.Error, r.Task.CancelRequested = json.RawMessage(`"elsewhere"`), nil, false
		}
	}
	if pick[0].Task.State == morningai.StateRunning {
		return // how soon it goes back to its queue is a matter of time
	}
	for range 1 + c.random.IntN(2) {
		got, err := c.real.Import(c.Context(), []morningai.Record{pick[0]})
		want, wantErr := c.model.Import(c.Context(), []morningai.Record{pick[1]})
		c.sameError("import", err, wantErr)
		c.sameError("import", got[0].Err, want[0].Err)
		c.same("import", got[0].Status, want[0].Status)
	}
	if c.is(0.2) {
		c.kept = nil
	}
}

func (c *comparison) export(e morningai.Engine) map[morningai.ID]morningai.Record {
	c.Helper()
	out := map[morningai.ID]morningai.Record{}
	for cursor := ""; ; {
		page, err := e.Export(c.Context(), cursor, 100)
		if err != nil {
			c.Fatal(err)
		}
		for _, r := range page.Records {
			out[r.Task.ID] = r
		}
		if cursor = page.Next; cursor == "" {
			return out
		}
	}
}

// readAll compares all that can be read.
func (c *comparison) readAll() {
	for _, lingering := range []bool{true, false} {
		req := morningai.GetRequest{IDs: c.ids[:], Lingering: lingering}
		real, err := c.real.Get(c.Context(), req)
		model, modelErr := c.model.Get(c.Context(), req)
		c.sameError("get", err, modelErr)
		for i := range real {
			c.same("get", shown(real[i]), shown(model[i]))
		}
	}
	for _, filter := range []morningai.Filter{
		{}, {Queue: "a"}, {Type: "rare"}, {State: morningai.StateRetrying}, {State: morningai.StateQueued, Queue: "b"}, {TraceID: c.ids[0]}, {Limit: 2000}, {Cursor: "nonsense?"},
	} {
		list := func(e morningai.Engine) (out []string) {
			for n := 0; n < 50; n++ {
				page, err := e.List(c.Context(), filter)
				if err != nil {
					return append(out, string(morningai.CodeOf(err)))
				}
				for _, t := range page.Tasks {
					out = append(out, shown(t))
				}
				if page.Next == "" {
					break
				}
				filter.Cursor = page.Next
			}
			filter.Cursor = ""
			return sortedText(out)
		}
		if filter.Cursor != "" {
			_, err := c.real.List(c.Context(), filter)
			_, modelErr := c.model.List(c.Context(), filter)
			c.sameError("list with a wrong cursor", err, modelErr)
			continue
		}
		c.same(fmt.Sprintf("list %+v", filter), strings.Join(list(c.real), "\n"), strings.Join(list(c.model), "\n"))
	}
	counts := func(e morningai.Engine) string {
		s, err := e.Stats(c.Context())
		if err != nil {
			c.Fatal(err)
		}
		out := fmt.Sprint(s.States, len(s.Sessions))
		for _, q := range s.Queues {
			held := int64(0)
			for _, n := range q.Counts {
				held += n
			}
			if held == 0 && !q.Paused && q.Concurrency == 0 {
				continue // one that was only named
			}
			out += fmt.Sprint("\n", q.Name, q.Paused, q.Concurrency, q.Counts)
		}
		return out
	}
	c.same("stats", counts(c.real), counts(c.model))
	records := func(e morningai.Engine) (out []string) {
		for _, r := range c.export(e) {
			line := fmt.Sprint(r.Task.ID, r.Deleted)
			if !r.Deleted {
				line += fmt.Sprint(r.UniqueKey, r.Claim, r.Settled, steps(r.Steps), len(r.Logs), r.Task.State, r.Task.Life)
				for _, a := range r.Attempts {
					line += fmt.Sprint(" ", a.Number, a.Life, a.Outcome)
				}
			}
			out = append(out, line)
		}
		return sortedText(out)
	}
	c.same("export", strings.Join(records(c.real), "\n"), strings.Join(records(c.model), "\n"))
}

// shown is what does not depend on clocks and on how many steps a change takes.
func shown(t morningai.Task) string {
	code := ""
	if t.Error != nil {
		code = t.Error.Code
	}
	return fmt.Sprint(t.ID, t.Type, t.Queue, t.Priority, t.State, t.Attempt, t.Failures, t.MaxAttempts, t.Life, t.CancelRequested,
		string(t.Payload), string(t.Result), string(t.Progress), code, t.RunAt.IsZero(), t.FinishedAt.IsZero(), t.StartedAt.IsZero())
}

func steps(m map[string]json.RawMessage) string {
	var out []string
	for name, data := range m {
		out = append(out, name+"="+string(data))
	}
	return fmt.Sprint(sortedText(out))
}

func sortedText[T any](list []T) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = fmt.Sprint(list[i])
	}
	slices.Sort(out)
	return out
}
