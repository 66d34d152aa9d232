package main

import (
	"context"
	"time"

	"github.com/RC918/morningai"
)

type incidentShowCmd struct {
	ID string `arg:"" help:"Id of the incident."`
	connection
}

// Run prints one outage.
func (c *incidentShowCmd) Run(ctx context.Context, s streams) error {
	id, err := namedID(c.ID, "incident", "each server remembers its own: morningai incident list")
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		one, err := l.Incident(ctx, id)
		return describeIncident(&one, time.Now()), err
	})
}

// namedID reads an id from the command line. A malformed one names nothing.
func namedID(text, what, hint string) (morningai.ID, error) {
	id, err := morningai.ParseID(text)
	if err != nil || id.IsZero() {
		return id, &morningai.Error{Code: morningai.CodeNotFound, Detail: "there is no such " + what, Hint: hint}
	}
	return id, nil
}
