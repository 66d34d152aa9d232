package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// faulty is the real engine until a fault is set.
type faulty struct {
	morningai.Engine
	fault  atomic.Pointer[morningai.Error]
	panics atomic.Bool
	probes atomic.Int32
}

func (f *faulty) Probe(ctx context.Context) error {
	f.probes.Add(1)
	if e := f.fault.Load(); e != nil {
		return e
	}
	return f.Engine.Probe(ctx)
}

func (f *faulty) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	if e := f.fault.Load(); e != nil {
		return nil, e
	}
	return f.Engine.Enqueue(ctx, specs)
}

func (f *faulty) List(ctx context.Context, filter morningai.Filter) (morningai.Page, error) {
	if f.panics.Load() {
		panic("with a SECRET")
	}
	return f.Engine.List(ctx, filter)
}

func TestFullAndFailingDisks(t *testing.T) {
	for _, c := range []struct {
		code   morningai.Code
		status int
	}{{morningai.CodeStorageFull, 507}, {morningai.CodeStorageFailed, 503}} {
		engine := &faulty{Engine: open(t)}
		b := start(t, engine, Options{})
		b.want(200, "GET", "/readyz", "")
		engine.fault.Store(&morningai.Error{Code: c.code, Detail: "the disk is in trouble", Hint: "mend it", Err: io.ErrShortWrite})
		b.api.prober.forget()
		r := b.refused(c.code, "POST", "/v1/tasks", `{"type":"echo"}`)
		if r.StatusCode != c.status || r.Header.Get("Retry-After") == "" || !bytes.Contains(r.raw, []byte("mend it")) || bytes.Contains(r.raw, []byte("short write")) {
			t.Errorf("%s: %v %s", c.code, r.Header, r.raw)
		}
		r = b.want(503, "GET", "/health", "")
		var h wire.Health
		r.into(t, &h)
		if h.Status != "down" || h.Storage.Status != string(c.code) || h.Storage.Hint != "mend it" || h.Storage.Since == nil || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: health %s", c.code, r.raw)
		}
		if r = b.refused(c.code, "GET", "/readyz", ""); r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: readyz %v", c.code, r.Header)
		}
		b.want(200, "GET", "/livez", "")
		engine.fault.Store(nil)
		b.api.prober.forget()
		b.want(200, "GET", "/readyz", "")
		b.want(202, "POST", "/v1/tasks", `{"type":"echo"}`)
		b.want(200, "GET", "/health", "").into(t, &h)
		if h.Status != "ok" {
			t.Errorf("%s: health afterwards %+v", c.code, h)
		}
		for _, said := range []string{"tasks are not accepted", "tasks are accepted again", "short write"} {
			if !strings.Contains(b.log.String(), said) {
				t.Errorf("%s: the log does not say %q", c.code, said)
			}
		}
	}
}

// forget makes the next check a new one.
func (p *prober) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = time.Time{}
}

func TestHealth(t *testing.T) {
	engine := &faulty{Engine: open(t)}
	b := start(t, engine, Options{Instance: "i", Documents: "d"})
	var h wire.Health
	b.want(200, "GET", "/health?probe=1", "").into(t, &h)
	if h.Status != "ok" || h.Engine != "sqlite" || h.Version != "test" || h.Workers != 1 || h.Redis.Status != "not configured" || h.Storage.Status != "ok" {
		t.Errorf("health %+v", h)
	}
	b.api.prober.at = time.Now().Add(time.Hour) // stays fresh
	probes := engine.probes.Load()
	for range 5 {
		b.want(200, "GET", "/readyz", "")
	}
	if engine.probes.Load() != probes {
		t.Error("each check is a write")
	}
	if r := b.want(404, "GET", "/health/redis", ""); string(r.raw) != `{"status":"Redis is not configured"}` || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("redis %s", r.raw)
	}
	if r := b.want(200, "GET", "/livez", ""); strings.TrimSpace(string(r.raw)) != `{"service":"morningai","version":"test","instance":"i","documents":"d"}` {
		t.Errorf("livez %s", r.raw)
	}
}

func TestPanicsAreAnsweredAndLogged(t *testing.T) {
	engine := &faulty{Engine: open(t)}
	b := start(t, engine, Options{})
	engine.panics.Store(true)
	r := b.refused(codeInternal, "GET", "/v1/tasks", "")
	if bytes.Contains(r.raw, []byte("SECRET")) {
		t.Errorf("answer %s", r.raw)
	}
	if log := b.log.String(); !strings.Contains(log, "with a SECRET") || !strings.Contains(log, "faults_test.go") || !strings.Contains(log, "GET") {
		t.Errorf("log %s", log)
	}
	engine.panics.Store(false)
	b.want(200, "GET", "/v1/tasks", "")
}

