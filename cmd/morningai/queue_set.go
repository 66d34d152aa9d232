package main

import (
	"context"

	"github.com/RC918/morningai"
)

type queueSetCmd struct {
	queueRef
	Concurrency *int    `placeholder:"N" help:"Run at most so many of its tasks at once; 0: no limit."`
	Rate        *string `placeholder:"N/s" help:"Start so many per second (/s), minute (/m) or hour (/h), after a rest as many at once; 0: no limit."`
	connection
}

// Run sets limits of the queue; what is not given stays as it is.
func (c *queueSetCmd) Run(ctx context.Context, s streams) error {
	change := morningai.QueueChange{Concurrency: c.Concurrency}
	if c.Rate != nil {
		var rate morningai.Rate
		if *c.Rate != "0" {
			var err error
			if rate, err = morningai.ParseRate(*c.Rate); err != nil {
				return usage("--rate must be a number of starts such as 10/s, 100/m or 5000/h, or 0 for no limit", "")
			}
		}
		change.Rate = &rate
	}
	if change.Concurrency == nil && change.Rate == nil {
		return usage("nothing to set", "give --concurrency or --rate")
	}
	if err := change.Validate(c.Name); err != nil {
		return err
	}
	return c.change(ctx, s, &c.connection, change)
}
