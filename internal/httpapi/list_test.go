package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/wire"
)

func TestListPagesNewestFirst(t *testing.T) {
	b := start(t, open(t), Options{})
	b.want(200, "PATCH", "/v1/queues/shut", `{"paused":true}`)
	var sent []string
	for i := range 7 {
		sent = append(sent, b.want(202, "POST", "/v1/tasks", fmt.Sprintf(`{"type":"echo","queue":"shut","payload":%d}`, i)).task(t).ID.String())
	}
	b.want(202, "POST", "/v1/tasks", `{"type":"other","trace_id":"01937c4e-0000-7000-8000-000000000001","delay":"1h"}`)
	slices.Reverse(sent)
	var got []string
	cursor := ""
	for {
		var page wire.TaskPage
		r := b.want(200, "GET", "/v1/tasks?queue=shut&type=&state=queued&limit=3&cursor="+url.QueryEscape(cursor), "")
		r.into(t, &page)
		if len(page.Tasks) > 3 || page.Fresh != "live" || !strings.Contains(string(r.raw), `"next_cursor":`) {
			t.Fatalf("page %s", r.raw)
		}
		for _, task := range page.Tasks {
			got = append(got, task.ID.String())
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if !slices.Equal(got, sent) {
		t.Errorf("listed %q, want %q", got, sent)
	}
	for query, want := range map[string]int{
		"state=scheduled": 1, "type=other": 1, "type=none": 0, "queue=none": 0, "state=failed": 0, "state=retrying": 0,
		"trace_id=01937c4e-0000-7000-8000-000000000001": 1, "": 8, "limit=1000": 8, "limit=1": 1,
	} {
		var page wire.TaskPage
		b.want(200, "GET", "/v1/tasks?"+query, "").into(t, &page)
		if len(page.Tasks) != want {
			t.Errorf("%s: %d tasks, want %d", query, len(page.Tasks), want)
		}
	}
}

// A page of large tasks ends early, and the cursor goes on without a gap.
func TestListEndsPagesOfLargeTasksEarly(t *testing.T) {
	b := start(t, open(t), Options{})
	b.want(200, "PATCH", "/v1/queues/shut", `{"paused":true}`)
	body := `{"type":"echo","queue":"shut","payload":"` + strings.Repeat("x", 400_000) + `"}`
	for range 120 {
		b.want(202, "POST", "/v1/tasks", body)
	}
	seen := map[string]bool{}
	pages := 0
	for cursor := ""; ; pages++ {
		var page wire.TaskPage
		r := b.want(200, "GET", "/v1/tasks?limit=1000&cursor="+url.QueryEscape(cursor), "")
		if len(r.raw) > maxPageBytes+pagePiece*400_000 {
			t.Fatalf("a page has %d bytes", len(r.raw))
		}
		r.into(t, &page)
		for _, task := range page.Tasks {
			seen[task.ID.String()] = true
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if len(seen) != 120 || pages == 0 {
		t.Errorf("%d of 120 tasks on %d full pages", len(seen), pages)
	}
}

func TestListRefusesWhatItDoesNotKnow(t *testing.T) {
	b := start(t, open(t), Options{})
	for query, at := range map[string]string{
		"state=done": "query.state", "state=Queued": "query.state", "limit=0": "query.limit", "limit=1001": "query.limit",
		"limit=ten": "query.limit", "limit=%2B5": "query.limit", "limit=-1": "query.limit", "limit=99999999999999999999": "query.limit",
		"queue=a%20b": "query.queue", "type=%00": "query.type", "trace_id=x": "query.trace_id", "cursor=nonsense": "query.cursor",
		"trace_id=00000000-0000-0000-0000-000000000000": "query.trace_id",
		"sort=asc": "query.sort", "state=queued&state=failed": "query.state", "%3Cscript%3E=1": "query", "a=%zz": "query", "a;b": "query",
	} {
		b.refused("invalid_input", "GET", "/v1/tasks?"+query, "", at)
	}
	b.refused("invalid_input", "GET", "/v1/tasks?state=x&limit=x&zz=1", "", "query.zz")
	b.refused("invalid_input", "GET", "/v1/tasks?state=x&limit=x", "", "query.state", "query.limit")
}

func TestQueues(t *testing.T) {
	b := start(t, open(t), Options{})
	b.refused("not_found", "GET", "/v1/queues/mail", "")
	b.refused("not_found", "GET", "/v1/queues/a%20b", "")
	r := b.want(200, "PATCH", "/v1/queues/mail", `{"paused":true,"concurrency":3,"rate":"100/m"}`)
	for _, field := range []string{`"name":"mail"`, `"paused":true`, `"concurrency":3`, `"rate":"100/m"`, `"queued":0`, `"oldest_queued_at":null`} {
		if !strings.Contains(string(r.raw), field) {
			t.Errorf("%s is not in %s", field, r.raw)
		}
	}
	b.want(202, "POST", "/v1/tasks", `{"type":"echo","queue":"mail"}`)
	var q wire.Queue
	b.want(200, "PATCH", "/v1/queues/mail", `{"concurrency":null}`).into(t, &q)
	if q.Concurrency != nil || q.Rate == nil || !q.Paused || q.Queued != 1 || q.OldestQueuedAt == nil {
		t.Errorf("queue %+v", q)
	}
	q = wire.Queue{}
	b.want(200, "PATCH", "/v1/queues/mail", `{"rate":null,"paused":false}`).into(t, &q)
	if q.Rate != nil || q.Paused {
		t.Errorf("queue %+v", q)
	}
	b.want(200, "PATCH", "/v1/queues/new", `{}`)
	var all wire.Queues
	b.want(200, "GET", "/v1/queues", "").into(t, &all)
	if len(all.Queues) != 2 || all.Queues[0].Name != "mail" || all.Queues[1].Name != "new" {
		t.Errorf("queues %+v", all)
	}
	for body, at := range map[string]string{
		`{"concurrency":0}`: "body.concurrency", `{"concurrency":-1}`: "body.concurrency", `{"concurrency":100001}`: "body.concurrency",
		`{"concurrency":1.0}`: "body.concurrency", `{"concurrency":"3"}`: "body.concurrency",
		`{"rate":"0/s"}`: "body.rate", `{"rate":"1/d"}`: "body.rate", `{"rate":10}`: "body.rate", `{"rate":"9999999/s"}`: "body.rate",
		`{"paused":null}`: "body.paused", `{"paused":"yes"}`: "body.paused", `{"name":"x"}`: "body.name", `[]`: "body",
	} {
		b.refused("invalid_input", "PATCH", "/v1/queues/mail", body, at)
	}
	b.refused("invalid_input", "PATCH", "/v1/queues/a%20b", `{}`, "path.name")
	b.refused("invalid_json", "PATCH", "/v1/queues/mail", `{"paused":true,"paused":true}`, "body.paused")
	b.refused("not_found", "GET", "/v1/queues/a%20b", "")
	var stats wire.Stats
	b.want(200, "GET", "/v1/stats", "").into(t, &stats)
	if len(stats.States) != 7 || stats.AsOf.IsZero() || stats.Throughput.Enqueued != 1 {
		t.Errorf("stats %+v", stats)
	}
}
