package outagetest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// callee is what http tasks call: the other side of every handler, which knows
// what has run whatever the servers say.
type callee struct {
	server  *httptest.Server
	history *drill.History

	mu    sync.Mutex
	runs  map[morningai.ID][]run
	gates map[string]chan struct{}
	held  map[string]int // runs that wait at a gate
}

// run is one execution of a task.
type run struct {
	attempt int
	began   time.Time
	ended   time.Time // zero if its server went away first, or has not answered yet
}

func newCallee(t *testing.T, h *drill.History) *callee {
	c := &callee{history: h, runs: map[morningai.ID][]run{}, gates: map[string]chan struct{}{}, held: map[string]int{}}
	c.server = httptest.NewServer(c)
	t.Cleanup(func() {
		c.server.CloseClientConnections()
		c.server.Close()
	})
	return c
}

// gated is the payload of a task that runs until the gate is opened, after that
// of one that runs for some time, and at once of one that only counts.
func (c *callee) gated(gate string) map[string]any {
	return map[string]any{"url": c.server.URL + "/?gate=" + url.QueryEscape(gate)}
}

func (c *callee) lasting(d time.Duration) map[string]any {
	return map[string]any{"url": c.server.URL + "/?ms=" + strconv.FormatInt(d.Milliseconds(), 10)}
}

func (c *callee) atOnce() map[string]any { return map[string]any{"url": c.server.URL + "/"} }

func (c *callee) gate(name string) chan struct{} {
	if c.gates[name] == nil {
		c.gates[name] = make(chan struct{})
	}
	return c.gates[name]
}

// open lets all that wait at a gate, now or later, go on.
func (c *callee) open(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.gate(name))
}

// waiting is how many runs wait at a gate.
func (c *callee) waiting(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[name]
}

// of returns the runs of a task so far.
func (c *callee) of(id morningai.ID) []run {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]run(nil), c.runs[id]...)
}

// ServeHTTP is one run.
func (c *callee) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := morningai.ParseID(r.Header.Get("Morningai-Task-Id"))
	attempt, err2 := strconv.Atoi(r.Header.Get("Morningai-Attempt"))
	if err != nil || err2 != nil {
		http.Error(w, "a task has no id or no attempt", http.StatusTeapot) // fails the task
		return
	}
	gate := r.URL.Query().Get("gate")
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))

	c.history.Add(drill.Op{Kind: drill.Start, Task: id, Attempt: int64(attempt)})
	c.mu.Lock()
	nth := len(c.runs[id])
	c.runs[id] = append(c.runs[id], run{attempt: attempt, began: time.Now()})
	var pass <-chan struct{}
	if gate != "" {
		pass = c.gate(gate)
		c.held[gate]++
	}
	c.mu.Unlock()

	gone := false
	switch {
	case gate != "":
		select {
		case <-pass:
		case <-r.Context().Done():
			gone = true
		}
	case ms > 0:
		end := time.NewTimer(time.Duration(ms) * time.Millisecond)
		defer end.Stop()
		select {
		case <-end.C:
		case <-r.Context().Done():
			gone = true
		}
	}
	c.mu.Lock()
	if gate != "" {
		c.held[gate]--
	}
	if !gone {
		c.runs[id][nth].ended = time.Now()
	}
	c.mu.Unlock()
	if gone {
		return
	}
	c.history.Add(drill.Op{Kind: drill.End, Task: id, Attempt: int64(attempt), Ended: morningai.OutcomeSucceeded})
	_, _ = w.Write([]byte(`"done"`))
}
