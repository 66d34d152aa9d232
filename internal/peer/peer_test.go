package peer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/peer"
	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "token-of-the-fleet"

// node is a server that runs nothing itself, and can be out of reach.
type node struct {
	t        *testing.T
	app      *morningai.App
	url      string
	away     atomic.Bool
	beats    atomic.Int64 // of claims, in vain
	requests atomic.Int64
	asked    chan struct{} // holds a token after a request
}

func openEngine(t *testing.T) morningai.Engine {
	t.Helper()
	engine, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "tasks.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

func serve(t *testing.T, lease time.Duration) *node {
	t.Helper()
	return serveOn(t, openEngine(t), lease)
}

func serveOn(t *testing.T, engine morningai.Engine, lease time.Duration) *node {
	t.Helper()
	n := &node{t: t, asked: make(chan struct{}, 1), app: morningai.New(engine, morningai.WithLease(lease), morningai.WithLogger(slog.New(slog.DiscardHandler)))}
	if err := n.app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte("submit "+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := server.New(n.app, server.Options{TokenFile: file, Logger: slog.New(slog.DiscardHandler)})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			n.requests.Add(1)
			select {
			case n.asked <- struct{}{}:
			default:
			}
		}()
		if n.away.Load() {
			if body, err := io.ReadAll(r.Body); err == nil && bytes.Contains(body, []byte(`"holding"`)) {
				n.beats.Add(1)
			}
			panic(http.ErrAbortHandler)
		}
		srv.Handler().ServeHTTP(w, r)
	}))
	n.url = web.URL
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		n.app.Client.Close()
		if err := errors.Join(srv.Close(), n.app.Stop(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *node) submit(typ string, opts ...morningai.Option) morningai.ID {
	n.t.Helper()
	spec := morningai.NewTaskSpec(typ, []byte(`7`))
	for _, o := range opts {
		o(&spec)
	}
	task, err := n.app.Enqueue(n.t.Context(), spec)
	if err != nil {
		n.t.Fatal(err)
	}
	return task.ID
}

func (n *node) until(id morningai.ID, as func(*morningai.Task) bool) *morningai.Task {
	n.t.Helper()
	for {
		task, err := n.app.Get(n.t.Context(), id)
		if err != nil {
			n.t.Fatal(err)
		}
		if as(task) {
			return task
		}
	}
}

func (n *node) wait(id morningai.ID) *morningai.Task {
	n.t.Helper()
	task, err := n.app.Wait(n.t.Context(), id)
	if err != nil {
		n.t.Fatal(err)
	}
	return task
}

// more waits for that many further requests.
func (n *node) more(requests int64) {
	for was := n.requests.Load(); n.requests.Load() < was+requests; {
		<-n.asked
	}
}

// lines is a log to look at.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// until waits for a text.
func (l *lines) until(text string) {
	for l.count(text) == 0 {
		<-l.more
	}
}

// worker returns an app that is not started, and works for the node too.
func worker(t *testing.T, n *node, opts ...morningai.AppOption) (*morningai.App, *lines) {
	t.Helper()
	log := &lines{more: make(chan struct{}, 1)}
	source, err := peer.Open(n.url, token, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	app := morningai.New(openEngine(t), append([]morningai.AppOption{morningai.WithSources(source), morningai.WithNode("b"),
		morningai.WithLogger(slog.New(slog.NewTextHandler(log, nil)))}, opts...)...)
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return app, log
}

func run(t *testing.T, app *morningai.App) {
	t.Helper()
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestTasksOfAPeerRunHere(t *testing.T) {
	n := serve(t, time.Minute)
	app, log := worker(t, n)
	var steps atomic.Int64
	morningai.Handle(app, "double", func(ctx context.Context, in int) (int, error) {
		out, err := morningai.Step(ctx, "doubled", func(context.Context) (int, error) { return int(steps.Add(1)) * 2 * in, nil })
		if err != nil {
			return 0, err
		}
		morningai.Logger(ctx).Info("doubled", "n", in)
		if err := morningai.ReportProgress(ctx, "half"); err != nil {
			return 0, err
		}
		if task, _ := morningai.CurrentTask(ctx); task.Failures == 0 {
			return 0, morningai.RetryAfter(0, &morningai.TaskError{Code: "no_luck", Message: "out of luck"})
		}
		return out, nil
	})
	morningai.Handle(app, "broken", func(context.Context, int) (int, error) { return 0, morningai.ErrSkipRetry })
	morningai.Handle(app, "later", func(context.Context, int) (int, error) { return 0, morningai.Snooze(time.Hour) })
	morningai.Handle(app, "retried", func(context.Context, int) (int, error) { return 0, morningai.RetryAfter(time.Hour, nil) })
	morningai.Handle(app, "nul", func(context.Context, int) (string, error) { return "a\x00b", nil })
	morningai.Handle(app, "canceled", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	run(t, app)

	id := n.submit("double")
	end := n.wait(id)
	if end.State != morningai.StateSucceeded || string(end.Result) != "14" || string(end.Progress) != `"half"` || end.Failures != 1 || steps.Load() != 1 {
		t.Errorf("%+v, the step ran %d times", end, steps.Load())
	}
	h, err := n.app.History(t.Context(), id)
	if err != nil || len(h.Attempts) != 2 || h.Attempts[0].Node != "b" || h.Attempts[0].Error.Code != "no_luck" || len(h.Logs) != 2 || string(h.Logs[0].Attrs) != `{"n":7}` {
		t.Errorf("%+v, %v", h, err)
	}
	if end := n.wait(n.submit("broken")); end.State != morningai.StateFailed {
		t.Errorf("%+v", end)
	}
	if end := n.wait(n.submit("nul")); end.State != morningai.StateFailed || end.Error.Code != morningai.ErrorCodeResult {
		t.Errorf("a result that JSON over HTTP does not carry: %+v", end)
	}
	for typ, failures := range map[string]int{"later": 0, "retried": 1} {
		now := n.until(n.submit(typ), func(t *morningai.Task) bool { return t.State == morningai.StateScheduled })
		if wait := time.Until(now.RunAt); wait < 58*time.Minute || wait > time.Hour || now.Failures != failures {
			t.Errorf("%s: due in %v, %+v", typ, wait, now)
		}
	}
	id = n.submit("canceled")
	n.until(id, func(t *morningai.Task) bool { return t.State == morningai.StateRunning })
	if _, err := n.app.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if end := n.wait(id); end.State != morningai.StateCanceled {
		t.Errorf("%+v", end)
	}
	if log.count("a peer cannot be asked") != 0 {
		t.Errorf("%s", log.text.String())
	}
}

// A peer out of reach is told once. What ran meanwhile is reported afterwards.
func TestPeerOutOfReach(t *testing.T) {
	t.Parallel()
	n := serve(t, time.Minute)
	n.away.Store(true)
	app, log := worker(t, n)
	begun, gate := make(chan struct{}, 2), make(chan struct{})
	morningai.Handle(app, "job", func(context.Context, int) (int, error) {
		begun <- struct{}{}
		<-gate
		return 1, nil
	})
	run(t, app) // it starts although nobody answers
	log.until("a peer cannot be asked")
	n.more(3) // in vain
	n.away.Store(false)
	log.until("the peer answers again")
	if got := log.count("level=WARN"); got != 1 {
		t.Errorf("%d warnings of one outage:\n%s", got, log.text.String())
	}

	id := n.submit("job")
	<-begun
	n.away.Store(true)
	for n.beats.Load() == 0 {
		n.more(1)
	}
	close(gate)
	n.more(3)
	if now := n.until(id, func(*morningai.Task) bool { return true }); now.State != morningai.StateRunning {
		t.Errorf("%+v", now)
	}
	n.away.Store(false)
	if end := n.wait(id); end.State != morningai.StateSucceeded || end.Attempt != 1 {
		t.Errorf("%+v", end)
	}
	if got := log.count("level=WARN"); got != 2 {
		t.Errorf("%d warnings of two outages:\n%s", got, log.text.String())
	}
	if len(begun) != 0 {
		t.Error("it ran again")
	}
}

func TestStopHandsBackWhatAPeerGave(t *testing.T) {
	n := serve(t, time.Hour)
	app, _ := worker(t, n, morningai.WithGrace(0))
	begun := make(chan struct{})
	morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		close(begun)
		<-ctx.Done()
		return 0, ctx.Err()
	})
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := n.submit("job")
	<-begun
	if err := app.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := n.until(id, func(*morningai.Task) bool { return true }); now.State != morningai.StateQueued || now.Failures != 0 {
		t.Errorf("%+v", now)
	}
	stats, err := n.app.Stats(t.Context())
	if err != nil || len(stats.Sessions) != 1 { // the server's own
		t.Errorf("%+v, %v", stats.Sessions, err)
	}
}

// A claim that the server has taken back stops its handler.
func TestClaimTakenBackByAPeer(t *testing.T) {
	n := serve(t, 400*time.Millisecond)
	app, log := worker(t, n)
	begun, stopped := make(chan struct{}, 2), make(chan struct{}, 2)
	morningai.Handle(app, "job", func(ctx context.Context, _ int) (int, error) {
		begun <- struct{}{}
		<-ctx.Done()
		stopped <- struct{}{}
		return 0, ctx.Err()
	})
	run(t, app)
	id := n.submit("job")
	<-begun
	n.away.Store(true)
	n.until(id, func(t *morningai.Task) bool { return t.State == morningai.StateQueued })
	n.away.Store(false)
	<-stopped
	<-begun
	if log.count("was superseded") == 0 {
		t.Errorf("%s", log.text.String())
	}
	if _, err := n.app.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	n.wait(id)
}

func TestServerThatAnswersAtOnceIsNotHammered(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"claims":[]}`))
	}))
	defer srv.Close()
	e, err := peer.Open(srv.URL, "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	before := time.Now()
	for range 2 {
		if _, err := e.Claim(t.Context(), morningai.ClaimRequest{Types: []string{"job"}, N: 1, Wait: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(before); took < time.Second || asked.Load() != 2 {
		t.Errorf("%d requests in %v", asked.Load(), took)
	}
}

func TestWrongPeer(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:8080", "ftp://x", "http://user@x"} {
		if _, err := peer.Open(url, "", slog.Default()); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A cancel is told by every beat, in case the answer that told it first was lost.
func TestBeatsTellCancels(t *testing.T) {
	n := serve(t, time.Minute)
	e, err := peer.Open(n.url, token, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, session := t.Context(), morningai.SessionID{1}
	beat := func(req morningai.BeatRequest) morningai.BeatReply {
		t.Helper()
		req.Session, req.Types = session, []string{"job"}
		reply, err := e.Beat(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	id := n.submit("job")
	beat(morningai.BeatRequest{})
	reply, err := e.Claim(ctx, morningai.ClaimRequest{Session: session, Types: []string{"job"}, N: 1, Wait: time.Minute})
	if err != nil || len(reply.Grants) != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	if _, err := n.app.Cancel(ctx, id); err != nil {
		t.Fatal(err)
	}
	holding := []morningai.Lease{reply.Grants[0].Lease, {ID: id, Claim: 9}}
	for again := 0; again < 2; {
		got := beat(morningai.BeatRequest{Holding: holding})
		if len(got.Cancels) == 1 && got.Cancels[0] == id {
			again++
		}
		if len(got.Lost) != 1 || got.Lost[0] != holding[1] {
			t.Fatalf("%+v", got)
		}
	}
	// What the session has been given and does not hold is forgotten.
	beat(morningai.BeatRequest{Through: reply.Seq})
	if got := beat(morningai.BeatRequest{Holding: holding[:1]}); len(got.Lost) != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := e.Enqueue(ctx, nil); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Errorf("%v", err)
	}
}
