package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/server"
)

type journalCmd struct {
	List  journalListCmd  `cmd:"" help:"List what a journal holds for Redis; needs no Redis."`
	Drain journalDrainCmd `cmd:"" help:"Deliver what the journal of a server holds that will not come back."`
}

// journalFolder has the flags of commands that open a journal themselves.
type journalFolder struct {
	Data string `placeholder:"DIR" type:"path" env:"MORNINGAI_DATA" help:"Data folder of the server, which must not run; the user's state folder unless given."`
	JSON bool   `name:"json" help:"Print JSON."`
}

func (f *journalFolder) folder() (string, error) { return dataFolder(f.Data) }

// entryJSON is an entry of a journal as it is printed.
type entryJSON struct {
	Kind   string          `json:"kind"`
	Where  string          `json:"where"`
	TaskID *morningai.ID   `json:"task_id"`
	Type   string          `json:"type"`
	Queue  string          `json:"queue"`
	State  morningai.State `json:"state"`
	At     *time.Time      `json:"at"`
	Reason string          `json:"reason"`
}

func entriesJSON(all []server.JournalEntry) []entryJSON {
	out := make([]entryJSON, len(all))
	for i := range all {
		e := &all[i]
		out[i] = entryJSON{Kind: string(e.Kind), Where: string(e.Where), Type: e.Type, Queue: e.Queue, State: e.State, Reason: e.Reason}
		if !e.ID.IsZero() {
			out[i].TaskID = &e.ID
		}
		if !e.At.IsZero() {
			at := e.At.UTC()
			out[i].At = &at
		}
	}
	return out
}

// entryCounts words how many entries there are of each kind in some places.
func entryCounts(all []server.JournalEntry, where ...string) string {
	counts := map[string]int{}
	for i := range all {
		if slices.Contains(where, string(all[i].Where)) {
			counts[string(all[i].Kind)]++
		}
	}
	var parts []string
	for _, kind := range []string{"task", "outcome", "checkpoint", "command", "settings"} {
		switch n := counts[kind]; {
		case n == 1 || n > 0 && kind == "settings":
			parts = append(parts, fmt.Sprintf("%d %s", n, kind))
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d %ss", n, kind))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

func entryTable(all []server.JournalEntry, now time.Time) string {
	dash := func(s string) string {
		if s == "" {
			return "-"
		}
		return short([]byte(s))
	}
	rows := [][]string{{"KIND", "WHERE", "TASK", "TYPE", "QUEUE", "STATE", "AGE", "REASON"}}
	for i := range all {
		e := &all[i]
		id, since := "-", "-"
		if !e.ID.IsZero() {
			id = e.ID.String()
		}
		if !e.At.IsZero() {
			since = age(max(now.Sub(e.At), 0))
		}
		rows = append(rows, []string{string(e.Kind), whereabouts(e), id, dash(e.Type), dash(e.Queue), dash(string(e.State)), since, dash(e.Reason)})
	}
	return table(rows)
}

func whereabouts(e *server.JournalEntry) string {
	switch e.Where {
	case "set aside":
		return bad.Render("set aside")
	case "journal":
		return warn.Render("journal")
	}
	return string(e.Where)
}
