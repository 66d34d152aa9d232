package wire

import (
	"encoding/json"
	"time"

	"github.com/RC918/morningai"
)

// ClaimRequest is the body of POST /v1/claims.
type ClaimRequest struct {
	Worker  string    `json:"worker" pattern:"^[A-Za-z0-9_.:-]{1,128}$" doc:"names the worker; one name for each process" example:"mailer-1"`
	Types   []string  `json:"types,omitempty" maxItems:"1000" doc:"the task types that the worker can run; needed unless it leaves"`
	Queues  []string  `json:"queues,omitempty" maxItems:"1000" doc:"the queues to serve, tried in this order; all as one if absent"`
	Shares  []int     `json:"shares,omitempty" maxItems:"1000" doc:"for each queue how many of the tasks it may fill before the others have had their turn; if absent, all of them"`
	Limit   *int      `json:"limit,omitempty" minimum:"0" maximum:"100" doc:"tasks to hand out at most; 1 if absent. With 0 the worker is registered, and waits for cancels"`
	Wait    *Duration `json:"wait,omitempty" doc:"answer when there is something, but at the latest after this duration of up to 5m; at once if absent" example:"30s"`
	Holding []string  `json:"holding,omitempty" maxItems:"1000" doc:"ids of claims that the worker still works on: a beat for each"`
	Here    *bool     `json:"here,omitempty" doc:"hand out only what this very server has accepted and nobody else can run while Redis is away"`
	Node    *string   `json:"node,omitempty" maxLength:"128" doc:"what attempts call the worker; its name if absent"`
	Leave   *bool     `json:"leave,omitempty" doc:"the worker ends: what it has not finished goes back to its queues, without a failure"`
}

// Claims answers POST /v1/claims.
type Claims struct {
	Claims  []Claim  `json:"claims"`
	Cancels []string `json:"cancels,omitempty" doc:"ids of claims that the worker holds and whose tasks are to be canceled; told once, by every beat, and whenever holding names them"`
	Lost    []string `json:"lost,omitempty" doc:"of holding: the claims that are not the worker's any more"`
}

// Claim is a task handed out to a worker.
type Claim struct {
	ID    string                     `json:"claim_id" doc:"names the claim in what the worker reports"`
	Task  morningai.Task             `json:"task"`
	Lease Duration                   `json:"lease" doc:"without a word about the claim for so long, the task goes back to its queue" example:"15s"`
	Steps map[string]json.RawMessage `json:"steps,omitempty" doc:"results that checkpoints of earlier attempts have recorded, by name"`
}

// BeatRequest is the body of POST /v1/claims/{claim_id}/beat.
type BeatRequest struct {
	Progress json.RawMessage `json:"progress,omitempty" doc:"what readers of the task see; any JSON value of up to 1 MiB"`
}

// Beaten answers a beat or a checkpoint.
type Beaten struct {
	Cancel bool `json:"cancel" doc:"the task is to be canceled: the worker should end it and report"`
}

// CheckpointRequest is the body of POST /v1/claims/{claim_id}/checkpoint.
type CheckpointRequest struct {
	Name *string         `json:"name,omitempty" pattern:"^[A-Za-z0-9_.:-]{1,128}$" doc:"of the step that is done; the first result under a name stays for the whole task"`
	Data json.RawMessage `json:"data,omitempty" doc:"the step's result, which later attempts are given; any JSON value of up to 1 MiB, null if absent"`
	Logs []LogRequest    `json:"logs,omitempty" maxItems:"1000" doc:"lines for the task's log"`
}

// LogRequest is a line for a task's log.
type LogRequest struct {
	At      *time.Time      `json:"at,omitempty" doc:"now if absent"`
	Level   *string         `json:"level,omitempty" enum:"debug,info,warn,error" doc:"info if absent"`
	Message string          `json:"message"`
	Attrs   json.RawMessage `json:"attrs,omitempty" doc:"an object"`
}

// FinishRequest is the body of POST /v1/claims/{claim_id}/finish.
type FinishRequest struct {
	Result  json.RawMessage    `json:"result,omitempty" doc:"of a success: any JSON value of up to 1 MiB"`
	Error   *ClaimError        `json:"error,omitempty" doc:"of a failure"`
	Outcome *morningai.Outcome `json:"outcome,omitempty" enum:"snoozed,released,canceled" doc:"neither success nor failure: run again after a while, hand back unfinished, or end as canceled"`
	After   *Duration          `json:"after,omitempty" doc:"with snoozed: run again after this; at once if absent"`
}

// ClaimError says why a worker did not succeed.
type ClaimError struct {
	Code    *string   `json:"code,omitempty" pattern:"^[A-Za-z0-9_.:-]{1,128}$" doc:"handler_error if absent"`
	Message *string   `json:"message,omitempty"`
	Retry   *bool     `json:"retry,omitempty" doc:"false: the task has failed for good; true if absent, as long as it has attempts left"`
	After   *Duration `json:"after,omitempty" doc:"with retry: the wait until the next attempt; if absent 2^failures seconds, at most an hour, give or take 20 %" example:"10s"`
	Stack   *string   `json:"stack,omitempty" doc:"where it happened"`
}

// Finished answers POST /v1/claims/{claim_id}/finish.
type Finished struct {
	State morningai.State `json:"state" enum:"scheduled,blocked,queued,running,succeeded,failed,canceled" doc:"of the task now"`
}

// HereHeader, with the value true, keeps a question on the server that is asked.
const HereHeader = "Morningai-Only-Here"
