package rq_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/rq"
)

// However often servers start, what Redis counts for each of them stays small; the
// senders that were at work last keep their counts, and the oldest make room.
func TestSendersAreForgotten(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	send := func(sender *rq.Sender, id string, known rq.Mark) (rq.Mark, error) {
		t.Helper()
		mark, _, err := sender.Send(t.Context(), rq.Spec{ID: id, Queue: "q", Func: "tasks.nothing"}, 1, known)
		return mark, err
	}
	busy := c.NewSender("busy")
	first, err := send(busy, "first", rq.Mark{})
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for i := range 3000 {
		fields = append(fields, fmt.Sprint("old", i), "7 "+strconv.Itoa(1_700_000_000+i))
	}
	s.Do(append([]string{"HSET", "morningai:rq:sent"}, fields...)...)
	for i := range 40 {
		if _, err := send(c.NewSender(fmt.Sprint("new", i)), fmt.Sprint("j", i), rq.Mark{}); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := strconv.Atoi(s.Do("HLEN", "morningai:rq:sent")); err != nil || n > 1000 {
		t.Errorf("%d counts are kept: %v", n, err)
	}
	if kept := strings.Fields(s.Do("HMGET", "morningai:rq:sent", "busy-0", "old2999", "new0-0", "new39-0")); len(kept) != 8 || s.Do("HEXISTS", "morningai:rq:sent", "old0") != "0" {
		t.Errorf("kept: %q", kept)
	}
	// What is told by a count still holds: a job that was removed does not come again,
	// and the numbers of a sender go on.
	if err := c.Delete(t.Context(), "first"); err != nil {
		t.Fatal(err)
	}
	if mark, err := send(busy, "first", first); !errors.Is(err, rq.ErrDeleted) {
		t.Errorf("%v %v", mark, err)
	}
	if mark, err := send(busy, "second", rq.Mark{}); err != nil || mark != (rq.Mark{Sender: "busy-0", Number: 2}) {
		t.Errorf("%v %v", mark, err)
	}
	// A sender whose count is gone goes on under another name, and what is known of its
	// earlier job counts as lost.
	s.Do("HDEL", "morningai:rq:sent", "busy-0")
	if mark, err := send(busy, "first", first); err != nil || mark != (rq.Mark{Sender: "busy-1", Number: 1}) {
		t.Errorf("%v %v", mark, err)
	}
}

// A job that a server has delivered is its task's already: no import makes another
// task of it, or takes it away from the one that follows it.
func TestImportLeavesWhatIsFollowed(t *testing.T) {
	s := redistest.Start(t)
	c := open(t, s)
	if _, _, err := c.NewSender("server").Send(t.Context(), rq.Spec{ID: "ours", Queue: "q", Func: "tasks.nothing"}, 1, rq.Mark{}); err != nil {
		t.Fatal(err)
	}
	enqueue(t, c, rq.Spec{ID: "theirs", Queue: "q", Func: "tasks.nothing"})
	taken, err := c.Import(t.Context(), rq.Import{Queues: []string{"q"}, Decide: func(*rq.Job) string { return "" },
		Submit: func(context.Context, *rq.Job) error { return nil }, Refused: func(error) bool { return false }})
	if err != nil || len(taken) != 2 || taken[0].Job.ID != "ours" || taken[0].Reason == "" || taken[1].Reason != "" {
		t.Errorf("%+v %v", taken, err)
	}
	if left := s.Do("LRANGE", "rq:queue:q", "0", "-1"); left != "ours" {
		t.Errorf("left in the queue: %q", left)
	}
}
