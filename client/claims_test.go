package client_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

func TestWorkOverHTTP(t *testing.T) {
	c, reader := serving(t)
	ctx := t.Context()
	worker := client.ClaimRequest{Worker: "w", Node: "far", Types: []string{"remote"}, Limit: 1, Wait: time.Minute,
		Queues: []morningai.QueueShare{{Name: "a", Share: 1}, {Name: "b"}}}
	claim := func() client.Claim {
		t.Helper()
		got := must[client.Claims](t)(c.Claim(ctx, worker))
		if len(got.Claims) != 1 {
			t.Fatalf("%+v", got)
		}
		return got.Claims[0]
	}
	submit := func() morningai.ID {
		t.Helper()
		spec := morningai.NewTaskSpec("remote", []byte(`{"n":1.0}`))
		spec.Queue = "b"
		return must[*morningai.Task](t)(c.Enqueue(ctx, spec)).ID
	}
	state := must[morningai.State](t)
	if _, err := reader.Claim(ctx, worker); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("with the scope read: %v", err)
	}

	id := submit()
	one := claim()
	if one.Task.ID != id || string(one.Task.Payload) != `{"n":1.0}` || one.Lease != morningai.DefaultLease || one.Steps != nil {
		t.Errorf("%+v", one)
	}
	if cancel := must[bool](t)(c.BeatClaim(ctx, one.ID, json.RawMessage("7"))); cancel {
		t.Error("canceled")
	}
	if err := errors.Join(c.RecordStep(ctx, one.ID, "s", json.RawMessage(`"done"`)),
		c.LogClaim(ctx, one.ID, []morningai.LogLine{{Level: "warn", Message: "m", Attrs: json.RawMessage(`{"k":1}`)}, {Message: "n"}})); err != nil {
		t.Fatal(err)
	}
	soon := time.Duration(0)
	if got := state(c.FinishClaim(ctx, one.ID, client.ClaimEnd{Error: &morningai.TaskError{Code: "x", Message: "y"}, Stack: "here", After: &soon})); got != morningai.StateScheduled && got != morningai.StateQueued {
		t.Errorf("after a failure: %s", got)
	}
	two := claim()
	if string(two.Steps["s"]) != `"done"` || two.Task.Failures != 1 || string(two.Task.Progress) != "7" {
		t.Errorf("%+v", two)
	}
	if _, err := c.BeatClaim(ctx, one.ID, nil); !errors.Is(err, morningai.ErrStale) {
		t.Errorf("a beat for the first claim: %v", err)
	}
	must[*morningai.Task](t)(c.Cancel(ctx, id))
	told := must[client.Claims](t)(c.Claim(ctx, client.ClaimRequest{Worker: "w", Types: worker.Types, Wait: time.Minute, Holding: []string{two.ID, one.ID}}))
	if !slices.Equal(told.Cancels, []string{two.ID}) || !slices.Equal(told.Lost, []string{one.ID}) {
		t.Errorf("%+v", told)
	}
	if got := state(c.FinishClaim(ctx, two.ID, client.ClaimEnd{})); got != morningai.StateCanceled {
		t.Errorf("%s", got)
	}
	attempts := must[[]morningai.Attempt](t)(c.Attempts(ctx, id))
	if len(attempts) != 2 || attempts[0].Stack != "here" || *attempts[0].Error != (morningai.TaskError{Code: "x", Message: "y"}) || attempts[1].Node != "far" {
		t.Errorf("%+v", attempts)
	}
	if lines := must[[]morningai.LogLine](t)(c.Logs(ctx, id)); len(lines) != 2 || lines[0].Level != "warn" || lines[1].Level != "info" {
		t.Errorf("%+v", lines)
	}
	worker.Leave = true
	must[client.Claims](t)(c.Claim(ctx, worker))
	nodes, _, err := c.Nodes(ctx)
	if err != nil || slices.ContainsFunc(nodes, func(n client.Node) bool { return n.Node == "far" }) {
		t.Errorf("after leaving: %+v, %v", nodes, err)
	}
}

func TestEndsOfClaims(t *testing.T) {
	c, _ := serving(t)
	ctx := t.Context()
	hour := time.Hour
	failure := &morningai.TaskError{Code: "x", Message: "y"}
	for _, one := range []struct {
		end  client.ClaimEnd
		want morningai.State
	}{
		{client.ClaimEnd{}, morningai.StateSucceeded},
		{client.ClaimEnd{Result: json.RawMessage("1")}, morningai.StateSucceeded},
		{client.ClaimEnd{Error: failure}, morningai.StateScheduled},
		{client.ClaimEnd{Outcome: morningai.OutcomeRetry, After: &hour}, morningai.StateScheduled},
		{client.ClaimEnd{Outcome: morningai.OutcomeFailed, Error: failure}, morningai.StateFailed},
		{client.ClaimEnd{Outcome: morningai.OutcomeSnoozed, After: &hour}, morningai.StateScheduled},
		{client.ClaimEnd{Outcome: morningai.OutcomeCanceled, Error: failure}, morningai.StateCanceled},
		{client.ClaimEnd{Outcome: morningai.OutcomeReleased}, morningai.StateQueued},
	} {
		id := must[*morningai.Task](t)(c.Enqueue(ctx, morningai.NewTaskSpec("remote", nil))).ID
		got := must[client.Claims](t)(c.Claim(ctx, client.ClaimRequest{Worker: "w", Types: []string{"remote"}, Limit: 1, Wait: time.Minute}))
		if len(got.Claims) != 1 || got.Claims[0].Task.ID != id {
			t.Fatalf("%+v", got)
		}
		if state := must[morningai.State](t)(c.FinishClaim(ctx, got.Claims[0].ID, one.end)); state != one.want {
			t.Errorf("%+v: %s, want %s", one.end, state, one.want)
		}
		now := must[*morningai.Task](t)(c.Get(ctx, id))
		if wait := time.Until(now.RunAt); one.end.After != nil && (wait < hour-time.Minute || wait > hour) {
			t.Errorf("%+v: due in %v", one.end, wait)
		}
		if one.end.Error != nil && (now.Error == nil || *now.Error != *failure) {
			t.Errorf("%+v: %+v", one.end, now.Error)
		}
	}
}

func TestGetHereSaysSo(t *testing.T) {
	var header http.Header
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.WriteHeader(500)
	}))
	defer srv.Close()
	c := must[*client.Client](t)(client.New(srv.URL))
	defer c.Close()
	if _, err := c.GetHere(t.Context(), someID(t)); err == nil || header.Get("Morningai-Only-Here") != "true" {
		t.Errorf("%v: %v", err, header)
	}
	if _, err := c.Get(t.Context(), someID(t)); err == nil || header.Get("Morningai-Only-Here") != "" {
		t.Errorf("%v: %v", err, header)
	}
}
