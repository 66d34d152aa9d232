package main

import (
	"context"
	"fmt"
	"time"

	"github.com/RC918/morningai/server"
)

type journalListCmd struct {
	journalFolder
	Limit int `default:"1000" placeholder:"N" help:"Rows of the table; --json prints all entries (${default})."`
}

// Run prints what the journal holds.
func (c *journalListCmd) Run(ctx context.Context, s streams) error {
	if c.Limit < 1 {
		return usage("--limit must be at least 1", "")
	}
	folder, err := c.folder()
	if err != nil {
		return err
	}
	all, err := server.JournalEntries(ctx, folder)
	if err != nil {
		return err
	}
	if c.JSON {
		return printValue(s, map[string]any{"entries": entriesJSON(all)})
	}
	fmt.Fprintf(s.err, "only in the journal: %s; in doubt: %s; set aside: %s; copies of what Redis has: %s\n",
		entryCounts(all, "journal"), entryCounts(all, "in doubt"), entryCounts(all, "set aside"), entryCounts(all, "copy"))
	if len(all) == 0 {
		return nil
	}
	shown := all[:min(len(all), c.Limit)]
	if len(shown) < len(all) {
		fmt.Fprintf(s.err, "the first %d of %d entries; --limit or --json shows more\n", len(shown), len(all))
	}
	return show(s.out, entryTable(shown, time.Now()))
}
