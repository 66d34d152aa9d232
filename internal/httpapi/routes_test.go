package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// TestEveryRoute walks the table.
func TestEveryRoute(t *testing.T) {
	tokens, err := readTokens(strings.NewReader("admin " + adminToken + " ops"))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, open(t), Options{Tokens: tokens, Backup: func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "backup")
		return err
	}})
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	b.want(200, "GET", "/openapi.json", "").into(t, &doc)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	operations := 0
	for _, item := range doc.Paths {
		operations += len(item)
	}
	if operations != len(routes()) {
		t.Errorf("the document has %d operations, the table %d", operations, len(routes()))
	}
	for _, rt := range routes() {
		if _, ok := doc.Paths[rt.path][strings.ToLower(rt.method)]; !ok {
			t.Errorf("%s %s is not in the document", rt.method, rt.path)
		}
		path := strings.NewReplacer("{id}", "01937c4e-0000-7000-8000-000000000001", "{name}", "q").Replace(rt.path)
		b.token = ""
		if r := b.do(rt.method, path, ""); (r.StatusCode == http.StatusUnauthorized) != (rt.scope != scopeOpen) {
			t.Errorf("%s %s without a token: %d", rt.method, path, r.StatusCode)
		}
		b.token = adminToken
		if r := b.do(rt.method, path, ""); r.StatusCode >= 500 || bytes.Contains(r.raw, []byte("no such route")) {
			t.Errorf("%s %s: %d %s", rt.method, path, r.StatusCode, r.raw)
		}
		if r := b.do(rt.method, path, "", "Accept", "image/png, text/csv;q=0.5"); r.StatusCode != http.StatusNotAcceptable {
			t.Errorf("%s %s as an image: %d", rt.method, path, r.StatusCode)
		}
		if r := b.do("PUT", path, ""); r.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(r.Header.Get("Allow"), rt.method) ||
			r.Header.Get("Content-Type") != wire.ProblemType {
			t.Errorf("PUT %s: %d, Allow %q", path, r.StatusCode, r.Header.Get("Allow"))
		}
		if r := b.do(rt.method, path+"?surprise=1", ""); rt.scope != scopeOpen && r.StatusCode != 422 && !rt.agent {
			t.Errorf("%s %s with an unknown parameter: %d", rt.method, path, r.StatusCode)
		}
		if rt.method == http.MethodGet {
			if r := b.do(http.MethodHead, path, ""); r.StatusCode == 405 || len(r.raw) > 0 {
				t.Errorf("HEAD %s: %d", path, r.StatusCode)
			}
			continue
		}
		for _, header := range [][]string{{"Content-Type", "text/plain"}, {"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Encoding", "gzip"}} {
			if r := b.do(rt.method, path, "{}", header...); r.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("%s %s with %s: %d", rt.method, path, header, r.StatusCode)
			}
		}
		if r := b.do(rt.method, path, `{"surprise":1}`); r.StatusCode != 422 && (r.StatusCode != 400 || !rt.agent) {
			t.Errorf("%s %s with an unknown field: %d", rt.method, path, r.StatusCode)
		}
	}
}

func TestRoutesOfLaterAreAbsent(t *testing.T) {
	b := start(t, open(t), Options{})
	const id = "01937c4e-0000-7000-8000-000000000001"
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/tasks/", "/v1/tasks/" + id + "/", "/v1/events", "/v1/tasks/" + id + "/events",
		"/v1/tasks/" + id + "/approve", "/v1/workflows", "/v1/schedules", "/v1/signals",
		"//v1/tasks", "/v1/../v1/tasks", "/v1//tasks", "/V1/tasks", "/v1/tasks/" + id + "/attempts/1", "/%00"} {
		r := b.refused(morningai.CodeNotFound, "GET", path, "")
		if !bytes.Contains(r.raw, []byte("/docs")) {
			t.Errorf("%s: no way on in %s", path, r.raw)
		}
	}
}

