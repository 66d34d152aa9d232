package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/RC918/morningai/internal/redisproc"
	"github.com/hibiken/asynq"
)

const slots = 20 // tasks that run at once

// morningAI is a server process that accepts and runs.
type morningAI struct {
	child *child
	url   string
	to    *callee
}

var readyLine = regexp.MustCompile(`morningai ready on (http\S+)`)

func openMorningAI(program string) func(context.Context, *redisproc.Server, *callee, string) (system, error) {
	return func(ctx context.Context, redis *redisproc.Server, c *callee, dir string) (system, error) {
		log := filepath.Join(dir, "log")
		p, err := startChild(log, nil, program, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--docs", dir,
			"--redis", redis.URL(), "--http-allow", "127.0.0.0/8", "--concurrency", fmt.Sprint(slots))
		if err != nil {
			return nil, err
		}
		s := &morningAI{child: p, to: c}
		err = redisproc.Until("the server to be ready", func() (bool, error) {
			text, err := os.ReadFile(log)
			if found := readyLine.FindSubmatch(text); found != nil {
				s.url = string(found[1])
			}
			return s.url != "", errors.Join(err, ctx.Err())
		})
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		return s, nil
	}
}

func (s *morningAI) enqueue(ctx context.Context, n int, lasts time.Duration) error {
	text, err := json.Marshal(map[string]any{"type": "http", "payload": map[string]string{"url": s.to.target(n, lasts)}})
	if err != nil {
		return err
	}
	return post(ctx, s.url+"/v1/tasks", text, http.StatusAccepted)
}

func (s *morningAI) close() error { return s.child.close() }

func post(ctx context.Context, url string, text []byte, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return fmt.Errorf("the answer is %d %s", res.StatusCode, said)
	}
	return nil
}

// inAsynq is a client and a server in this process.
type inAsynq struct {
	client *asynq.Client
	server *asynq.Server
	to     *callee
}

func openAsynq(_ context.Context, redis *redisproc.Server, c *callee, _ string) (system, error) {
	at := asynq.RedisClientOpt{Addr: redis.Addr()}
	s := &inAsynq{client: asynq.NewClient(at), server: asynq.NewServer(at, asynq.Config{Concurrency: slots, LogLevel: asynq.FatalLevel}), to: c}
	err := s.server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error { return call(ctx, string(t.Payload())) }))
	if err != nil {
		return nil, errors.Join(err, s.client.Close())
	}
	return s, nil
}

func (s *inAsynq) enqueue(ctx context.Context, n int, lasts time.Duration) error {
	_, err := s.client.EnqueueContext(ctx, asynq.NewTask("work", []byte(s.to.target(n, lasts))))
	return err
}

func (s *inAsynq) close() error {
	s.server.Shutdown()
	return s.client.Close()
}

// inRQ is a producer process that answers over HTTP, and worker processes that
// are started again when they end, as by a supervisor.
type inRQ struct {
	children []*child
	url      string
	to       *callee
}

//go:embed rq_side.py
var rqSide []byte

// findRQ returns a Python that has RQ, or "".
func findRQ(ctx context.Context) string {
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.CommandContext(ctx, python, "-c", "import rq").Run() == nil {
			return python
		}
	}
	return ""
}

// rqWorkers is how many worker processes there are: each runs one task at a time.
const rqWorkers = 8

func openRQ(python string) func(context.Context, *redisproc.Server, *callee, string) (system, error) {
	return func(ctx context.Context, redis *redisproc.Server, c *callee, dir string) (system, error) {
		if err := os.WriteFile(filepath.Join(dir, "rq_side.py"), rqSide, 0o600); err != nil {
			return nil, err
		}
		s := &inRQ{to: c}
		log := filepath.Join(dir, "producer.log")
		env := []string{"PYTHONPATH=" + dir, "PYTHONUNBUFFERED=1"}
		for i := range rqWorkers + 1 {
			role, file := "work", filepath.Join(dir, fmt.Sprintf("worker%d.log", i))
			if i == 0 {
				role, file = "produce", log
			}
			p, err := startChild(file, env, python, filepath.Join(dir, "rq_side.py"), role, redis.URL())
			if err != nil {
				return nil, errors.Join(err, s.close())
			}
			s.children = append(s.children, p)
		}
		err := redisproc.Until("the producer of RQ to be ready", func() (bool, error) {
			text, err := os.ReadFile(log)
			if found := regexp.MustCompile(`ready on (http\S+)`).FindSubmatch(text); found != nil {
				s.url = string(found[1])
			}
			return s.url != "", errors.Join(err, ctx.Err())
		})
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		return s, nil
	}
}

func (s *inRQ) enqueue(ctx context.Context, n int, lasts time.Duration) error {
	return post(ctx, s.url, []byte(s.to.target(n, lasts)), http.StatusOK)
}

func (s *inRQ) close() error {
	var errs []error
	for _, p := range s.children {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// child is a process that ends with the comparison.
type child struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{}
}

func startChild(log string, env []string, words ...string) (*child, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.Command(words[0], words[1:]...), log: out, done: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr, c.cmd.Env = out, out, append(os.Environ(), env...)
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() { // ends with the process, for which close waits
		_ = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

func (c *child) close() error {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.done
	return c.log.Close()
}
