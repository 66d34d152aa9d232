package client

import (
	"context"
	"net/http"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// Node is a member of the fleet, or a live session that belongs to none.
type Node struct {
	ID        morningai.ID // of its journal; of its session if it keeps none
	Node      string       // a name for people
	URL       string       // where its API answers; "" if nobody can ask it
	Version   string
	Connected bool      // it is alive and in contact
	Protected bool      // it keeps a journal
	Backlog   int64     // entries of its journal that it had not delivered at ContactAt
	ContactAt time.Time // when it last said so; zero if it keeps no journal

	Concurrency int // tasks that it runs at once; 0 if it runs none
	Running     int
	Types       []string // that it can run
	Queues      []string // that it serves; empty: all
}

func nodeOf(n wire.Node) Node {
	out := Node{ID: n.ID, Node: n.Node, URL: n.URL, Version: n.Version, Connected: n.Connected, Protected: n.Protected, Backlog: n.Backlog,
		Concurrency: n.Concurrency, Running: n.Running, Types: n.Types, Queues: n.Queues}
	if n.ContactAt != nil {
		out.ContactAt = *n.ContactAt
	}
	return out
}

// Nodes returns the members of the fleet, by name, and how current that is.
func (c *Client) Nodes(ctx context.Context) ([]Node, morningai.Freshness, error) {
	var out wire.Nodes
	if err := c.do(ctx, call{op: "list nodes", method: http.MethodGet, path: []string{"v1", "nodes"}}, &out); err != nil {
		return nil, "", err
	}
	nodes := make([]Node, len(out.Nodes))
	for i, n := range out.Nodes {
		nodes[i] = nodeOf(n)
	}
	return nodes, out.Fresh, nil
}

// ForgetNode removes a member that will not come back, and returns it as it
// was. What only its journal knew is then answered as not found. While the
// member is connected it is a morningai.ErrWrongState.
func (c *Client) ForgetNode(ctx context.Context, id morningai.ID) (Node, error) {
	var out wire.Node
	err := c.do(ctx, call{op: "forget node", method: http.MethodDelete, path: []string{"v1", "nodes", id.String()}}, &out)
	return nodeOf(out), err
}

// Incidents returns the outages that the server remembers, newest first, the one
// that lasts among them. They do not list the tasks that they touched.
func (c *Client) Incidents(ctx context.Context) ([]morningai.Incident, error) {
	var out wire.Incidents
	if err := c.do(ctx, call{op: "list incidents", method: http.MethodGet, path: []string{"v1", "incidents"}}, &out); err != nil {
		return nil, err
	}
	all := make([]morningai.Incident, len(out.Incidents))
	for i, one := range out.Incidents {
		all[i] = one.Model()
	}
	return all, nil
}

// Incident returns one outage, or a morningai.ErrNotFound: each server remembers
// its own.
func (c *Client) Incident(ctx context.Context, id morningai.ID) (morningai.Incident, error) {
	var out wire.Incident
	err := c.do(ctx, call{op: "get incident", method: http.MethodGet, path: []string{"v1", "incidents", id.String()}}, &out)
	return out.Model(), err
}
