//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redistest"
)

// The Flask application of docs/rq.md runs as it stands there, before and after, beside
// one worker of RQ's; and after the change an outage refuses nobody.
func TestFlaskExample(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/rq.md")
	if err != nil {
		t.Fatal(err)
	}
	s := redistest.Start(t)
	d := serve(t, t.TempDir(), "--redis", s.URL(), "--rq-queues", "images", "--rq-serializer", "pickle")
	_, section, _ := strings.Cut(string(page), "\n## A Flask application")
	section, _, _ = strings.Cut(section, "\n## ")
	var code []string
	for _, part := range strings.Split(section, "```python\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		// The addresses are this test's own.
		block = strings.ReplaceAll(block, "connection=Redis()", fmt.Sprintf("connection=Redis(port=%d)", s.Port()))
		code = append(code, strings.ReplaceAll(block, "http://127.0.0.1:8080", d.url))
	}
	if len(code) != 3 {
		t.Fatalf("docs/rq.md has %d pieces of Python there, not tasks.py and the application twice", len(code))
	}
	folder := t.TempDir()
	for name, text := range map[string]string{"tasks.py": code[0], "before.py": code[1], "after.py": code[2]} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client, err := filepath.Abs("../../examples/python")
	if err != nil {
		t.Fatal(err)
	}
	start := func(args ...string) {
		t.Helper()
		cmd := exec.Command("/usr/bin/python3", append([]string{"-B", "-m"}, args...)...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "PYTHONPATH="+folder+string(os.PathListSeparator)+client)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			_ = cmd.Wait()
		})
	}
	worker := func() { start("rq.cli", "worker", "--url", s.URL(), "images") }
	worker()
	apps := map[string]string{}
	for _, name := range []string{"before", "after"} {
		port := redistest.FreePort(t)
		apps[name] = fmt.Sprintf("http://127.0.0.1:%d/resize", port)
		start("flask", "--app", name, "run", "--port", fmt.Sprint(port))
		redistest.Until(t, "Flask to answer (apt-get install python3-flask)", func() bool {
			c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	post := func(name, file string) string {
		t.Helper()
		status, body, _ := ask(t, http.MethodPost, apps[name], `{"name":"`+file+`"}`)
		var answer struct{ ID string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusAccepted || answer.ID == "" {
			t.Fatalf("%s: %d %s %v", name, status, body, err)
		}
		return answer.ID
	}
	ends := func(name, id, want string) {
		t.Helper()
		redistest.Until(t, name+"'s picture to be ready", func() bool {
			_, body, _ := ask(t, http.MethodGet, apps[name]+"/"+id, "")
			return strings.Contains(body, `"result":"`+want+`"`) && (strings.Contains(body, `"finished"`) || strings.Contains(body, `"succeeded"`))
		})
	}
	ends("before", post("before", "a.png"), "a.png at 100 pixels")
	ends("after", post("after", "b.png"), "b.png at 100 pixels")
	s.Kill()
	id := post("after", "c.png")
	if status, body, _ := ask(t, http.MethodGet, apps["after"]+"/"+id, ""); status != http.StatusOK || body != `{"result":null,"status":"queued"}` {
		t.Errorf("in the outage: %d %s", status, body)
	}
	if status, body, _ := ask(t, http.MethodPost, apps["before"], `{"name":"d.png"}`); status != http.StatusInternalServerError {
		t.Errorf("before, in the outage: %d %s", status, body)
	}
	s.Restart()
	worker() // the other one may have given up
	ends("after", id, "c.png at 100 pixels")
}
