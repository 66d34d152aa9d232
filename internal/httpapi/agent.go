package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/RC918/morningai"
)

// The routes under /api/agent are those of an earlier system, for callers that
// know nothing else.

const (
	faqType     = "faq"
	maxQuestion = 1_000 // characters, as for the task type faq
)

type agentQuestion struct {
	Question string `json:"question" minLength:"1" maxLength:"1000"`
}

type agentAccepted struct {
	TaskID morningai.ID `json:"task_id" format:"uuid"`
	Status string       `json:"status" enum:"queued,running,done,error"`
}

type agentTask struct {
	TaskID     morningai.ID `json:"task_id" format:"uuid"`
	Status     string       `json:"status" enum:"queued,running,done,error"`
	TraceID    morningai.ID `json:"trace_id" format:"uuid"`
	Question   *string      `json:"question"`
	PRURL      *string      `json:"pr_url"`
	ErrorMsg   *string      `json:"error_msg"`
	CreatedAt  *time.Time   `json:"created_at"`
	StartedAt  *time.Time   `json:"started_at"`
	FinishedAt *time.Time   `json:"finished_at"`
	UpdatedAt  *time.Time   `json:"updated_at"`
	Source     string       `json:"source" doc:"the engine that answers"`
}

func (a *api) agentAsk(c *call) (answer, error) {
	key, err := c.idempotencyKey()
	if err != nil {
		return answer{}, err
	}
	spec, err := questionSpec(c.body)
	if err != nil {
		return answer{}, err
	}
	if key != "" {
		spec.ID = keyID(c.who, key)
	}
	if err := spec.Normalize(); err != nil {
		return answer{}, within("body.", err)
	}
	receipt, err := a.accept(c, spec, key != "")
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusAccepted, agentAccepted{receipt.Task.ID, agentStatus(&receipt.Task)}}, nil
}

// questionSpec makes the task that answers the question in a body.
func questionSpec(body []byte) (morningai.TaskSpec, error) {
	var req agentQuestion
	err := decode(body, &req, func() error {
		req.Question = strings.TrimSpace(req.Question)
		if n := utf8.RuneCountInString(req.Question); n < 1 || n > maxQuestion {
			return wrongField("question", fmt.Sprintf("must be 1 to %d characters", maxQuestion))
		}
		return nil
	})
	if err != nil {
		return morningai.TaskSpec{}, err
	}
	payload, err := marshal(req)
	if err != nil {
		return morningai.TaskSpec{}, err
	}
	return morningai.NewTaskSpec(faqType, payload[:len(payload)-1]), nil // without the line's end
}

func (a *api) agentTask(c *call) (answer, error) {
	id, err := pathID(c.r)
	if err != nil {
		return answer{}, err
	}
	task, err := a.client.Get(c.r.Context(), id)
	if err != nil {
		return answer{}, err
	}
	out := agentTask{
		TaskID: task.ID, TraceID: task.TraceID, Status: agentStatus(task), Source: a.engine,
		CreatedAt: moment(task.CreatedAt), StartedAt: moment(task.StartedAt), FinishedAt: moment(task.FinishedAt),
	}
	out.UpdatedAt = out.CreatedAt
	for _, t := range []*time.Time{out.StartedAt, out.FinishedAt} {
		if t != nil {
			out.UpdatedAt = t
		}
	}
	out.Question = textIn(task.Payload, "question")
	out.PRURL = textIn(task.Result, "pr_url")
	if task.Error != nil {
		out.ErrorMsg = &task.Error.Message
	}
	return answer{http.StatusOK, out}, nil
}

func agentStatus(t *morningai.Task) string {
	switch t.State {
	case morningai.StateRunning:
		return "running"
	case morningai.StateSucceeded:
		return "done"
	case morningai.StateFailed, morningai.StateCanceled:
		return "error"
	}
	return "queued"
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// textIn returns the text under a name of an object, nil if there is none: the
// task may be of any type.
func textIn(value json.RawMessage, name string) *string {
	var fields map[string]json.RawMessage
	var text string
	if json.Unmarshal(value, &fields) != nil || json.Unmarshal(fields[name], &text) != nil || text == "" {
		return nil
	}
	return &text
}
