package server_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/address"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet keeps what the tests provoke out of their output.
var quiet = slog.New(slog.DiscardHandler)

func config(t *testing.T) server.Config {
	t.Helper()
	return server.Config{Data: t.TempDir(), Docs: t.TempDir(), Concurrency: 4, Options: server.Options{Listen: "127.0.0.1:0", Logger: quiet}}
}

// running is a server in the middle of Run.
type running struct {
	url   string
	stop  context.CancelFunc
	ended chan error
}

func run(t *testing.T, c server.Config) *running {
	t.Helper()
	ready := make(chan string, 1)
	c.Ready = func(url, _ string) { ready <- url }
	ctx, cancel := context.WithCancel(context.Background())
	srv, err := server.Open(ctx, c)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	r := &running{stop: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- srv.Run(ctx) }()
	select {
	case r.url = <-ready:
	case err := <-r.ended:
		t.Fatal(err)
	}
	return r
}

func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

// While it drains, the server says so, and what runs may finish.
func TestDrain(t *testing.T) {
	dir := t.TempDir()
	engine, err := sqlite.Open(t.Context(), filepath.Join(dir, "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	started, finish := make(chan struct{}), make(chan struct{})
	app := morningai.New(engine, morningai.WithLogger(quiet))
	morningai.Handle(app, "held", func(context.Context, int) (string, error) {
		close(started)
		<-finish
		return "done", nil
	})
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	srv := server.New(app, server.Options{Listen: "127.0.0.1:0", Logger: quiet, Ready: func(url, _ string) { ready <- url }})
	go func() { ended <- srv.Run(ctx) }()
	c, err := client.New(<-ready)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	task, err := c.Enqueue(t.Context(), morningai.NewTaskSpec("held", []byte("1")))
	if err != nil {
		t.Fatal(err)
	}
	<-started
	stop()
	// The server says that it is stopping while it drains.
	for {
		resp, err := http.Get(c.Address() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			break
		}
	}
	http.DefaultClient.CloseIdleConnections()
	close(finish)
	c.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	got, err := app.Get(t.Context(), task.ID)
	if err != nil || got.State != morningai.StateSucceeded {
		t.Errorf("%+v, %v", got, err)
	}
	if err := engine.Close(); err != nil {
		t.Error(err)
	}
}

func TestAddressLivesAsLongAsTheServer(t *testing.T) {
	c := config(t)
	r := run(t, c)
	note, err := address.Read(c.Data)
	if err != nil || note.URL != r.url || note.PID != os.Getpid() {
		t.Fatalf("%+v, %v", note, err)
	}
	cl, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	live, err := cl.Live(t.Context())
	if err != nil || live.Instance != note.Instance {
		t.Errorf("%+v, %v", live, err)
	}
	if same, err := address.Fingerprint(live.Instance, c.Docs); err != nil || same != live.Documents {
		t.Errorf("documents: %v", err)
	}
	cl.Close()
	r.end(t)
	if _, err := address.Read(c.Data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the end: %v", err)
	}
}

// A second server on the folder is refused and leaves the first its address.
func TestOneServerPerFolder(t *testing.T) {
	c := config(t)
	r := run(t, c)
	if _, err := server.Open(t.Context(), c); !errors.Is(err, morningai.ErrLocked) {
		t.Errorf("%v", err)
	}
	if note, err := address.Read(c.Data); err != nil || note.URL != r.url {
		t.Errorf("%+v, %v", note, err)
	}
	r.end(t)
	run(t, c).end(t)
}

// A server that cannot listen has run nothing and leaves the folder free.
func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := config(t)
	c.Listen = ln.Addr().String()
	srv, err := server.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Run(t.Context()); !errors.Is(err, morningai.ErrConflict) || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("%v", err)
	}
	c.Listen = "127.0.0.1:0"
	run(t, c).end(t)
}

func TestHeadersAreBounded(t *testing.T) {
	r := run(t, config(t))
	defer r.end(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { // the server may hang up before it has read all
		_, _ = conn.Write([]byte("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"))
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

const kettle = "# The kettle\n\n## Turning the kettle on\n\nPull the red lever down until the lamp lights up.\n"

func TestAnswerBesideAServer(t *testing.T) {
	c := config(t)
	if err := os.WriteFile(filepath.Join(c.Docs, "kettle.md"), []byte(kettle), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, c)
	defer r.end(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("TMP", temp)
	q := server.Question{Text: "How do I turn the kettle on?", Docs: c.Docs, Data: c.Data, Logger: quiet}
	task, err := server.Answer(t.Context(), q)
	if err != nil || task.State != morningai.StateSucceeded || !strings.Contains(string(task.Result), "red lever") {
		t.Fatalf("%+v, %v", task, err)
	}
	q.Text = "What is the capital of France?"
	task, err = server.Answer(t.Context(), q)
	if err != nil || task.State != morningai.StateFailed || task.Error.Code != "no_relevant_documents" {
		t.Errorf("%+v, %v", task, err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	cl, err := client.New(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if page, err := cl.List(t.Context(), morningai.Filter{}); err != nil || len(page.Tasks) != 0 {
		t.Errorf("the server has %d tasks, %v", len(page.Tasks), err)
	}
}

// An index that cannot be kept is no reason not to answer.
func TestAnswerWithoutADataFolder(t *testing.T) {
	docs, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	for path, text := range map[string]string{filepath.Join(docs, "kettle.md"): kettle, file: ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	task, err := server.Answer(t.Context(), server.Question{Text: "How do I turn the kettle on?", Docs: docs, Data: file, Logger: quiet})
	if err != nil || task.State != morningai.StateSucceeded {
		t.Errorf("%+v, %v", task, err)
	}
}

func TestAnswerInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server.Answer(ctx, server.Question{Text: "why", Docs: t.TempDir(), Data: t.TempDir(), Logger: quiet}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