// TestBadBodiesLeaveNoTrace sends what should never get in.
func TestBadBodiesLeaveNoTrace(t *testing.T) {
	b := start(t, open(t), Options{})
	big := strings.Repeat("x", 2<<20)
	for name, c := range map[string]struct {
		code morningai.Code
		body string
	}{
		"blank":          {"invalid_json", " "},
		"broken":         {"invalid_json", `{"type":"echo"`},
		"trailing":       {"invalid_json", `{"type":"echo"}{"type":"echo"}`},
		"duplicate":      {"invalid_json", `{"type":"echo","type":"echo"}`},
		"deep duplicate": {"invalid_json", `{"type":"echo","payload":[{"a":{"b":1,"b":1}}]}`},
		"nested":         {"invalid_json", `{"type":"echo","payload":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`},
		"NUL":            {"invalid_json", `{"type":"echo","payload":"\u0000"}`},
		"raw NUL":        {"invalid_json", "{\"type\":\"echo\",\"payload\":\"\x00\"}"},
		"invalid UTF-8":  {"invalid_json", "{\"type\":\"echo\",\"payload\":\"\xff\xfe\"}"},
		"unknown field":  {"invalid_input", `{"type":"echo","prio":1}`},
		"wrong types":    {"invalid_input", `{"type":7,"priority":"1","metadata":[1]}`},
		"absurd number":  {"invalid_input", `{"type":"echo","priority":1e400}`},
		"negative":       {"invalid_input", `{"type":"echo","max_attempts":-5}`},
		"far date":       {"invalid_input", `{"type":"echo","run_at":"10000-01-01T00:00:00Z"}`},
		"2 MiB payload":  {"too_large", `{"type":"echo","payload":"` + big + `"}`},
		"9 MiB":          {"too_large", `{"type":"echo","payload":"` + strings.Repeat("x", 9<<20) + `"}`},
	} {
		if r := b.refused(c.code, "POST", "/v1/tasks", c.body); len(r.raw) > 2000 {
			t.Errorf("%s: an answer of %d bytes", name, len(r.raw))
		}
	}
	b.want(400, "POST", "/v1/tasks", "", "Content-Type", "application/json")
	// Chunked, so that its length is not announced.
	r := b.send("POST", "/v1/tasks", io.MultiReader(strings.NewReader(`{"type":"`), strings.NewReader(strings.Repeat("x", 9<<20))), "Content-Type", "application/json")
	if r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("9 MiB in chunks: %d", r.StatusCode)
	}
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	if _, err := zip.Write(make([]byte, 16<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	if r := b.send("POST", "/v1/tasks", &bomb, "Content-Encoding", "gzip"); r.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a gzip bomb: %d", r.StatusCode)
	}
	if n := counted(b); n != 0 {
		t.Errorf("%d tasks got in", n)
	}
}

// Few clients read an answer before they have sent everything.
func TestTooLargeIsSaidToClientsThatSendFirst(t *testing.T) {
	b := start(t, open(t), Options{})
	conn, err := net.Dial("tcp", b.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const head = "POST /v1/tasks/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
	body := bytes.Repeat([]byte(`{"type":"echo"},`), 1_000_000)
	if _, err := fmt.Fprintf(conn, head, len(body)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(body); err != nil {
		t.Fatalf("the connection broke before the whole body was sent: %v", err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413 ") || !strings.Contains(string(answer), `"too_large"`) {
		t.Errorf("answer %q, %v", answer, err)
	}
}

func TestSlowBodies(t *testing.T) {
	b := start(t, open(t), Options{})
	b.api.bodyTime = time.Millisecond
	for kind, want := range map[string]string{"application/json": "408", "text/plain": "415"} {
		conn, err := net.Dial("tcp", b.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		const head = "POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{"
		if _, err := fmt.Fprintf(conn, head, kind); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn) // the server answers, and closes
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 "+want)) {
			t.Errorf("%s: %v: %s", kind, err, answer)
		}
	}
}

func TestWebPagesCannotPost(t *testing.T) {
	b := start(t, open(t), Options{})
	for name, header := range map[string][]string{
		"another origin":   {"Origin", "https://evil.example"},
		"an opaque origin": {"Origin", "null"},
		"another site":     {"Sec-Fetch-Site", "cross-site"},
	} {
		if r := b.do("POST", "/v1/tasks", `{"type":"echo"}`, header...); r.StatusCode != http.StatusForbidden || r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
		b.want(200, "GET", "/readyz", "", header...)
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""} {
		if r := b.do("POST", "/v1/tasks", `{"type":"echo"}`, "Content-Type", kind); r.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("as %q: %d", kind, r.StatusCode)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.URL+"/v1/tasks", strings.NewReader(`{"type":"echo"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a rebound name: %d", resp.StatusCode)
	}
	if r := b.do("OPTIONS", "/v1/tasks", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST"); r.StatusCode != 405 || r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a preflight: %d", r.StatusCode)
	}
	if n := counted(b); n != 0 {
		t.Errorf("%d tasks got in", n)
	}
}
