package main

import (
	"context"
	"fmt"
	"strings"
)

type taskWhyCmd struct {
	taskRef
	connection
}

// Run prints each reason and what to do about it.
func (c *taskWhyCmd) Run(ctx context.Context, s streams) error {
	id, err := c.parse()
	if err != nil {
		return err
	}
	return c.call(ctx, s, func(ctx context.Context, l *link) (string, error) {
		why, err := l.Why(ctx, id)
		if err != nil {
			return "", err
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n", why.State)
		for _, r := range why.Reasons {
			fmt.Fprintf(&b, "- %s (%s)\n", printable(r.Message), r.Code)
			if r.Hint != "" {
				fmt.Fprintf(&b, "  %s\n", printable(r.Hint))
			}
		}
		return b.String(), nil
	})
}
