package server

import (
	"context"
	"errors"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/rqbridge"
	"github.com/RC918/morningai/rq"
)

// openBridge makes what delivers tasks to RQ, nil if this server delivers none.
// Every server refuses what RQ would not take: another one may deliver it.
func (c *Config) openBridge(app *morningai.App, engine morningai.Engine, opening func(func() error)) (*rqbridge.Bridge, error) {
	app.UseEnqueue(rqbridge.Check)
	if len(c.RQQueues) == 0 {
		return nil, nil
	}
	serializer := rq.Serializer(c.RQSerializer)
	if serializer == "" {
		serializer = rq.JSON
	}
	client, err := rq.Open(c.Redis.URL, rq.WithSerializer(serializer))
	if err != nil {
		return nil, err
	}
	opening(client.Close)
	bridge, err := rqbridge.New(engine, client, rqbridge.Options{Queues: c.RQQueues, Node: c.Node, Lease: c.Lease, Logger: c.Logger})
	if err != nil {
		return nil, err
	}
	app.UseEnqueue(bridge.Middleware)
	return bridge, nil
}

// checkRQ looks for settings of RQ that cannot work.
func (c *Config) checkRQ() []morningai.FieldError {
	if len(c.RQQueues) == 0 {
		return nil
	}
	var bad []morningai.FieldError
	if c.Redis.URL == "" {
		bad = append(bad, morningai.FieldError{Location: "rq queues", Message: "must not be given without the address of the Redis that RQ uses"})
	}
	if c.Role == RoleAPI {
		bad = append(bad, morningai.FieldError{Location: "rq queues", Message: "must not be given with the role api, which runs nothing and delivers nothing"})
	}
	for _, q := range c.RQQueues {
		if !morningai.ValidName(q) {
			bad = append(bad, morningai.FieldError{Location: "rq queues", Message: "each name " + morningai.NameRule})
			break
		}
	}
	return bad
}

// startWork starts the app and the bridge to RQ.
func (s *Server) startWork(ctx context.Context) error {
	if err := s.app.Start(ctx); err != nil || s.bridge == nil {
		return err
	}
	err := s.bridge.Start(ctx)
	if err != nil {
		return errors.Join(err, s.stopApp(context.WithoutCancel(ctx)))
	}
	return nil
}

// stopBridge ends what follows jobs in RQ; the next server that gets their tasks
// goes on with it.
func (s *Server) stopBridge(ctx context.Context) error {
	if s.bridge == nil {
		return nil
	}
	return s.withoutOutage(s.bridge.Stop(ctx))
}
