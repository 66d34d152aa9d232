package wire_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

func TestIncidentsComeBack(t *testing.T) {
	one := morningai.Incident{ID: morningai.ID{1}, Node: "n", Cause: "c", Hint: "h", StartedAt: at, EndedAt: at.Add(time.Minute), NoticedAfter: time.Second,
		Accepted: 1, RanLocally: 2, Delivered: 3, Forwarded: 4, Replayed: 5, Repeated: 6, MaybeRepeated: 12, Superseded: 7, SetAside: 8, Refused: 9, Lost: 10, Backlog: 11,
		RepeatedIDs: []morningai.ID{{2}}, MaybeRepeatedIDs: []morningai.ID{{5}}, SetAsideIDs: []morningai.ID{{3}, {4}}, LostIDs: []morningai.ID{{6}}, Unprotected: []string{"m"}}
	same(t, through(t, wire.NewIncident(one, true)).Model(), one)
	listed := one
	listed.RepeatedIDs, listed.MaybeRepeatedIDs, listed.SetAsideIDs, listed.LostIDs = nil, nil, nil, nil
	same(t, through(t, wire.NewIncidents([]morningai.Incident{one})).Incidents[0].Model(), listed)

	lasting, _ := json.Marshal(wire.NewIncident(morningai.Incident{}, true))
	for _, field := range []string{`"ended_at":null`, `"repeated_ids":[]`, `"set_aside_ids":[]`, `"lost":0`} {
		if !strings.Contains(string(lasting), field) {
			t.Errorf("%s is not in %s", field, lasting)
		}
	}
	if none, _ := json.Marshal(wire.NewIncidents(nil)); string(none) != `{"incidents":[]}` {
		t.Errorf("no incidents are %s", none)
	}
}

// A member and its session are one node; a session without a member is one that
// keeps no journal.
func TestNodesAreMembersAndSessions(t *testing.T) {
	members := []morningai.Member{
		{Journal: morningai.ID{1}, Node: "b", URL: "http://b", Session: morningai.SessionID{7}, Version: "v", Backlog: 3, ContactAt: at, Connected: true},
		{Journal: morningai.ID{2}, Node: "dead", ContactAt: at},
		{Journal: morningai.ID{3}, Node: "api", Connected: true}, // without workers it has no session
	}
	sessions := []morningai.Session{
		{ID: morningai.SessionID{7}, Node: "b", Types: []string{"echo"}, Queues: []string{"q"}, Concurrency: 4, Running: 2},
		{ID: morningai.SessionID{9}, Node: "a", Concurrency: 1},
	}
	got := wire.NewNodes(members, sessions)
	same(t, got, []wire.Node{
		{ID: morningai.ID{9}, Node: "a", Connected: true, Concurrency: 1, Types: []string{}, Queues: []string{}},
		{ID: morningai.ID{3}, Node: "api", Connected: true, Protected: true, Types: []string{}, Queues: []string{}},
		{ID: morningai.ID{1}, Node: "b", URL: "http://b", Version: "v", Connected: true, Protected: true, Backlog: 3, ContactAt: &members[0].ContactAt,
			Concurrency: 4, Running: 2, Types: []string{"echo"}, Queues: []string{"q"}},
		{ID: morningai.ID{2}, Node: "dead", Protected: true, ContactAt: &members[1].ContactAt, Types: []string{}, Queues: []string{}},
	})
	if none, _ := json.Marshal(wire.NewNodes(nil, nil)); string(none) != "[]" {
		t.Errorf("no nodes are %s", none)
	}
}

func TestPoliciesThatAreNone(t *testing.T) {
	for field, body := range map[string]string{"during_outage": `{"type":"a","during_outage":""}`, "durability": `{"type":"a","durability":""}`} {
		var req wire.TaskRequest
		if err := json.Unmarshal([]byte(body), &req); err != nil {
			t.Fatal(err)
		}
		if _, err := req.Spec(at); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
