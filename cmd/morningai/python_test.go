//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/RC918/morningai"
)

// python runs code that finds the example's client as the name Client.
func python(t *testing.T, code string, args ...string) string {
	t.Helper()
	folder, err := filepath.Abs("../../examples/python")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", append([]string{"-B", "-c", "import json, sys\nfrom morningai_client import *\n" + code}, args...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+folder)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// The Python client submits, reads, waits and cancels; an answer that was lost
// makes no second task.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	d := serve(t, t.TempDir())
	target, err := url.Parse(d.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	var lost, full atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && full.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.Method == http.MethodPost && lost.Add(1) <= 2 {
			proxy.ServeHTTP(httptest.NewRecorder(), r) // accepted, and nobody hears of it
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	defer web.Close()
	said := python(t, `
c = Client(sys.argv[1])
t = c.submit("echo", {"x": [1, "ü"]}, metadata={"who": "py"})
end = c.wait(t["id"], timeout=30)
print(end["state"], end["result"], end["metadata"], c.status(t["id"])["id"] == t["id"])
f = c.wait(c.submit("flaky", {"fail_times": 9}, max_attempts=1)["id"])
print(f["state"], f["error"]["code"])
s = c.submit("sleep", {"ms": 600000}, delay="1h")
try:
    c.wait(s["id"], timeout=0.2)
except TaskTimeout as e:
    print("scheduled" in str(e))
print(c.cancel(s["id"])["state"])
key = "once"
print(c.submit("echo", 1, key=key)["id"] == c.submit("echo", 1, key=key)["id"])
for what in (lambda: c.submit("echo", 2, key=key), lambda: c.submit("no type"), lambda: c.status("nobody")):
    try:
        what()
    except MorningAIError as e:
        print(e.status, e.code, [x["location"] for x in e.errors])
try:
    Client("http://127.0.0.1:1", patience=0.2).submit("echo", key="k")
except Unreachable as e:
    print(e.key)
`, web.URL)
	want := `succeeded {'x': [1, 'ü']} {'who': 'py'} True
failed flaky
True
canceled
True
409 idempotency_conflict []
422 invalid_input ['body.type']
404 not_found []
k`
	if said != want {
		t.Errorf("Python says\n%s\nnot\n%s", said, want)
	}
	if lost.Load() < 3 {
		t.Errorf("%d answers were lost", lost.Load())
	}
	page, err := connect(t, d).List(t.Context(), morningai.Filter{Type: "echo"})
	if err != nil || len(page.Tasks) != 2 {
		t.Errorf("%d tasks, %v", len(page.Tasks), err)
	}
}

// A token is sent.
func TestPythonClientToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("admin 0123456789abcdef0123456789abcdef ci\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := serve(t, t.TempDir(), "--token-file", file)
	said := python(t, `
print(Client(sys.argv[1], token="0123456789abcdef0123456789abcdef").submit("echo")["type"])
try:
    Client(sys.argv[1]).submit("echo")
except MorningAIError as e:
    print(e.status, e.code)
`, d.url)
	if said != "echo\n401 unauthenticated" {
		t.Error(said)
	}
}
