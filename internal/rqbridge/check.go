package rqbridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/strictjson"
	"github.com/RC918/morningai/rq"
)

// Prefix begins the types of tasks that RQ's workers run; the rest is the import
// path of a function.
const Prefix = "rq:"

// payload is what a task of RQ carries.
type payload struct {
	Args   json.RawMessage `json:"args"`
	Kwargs json.RawMessage `json:"kwargs"`
}

// Check refuses tasks for RQ that RQ would not take, before anything of them is
// written, and has the others held while Redis is away: nobody but RQ's workers
// could run them.
func Check(next morningai.EnqueueFunc) morningai.EnqueueFunc {
	return func(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
		var bad []morningai.FieldError
		for i := range specs {
			if !strings.HasPrefix(specs[i].Type, Prefix) {
				continue
			}
			at := ""
			if len(specs) > 1 {
				at = fmt.Sprintf("tasks[%d].", i)
			}
			for _, f := range wrong(&specs[i]) {
				bad = append(bad, morningai.FieldError{Location: at + f.Location, Message: f.Message})
			}
			specs[i].DuringOutage = morningai.OutageHold
		}
		if len(bad) > 0 {
			return nil, morningai.InvalidInput("enqueue", bad...)
		}
		return next(ctx, specs)
	}
}

func wrong(s *morningai.TaskSpec) []morningai.FieldError {
	var bad []morningai.FieldError
	if !rq.ValidFunc(strings.TrimPrefix(s.Type, Prefix)) {
		bad = append(bad, morningai.FieldError{Location: "type", Message: "must be rq: and the import path of a function, such as rq:app.tasks.resize"})
	}
	if s.Timeout%time.Second != 0 || s.Timeout < time.Second {
		bad = append(bad, morningai.FieldError{Location: "timeout", Message: "must be whole seconds for a task of RQ"})
	}
	if _, ok := read(s.Payload); !ok {
		bad = append(bad, morningai.FieldError{Location: "payload", Message: `must be like {"args":[1,"two"],"kwargs":{"name":"value"}} for a task of RQ`})
	}
	return bad
}

// read takes a payload apart; what is left out is empty.
func read(raw json.RawMessage) (payload, bool) {
	p := payload{Args: json.RawMessage("[]"), Kwargs: json.RawMessage("{}")}
	if len(raw) == 0 || string(raw) == "null" {
		return p, true
	}
	wrong, err := strictjson.Decode(raw, &p)
	if err != nil || len(wrong) > 0 {
		return p, false
	}
	p.Args, p.Kwargs = bytes.TrimSpace(p.Args), bytes.TrimSpace(p.Kwargs)
	return p, len(p.Args) > 0 && p.Args[0] == '[' && len(p.Kwargs) > 0 && p.Kwargs[0] == '{'
}
