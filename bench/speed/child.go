package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// childLimit bounds one measure of one system; reaching it is a failure.
const childLimit = 5 * time.Minute

// inChild runs a job in a new process of this program, so that no heap, cache
// or goroutine of one measure is there in the next.
func inChild(ctx context.Context, j job) (outcome, error) {
	self, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	in, err := json.Marshal(j)
	if err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, childLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-child")
	cmd.Stdin = bytes.NewReader(in)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return outcome{}, fmt.Errorf("%s, %s: %w: %s", j.System, j.Measure, err, bytes.TrimSpace(stderr.Bytes()))
	}
	var out outcome
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		return outcome{}, fmt.Errorf("%s, %s: answer of the child: %w", j.System, j.Measure, err)
	}
	out.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return out, nil
}

// beChild is the other end of inChild.
func beChild(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return err
	}
	result, err := measure(ctx, j)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// onFresh runs a job on a database or a Redis in a new folder and removes it.
func onFresh(ctx context.Context, parent string, j job) (outcome, error) {
	dir, err := os.MkdirTemp(parent, "run-")
	if err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(dir)
	if j.Store == onRedis {
		return onFreshRedis(ctx, dir, j)
	}
	j.Path = filepath.Join(dir, "tasks.db")
	return inChild(ctx, j)
}
