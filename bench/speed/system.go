package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
)

// work is the payload of every task: about 200 bytes of JSON, with the task's
// number in it.
type work struct {
	N   int    `json:"n"`
	Pad string `json:"pad"`
}

var pad = strings.Repeat("abcdefghij", 18)

func newWork(n int) work { return work{N: n, Pad: pad} }

// batch is how many tasks a bulk call carries.
const batch = 1000

// system is one task queue on one database file, where all of them acknowledge
// an enqueue and record a finish only when it is on disk, or on one Redis.
type system interface {
	enqueue(ctx context.Context, w work) error
	bulk(ctx context.Context, ws []work) error
	// start runs workers that call handle for every task. At most once.
	start(ctx context.Context, handle func(n int)) error
	// stored counts what the database holds.
	stored(ctx context.Context) (counts, error)
	close(ctx context.Context) error
}

type counts struct{ waiting, finished int64 }

func (c counts) total() int64 { return c.waiting + c.finished }

// tuning says what a system is set up for, where one setting is not best for
// both.
type tuning string

const (
	forRate    tuning = "rate"
	forLatency tuning = "latency"
	forKeeping tuning = "keeping" // results are written and kept for a day
	forFleet   tuning = "fleet"   // the same slots on 16 nodes
	forAlike   tuning = "alike"   // 16 nodes, each with the slots of one
)

// contender is a system with what the table says about it.
type contender struct {
	name       string
	module     string // whose version is shown
	durability string
	open       func(ctx context.Context, where string, t tuning) (system, error)
	// tasks is how many an end-to-end run takes: about a second's worth or two.
	tasks int
}

const ours = "MorningAI"

// store is what the systems of one table live on.
type store string

const (
	onSQLite store = "sqlite"
	onRedis  store = "redis"
)

func contenders(on store) []contender {
	if on == onRedis {
		return redisContenders()
	}
	return []contender{
		{ours, "github.com/RC918/morningai", "WAL, FULL; group commit", openMorningAI, 100_000},
		{"river sqlite", "github.com/riverqueue/river", "WAL, FULL", openRiver, 5_000},
		{"backlite", "github.com/mikestefanello/backlite", "WAL, FULL", openBacklite, 8_000},
	}
}

func find(on store, name string) (contender, error) {
	for _, c := range contenders(on) {
		if c.name == name {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("no system is called %q", name)
}

// version is the version of a module that this program was built with.
func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == module {
			if m.Replace != nil {
				return "this tree"
			}
			return m.Version
		}
	}
	return "unknown"
}

// dsn opens a peer's database as durably as ours: write-ahead log, and every
// commit waits for the disk.
func dsn(path string, more ...string) string {
	pragmas := []string{"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)", "temp_store(MEMORY)", "cache_size(-65536)"}
	s := "file:" + path + "?_pragma=" + strings.Join(pragmas, "&_pragma=")
	for _, m := range more {
		s += "&" + m
	}
	return s
}
