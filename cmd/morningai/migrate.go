package main

import (
	"context"
	"fmt"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/RC918/morningai/server"
)

type migrateCmd struct {
	From          string `required:"" placeholder:"ENGINE" env:"MORNINGAI_MIGRATE_FROM" help:"Where everything is: sqlite:DIR or the address of a Redis. A password belongs into the environment variable: command lines are public."`
	To            string `required:"" placeholder:"ENGINE" env:"MORNINGAI_MIGRATE_TO" help:"Where it is to be: sqlite:DIR or the address of a Redis."`
	Apply         bool   `help:"Do it. Without this nothing is changed on either side."`
	Merge         bool   `help:"Allow a target that holds tasks which the source does not have."`
	AllowEviction bool   `name:"redis-allow-eviction" env:"MORNINGAI_REDIS_ALLOW_EVICTION" help:"Accept a Redis that evicts keys when its memory is full."`
	retention
	JSON bool `name:"json" help:"Print JSON."`
}

// Run shows what would be moved, or moves it and compares both sides.
func (c *migrateCmd) Run(ctx context.Context, s streams) error {
	if err := c.check(); err != nil {
		return err
	}
	from, err := c.place("--from", c.From)
	if err != nil {
		return err
	}
	to, err := c.place("--to", c.To)
	if err != nil {
		return err
	}
	if from.Data == to.Data && from.Redis == to.Redis {
		return usage("--from and --to are the same", "")
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	progress := newBar(s.err, "migrating")
	done, err := server.Migrate(ctx, from, to, c.Apply, c.Merge, func(done, total int64) { progress.set(int(done), int(total)) })
	progress.clear()
	if err != nil {
		return whenInterrupted(err, "the source is as it was, the target may hold a part: repeat the command")
	}
	if done.Workers > 0 {
		fmt.Fprintf(s.err, "%d workers are on record in the source: stop their servers before --apply, or what they change meanwhile stays behind\n", done.Workers)
	}
	if left := done.Applied; left != nil && left.IncidentsLeft > 0 {
		fmt.Fprintf(s.err, "%d reports of outages stay in the source: Redis keeps none\n", left.IncidentsLeft)
	}
	if c.JSON {
		return printValue(s, done)
	}
	return show(s.out, describeMigration(done))
}

// place reads an engine: sqlite:DIR or an address of Redis.
func (c *migrateCmd) place(flag, text string) (server.Place, error) {
	p := server.Place{RetainSucceeded: c.RetainSucceeded, RetainFailed: c.RetainFailed}
	if folder, ok := strings.CutPrefix(text, "sqlite:"); ok {
		if folder == "" {
			return p, usage(flag+" needs a folder after sqlite:", "such as sqlite:/var/lib/morningai")
		}
		full, err := filepath.Abs(folder)
		if err != nil {
			return p, fmt.Errorf("find the folder: %w", err)
		}
		p.Data = full
		return p, nil
	}
	if !strings.Contains(text, "://") {
		return p, usage(flag+" must be sqlite:DIR or the address of a Redis", "such as sqlite:/var/lib/morningai or redis://127.0.0.1:6379/0")
	}
	p.Redis = server.Redis{URL: text, AllowEviction: c.AllowEviction}
	return p, nil
}

func describeMigration(m *server.Migration) string {
	rows := [][2]string{
		{"tasks", stateCounts(m.States)},
		{"deleted", fmt.Sprint(m.Deleted)},
		{"queues", fmt.Sprintf("%d with settings", m.Queues)},
		{"incidents", fmt.Sprint(m.Incidents)},
		{"target has", fmt.Sprintf("%d of them, %d others", m.Present, m.Foreign)},
	}
	done := m.Applied
	if done == nil {
		return fields(rows...) + "nothing was changed; --apply moves them\n"
	}
	rows = append(rows,
		[2]string{"added", fmt.Sprint(done.Added)},
		[2]string{"updated", fmt.Sprint(done.Updated)},
		[2]string{"kept", kept(done.Kept)},
		[2]string{"requeued", requeued(done.Requeued)},
		[2]string{"verified", fmt.Sprintf("%d are the same on both sides, %d are further on in the target, %d have ended and left it", m.Verified, m.Ahead, m.Expired)},
		[2]string{"digest", fmt.Sprintf("%s, target %s", m.Digest, m.DigestHere)},
		[2]string{"generation", fmt.Sprint(done.Generation)})
	return fields(rows...) + "the source is as it was; start the servers on the target\n"
}
