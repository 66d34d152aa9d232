package wire

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/RC918/morningai"
)

// Incident is the report of one outage.
type Incident struct {
	ID            morningai.ID `json:"id" format:"uuid"`
	Node          string       `json:"node" doc:"the server whose outage it was"`
	Cause         string       `json:"cause"`
	Hint          string       `json:"hint"`
	StartedAt     time.Time    `json:"started_at"`
	EndedAt       *time.Time   `json:"ended_at" doc:"null while it lasts"`
	NoticedAfter  Duration     `json:"noticed_after" doc:"from the last sign of life of Redis"`
	Accepted      int64        `json:"accepted" doc:"tasks accepted into the journal alone"`
	RanLocally    int64        `json:"ran_locally" doc:"attempts that ran here without Redis"`
	Delivered     int64        `json:"delivered" doc:"outcomes, checkpoints and commands given to Redis afterwards"`
	Forwarded     int64        `json:"forwarded" doc:"tasks handed to Redis afterwards"`
	Replayed      int64        `json:"replayed" doc:"writes that were sent again, because they were in doubt or Redis had lost them"`
	Repeated      int64        `json:"repeated" doc:"tasks that ran more than once"`
	MaybeRepeated int64        `json:"maybe_repeated" doc:"tasks that may have run more than once: Redis had lost data, and a server that could know was away"`
	Superseded    int64        `json:"superseded" doc:"tasks that gave way to another holder of their unique key"`
	SetAside      int64        `json:"set_aside" doc:"entries that Redis refuses for good"`
	Refused       int64        `json:"refused" doc:"requests refused because neither journal nor Redis could take them"`
	Lost          int64        `json:"lost" doc:"acknowledged tasks known to be lost: 0, or an alarm"`
	Backlog       int64        `json:"backlog" doc:"entries still to be delivered"`

	RepeatedIDs      []morningai.ID `json:"repeated_ids,omitzero" doc:"of one incident only: up to 1,000 tasks that ran more than once"`
	MaybeRepeatedIDs []morningai.ID `json:"maybe_repeated_ids,omitzero" doc:"of one incident only: up to 1,000 tasks that may have"`
	SetAsideIDs      []morningai.ID `json:"set_aside_ids,omitzero" doc:"of one incident only: up to 1,000 tasks whose entries were set aside"`
	LostIDs          []morningai.ID `json:"lost_ids,omitzero" doc:"of one incident only: up to 1,000 tasks that are lost"`

	Unprotected []string `json:"unprotected,omitempty" doc:"servers on the same Redis that kept no journal meanwhile: what they accepted and Redis lost nobody can put back"`
}

// NewIncident is the JSON form of a report. Ids are listed if it stands alone.
func NewIncident(i morningai.Incident, alone bool) Incident {
	out := Incident{ID: i.ID, Node: i.Node, Cause: i.Cause, Hint: i.Hint, StartedAt: i.StartedAt.UTC(), EndedAt: timeOrNil(i.EndedAt),
		NoticedAfter: Duration(i.NoticedAfter), Accepted: i.Accepted, RanLocally: i.RanLocally, Delivered: i.Delivered,
		Forwarded: i.Forwarded, Replayed: i.Replayed, Repeated: i.Repeated, MaybeRepeated: i.MaybeRepeated, Superseded: i.Superseded, SetAside: i.SetAside,
		Refused: i.Refused, Lost: i.Lost, Backlog: i.Backlog, Unprotected: i.Unprotected}
	if alone {
		out.RepeatedIDs = append([]morningai.ID{}, i.RepeatedIDs...)
		out.MaybeRepeatedIDs = append([]morningai.ID{}, i.MaybeRepeatedIDs...)
		out.SetAsideIDs = append([]morningai.ID{}, i.SetAsideIDs...)
		out.LostIDs = append([]morningai.ID{}, i.LostIDs...)
	}
	return out
}

// Model is the way back.
func (i Incident) Model() morningai.Incident {
	return morningai.Incident{ID: i.ID, Node: i.Node, Cause: i.Cause, Hint: i.Hint, StartedAt: i.StartedAt, EndedAt: timeOrZero(i.EndedAt),
		NoticedAfter: time.Duration(i.NoticedAfter), Accepted: i.Accepted, RanLocally: i.RanLocally, Delivered: i.Delivered,
		Forwarded: i.Forwarded, Replayed: i.Replayed, Repeated: i.Repeated, MaybeRepeated: i.MaybeRepeated, Superseded: i.Superseded, SetAside: i.SetAside,
		Refused: i.Refused, Lost: i.Lost, Backlog: i.Backlog, RepeatedIDs: i.RepeatedIDs, MaybeRepeatedIDs: i.MaybeRepeatedIDs, SetAsideIDs: i.SetAsideIDs,
		LostIDs: i.LostIDs, Unprotected: i.Unprotected}
}

// Incidents answers GET /v1/incidents, newest first.
type Incidents struct {
	Incidents []Incident `json:"incidents"`
}

// NewIncidents is the JSON form of reports.
func NewIncidents(all []morningai.Incident) Incidents {
	out := make([]Incident, len(all))
	for i := range all {
		out[i] = NewIncident(all[i], false)
	}
	return Incidents{out}
}

// Node is a member of the fleet, or a live session that belongs to none.
type Node struct {
	ID          morningai.ID `json:"id" format:"uuid" doc:"of its journal; of its session if it keeps none"`
	Node        string       `json:"node" doc:"a name for people"`
	URL         string       `json:"url" doc:"where its API answers; empty if nobody can ask it"`
	Version     string       `json:"version" doc:"of its program; empty if it does not say"`
	Connected   bool         `json:"connected" doc:"it is alive and in contact"`
	Protected   bool         `json:"protected" doc:"it keeps a journal, so that what it accepts survives an outage of Redis"`
	Backlog     int64        `json:"backlog" doc:"entries of its journal that it had not delivered at contact_at"`
	ContactAt   *time.Time   `json:"contact_at" doc:"when it last said so; null if it keeps no journal"`
	Concurrency int          `json:"concurrency" doc:"tasks that it runs at once; 0 if it runs none"`
	Running     int          `json:"running"`
	Types       []string     `json:"types" doc:"that it can run"`
	Queues      []string     `json:"queues" doc:"that it serves; with a concurrency and none here, it serves all"`
}

// Nodes answers GET /v1/nodes.
type Nodes struct {
	Nodes []Node              `json:"nodes"`
	Fresh morningai.Freshness `json:"fresh" enum:"live,local,stale"`
}

// NewNodes joins members with sessions, by name.
func NewNodes(members []morningai.Member, sessions []morningai.Session) []Node {
	out := []Node{}
	at := map[morningai.SessionID]int{}
	for _, m := range members {
		if m.Session != (morningai.SessionID{}) {
			at[m.Session] = len(out)
		}
		out = append(out, Node{ID: m.Journal, Node: m.Node, URL: m.URL, Version: m.Version, Connected: m.Connected, Protected: true,
			Backlog: m.Backlog, ContactAt: timeOrNil(m.ContactAt), Types: []string{}, Queues: []string{}})
	}
	for _, s := range sessions {
		i, ok := at[s.ID]
		if !ok {
			i = len(out)
			out = append(out, Node{ID: morningai.ID(s.ID), Node: s.Node, Connected: true})
		}
		out[i].Concurrency, out[i].Running = s.Concurrency, s.Running
		out[i].Types, out[i].Queues = append([]string{}, s.Types...), append([]string{}, s.Queues...)
	}
	slices.SortFunc(out, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Node, b.Node), bytes.Compare(a.ID[:], b.ID[:])) })
	return out
}
