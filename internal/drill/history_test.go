package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

func TestHistoryKeepsTheOrderOfCallsAndReturns(t *testing.T) {
	now := time.Duration(0)
	h := NewHistory(Setup{}, func() time.Duration { return now })
	first := h.Begin(enqueue("a", 1))
	now = 5
	h.Add(fault(RedisDown, ""))
	second := h.Begin(read("a", 2, queued, 0))
	now = 9
	second.Return(func(op *Op) { op.Outcome, op.Code = Judge(morningai.ErrNotFound) })
	first.Return(nil)
	third := slices.Collect(h.Ops())
	if h.Len() != 3 || len(third) != 3 {
		t.Fatalf("%d operations", h.Len())
	}
	for i, want := range []Op{
		{Seq: 1, End: 5, Call: 0, Return: 9, Kind: Enqueue, Outcome: OK},
		{Seq: 2, End: 2, Call: 5, Return: 5, Kind: RedisDown, Outcome: OK},
		{Seq: 3, End: 4, Call: 5, Return: 9, Kind: Read, Outcome: Fail, Code: morningai.CodeNotFound},
	} {
		op := third[i]
		if got := (Op{Seq: op.Seq, End: op.End, Call: op.Call, Return: op.Return, Kind: op.Kind, Outcome: op.Outcome, Code: op.Code}); got != want {
			t.Errorf("operation %d is %+v, want %+v", i, got, want)
		}
	}
}

// Many goroutines record at once; nothing is lost or mixed up. Run with the
// race detector.
func TestHistoryIsSafeForManyGoroutines(t *testing.T) {
	const workers, each = 8, 2000
	h := NewHistory(Setup{}, nil)
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := range each {
				c := h.Begin(enqueue("a", w*each+i))
				h.Add(by("a", Start, w*each+i))
				c.Return(func(op *Op) { op.Version = int64(w*each + i) })
			}
		})
	}
	wait.Wait()
	places := map[int64]bool{}
	for op := range h.Ops() {
		if op.Kind == Enqueue && (tid(int(op.Version)) != op.Task || op.End <= op.Seq || op.Return < op.Call) {
			t.Fatalf("mixed up: %v", op)
		}
		places[op.Seq], places[op.End] = true, true
	}
	if h.Len() != 2*workers*each || len(places) != 3*workers*each {
		t.Errorf("%d operations at %d places", h.Len(), len(places))
	}
}

func TestHistorySurvivesBeingWritten(t *testing.T) {
	s := newStory(Setup{LeaseTime: sec, NoJournal: []string{"b"}, Starts: true})
	s.plain(1)
	s.do(enqueue("a", 2, key("k"), func(op *Op) { op.Holder, op.Span, op.Count = tid(1), -1, 3 }))
	s.do(by("a", Read, 3, unknownCode(morningai.CodeStatusUnknown)), Op{Node: "a", Kind: Set, Queue: "q", Key: "rate", Value: "1/s"})
	s.h.Begin(enqueue("b", 4))
	s.call(by("a", Cancel, 1, func(op *Op) { op.Pending, op.MaybeRepeated = true, true }), func() {})
	var text bytes.Buffer
	if err := s.h.Write(&text); err != nil {
		t.Fatal(err)
	}
	kept := text.String()
	got, err := Parse(&text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Setup, s.h.Setup) {
		t.Errorf("setup %+v, want %+v", got.Setup, s.h.Setup)
	}
	want := slices.Collect(s.h.Ops())
	if ops := slices.Collect(got.Ops()); !slices.Equal(ops, want) {
		t.Errorf("read\n%v\nwrote\n%v", ops, want)
	}
	got.Add(fault(Crash, "a"))
	if last := slices.Collect(got.Ops()); last[len(last)-1].Seq <= want[len(want)-1].End {
		t.Errorf("what is added comes at %d, within the old history", last[len(last)-1].Seq)
	}
	lines := strings.SplitAfter(kept, "\n")
	for name, broken := range map[string]string{
		"nothing":                "",
		"no setup":               strings.Join(lines[1:], ""),
		"a line that is cut":     kept[:len(kept)-9],
		"another order":          lines[0] + lines[3] + lines[2],
		"a line without a kind":  lines[0] + `{"seq":1}` + "\n",
		"a field of the future":  lines[0] + `{"seq":1,"kind":"read","colour":"red"}` + "\n",
		"a return before a call": lines[0] + `{"seq":5,"end":4,"kind":"read"}` + "\n",
	} {
		if _, err := Parse(strings.NewReader(broken)); err == nil {
			t.Errorf("%s is read without an error", name)
		}
	}
}

