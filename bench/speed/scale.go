package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// scale measures what only concerns this project: a queue of a million tasks,
// and a server with nothing to do.
func scale(ctx context.Context, s settings) ([]row, error) {
	var rows []row
	if s.wants(claims1M) {
		million, err := largeQueue(ctx, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, million...)
	}
	if s.wants("idle server") {
		idle, err := idleServer(ctx, s)
		if err != nil {
			return nil, err
		}
		rows = append(rows, idle)
	}
	return rows, nil
}

// largeQueue compares the rate of claims with a long queue and a short one. A
// claim is counted when its handler runs.
func largeQueue(ctx context.Context, s settings) ([]row, error) {
	c, err := find(onSQLite, ours)
	if err != nil {
		return nil, err
	}
	var short, long samples
	for range s.rounds {
		if err := short.take(ctx, s, job{Store: onSQLite, System: ours, Measure: claims10k, Tasks: 10_000}); err != nil {
			return nil, err
		}
		fsync, err := fsyncRate(s.dir)
		if err != nil {
			return nil, err
		}
		before := load()
		out, err := onLargeQueue(ctx, s)
		if err != nil {
			return nil, err
		}
		long.add(out, fsync, before)
		fmt.Fprintf(s.log, "%-24s %-14s %.0f/s, opened in %.2f s, %d MB, peak %d MB\n", claims1M, ours,
			out.rate(), out.Open, out.RSS>>20, out.PeakRSS>>20)
	}
	short10k, many := short.rows(claims10k, c)[0], long.rows("claims, long queue", c)[0]
	many.N = int64(s.million)
	many.Ratio = many.Value.Median / short10k.Value.Median
	many.Goal = "≥ 0.8× of 10k"
	figure := func(title, unit, goal string, value func(outcome) float64) row {
		r := many
		r.Measure, r.Unit, r.Goal, r.Ratio = title, unit, goal, 0
		var values []float64
		for _, o := range long.outcomes {
			values = append(values, value(o))
		}
		r.Value = summarize(values)
		return r
	}
	return []row{
		short10k, many,
		figure("open with a long queue", "s", "≤ 2 s at 1M", func(o outcome) float64 { return o.Open }),
		figure("resident after that", "MB", "≤ 300 MB at 1M", func(o outcome) float64 { return megabytes(o.RSS) }),
		figure("resident at most, while claiming", "MB", "≤ 300 MB at 1M", func(o outcome) float64 { return megabytes(o.PeakRSS) }),
	}, nil
}

func onLargeQueue(ctx context.Context, s settings) (outcome, error) {
	dir, err := os.MkdirTemp(s.dir, "run-")
	if err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tasks.db")
	if _, err := inChild(ctx, job{Store: onSQLite, System: ours, Measure: fill1M, Path: path, Tasks: s.million}); err != nil {
		return outcome{}, err
	}
	j := job{Store: onSQLite, System: ours, Measure: claims1M, Path: path, Tasks: s.million / 5}
	if s.profile != "" {
		j.Profile = profilePath(s.profile, claims1M)
	}
	return inChild(ctx, j)
}

// idleServer builds the program, starts it on an empty folder and reads how
// much memory it holds after its first request and a quiet moment.
func idleServer(ctx context.Context, s settings) (row, error) {
	dir, err := os.MkdirTemp(s.dir, "serve-")
	if err != nil {
		return row{}, err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "morningai")
	// Built in its own module, which alone lists what it needs.
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/RC918/morningai").Output()
	if err != nil {
		return row{}, fmt.Errorf("find the server's module; run this in the folder bench: %w", err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", strings.TrimSpace(string(root)), "-o", program, "./cmd/morningai")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return row{}, fmt.Errorf("build the server: %w: %s", err, out)
	}
	var a samples
	for range s.rounds {
		fsync, err := fsyncRate(s.dir)
		if err != nil {
			return row{}, err
		}
		before := load()
		rss, err := serveIdle(ctx, program, filepath.Join(dir, "data"))
		if err != nil {
			return row{}, err
		}
		a.add(outcome{RSS: rss}, fsync, before)
		fmt.Fprintf(s.log, "%-24s %-14s %.1f MB\n", "idle server", ours, megabytes(rss))
	}
	c, err := find(onSQLite, ours)
	if err != nil {
		return row{}, err
	}
	r := a.rows("idle server", c)[0]
	var values []float64
	for _, o := range a.outcomes {
		values = append(values, megabytes(o.RSS))
	}
	r.Unit, r.Goal, r.Value = "MB", "≤ 50 MB", summarize(values)
	return r, nil
}

func serveIdle(ctx context.Context, program, data string) (rss int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "serve", "--listen", "127.0.0.1:0", "--data", data)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		stopErr := cmd.Process.Signal(os.Interrupt)
		if waitErr := cmd.Wait(); err == nil && stopErr == nil && waitErr != nil {
			err = fmt.Errorf("the server did not stop cleanly: %w", waitErr)
		}
	}()
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "morningai ready on ") {
			// A quiet moment lets the beats and timers of the server run.
			time.Sleep(2 * time.Second)
			rss, _, err = residentSetOf(strconv.Itoa(cmd.Process.Pid))
			return rss, err
		}
	}
	return 0, fmt.Errorf("the server did not become ready: %w", lines.Err())
}

func megabytes(b int64) float64 { return float64(b) / (1 << 20) }
