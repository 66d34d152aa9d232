//go:build unix

package redis_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// commands counts what the server has executed, commands inside of scripts too.
func commands(t *testing.T, s *redistest.Server) (total int64, by map[string]int64) {
	t.Helper()
	by = map[string]int64{}
	for line := range strings.Lines(s.Do("INFO", "commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":calls=")
		if !ok {
			continue
		}
		count, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil {
			t.Fatalf("commandstats: %q", line)
		}
		by[name] = n
		total += n
	}
	return total, by
}

// TestIdleCost: ten idle nodes ask Redis less than 60 commands a second.
func TestIdleCost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for i := range 10 {
		app := morningai.New(open(t, server.URL()), morningai.WithNode(fmt.Sprint("node", i)))
		app.HandleFunc("work", func(context.Context, *morningai.Task) (json.RawMessage, error) { return nil, nil })
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := app.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	pass(3 * time.Second) // all have started and gone to rest
	const window = 12 * time.Second
	before, was := commands(t, server)
	pass(window)
	after, is := commands(t, server)
	rate := float64(after-before) / window.Seconds()
	for name, n := range is {
		if n > was[name] {
			t.Logf("%-28s %.1f/s", name, float64(n-was[name])/window.Seconds())
		}
	}
	t.Logf("%.1f commands a second", rate)
	if rate >= 60 {
		t.Fatalf("ten idle nodes cost %.1f commands a second", rate)
	}
}

// TestRefusedWait: a waiting node that is refused at once, because the server
// has become a replica, does not ask again and again without a pause.
func TestRefusedWait(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	app := morningai.New(open(t, server.URL()), morningai.WithNode("node"))
	app.HandleFunc("work", func(context.Context, *morningai.Task) (json.RawMessage, error) { return nil, nil })
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	redistest.Until(t, "the node to wait", func() bool { return server.Info("clients", "blocked_clients") == 1 })
	server.Do("REPLICAOF", "127.0.0.1", "1")
	pass(2 * time.Second)
	server.Do("REPLICAOF", "NO", "ONE")
	for line := range strings.Lines(server.Do("INFO", "errorstats")) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "errorstat_READONLY:count="); ok {
			if n, err := strconv.Atoi(rest); err != nil || n > 100 {
				t.Fatalf("a node that was refused for two seconds asked %s times, %v", rest, err)
			}
			return
		}
	}
	t.Fatal("nothing was refused: the test has not tested")
}
