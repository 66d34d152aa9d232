package httpapi

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// scrape returns the metrics by series, as they are written.
func (b *testServer) scrape() map[string]float64 {
	b.t.Helper()
	out := map[string]float64{}
	for line := range strings.Lines(string(b.want(200, "GET", "/metrics", "").raw)) {
		if series, value, ok := strings.Cut(strings.TrimSpace(line), "} "); ok && line[0] != '#' {
			out[series+"}"], _ = strconv.ParseFloat(value, 64)
		} else if series, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && line[0] != '#' {
			out[series], _ = strconv.ParseFloat(value, 64)
		}
	}
	return out
}

// holds compares some of the metrics; -1 says that there must be none.
func holds(t *testing.T, when string, got, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		if found, ok := got[series]; ok != (value >= 0) || ok && found != value {
			t.Errorf("%s: %s is %v (%v), want %v", when, series, found, ok, value)
		}
	}
}

func TestMetricsOfOutages(t *testing.T) {
	b, f := startFleet(t)
	began := time.Now().Add(-time.Hour)
	old := morningai.Incident{ID: morningai.ID{1}, StartedAt: began, EndedAt: began.Add(20 * time.Second), Accepted: 1, RanLocally: 2, Delivered: 3, Forwarded: 4,
		Replayed: 5, Repeated: 6, MaybeRepeated: 11, Superseded: 7, SetAside: 8, Refused: 9, Lost: 10}
	f.set(func() {
		f.status = morningai.FleetStatus{Contact: morningai.ContactUp, Backlog: 3, Journal: morningai.JournalInfo{Bytes: 4096, Free: -1}}
		f.incidents = []morningai.Incident{old}
	})
	totals := map[string]float64{"morningai_incidents_total": 1, "morningai_outage_seconds_total": 20, "morningai_outage_accepted_total": 1,
		"morningai_outage_ran_locally_total": 2, "morningai_outage_delivered_total": 3, "morningai_outage_forwarded_total": 4, "morningai_outage_replayed_total": 5,
		"morningai_outage_repeated_total": 6, "morningai_outage_maybe_repeated_total": 11, "morningai_outage_superseded_total": 7, "morningai_outage_set_aside_total": 8, "morningai_outage_refused_total": 9,
		"morningai_outage_lost_total": 10}
	got := b.scrape()
	holds(t, "after an outage", got, totals)
	holds(t, "while Redis is up", got, map[string]float64{"morningai_accepting": 1, "morningai_redis_up": 1, `morningai_circuit_state{state="up"}`: 1,
		`morningai_circuit_state{state="down"}`: 0, `morningai_circuit_state{state="suspect"}`: 0, `morningai_circuit_state{state="recovering"}`: 0,
		"morningai_journal_undelivered_entries": 3, "morningai_journal_bytes": 4096, "morningai_journal_limit_bytes": -1, "morningai_journal_disk_free_bytes": -1})

	// An outage: counts of tasks that nobody knows are left out.
	f.set(func() {
		f.status = morningai.FleetStatus{Contact: morningai.ContactDown, Backlog: 9, Journal: morningai.JournalInfo{Bytes: 8192, Free: 1 << 30}, JournalLimit: 1 << 20,
			Refusing: morningai.ErrStorageFull, Cause: "down", Hint: "up"}
		f.statsErr = morningai.ErrStatusUnknown
		f.shared = func(context.Context) error { return errors.New("gone") }
		f.incidents = []morningai.Incident{{ID: morningai.ID{2}, StartedAt: time.Now().Add(-30 * time.Second), Accepted: 100}, old}
	})
	b.api.redisProber.forget()
	got = b.scrape()
	holds(t, "in an outage", got, map[string]float64{"morningai_accepting": 0, "morningai_redis_up": 0, `morningai_circuit_state{state="up"}`: 0,
		`morningai_circuit_state{state="down"}`: 1, "morningai_journal_undelivered_entries": 9, "morningai_journal_limit_bytes": 1 << 20,
		"morningai_journal_disk_free_bytes": 1 << 30, "morningai_incidents_total": 2, "morningai_outage_accepted_total": 101, "morningai_outage_lost_total": 10,
		"morningai_tasks_as_of_timestamp_seconds": -1, "morningai_sessions": -1})
	for series := range got {
		if strings.HasPrefix(series, "morningai_tasks") {
			t.Errorf("although no count is known there is %s", series)
		}
	}
	if s := got["morningai_outage_seconds_total"]; s < 50 || s > 120 {
		t.Errorf("in an outage that began 30 s ago, after one of 20 s, the total is %v s", s)
	}

	// The journal forgets old reports; no total falls.
	f.set(func() { f.incidents = nil })
	before := got
	for series, value := range b.scrape() {
		if strings.HasPrefix(series, "morningai_outage_") && value < before[series] || series == "morningai_incidents_total" && value != 2 {
			t.Errorf("when the journal has forgotten, %s is %v, after %v", series, value, before[series])
		}
	}
}

