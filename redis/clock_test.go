package redis_test

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestClockApart: of three nodes one has a clock that is ten seconds ahead. It
// starts nothing early and says so; what is queued it runs as before. Once the
// clocks of all agree again, also if they are all ahead of that of Redis, it makes
// tasks due as before.
func TestClockApart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var logged lockedBuffer
	var offsets [3]atomic.Int64
	var engines [3]*redis.Engine
	var sessions [3]morningai.SessionID
	for i := range engines {
		engines[i] = open(t, server.URL(), redis.WithClockEvery(0), redis.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))),
			redis.WithClock(func() time.Time { return time.Now().Add(time.Duration(offsets[i].Load())) }))
		sessions[i] = morningai.SessionID{byte(i + 1)}
	}
	beats := func() {
		for range 2 { // the second beat sees what all have told in the first
			for i, e := range engines {
				if _, err := e.Beat(t.Context(), morningai.BeatRequest{Session: sessions[i], Node: "n", Types: []string{"work"}, LeaseTime: time.Minute}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	offsets[1].Store(int64(10 * time.Second))
	beats()
	if text := logged.String(); strings.Count(text, "the clock of this machine differs") != 1 || !regexp.MustCompile(`ahead=(9\.9|10)`).MatchString(text) { // less what the way takes
		t.Errorf("the log says %q", text)
	}
	due := morningai.NewTaskSpec("work", []byte(`1`))
	due.RunAt = time.Now().Add(5 * time.Second)
	ready := morningai.NewTaskSpec("work", []byte(`2`))
	receipts, err := engines[0].Enqueue(t.Context(), []morningai.TaskSpec{due, ready})
	if err != nil {
		t.Fatal(err)
	}
	got, err := engines[1].Claim(context.Background(), morningai.ClaimRequest{Session: sessions[1], Types: []string{"work"}, N: 2})
	if err != nil || len(got.Grants) != 1 || got.Grants[0].Task.ID != receipts[1].Task.ID {
		t.Fatalf("the node whose clock is ahead was handed %d tasks, want the queued one alone (%v)", len(got.Grants), err)
	}
	for i := range offsets {
		offsets[i].Store(int64(10 * time.Second))
	}
	beats()
	if text := logged.String(); !strings.Contains(text, "agrees with those of the others again") {
		t.Errorf("the log says %q", text)
	}
	got, err = engines[1].Claim(context.Background(), morningai.ClaimRequest{Session: sessions[1], Types: []string{"work"}, N: 2})
	if err != nil || len(got.Grants) != 1 || got.Grants[0].Task.ID != receipts[0].Task.ID {
		t.Fatalf("with all clocks ahead %d tasks were handed out, want the one that is due by them (%v)", len(got.Grants), err)
	}
}

func TestWhoseClockIsTrusted(t *testing.T) {
	t.Parallel()
	s := func(list ...time.Duration) []time.Duration {
		for i := range list {
			list[i] *= time.Second
		}
		return list
	}
	for _, c := range []struct {
		own    time.Duration
		others []time.Duration
		apart  bool
	}{
		{0, s(0, 10), false},
		{10, s(0), true},
		{-10, s(0, 0), true},
		{10, s(10), false},     // both: the clock of Redis is the wrong one
		{1, s(0, 0, 2), false}, // near enough
		{0, s(10, 10, 10), true},
		{0, s(10, 10), false}, // Redis agrees with this one
		{10, s(-10), false},   // nobody is near the middle: the nearest go on
		{11, s(-10), true},
		{10, s(10, 0), true}, // half and half: one half goes on
		{0, s(10, 10, 0), false},
	} {
		if apart, _ := redis.ClockApart(c.own*time.Second, c.others); apart != c.apart {
			t.Errorf("own clock %d s ahead, others %v: apart %v", c.own, c.others, apart)
		}
	}
}
