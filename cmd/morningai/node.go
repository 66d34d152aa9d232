package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

type nodeCmd struct {
	List   nodeListCmd   `cmd:"" help:"List the servers and workers that take part."`
	Forget nodeForgetCmd `cmd:"" help:"Remove a server that will not come back."`
}

func nodeState(n *client.Node) string {
	if n.Connected {
		return good.Render("connected")
	}
	return warn.Render("away")
}

// journalOf says what is known of a node's journal.
func journalOf(n *client.Node) string {
	switch {
	case !n.Protected:
		return "none"
	case n.Backlog > 0:
		return warn.Render(fmt.Sprintf("%d undelivered", n.Backlog))
	}
	return "delivered"
}

func namesOf(names []string, all string) string {
	if len(names) == 0 {
		return all
	}
	return printable(strings.Join(names, ","))
}

func nodeTable(nodes []client.Node, now time.Time) string {
	rows := [][]string{{"ID", "NODE", "STATE", "RUNNING", "JOURNAL", "CONTACT", "QUEUES", "TYPES"}}
	for i := range nodes {
		n := &nodes[i]
		running, queues, contact := "-", "-", "-"
		if n.Concurrency > 0 {
			running, queues = fmt.Sprintf("%d/%d", n.Running, n.Concurrency), namesOf(n.Queues, "all")
		}
		if !n.ContactAt.IsZero() {
			contact = age(now.Sub(n.ContactAt)) + " ago"
		}
		rows = append(rows, []string{n.ID.String(), printable(n.Node), nodeState(n), running, journalOf(n), contact, queues, namesOf(n.Types, "-")})
	}
	return table(rows)
}

func describeNode(n *client.Node, now time.Time) string {
	return fields([][2]string{
		{"id", n.ID.String()},
		{"node", printable(n.Node)},
		{"state", nodeState(n)},
		{"address", printable(n.URL)},
		{"version", printable(n.Version)},
		{"journal", journalOf(n)},
		{"contact", moment(n.ContactAt, now)},
	}...)
}

// noteStale says so if the list is not of this moment.
func noteStale(s streams, fresh morningai.Freshness) {
	if fresh != morningai.FreshLive {
		fmt.Fprintln(s.err, "note: Redis or a node is away: this is what was known last, and may not be all")
	}
}