func TestMetricsOfWork(t *testing.T) {
	b := start(t, open(t), Options{Attempts: func() map[morningai.Outcome]int64 {
		return map[morningai.Outcome]int64{morningai.OutcomeSucceeded: 5, morningai.OutcomeLost: 0}
	}})
	for _, body := range []string{`{"type":"echo","payload":1}`, `{"type":"fail","queue":"mail"}`, `{"type":"nobody","queue":"mail"}`, `{"type":"later","queue":"mail"}`,
		`{"type":"remote","queue":"mail"}`} {
		b.want(202, "POST", "/v1/tasks", body)
	}
	b.refused(morningai.CodeInvalidInput, "POST", "/v1/tasks", `{"type":""}`)
	var claims struct {
		Claims []struct {
			ID string `json:"claim_id"`
		}
	}
	b.want(200, "POST", "/v1/claims", `{"worker":"w","types":["remote"],"limit":1,"wait":"1m"}`).into(t, &claims)
	for range 2 { // the same report again is the same attempt
		b.want(200, "POST", "/v1/claims/"+claims.Claims[0].ID+"/finish", `{"result":1}`)
	}
	want := map[string]float64{
		"morningai_accepting": 1, "morningai_redis_up": -1, "morningai_incidents_total": -1, "morningai_journal_bytes": -1,
		`morningai_tasks{queue="default",state="succeeded"}`: 1, `morningai_tasks{queue="mail",state="failed"}`: 1, `morningai_tasks{queue="mail",state="queued"}`: 1,
		`morningai_tasks{queue="mail",state="scheduled"}`: 1, `morningai_tasks_retrying{queue="mail"}`: 1, `morningai_tasks{queue="mail",state="retrying"}`: -1,
		`morningai_tasks{queue="mail",state="succeeded"}`: 1, `morningai_queue_paused{queue="mail"}`: 0,
		`morningai_attempts_total{outcome="succeeded",ran="here"}`: 5, `morningai_attempts_total{outcome="succeeded",ran="http"}`: 1,
		`morningai_http_request_duration_seconds_count{method="POST",route="/v1/tasks",status="202"}`: 5,
		`morningai_http_request_duration_seconds_count{method="POST",route="/v1/tasks",status="422"}`: 1,
		`morningai_build_info{version="test"}`:                                                        1,
	}
	got := b.scrape()
	for got[`morningai_tasks{queue="mail",state="failed"}`] != 1 || got[`morningai_tasks_retrying{queue="mail"}`] != 1 || got[`morningai_tasks{queue="default",state="succeeded"}`] != 1 {
		got = b.scrape()
	}
	holds(t, "after some tasks", got, want)
	for _, series := range []string{`morningai_oldest_queued_timestamp_seconds{queue="mail"}`, "morningai_tasks_as_of_timestamp_seconds", "go_goroutines", "process_start_time_seconds"} {
		if got[series] <= 0 {
			t.Errorf("%s is %v", series, got[series])
		}
	}
}

// What somebody sends makes no series, and nothing that is secret is told.
func TestMetricsTellNoSecrets(t *testing.T) {
	const secret = "c0rrect-horse-battery"
	tokens, err := readTokens(strings.NewReader("admin " + adminToken + " ops"))
	if err != nil {
		t.Fatal(err)
	}
	f := &scripted{Engine: open(t), status: morningai.FleetStatus{Contact: morningai.ContactDown, Cause: "redis://:" + secret + "@h", Hint: secret},
		incidents: []morningai.Incident{{ID: morningai.ID{2}, Cause: secret, Hint: secret}},
		members:   []morningai.Member{{Journal: morningai.ID{2}, URL: "http://" + secret + "@h"}}}
	b := start(t, f, Options{Fleet: f, Tokens: tokens})
	b.do("GET", "/"+secret, "")
	b.do("GET", "/v1/tasks?"+secret+"="+secret, "", "Authorization", "Bearer "+secret)
	b.do(strings.ToUpper(secret[:5]), "/v1/tasks", "")
	b.do("PURGE", "//"+secret, "")
	b.token = adminToken
	b.want(202, "POST", "/v1/tasks", `{"type":"echo","payload":"`+secret+`"}`, "Idempotency-Key", secret)
	b.do("GET", "/v1/tasks/"+secret, "")
	b.token = "" // open, as the probes are
	text := string(b.want(200, "GET", "/metrics", "").raw)
	for _, hidden := range []string{secret, adminToken, "ops", strings.ToUpper(secret[:5]), "PURGE"} {
		if strings.Contains(text, hidden) {
			t.Errorf("the metrics tell %q", hidden)
		}
	}
	for _, series := range []string{`method="other",route="none",status="404"`, `method="GET",route="/v1/tasks/{id}",status="404"`, `method="GET",route="/v1/tasks",status="401"`} {
		if !strings.Contains(text, series) {
			t.Errorf("no request was counted as %s", series)
		}
	}
}

