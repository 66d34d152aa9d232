package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/alecthomas/kong"

	"github.com/RC918/morningai/server"
)

type journalDrainCmd struct {
	journalFolder
	Redis         string `placeholder:"URL" env:"MORNINGAI_REDIS,REDIS_URL" help:"The Redis that the server shared with others. A password belongs into the environment variable: command lines are public."`
	AllowEviction bool   `name:"redis-allow-eviction" env:"MORNINGAI_REDIS_ALLOW_EVICTION" help:"Deliver although Redis evicts keys when its memory is full, and so loses tasks without an error."`
}

// Run delivers what the journal holds, and fails if something is left.
func (c *journalDrainCmd) Run(ctx context.Context, s streams, line *kong.Context) error {
	folder, err := c.folder()
	if err != nil {
		return err
	}
	if c.Redis == "" {
		return usage("the address of a Redis is missing", "give it with --redis, MORNINGAI_REDIS or REDIS_URL, such as redis://127.0.0.1:6379/0")
	}
	fmt.Fprintf(s.err, "redis at %s (from %s)\n", redisHost(c.Redis), redisSource(line))
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	progress := newBar(s.err, "delivering")
	done, err := server.DrainJournal(ctx, server.Drain{
		Data: folder, Redis: server.Redis{URL: c.Redis, AllowEviction: c.AllowEviction}, Version: programVersion(),
		Logger:   slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Progress: func(left, most int64) { progress.set(int(most-left), int(most)) },
	})
	progress.clear()
	if err != nil {
		return err
	}
	return c.print(s, folder, &done)
}

func (c *journalDrainCmd) print(s streams, folder string, done *server.Drained) error {
	left := pick(done.After, "journal", "in doubt")
	aside := pick(done.After, "set aside")
	if c.JSON {
		if err := printValue(s, map[string]any{"held": entriesJSON(pick(done.Before, "journal", "in doubt")), "set_aside": entriesJSON(aside),
			"left": done.Left, "left_entries": entriesJSON(left)}); err != nil {
			return err
		}
	} else {
		text := fmt.Sprintf("the journal held for Redis: %s\nset aside: %s\n", entryCounts(done.Before, "journal", "in doubt"), entryCounts(aside, "set aside"))
		if len(aside) > 0 {
			text += entryTable(aside, time.Now())
		}
		if done.Left == 0 {
			text += "everything else is delivered, and the server is off the list of nodes\n"
		} else {
			text += fmt.Sprintf("left: %d entries\n", done.Left)
			if len(left) > 0 {
				text += entryTable(left, time.Now())
			}
		}
		if err := show(s.out, text); err != nil {
			return err
		}
	}
	if done.Left > 0 {
		fmt.Fprintf(s.err, "not everything could be delivered; what is left stays in %s%c, and the command may be repeated\n", folder, os.PathSeparator)
		return ended(exitFailed)
	}
	return nil
}

// pick returns the entries that are in one of these places.
func pick(all []server.JournalEntry, where ...string) []server.JournalEntry {
	var out []server.JournalEntry
	for i := range all {
		for _, w := range where {
			if string(all[i].Where) == w {
				out = append(out, all[i])
			}
		}
	}
	return out
}
