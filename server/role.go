package server

import (
	"context"
	"errors"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/docgen"
	"github.com/RC918/morningai/internal/builtin"
	"github.com/RC918/morningai/internal/peer"
)

// Role says what a server does of the work.
type Role string

// The roles. The zero value is RoleAll.
const (
	RoleAll    Role = "all"    // it accepts tasks and runs them
	RoleAPI    Role = "api"    // it accepts tasks, and others run them
	RoleWorker Role = "worker" // it runs tasks, and others accept them; it answers questions
)

// checkRole looks for settings that contradict each other.
func (c *Config) checkRole() error {
	var bad []morningai.FieldError
	switch c.Role {
	case "", RoleAll, RoleAPI, RoleWorker:
	default:
		bad = append(bad, morningai.FieldError{Location: "role", Message: "must be all, api or worker"})
	}
	if c.Role == RoleAPI && len(c.Peers) > 0 {
		bad = append(bad, morningai.FieldError{Location: "peers", Message: "must not be given with the role api, which runs nothing"})
	}
	if c.Role == RoleWorker && len(c.Peers) == 0 && c.Redis.URL == "" {
		bad = append(bad, morningai.FieldError{Location: "role", Message: "must not be worker without Redis and without peers: nobody could give it a task"})
	}
	bad = append(bad, c.checkRQ()...)
	if len(bad) > 0 {
		return morningai.InvalidInput("open server", bad...)
	}
	return nil
}

// openPeers returns what hands out the tasks of other servers.
func (c *Config) openPeers(opening func(func() error)) ([]morningai.Engine, error) {
	var out []morningai.Engine
	for _, url := range c.Peers {
		e, err := peer.Open(url, c.PeerToken, c.Logger)
		if err != nil {
			return nil, aboutPeer(err)
		}
		opening(e.Close)
		out = append(out, e)
	}
	return out, nil
}

// aboutPeer says of whose address an error speaks.
func aboutPeer(err error) error {
	e, ok := errors.AsType[*morningai.Error](err)
	if !ok {
		return err
	}
	named := *e
	named.Op, named.Detail = "open peer", "of a peer: "+e.Detail
	return &named
}

// register gives the app its handlers, and returns the folder that faq tasks
// answer from; "" if this server runs none.
func (c *Config) register(ctx context.Context, app *morningai.App, opening func(func() error)) (string, error) {
	if c.Role == RoleAPI {
		return "", nil
	}
	answers, err := docgen.Open(ctx, docgen.Options{Docs: c.Docs, Index: docgen.IndexPath(c.Data, c.Docs), Repo: c.Repo, Logger: c.Logger})
	if err != nil {
		return "", aboutDocs(err)
	}
	opening(answers.Close)
	if err := builtin.Register(app, builtin.Options{HTTPAllow: c.HTTPAllow}); err != nil {
		return "", err
	}
	morningai.Handle(app, docgen.TaskType, answers.Handler)
	return answers.Docs(), nil
}