// A scrape is read once for all who ask within its age.
func TestMetricsAreReadOnceInAWhile(t *testing.T) {
	b, f := startFleet(t)
	b.api.metrics.age = time.Hour
	holds(t, "at first", b.scrape(), map[string]float64{"morningai_journal_bytes": 0})
	f.set(func() { f.status.Journal.Bytes = 7 })
	holds(t, "within the hour", b.scrape(), map[string]float64{"morningai_journal_bytes": 0})
	b.api.metrics.age = 0
	holds(t, "later", b.scrape(), map[string]float64{"morningai_journal_bytes": 7})
}

// Names follow the conventions, and the documentation has all of them.
func TestMetricsAreDocumented(t *testing.T) {
	text := everything(t)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (morningai_\w+)`).FindAllStringSubmatch(text, -1) {
		told[m[1]] = true
	}
	if len(told) < 25 {
		t.Errorf("only %d metrics are told", len(told))
	}
	for name := range told {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("docs/operations.md does not have %s", name)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(morningai_\\w+)`").FindAllStringSubmatch(string(page), -1) {
		if !told[m[1]] {
			t.Errorf("docs/operations.md has %s, which there is not", m[1])
		}
	}
}

// everything is a scrape that lacks nothing.
func everything(t *testing.T) string {
	t.Helper()
	b, f := startFleet(t)
	f.set(func() {
		f.status.JournalLimit, f.incidents = 1, []morningai.Incident{{ID: morningai.ID{2}}}
	})
	now := time.Now()
	b.api.backups = func() wire.Backups { return wire.Backups{Status: "ok", LastAt: &now} }
	b.want(202, "POST", "/v1/tasks", `{"type":"nobody"}`)
	b.finishOne("remote", "mail")
	return string(b.want(200, "GET", "/metrics", "").raw)
}

// finishOne has a worker over HTTP run a task of a type.
func (b *testServer) finishOne(taskType, queue string) {
	b.t.Helper()
	b.want(202, "POST", "/v1/tasks", `{"type":"`+taskType+`","queue":"`+queue+`"}`)
	var claims struct {
		Claims []struct {
			ID string `json:"claim_id"`
		}
	}
	b.want(200, "POST", "/v1/claims", `{"worker":"w","types":["`+taskType+`"],"limit":1,"wait":"1m"}`).into(b.t, &claims)
	b.want(200, "POST", "/v1/claims/"+claims.Claims[0].ID+"/finish", `{"result":1}`)
}

// Types and queues that somebody makes up do not make series without end, and
// nothing of them is left out.
func TestMetricsAreBounded(t *testing.T) {
	b := start(t, open(t), Options{})
	b.api.metrics.types, b.api.metrics.queues = newBounded(2), newBounded(3)
	for i := range 5 {
		b.finishOne("type"+strconv.Itoa(i), "queue"+strconv.Itoa(i))
	}
	b.want(202, "POST", "/v1/tasks", `{"type":"nobody","queue":"queue3"}`)
	b.api.metrics.age = 0
	got := b.scrape()
	holds(t, "with many types and queues", got, map[string]float64{
		`morningai_task_run_seconds_count{outcome="succeeded",ran="http",type="type0"}`:   1,
		`morningai_task_run_seconds_count{outcome="succeeded",ran="http",type="type2"}`:   -1,
		`morningai_task_run_seconds_count{outcome="succeeded",ran="http",type="(other)"}`: 3,
		`morningai_task_start_latency_seconds_count{ran="http",type="(other)"}`:           3,
		`morningai_tasks{queue="queue2",state="succeeded"}`:                               1,
		`morningai_tasks{queue="queue4",state="succeeded"}`:                               -1,
		`morningai_tasks{queue="(other)",state="succeeded"}`:                              2,
		`morningai_tasks{queue="(other)",state="queued"}`:                                 1,
		`morningai_oldest_queued_age_seconds{queue="queue0"}`:                             0,
	})
	if age := got[`morningai_oldest_queued_age_seconds{queue="(other)"}`]; age <= 0 {
		t.Errorf("the oldest queued task of the other queues is %v s old", age)
	}
}
