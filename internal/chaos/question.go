package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

const asked = "Test question during Redis outage"

// question is one that is asked in an outage: it is answered once.
type question struct{ id morningai.ID }

func (q *question) ready(f *fleet) error {
	const text = "# Redis outage\n\nDuring a Redis outage a test question is accepted into the journal. " +
		"The question is answered during the outage and the document is recorded once.\n\n" +
		"## Test question during Redis outage\n\nThis is how a test question during a Redis outage is answered.\n"
	return os.WriteFile(filepath.Join(f.dir, "docs", "outage.md"), []byte(text), 0o600)
}

func (q *question) play(ctx context.Context, f *fleet) error {
	return f.away(ctx, freeze, thaw, func() error {
		if err := f.degraded(ctx); err != nil {
			return err
		}
		n := f.some()
		call := f.history.Begin(drill.Op{Kind: drill.Enqueue, Node: n.name, Client: "producer", Queue: morningai.DefaultQueue})
		var said struct {
			TaskID morningai.ID `json:"task_id"`
			Status string       `json:"status"`
		}
		status, err := n.json(ctx, "POST", "/api/agent/faq", map[string]string{"question": asked}, &said)
		call.Return(func(o *drill.Op) {
			o.Task = said.TaskID
			if o.Outcome = drill.OK; said.TaskID.IsZero() {
				o.Outcome = drill.Unknown
			}
		})
		if q.id = said.TaskID; err != nil || status != http.StatusAccepted || said.Status != "queued" || q.id.IsZero() {
			return errors.Join(fmt.Errorf("a question in an outage is answered with %d %+v", status, said), err)
		}
		f.odd[q.id] = true
		return until(ctx, "an answer during the outage", func() (bool, error) {
			task, err := n.client.Load().Get(ctx, q.id)
			return err == nil && task.State == morningai.StateSucceeded, ctx.Err()
		})
	})
}

func (q *question) after(ctx context.Context, f *fleet) error {
	for _, n := range f.nodes {
		var said struct {
			Status   string       `json:"status"`
			TraceID  morningai.ID `json:"trace_id"`
			Question string       `json:"question"`
		}
		if status, err := n.json(ctx, "GET", "/api/agent/tasks/"+q.id.String(), nil, &said); err != nil {
			return err
		} else if status != http.StatusOK || said.Status != "done" || said.TraceID != q.id || said.Question != asked {
			f.broke("server %s says of a question that was asked in the outage: %d %+v", n.name, status, said)
		}
		page, err := n.client.Load().List(ctx, morningai.Filter{Type: "faq", Limit: 10})
		if err != nil {
			return err
		}
		if len(page.Tasks) != 1 || page.Tasks[0].Attempt != 1 || page.Tasks[0].TraceID != q.id {
			f.broke("server %s has %d questions, and not one that was answered once, with its trace id", n.name, len(page.Tasks))
			continue
		}
		var result struct {
			Document string `json:"document"`
		}
		if err := json.Unmarshal(page.Tasks[0].Result, &result); err != nil || strings.Count(result.Document, "Trace ID: `"+q.id.String()+"`") != 1 {
			f.broke("the document on server %s does not have the trace id once: %v", n.name, err)
		}
	}
	return nil
}

// json makes a request that the client has no call for.
func (n *node) json(ctx context.Context, method, path string, body, into any) (int, error) {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return 0, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, n.url+path, &text)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Timeout: silence, Transport: n.web}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(into)
}
