package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/drill"
)

// data are scenarios about what Redis holds, and whether it is fit to hold it.
func data() []scenario {
	var o otherData
	var q question
	var b backlog
	return []scenario{
		{name: "wrong-database", what: "a server is started with the database of another installation", play: o.play, after: o.after},
		{name: "unfit-at-start", what: "the servers start while Redis is away, and it comes back as one that evicts keys", early: func(_ context.Context, f *fleet) error {
			f.history.Add(drill.Op{Kind: drill.RedisDown})
			return f.redis.Kill()
		}, play: unfit},
		{name: "question", what: "a question is asked while Redis is away", ready: q.ready, play: q.play, after: q.after},
		{name: "backlog", what: "100,000 tasks of 1 KB go to a small Redis after an outage", redis: []string{"--appendonly", "yes", "--appendfsync", "no", "--maxmemory", "400mb"},
			play: b.play, after: b.after},
	}
}

// unfit lets Redis come back with a policy under which it loses what it has
// acknowledged; then somebody puts that right.
func unfit(ctx context.Context, f *fleet) error {
	err := wait(ctx, f.config.Duration/2)
	if err = errors.Join(err, f.redis.Restart("--maxmemory-policy", "allkeys-lru")); err != nil {
		return err
	}
	for _, n := range f.nodes {
		if err := until(ctx, "server "+n.name+" to say why it does not use Redis", func() (bool, error) {
			h, err := n.client.Load().Health(ctx)
			return err == nil && h.Status == "degraded" && strings.Contains(h.Redis.Cause, "maxmemory-policy") && h.Redis.Hint != "", ctx.Err()
		}); err != nil {
			return err
		}
	}
	_, err = f.redis.Do("CONFIG", "SET", "maxmemory-policy", "noeviction")
	f.over()
	return err
}

// otherData is a second installation, of one server, in another database.
type otherData struct {
	theirs *node
}

func (o *otherData) play(ctx context.Context, f *fleet) error {
	o.theirs = &node{fleet: f, name: "other", data: filepath.Join(f.dir, "other"), log: filepath.Join(f.dir, "other.log"), redis: f.address() + "/1"}
	f.guests = append(f.guests, o.theirs)
	if err := o.theirs.start(ctx); err != nil {
		return err
	}
	task, err := o.theirs.client.Load().Enqueue(ctx, morningai.NewTaskSpec("echo", []byte("1")))
	if err != nil {
		return err
	}
	if _, err := o.theirs.client.Load().Wait(ctx, task.ID); err != nil {
		return err
	}
	n := f.some()
	right := n.redis
	f.from = time.Now()
	n.crash() // with outcomes and tasks that a start would bring there
	n.redis += "/1"
	code, said, err := n.refuses(ctx)
	if err != nil {
		return err
	}
	if code != 5 || !strings.Contains(said, "other data") || !strings.Contains(said, "correct the address") {
		f.broke("a server that is led to other data ends with %d and says %q", code, said)
	}
	err = wait(ctx, f.config.Duration)
	f.to = time.Now()
	n.redis = right
	return errors.Join(err, n.restart(ctx))
}

// after looks whether anything has come there.
func (o *otherData) after(ctx context.Context, f *fleet) error {
	c := o.theirs.client.Load()
	page, err := c.List(ctx, morningai.Filter{Limit: 1000})
	if err == nil && len(page.Tasks) != 1 {
		f.broke("the other installation has %d tasks, and not its own one", len(page.Tasks))
	}
	nodes, _, err2 := c.Nodes(ctx)
	if err2 == nil && len(nodes) != 1 {
		f.broke("the other installation knows %d servers, and not only its own", len(nodes))
	}
	return errors.Join(err, err2)
}

// refuses starts a server that is not to serve, and waits for its end.
func (n *node) refuses(ctx context.Context) (code int, said string, err error) {
	was, err := os.Stat(n.log)
	if err != nil {
		return 0, "", err
	}
	err = n.start(ctx)
	select {
	case <-n.done:
	default:
		return 0, "", errors.Join(fmt.Errorf("server %s serves", n.name), err)
	}
	text, err := os.ReadFile(n.log)
	if err != nil {
		return 0, "", err
	}
	return n.cmd.ProcessState.ExitCode(), string(text[was.Size():]), nil
}
