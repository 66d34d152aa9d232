package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/RC918/morningai"
)

type incidentCmd struct {
	List incidentListCmd `cmd:"" help:"List the outages that a server remembers."`
	Show incidentShowCmd `cmd:"" help:"Show one outage and the tasks that it touched."`
}

// lasted is how long an incident took, or how long it has lasted so far.
func lasted(i *morningai.Incident, now time.Time) string {
	if i.EndedAt.IsZero() {
		return bad.Render(age(now.Sub(i.StartedAt)) + " and counting")
	}
	return age(i.EndedAt.Sub(i.StartedAt))
}

// lostCount stands out if anything was lost.
func lostCount(i *morningai.Incident) string {
	if i.Lost > 0 {
		return bad.Render(fmt.Sprint(i.Lost))
	}
	return "0"
}

func incidentTable(all []morningai.Incident, now time.Time) string {
	rows := [][]string{{"ID", "NODE", "STARTED", "LASTED", "ACCEPTED", "RAN", "UNDELIVERED", "LOST", "CAUSE"}}
	for i := range all {
		one := &all[i]
		rows = append(rows, []string{one.ID.String(), printable(one.Node), one.StartedAt.UTC().Format(time.RFC3339), lasted(one, now),
			fmt.Sprint(one.Accepted), fmt.Sprint(one.RanLocally), fmt.Sprint(one.Backlog), lostCount(one), short([]byte(one.Cause))})
	}
	return table(rows)
}

// describeIncident leaves out what did not happen, except a loss.
func describeIncident(i *morningai.Incident, now time.Time) string {
	count := func(n int64, what string) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("%d %s", n, what)
	}
	return fields([][2]string{
		{"id", i.ID.String()},
		{"node", printable(i.Node)},
		{"cause", printable(i.Cause)},
		{"hint", printable(i.Hint)},
		{"started", moment(i.StartedAt, now)},
		{"ended", moment(i.EndedAt, now)},
		{"lasted", lasted(i, now)},
		{"noticed after", age(i.NoticedAfter)},
		{"accepted", count(i.Accepted, "tasks, into the journal alone")},
		{"ran here", count(i.RanLocally, "attempts, without Redis")},
		{"delivered", count(i.Delivered, "outcomes, checkpoints and commands, afterwards")},
		{"forwarded", count(i.Forwarded, "tasks, to Redis afterwards")},
		{"replayed", count(i.Replayed, "writes in doubt, sent again")},
		{"repeated", count(i.Repeated, "tasks ran more than once")},
		{"maybe repeated", count(i.MaybeRepeated, "tasks may have run more than once: nobody could say")},
		{"superseded", count(i.Superseded, "tasks gave way to another holder of their unique key")},
		{"set aside", count(i.SetAside, "entries that Redis refuses for good")},
		{"refused", count(i.Refused, "requests that nobody could take")},
		{"undelivered", count(i.Backlog, "entries are still to be delivered")},
		{"lost", lostCount(i)},
		{"repeated ids", idList(i.RepeatedIDs)},
		{"maybe repeated ids", idList(i.MaybeRepeatedIDs)},
		{"set aside ids", idList(i.SetAsideIDs)},
		{"lost ids", idList(i.LostIDs)},
		{"without a journal", printable(strings.Join(i.Unprotected, ", "))},
	}...)
}

// idList is a few of many ids.
func idList(ids []morningai.ID) string {
	const most = 10
	var names []string
	for i, id := range ids {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more (--json shows them)", len(ids)-most))
			break
		}
		names = append(names, id.String())
	}
	return strings.Join(names, " ")
}
