package rqbridge_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/internal/rqtest"
	"github.com/RC918/morningai/server"
)

// rightsOf reads the commands that a page of the documentation lists behind some words.
func rightsOf(t *testing.T, page, behind string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(regexp.QuoteMeta(behind) + "\\s+`([^`]+)`").FindStringSubmatch(strings.Join(strings.Fields(string(text)), " "))
	if m == nil {
		t.Fatalf("%s lists no rights behind %q", page, behind)
	}
	var out []string
	for _, name := range strings.Fields(m[1]) {
		out = append(out, "+"+name)
	}
	return out
}

// A user with the documented rights, and no others, is enough to deliver jobs, follow
// them, cancel them and take them up again.
func TestDocumentedRights(t *testing.T) {
	v, s := rqtest.Debian(t), redistest.Start(t)
	rule := []string{"ACL", "SETUSER", "app", "on", ">enough", "resetkeys", "~mai:*", "~rq:*", "~morningai:rq:sent", "resetchannels", "&rq:pubsub:*", "-@all"}
	rule = append(append(rule, rightsOf(t, "../../docs/setup.md", "and the commands")...), rightsOf(t, "../../docs/rq.md", "and the commands")...)
	if said := s.Do(rule...); said != "OK" {
		t.Fatal(said)
	}
	asUser := func(c *server.Config) {
		c.Redis.URL = strings.Replace(c.Redis.URL, "redis://", "redis://app:enough@", 1)
	}
	n := start(t, s, t.TempDir(), asUser)
	waits := n.submit(t, spec("tasks.nap", `{"args":[60]}`)).ID
	n.shows(t, waits, "queued")
	if _, err := n.Cancel(t.Context(), waits); err != nil {
		t.Fatal(err)
	}
	n.end(t, waits)
	runs := n.submit(t, spec("tasks.nap", `{"args":[60]}`)).ID
	add := n.submit(t, spec("tasks.add", `{"args":[1,2]}`)).ID
	v.Worker(t, s.Addr(), "py", "", "q")
	n.shows(t, runs, "started")
	n.stop(t)
	n = start(t, s, t.TempDir(), asUser)
	n.shows(t, runs, "started")
	if _, err := n.Cancel(t.Context(), runs); err != nil {
		t.Fatal(err)
	}
	if task := n.end(t, runs); task.State != morningai.StateCanceled {
		t.Errorf("%+v", task)
	}
	if task := n.end(t, add); string(task.Result) != "3" {
		t.Errorf("%+v", task)
	}
	lines := strings.Split(s.Do("ACL", "LOG"), "\n")
	for i := 1; i < len(lines); i++ {
		if lines[i-1] == "object" && lines[i] != "config|get" { // asked for where it may be
			t.Errorf("refused: %s", lines[i])
		}
	}
}
