package httpapi

import (
	"context"
	"errors"
	"net/http"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

func (a *api) listIncidents(c *call) (answer, error) {
	all, err := a.incidents(c.r.Context())
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.NewIncidents(all)}, nil
}

func (a *api) getIncident(c *call) (answer, error) {
	id, err := morningai.ParseID(c.r.PathValue("id"))
	if err == nil {
		all, err := a.incidents(c.r.Context())
		if err != nil {
			return answer{}, err
		}
		for i := range all {
			if all[i].ID == id {
				return answer{http.StatusOK, wire.NewIncident(all[i], true)}, nil
			}
		}
	}
	return answer{}, refusal(morningai.CodeNotFound, "there is no such incident", "each server remembers its own")
}

// incidents are the outages of this server. One without a fleet has none of its
// own, but may have been given some with a backup.
func (a *api) incidents(ctx context.Context) ([]morningai.Incident, error) {
	switch {
	case a.fleet != nil:
		return a.fleet.Incidents(ctx)
	case a.reports != nil:
		return a.reports(ctx)
	}
	return nil, nil
}

func (a *api) listNodes(c *call) (answer, error) {
	nodes, err := a.nodes(c.r.Context())
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, nodes}, nil
}

// nodes joins members and sessions. Members are known in an outage too;
// sessions may not be, and then the answer says that it is not live.
func (a *api) nodes(ctx context.Context) (wire.Nodes, error) {
	var members []morningai.Member
	if a.fleet != nil {
		var err error
		if members, err = a.fleet.Members(ctx); err != nil {
			return wire.Nodes{}, err
		}
	}
	stats, err := a.client.Stats(ctx)
	away := errors.Is(err, morningai.ErrStatusUnknown) || errors.Is(err, morningai.ErrUnavailable)
	switch {
	case away && len(members) > 0:
		stats.Fresh = morningai.FreshStale
	case err != nil:
		return wire.Nodes{}, err
	}
	return wire.Nodes{Nodes: wire.NewNodes(members, stats.Sessions), Fresh: stats.Fresh}, nil
}

func (a *api) forgetNode(c *call) (answer, error) {
	id, err := morningai.ParseID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return answer{}, noNode()
	}
	nodes, err := a.nodes(c.r.Context())
	if err != nil {
		return answer{}, err
	}
	for _, n := range nodes.Nodes {
		switch {
		case n.ID != id:
			continue
		case !n.Protected:
			return answer{}, refusal(morningai.CodeWrongState, "the node is connected and keeps no journal, so that there is nothing to forget",
				"it leaves the list by itself once it has stopped")
		}
		if err := a.fleet.Forget(c.r.Context(), id); err != nil {
			return answer{}, err
		}
		return answer{http.StatusOK, n}, nil
	}
	if nodes.Fresh != morningai.FreshLive {
		return answer{}, refusal(morningai.CodeStatusUnknown, "whether there is such a node cannot be known while Redis is away", "")
	}
	return answer{}, noNode()
}

func noNode() error {
	return refusal(morningai.CodeNotFound, "there is no such node", "GET /v1/nodes lists them")
}
