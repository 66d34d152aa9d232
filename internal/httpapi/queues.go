package httpapi

import (
	"net/http"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

func (a *api) listQueues(c *call) (answer, error) {
	stats, err := a.client.Stats(c.r.Context())
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.NewQueues(stats.Queues)}, nil
}

func (a *api) getQueue(c *call) (answer, error) {
	info, err := a.client.Queue(c.r.Context(), c.r.PathValue("name"))
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.NewQueue(info)}, nil
}

func (a *api) setQueue(c *call) (answer, error) {
	name := c.r.PathValue("name")
	if !morningai.ValidName(name) {
		return answer{}, wrongField("path.name", morningai.NameRule)
	}
	var req wire.QueueChange
	var change morningai.QueueChange
	err := decode(c.body, &req, func() (err error) {
		if change, err = req.Model(); err != nil {
			return err
		}
		return change.Validate(name)
	})
	if err != nil {
		return answer{}, err
	}
	info, err := a.client.SetQueue(c.r.Context(), name, change)
	if err != nil {
		return answer{}, within("body.", err)
	}
	if info.Pending {
		return answer{http.StatusAccepted, wire.NewQueue(info)}, nil
	}
	return answer{http.StatusOK, wire.NewQueue(info)}, nil
}

func (a *api) stats(c *call) (answer, error) {
	stats, err := a.client.Stats(c.r.Context())
	if err != nil {
		return answer{}, err
	}
	return answer{http.StatusOK, wire.NewStats(stats)}, nil
}
