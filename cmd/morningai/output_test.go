package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

func TestExitCodes(t *testing.T) {
	answered := func(status int, code morningai.Code) error {
		return fmt.Errorf("do: %w", &morningai.Error{Code: code, Err: &client.AnswerError{Status: status}})
	}
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), exitFailed},
		{usage("x", ""), exitUsage},
		{answered(400, "invalid_json"), exitUsage},
		{answered(413, morningai.CodeTooLarge), exitUsage},
		{answered(422, morningai.CodeInvalidInput), exitUsage},
		{answered(404, morningai.CodeNotFound), exitNotFound},
		{answered(401, client.CodeUnauthenticated), exitRefused},
		{answered(403, client.CodeForbidden), exitRefused},
		{answered(409, morningai.CodeWrongState), exitRefused},
		{answered(409, "a_later_code"), exitRefused},
		{answered(429, "rate_limited"), exitRefused},
		{answered(507, morningai.CodeStorageFull), exitRefused},
		{answered(503, morningai.CodeStorageFailed), exitUnreachable},
		{answered(503, "a_later_code"), exitUnreachable},
		{answered(500, "internal"), exitFailed},
		{answered(200, client.CodeUnreachable), exitUnreachable},
		{client.ErrUnreachable, exitUnreachable},
		{morningai.ErrLocked, exitRefused},
		{morningai.ErrNewerFormat, exitRefused},
		{morningai.ErrNotFound, exitNotFound},
		{ended(exitFailed), exitFailed},
	} {
		if got := report(io.Discard, c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	err := &morningai.Error{Op: "enqueue", Detail: "1 field is wrong", Hint: "mend\x1b[2Jit",
		Fields: []morningai.FieldError{{Location: "body.priority", Message: "must be 0 to 9"}}, Err: &client.AnswerError{Status: 422}}
	const want = "morningai: 1 field is wrong\n  priority must be 0 to 9\nHint: mend\ufffd[2Jit\n"
	if got := explain(err); got != want {
		t.Errorf("%q", got)
	}
}

// What handlers and callers say must not steer the terminal, nor break columns.
func TestPrintable(t *testing.T) {
	if got := printable("a\x1b]0;title\x07\nb\u202ec\u009bé漢"); got != "a\ufffd]0;title\ufffd b\ufffdc\ufffdé漢" {
		t.Errorf("%q", got)
	}
	if got := short([]byte(strings.Repeat("é", 2000))); !strings.Contains(got, "4000 bytes; --json") || len(got) > 2100 {
		t.Errorf("%d bytes", len(got))
	}
}

// A page of tasks fits into 80 columns.
func TestTaskTable(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tasks := []morningai.Task{
		{Type: "echo", Queue: "default", State: morningai.StateScheduled, Failures: 1, Attempt: 12, CreatedAt: now.Add(-90 * time.Minute)},
		{Type: "http", Queue: "mail", State: morningai.StateQueued, CreatedAt: now.Add(-49 * time.Hour)},
	}
	var b strings.Builder
	if err := show(&b, taskTable(tasks, now)); err != nil {
		t.Fatal(err)
	}
	const want = `ID                                    STATE     TYPE  QUEUE    ATTEMPT  AGE
00000000-0000-0000-0000-000000000000  retrying  echo  default  12       1h30m
00000000-0000-0000-0000-000000000000  queued    http  mail     0        2d01h
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestReadPayload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.json")
	if err := os.WriteFile(file, []byte(" {\"a\": 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{"null": "null", `"@x"`: `"@x"`, "@" + file: `{"a": 1}`, "-": "[2]"} {
		got, err := readPayload(flag, strings.NewReader("[2]"))
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", flag, got, err)
		}
	}
	// Standard input without an end is read no further than a payload may go.
	c := taskSubmitCmd{Type: "echo", Payload: "-", MaxAttempts: 1, Queue: "q", Timeout: time.Second}
	if _, err := c.spec(endless{}); !errors.Is(err, morningai.ErrTooLarge) {
		t.Errorf("endless: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '1'
	}
	return len(p), nil
}

func TestWriteOut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.md")
	for _, text := range []string{"one", "two"} {
		if err := writeOut(path, text); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("%q, %v", got, err)
		}
	}
	link := filepath.Join(dir, "link.md")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := writeOut(link, "three"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "three" {
		t.Errorf("through a link: %q, %v", got, err)
	}
	if err := writeOut(filepath.Join(dir, "none", "a.md"), "x"); err == nil {
		t.Error("a missing folder is no error")
	}
	if left, _ := os.ReadDir(dir); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}