func TestHistoriesOfSeveralProcessesAreMerged(t *testing.T) {
	at := func(now *time.Duration, d time.Duration) { *now = d }
	var now time.Duration
	clock := func() time.Duration { return now }
	a, b := NewHistory(Setup{Starts: true}, clock), NewHistory(Setup{}, clock)
	at(&now, 10)
	call := a.Begin(enqueue("a", 1))
	at(&now, 20)
	call.Return(nil)
	a.Begin(enqueue("a", 2))
	for _, d := range []time.Duration{15, 20, 21} {
		at(&now, d)
		b.Add(read("b", int(d), queued, 1))
	}
	m := Merge(a, b)
	ops := slices.Collect(m.Ops())
	if !m.Setup.Starts || len(ops) != 5 {
		t.Fatalf("merged %+v, %d operations", m.Setup, len(ops))
	}
	order := map[morningai.ID]Op{}
	for i, op := range ops {
		if i > 0 && op.Seq <= ops[i-1].Seq {
			t.Errorf("operation %d comes at %d, after %d", i, op.Seq, ops[i-1].Seq)
		}
		order[op.Task] = op
	}
	first, during, same, after := order[tid(1)], order[tid(15)], order[tid(20)], order[tid(21)]
	if during.Seq < first.Seq || during.End > first.End || first.before(&same) || !first.before(&after) || order[tid(2)].End != 0 {
		t.Errorf("merged to\n%v", ops)
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		err     error
		outcome Outcome
		code    morningai.Code
	}{
		{nil, OK, ""},
		{errors.New("connection reset"), Unknown, ""},
		{morningai.ErrUnavailable, Unknown, morningai.CodeUnavailable},
		{morningai.ErrAcceptUnknown, Unknown, morningai.CodeAcceptUnknown},
		{morningai.ErrStatusUnknown, Unknown, morningai.CodeStatusUnknown},
		{morningai.ErrStorageFailed, Unknown, morningai.CodeStorageFailed},
		{morningai.ErrStorageFull, Fail, morningai.CodeStorageFull},
		{morningai.ErrConflict, Fail, morningai.CodeConflict},
		{morningai.ErrStale, Fail, morningai.CodeStale},
	} {
		if outcome, code := Judge(c.err); outcome != c.outcome || code != c.code {
			t.Errorf("%v is %s %q, want %s %q", c.err, outcome, code, c.outcome, c.code)
		}
	}
}

func TestAnswersAreTakenOver(t *testing.T) {
	task := morningai.Task{ID: tid(1), Life: 2, Version: 5, State: running, Attempt: 3, Payload: json.RawMessage(`{"a": 1}`), Fresh: morningai.FreshLive, Durable: "journal"}
	op := Op{Kind: Enqueue, Task: tid(1), Payload: DigestOf([]byte(`{"a":1}`)), Queue: "q"}
	got := op
	got.Receive(&morningai.Receipt{Task: task})
	if got.Outcome != OK || got.Life != 2 || got.Version != 5 || got.State != running || got.Attempt != 3 || got.Durable != "journal" || got.held() || got.Queue != "q" {
		t.Errorf("received %+v", got)
	}
	task.Duplicate, task.ID = true, tid(9)
	got = op
	got.Receive(&morningai.Receipt{Task: task})
	if got.Task != tid(1) || got.Holder != tid(9) || !got.held() || got.Payload != op.Payload {
		t.Errorf("received a duplicate as %+v", got)
	}
	got = op
	got.Receive(&morningai.Receipt{Err: morningai.ErrStorageFull})
	if got.Outcome != Fail || got.Code != morningai.CodeStorageFull || got.State != "" {
		t.Errorf("received a refusal as %+v", got)
	}
	if DigestOf([]byte(`{"a": 1}`)) != DigestOf([]byte(`{"a":1}`)) || DigestOf([]byte(`1`)) == DigestOf([]byte(`1.0`)) || DigestOf(nil) != 0 {
		t.Error("digests of equal values differ, or of different ones do not")
	}
}

// A violation can be understood without the history.
func TestViolationsShowTheirLines(t *testing.T) {
	s := newStory(Setup{}, "a")
	s.do(enqueue("a", 1))
	text := s.check()[0].String()
	for _, want := range []string{"invariant 2", tid(1).String(), "acknowledged by a", `"kind":"enqueue"`, `"seq":1`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}
