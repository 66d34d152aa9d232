package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/keptlog"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/strictjson"
	"github.com/RC918/morningai/internal/wire"
)

// route is one row of the table that drives the mux, access and the OpenAPI
// document.
type route struct {
	method, path string
	scope        Scope
	agent        bool // errors in the older shape
	id           string
	summary      string
	params       []param
	body         any  // a value of the body's type; nil: takes none
	bodyOptional bool // an empty one is as good as {}
	answers      []reply
	fails        []morningai.Code // beside those that many routes share
	serve        func(*api, *call) (answer, error)
}

// reply is one answer that is not an error, unless it says so.
type reply struct {
	status int
	body   any // a value of the body's type
	doc    string
}

// param is a query parameter or a header.
type param struct {
	name   string
	header bool
	doc    string
	enum   []string
	most   int // integers: from 1 to this
}

// kind is the media type that the route answers.
func (rt route) kind() string {
	if c, ok := rt.answers[0].body.(content); ok {
		return c.kind
	}
	return "application/json"
}

// checkQuery returns the query of a request if the route knows all of it.
func (rt route) checkQuery(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, wrongField("query", "is malformed")
	}
	var bad []morningai.FieldError
	for name, values := range query {
		known := slices.ContainsFunc(rt.params, func(p param) bool { return p.name == name && !p.header })
		switch {
		case !known && morningai.ValidName(name):
			bad = append(bad, morningai.FieldError{Location: "query." + name, Message: "is not a known parameter"})
		case !known:
			bad = append(bad, morningai.FieldError{Location: "query", Message: "has an unknown parameter"})
		case len(values) > 1:
			bad = append(bad, morningai.FieldError{Location: "query." + name, Message: "must be given once"})
		}
		if len(bad) == strictjson.MaxWrong {
			break
		}
	}
	if len(bad) > 0 {
		slices.SortFunc(bad, func(a, b morningai.FieldError) int { return strings.Compare(a.Location, b.Location) })
		return nil, morningai.InvalidInput("read request", bad...)
	}
	return query, nil
}

// replies of one status.
func one(status int, body any, doc string) []reply { return []reply{{status, body, doc}} }