func TestDocsNeedNothingFromElsewhere(t *testing.T) {
	b := start(t, open(t), Options{})
	r := b.want(200, "GET", "/docs", "", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") || !strings.HasPrefix(r.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("headers %v", r.Header)
	}
	page := string(r.raw)
	for _, bad := range []string{"<script", "http://", "https://", "//"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %s", bad)
		}
	}
	for _, rt := range routes() {
		if !strings.Contains(page, rt.path) || !strings.Contains(page, rt.summary) {
			t.Errorf("the page does not have %s", rt.path)
		}
	}
}

func TestAccept(t *testing.T) {
	for accept, ok := range map[string]bool{
		"": true, "*/*": true, "application/json": true, "text/html, application/*;q=0.1": true, "APPLICATION/JSON; q=0.5": true,
		"text/html": false, "application/json;q=0": false, "application/xml,*/*; q=0": false, "*/*;q=0.000": false, "*/*;v=1;Q=0": false, "*/*;q=x": true, "json": false,
	} {
		if err := checkAccept(http.Header{"Accept": {accept}}, "application/json"); (err == nil) != ok {
			t.Errorf("Accept: %s: %v", accept, err)
		}
	}
	for accept, ok := range map[string]bool{"text/plain": true, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3": true, "text/html": false} {
		if err := checkAccept(http.Header{"Accept": {accept}}, metricsType); (err == nil) != ok {
			t.Errorf("Accept: %s: %v", accept, err)
		}
	}
}

// TestTaskInTheDocument holds the stand-in for morningai.Task against what that
// type writes.
func TestTaskInTheDocument(t *testing.T) {
	full := morningai.Task{Durable: "sqlite", Runs: "here", Duplicate: true, MaybeRepeated: true, CancelRequested: true, Pending: true, Exclusive: true}
	text, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	var written map[string]any
	if err := json.Unmarshal(text, &written); err != nil {
		t.Fatal(err)
	}
	var documented []string
	for f := range reflect.TypeFor[task]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		documented = append(documented, name)
		if _, ok := written[name]; !ok {
			t.Errorf("%s is documented but not written", name)
		}
	}
	for name := range written {
		if !slices.Contains(documented, name) {
			t.Errorf("%s is written but not documented", name)
		}
	}
}

func TestFailures(t *testing.T) {
	for code, status := range map[morningai.Code]int{
		"invalid_json": 400, "invalid_input": 422, "too_large": 413, "unauthenticated": 401, "forbidden": 403, "not_found": 404,
		"conflict": 409, "idempotency_conflict": 409, "wrong_state": 409, "stale": 409, "storage_failed": 503, "storage_full": 507,
		"status_unknown": 503, "accept_unknown": 503, "redis_unavailable": 503,
		"internal": 500, "locked": 500, "cursor_expired": 500, "of somebody else": 500,
	} {
		f := failureOf(&morningai.Error{Code: code, Detail: "detail", Hint: "hint", Err: http.ErrBodyNotAllowed})
		p := f.problem()
		if p.Status != status || p.Title != http.StatusText(status) || strings.Contains(p.Detail, http.ErrBodyNotAllowed.Error()) {
			t.Errorf("%s: %+v", code, p)
		}
		if retry := status == 503 || status == 507; retry != (f.retry > 0) {
			t.Errorf("%s: retry after %s", code, f.retry)
		}
	}
	if f := failureOf(http.ErrBodyNotAllowed); f.kind.code != codeInternal || strings.Contains(f.detail, "body") {
		t.Errorf("a foreign error: %+v", f)
	}
	h := http.Header{}
	failureOf(&morningai.Error{Code: morningai.CodeStorageFull, RetryAfter: 61500 * time.Millisecond}).headers(h)
	if h.Get("Retry-After") != "62" {
		t.Errorf("Retry-After %s", h.Get("Retry-After"))
	}
}
