package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	prototrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/server"
)

// collector is an OTLP/HTTP receiver.
type collector struct {
	t    *testing.T
	web  *httptest.Server
	mu   sync.Mutex
	all  []*prototrace.Span
	text bytes.Buffer // everything that came
}

func newCollector(t *testing.T) *collector {
	c := &collector{t: t}
	c.web = httptest.NewServer(c)
	t.Cleanup(c.web.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = unpacked
	}
	raw, err := io.ReadAll(body)
	var req coltrace.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		c.t.Errorf("%s: %v", r.URL.Path, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(raw)
	for _, rs := range req.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.all = append(c.all, ss.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// tree is the spans of a trace, each with the name of its parent before it.
func (c *collector) tree(trace string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[string]string{}
	for _, s := range c.all {
		names[hex.EncodeToString(s.SpanId)] = s.Name
	}
	var out []string
	for _, s := range c.all {
		if hex.EncodeToString(s.TraceId) != trace {
			continue
		}
		parent := hex.EncodeToString(s.ParentSpanId)
		if name, ok := names[parent]; ok {
			parent = name
		}
		line := parent + " > " + s.Name
		if s.Status.GetCode() == prototrace.Status_STATUS_CODE_ERROR {
			line += " (" + s.Status.Message + ")"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

const caller = "00f067aa0ba902b7"

// post enqueues a task as a caller with a trace of its own does.
func post(t *testing.T, url, trace, body string) (id morningai.ID) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/v1/tasks", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if trace != "" {
		req.Header.Set("traceparent", "00-"+trace+"-"+caller+"-01")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%d, %v: %s", resp.StatusCode, err, text)
	}
	var task morningai.Task
	if err := json.Unmarshal(text, &task); err != nil {
		t.Fatal(err)
	}
	return task.ID
}

// A trace leads from the caller over the acceptance on one server and Redis to the
// attempts on another, and from there to whom the handler calls.
func TestTracesCrossRedis(t *testing.T) {
	const trace, own = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
	const secret = "hunter2"
	defer http.DefaultClient.CloseIdleConnections()
	c := newCollector(t)
	called := make(chan string, 1)
	callee := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { called <- r.Header.Get("traceparent") }))
	defer callee.Close()
	redisURL := redistest.Start(t).URL()
	one := func(role server.Role) *running {
		cfg := config(t)
		cfg.Role, cfg.OTLP, cfg.Redis, cfg.Node = role, c.web.URL, server.Redis{URL: redisURL}, string(role)
		cfg.HTTPAllow, cfg.RetainSucceeded = loopback, time.Hour
		return run(t, cfg)
	}
	api, worker := one(server.RoleAPI), one(server.RoleWorker)
	post(t, api.url, trace, `{"type":"flaky","payload":{"fail_times":1}}`)
	post(t, api.url, trace, `{"type":"http","payload":{"url":"`+callee.URL+`/?key=`+secret+`"}}`)
	// A trace id of the request's own is kept.
	post(t, api.url, trace, `{"type":"echo","payload":"`+secret+`","trace_id":"0af76519-16cd-43dd-8448-eb211c80319c"}`)
	parent := <-called
	// A worker over HTTP has its attempt told by the server.
	cl, err := client.New(api.url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	post(t, api.url, trace, `{"type":"remote"}`)
	claims, err := cl.Claim(t.Context(), client.ClaimRequest{Worker: "w", Types: []string{"remote"}, Limit: 1})
	if err != nil || len(claims.Claims) != 1 {
		t.Fatalf("%+v, %v", claims, err)
	}
	if _, err := cl.FinishClaim(t.Context(), claims.Claims[0].ID, client.ClaimEnd{Result: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	redistest.Until(t, "all tasks to end", func() bool {
		page, err := cl.List(t.Context(), morningai.Filter{State: morningai.StateSucceeded})
		return err == nil && len(page.Tasks) == 4
	})
	worker.end(t)
	api.end(t)
	want := []string{caller + " > enqueue flaky", caller + " > enqueue http", caller + " > enqueue remote", "enqueue flaky > run flaky", "enqueue flaky > run flaky (error)",
		"enqueue http > run http", "enqueue remote > run remote"}
	got := c.tree(trace)
	if len(got) == len(want) && strings.HasPrefix(got[4], "enqueue flaky > run flaky (") {
		got[4] = want[4] // whatever the code is
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := c.tree(own), []string{" > enqueue echo", "enqueue echo > run echo"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.HasPrefix(parent, "00-"+trace+"-") || !strings.HasSuffix(parent, "-01") {
		t.Errorf("the handler called with %q", parent)
	}
	if strings.Contains(c.text.String(), secret) {
		t.Error("spans tell what tasks carry")
	}
}

// Without a collector in the settings nothing is made.
func TestNoTracesUnlessConfigured(t *testing.T) {
	c := newCollector(t)
	defer http.DefaultClient.CloseIdleConnections()
	r := run(t, config(t))
	post(t, r.url, "", `{"type":"echo"}`)
	r.end(t)
	if len(c.all) > 0 {
		t.Errorf("%d spans", len(c.all))
	}
	// The variable of the standard is enough, and a collector that is away stops
	// nothing.
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.web.URL)
	r = run(t, config(t))
	post(t, r.url, "4bf92f3577b34da6a3ce929d0e0e4736", `{"type":"echo"}`)
	r.end(t)
	if got := c.tree("4bf92f3577b34da6a3ce929d0e0e4736"); len(got) == 0 || got[0] != caller+" > enqueue echo" {
		t.Errorf("got %q", got)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	r = run(t, config(t))
	post(t, r.url, "", `{"type":"echo"}`)
	r.end(t)
	t.Setenv("OTEL_SDK_DISABLED", "true")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.web.URL)
	before := len(c.all)
	r = run(t, config(t))
	post(t, r.url, "", `{"type":"echo"}`)
	r.end(t)
	if len(c.all) != before {
		t.Error("spans though the variable of the standard turns them off")
	}
}

// In an outage the journal carries what Redis carries otherwise.
func TestTracesInAnOutage(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	defer http.DefaultClient.CloseIdleConnections()
	c := newCollector(t)
	redis := redistest.Start(t)
	cfg := config(t)
	cfg.OTLP, cfg.Redis, cfg.RetainSucceeded = c.web.URL, server.Redis{URL: redis.URL()}, time.Hour
	r := run(t, cfg)
	redis.Kill()
	cl, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	redistest.Until(t, "the circuit to open", func() bool {
		h, err := cl.Health(t.Context())
		return err == nil && h.Status == "degraded"
	})
	id := post(t, r.url, trace, `{"type":"echo"}`)
	redistest.Until(t, "the task to run", func() bool {
		task, err := cl.Get(t.Context(), id)
		return err == nil && task.State == morningai.StateSucceeded
	})
	r.end(t)
	if got, want := c.tree(trace), []string{caller + " > enqueue echo", "enqueue echo > run echo"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