// routes returns the table, in the order of the document.
func routes() []route {
	task := one(http.StatusOK, morningai.Task{}, "the task")
	commanded := commandReplies("the task")
	down := []morningai.Code{morningai.CodeStorageFailed, codeRedisUnavailable, morningai.CodeStatusUnknown}
	full := append([]morningai.Code{morningai.CodeStorageFull}, down...)
	keyHeader := param{name: idempotencyHeader, header: true,
		doc: "repeating a request with the same key and body makes one task; with another body it is refused. Keys belong to the caller's token"}
	return []route{
		{method: "POST", path: "/v1/tasks", scope: ScopeSubmit, id: "enqueue", summary: "Enqueue a task",
			params: []param{keyHeader}, body: wire.TaskRequest{},
			answers: []reply{
				{http.StatusAccepted, morningai.Task{}, "accepted and durable, or, with the header Idempotent-Replayed, accepted before"},
				{http.StatusOK, morningai.Task{}, "a live task holds the unique key, and this is it"}},
			fails: append(slices.Clip(full), morningai.CodeAcceptUnknown, morningai.CodeConflict, morningai.CodeIdempotencyConflict),
			serve: (*api).enqueue},
		{method: "POST", path: "/v1/tasks/batch", scope: ScopeSubmit, id: "enqueue-batch", summary: "Enqueue up to 1,000 tasks",
			body:    wire.BatchRequest{},
			answers: one(http.StatusAccepted, wire.Tasks{}, "accepted, in the order given; those whose unique key is held are the holders"),
			fails:   append(slices.Clip(full), morningai.CodeAcceptUnknown, morningai.CodeConflict),
			serve:   (*api).enqueueBatch},
		{method: "GET", path: "/v1/tasks", scope: ScopeRead, id: "list-tasks", summary: "List tasks, newest first",
			params: []param{
				{name: "state", doc: "retrying selects the scheduled ones that failed before", enum: filterStates()},
				{name: "queue"}, {name: "type"}, {name: "trace_id"},
				{name: "limit", doc: "tasks of a page; 50 if absent. A page of large tasks ends earlier, with a cursor", most: maxPage},
				{name: "cursor", doc: "next_cursor of the page before"}},
			answers: one(http.StatusOK, wire.TaskPage{}, "one page"), fails: down, serve: (*api).listTasks},
		{method: "GET", path: "/v1/tasks/{id}", scope: ScopeRead, id: "get-task", summary: "Read a task",
			params:  []param{{name: "wait", doc: "answer when the task has ended, but at the latest after this duration of up to 5m"}},
			answers: task, fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).getTask},
		{method: "DELETE", path: "/v1/tasks/{id}", scope: ScopeAdmin, id: "delete-task", summary: "Remove a task that does not run",
			answers: commandReplies("the task as it was"), fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeWrongState),
			serve: command((*morningai.Client).Delete)},
		{method: "POST", path: "/v1/tasks/{id}/cancel", scope: ScopeAdmin, id: "cancel-task", summary: "Cancel a task; a running handler has its context cancelled",
			answers: commanded, fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeWrongState), serve: command((*morningai.Client).Cancel)},
		{method: "POST", path: "/v1/tasks/{id}/retry", scope: ScopeAdmin, id: "retry-task", summary: "Give an ended task another life, or retry a waiting one now",
			answers: commanded, fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeWrongState), serve: command((*morningai.Client).Retry)},
		{method: "POST", path: "/v1/tasks/{id}/run", scope: ScopeAdmin, id: "run-task", summary: "Run a scheduled task now",
			answers: commanded, fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeWrongState), serve: command((*morningai.Client).RunNow)},
		{method: "GET", path: "/v1/tasks/{id}/attempts", scope: ScopeRead, id: "list-attempts", summary: "Every execution of a task",
			answers: one(http.StatusOK, wire.Attempts{}, "oldest first"), fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).attempts},
		{method: "GET", path: "/v1/tasks/{id}/logs", scope: ScopeRead, id: "list-logs", summary: "What the handlers of a task wrote to its log",
			answers: one(http.StatusOK, wire.Logs{}, "oldest first; the newest 1,000"), fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).logs},
		{method: "GET", path: "/v1/tasks/{id}/why", scope: ScopeRead, id: "explain-task", summary: "Why a task is not running",
			answers: one(http.StatusOK, morningai.Explanation{}, "the reasons, most important first"), fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).why},

		{method: "GET", path: "/v1/logs", scope: ScopeRead, id: "list-server-logs", summary: "What this server has logged, as far as it is kept",
			params: []param{
				{name: "trace_id", doc: "only lines about tasks of this trace, or about the task with this id"},
				{name: "since", doc: "a time, or a duration such as 15m back from now"},
				{name: "level", doc: "and above; all if absent", enum: logLevels},
				{name: "limit", doc: "the newest lines; 1,000 if absent", most: keptlog.MaxLines}},
			answers: one(http.StatusOK, wire.LogLines{}, "oldest first"), fails: []morningai.Code{morningai.CodeNotFound}, serve: (*api).serverLogs},

		{method: "GET", path: "/v1/queues", scope: ScopeRead, id: "list-queues", summary: "All queues that were set up or used",
			answers: one(http.StatusOK, wire.Queues{}, "by name"), fails: down, serve: (*api).listQueues},
		{method: "GET", path: "/v1/queues/{name}", scope: ScopeRead, id: "get-queue", summary: "Read a queue",
			answers: one(http.StatusOK, wire.Queue{}, "the queue"), fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).getQueue},
		{method: "PATCH", path: "/v1/queues/{name}", scope: ScopeAdmin, id: "set-queue", summary: "Set up a queue; null clears a limit, what is left out stays",
			body: wire.QueueChange{}, answers: []reply{{http.StatusOK, wire.Queue{}, "the queue as it is now"},
				{http.StatusAccepted, wire.Queue{}, "the same, and Redis has still to be told"}}, fails: full, serve: (*api).setQueue},
		{method: "GET", path: "/v1/stats", scope: ScopeRead, id: "get-stats", summary: "Counts and throughput",
			answers: one(http.StatusOK, wire.Stats{}, "counts of this moment"), fails: down, serve: (*api).stats},

		{method: "GET", path: "/v1/backup", scope: ScopeAdmin, id: "get-backup", summary: "A backup of everything, made while work goes on",
			answers: one(http.StatusOK, content{kind: wire.BackupType}, "the file; one that is cut off has no valid end"),
			fails:   append(slices.Clip(down), sessions.CodeTooMany, morningai.CodeNotFound), serve: (*api).getBackup},

		{method: "GET", path: "/v1/incidents", scope: ScopeRead, id: "list-incidents", summary: "The outages that this server remembers",
			answers: one(http.StatusOK, wire.Incidents{}, "newest first, the one that lasts among them"), fails: down, serve: (*api).listIncidents},
		{method: "GET", path: "/v1/incidents/{id}", scope: ScopeRead, id: "get-incident", summary: "One outage, with the tasks that it touched",
			answers: one(http.StatusOK, wire.Incident{}, "the report"), fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).getIncident},
		{method: "GET", path: "/v1/nodes", scope: ScopeRead, id: "list-nodes", summary: "The members of the fleet",
			answers: one(http.StatusOK, wire.Nodes{}, "by name"), fails: down, serve: (*api).listNodes},
		{method: "DELETE", path: "/v1/nodes/{id}", scope: ScopeAdmin, id: "forget-node", summary: "Forget a member that will not come back; what only its journal knew is then not found",
			answers: one(http.StatusOK, wire.Node{}, "the member as it was"), fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeWrongState),
			serve: (*api).forgetNode},

		{method: "POST", path: "/v1/claims", scope: ScopeSubmit, id: "claim", summary: "Register a worker, and hand out tasks to it",
			body: wire.ClaimRequest{}, answers: one(http.StatusOK, wire.Claims{}, "tasks, cancels, or neither when the wait is over"),
			fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeStale, sessions.CodeTooMany), serve: (*api).claim},
		{method: "POST", path: "/v1/claims/{claim_id}/beat", scope: ScopeSubmit, id: "claim-beat", summary: "Say that a worker still works on a task",
			body: wire.BeatRequest{}, bodyOptional: true, answers: one(http.StatusOK, wire.Beaten{}, "the claim has another lease from now"),
			fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeStale), serve: (*api).claimBeat},
		{method: "POST", path: "/v1/claims/{claim_id}/checkpoint", scope: ScopeSubmit, id: "claim-checkpoint", summary: "Record the result of a step, or log lines",
			body: wire.CheckpointRequest{}, answers: one(http.StatusOK, wire.Beaten{}, "recorded; the claim has another lease from now"),
			fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeStale), serve: (*api).claimCheckpoint},
		{method: "POST", path: "/v1/claims/{claim_id}/finish", scope: ScopeSubmit, id: "claim-finish", summary: "Report what became of a task",
			body: wire.FinishRequest{}, answers: one(http.StatusOK, wire.Finished{}, "recorded; repeating it is acknowledged"),
			fails: append(slices.Clip(full), morningai.CodeNotFound, morningai.CodeStale), serve: (*api).claimFinish},

		{method: "POST", path: "/api/agent/faq", scope: ScopeSubmit, agent: true, id: "agent-faq", summary: "Ask a question, as in earlier systems",
			params: []param{keyHeader}, body: agentQuestion{},
			answers: one(http.StatusAccepted, agentAccepted{}, "accepted and durable"), fails: append(slices.Clip(full), morningai.CodeAcceptUnknown, morningai.CodeIdempotencyConflict),
			serve: (*api).agentAsk},
		{method: "GET", path: "/api/agent/tasks/{id}", scope: ScopeRead, agent: true, id: "agent-task", summary: "Read a task, as in earlier systems",
			answers: one(http.StatusOK, agentTask{}, "the task"), fails: append(slices.Clip(down), morningai.CodeNotFound), serve: (*api).agentTask},

		{method: "GET", path: "/health", id: "health", summary: "Whether tasks are accepted, and what stands in the way",
			answers: []reply{{http.StatusOK, wire.Health{}, "ok, or degraded"}, {http.StatusServiceUnavailable, wire.Health{}, "down"}},
			serve:   (*api).health},
		{method: "GET", path: "/health/redis", id: "health-redis", summary: "Whether Redis is up",
			answers: []reply{
				{http.StatusOK, wire.Status{}, "it took a real write at most a second ago"},
				{http.StatusServiceUnavailable, wire.Status{}, "it did not"},
				{http.StatusNotFound, wire.Status{}, "the engine has no Redis"}}, serve: (*api).healthRedis},
		{method: "GET", path: "/livez", id: "livez", summary: "Whether the process answers",
			answers: one(http.StatusOK, wire.Live{}, "it does"), serve: (*api).livez},
		{method: "GET", path: "/readyz", id: "readyz", summary: "Whether tasks are accepted, from a real write at most a second old",
			answers: one(http.StatusOK, wire.Status{}, "they are"), fails: append(slices.Clip(full), morningai.CodeClosed), serve: (*api).readyz},
		{method: "GET", path: "/metrics", id: "metrics", summary: "Metrics for Prometheus",
			answers: one(http.StatusOK, content{kind: metricsType}, "the text form, read at most a second ago"), serve: (*api).metricsText},
		{method: "GET", path: "/openapi.json", id: "openapi", summary: "This document",
			answers: one(http.StatusOK, map[string]any{}, "OpenAPI 3.1"),
			serve: func(a *api, _ *call) (answer, error) {
				return answer{http.StatusOK, content{"application/json", a.document}}, nil
			}},
		{method: "GET", path: "/docs", id: "docs", summary: "This document for people",
			answers: one(http.StatusOK, content{kind: htmlType}, "a page"),
			serve: func(a *api, c *call) (answer, error) {
				c.w.Header().Set("Content-Security-Policy", docsPolicy)
				return answer{http.StatusOK, content{htmlType, a.page}}, nil
			}},
	}
}

// commandReplies are those of a route that acts on a task.
func commandReplies(doc string) []reply {
	return []reply{{http.StatusOK, morningai.Task{}, doc},
		{http.StatusAccepted, morningai.Task{}, doc + "; pending: it holds on this server, and Redis has still to apply it"}}
}

func filterStates() []string {
	var names []string
	for _, s := range append(morningai.States(), morningai.StateRetrying) {
		names = append(names, string(s))
	}
	return names
}

// pathID reads the task id of a route. A malformed one names no task.
func pathID(r *http.Request) (morningai.ID, error) {
	id, err := morningai.ParseID(r.PathValue("id"))
	if err != nil || id.IsZero() {
		return id, refusal(morningai.CodeNotFound, "there is no such task", "")
	}
	return id, nil
}

func boundedInt(text string, most int) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 1 && n <= most && text[0] != '+'
}
