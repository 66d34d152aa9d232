package chaos

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// callee is what the tasks of a drill call: it knows what has run, whatever the
// servers say.
type callee struct {
	history *drill.History
	server  *http.Server
	url     string
	wait    sync.WaitGroup

	mu   sync.Mutex
	runs map[morningai.ID]int
	open map[morningai.ID]int  // runs under way
	both map[morningai.ID]bool // two runs were under way at once
}

func newCallee(h *drill.History) (*callee, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &callee{history: h, url: "http://" + l.Addr().String() + "/", runs: map[morningai.ID]int{}, open: map[morningai.ID]int{}, both: map[morningai.ID]bool{}}
	c.server = &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	c.wait.Go(func() { _ = c.server.Serve(l) }) // ends with close
	return c, nil
}

func (c *callee) close() {
	_ = c.server.Close()
	c.wait.Wait()
}

// ran is how often a task has run.
func (c *callee) ran(id morningai.ID) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.runs[id]
}

// running is how many runs of a task are under way, and whether two ever were at once.
func (c *callee) running(id morningai.ID) (now int, both bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[id], c.both[id]
}

// ServeHTTP is one run, which lasts as long as the task asks for.
func (c *callee) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := morningai.ParseID(r.Header.Get("Morningai-Task-Id"))
	attempt, err2 := strconv.ParseInt(r.Header.Get("Morningai-Attempt"), 10, 64)
	_, _ = io.Copy(io.Discard, r.Body) // a connection on which something is left unread breaks
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms"))
	if err != nil || err2 != nil {
		http.Error(w, "a task has no id or no attempt", http.StatusTeapot) // fails the task
		return
	}
	c.history.Add(drill.Op{Kind: drill.Start, Task: id, Attempt: attempt})
	c.mu.Lock()
	c.runs[id]++
	c.open[id]++
	c.both[id] = c.both[id] || c.open[id] > 1
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.open[id]--
		c.mu.Unlock()
	}()
	if ms > 0 && wait(r.Context(), time.Duration(ms)*time.Millisecond) != nil {
		return // its server is gone
	}
	c.history.Add(drill.Op{Kind: drill.End, Task: id, Attempt: attempt, Ended: morningai.OutcomeSucceeded})
	_, _ = w.Write([]byte(`"done"`))
}
