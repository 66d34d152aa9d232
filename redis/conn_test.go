package redis_test

import (
	"context"
	"errors"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// A plain connection connects when it is first used, answers while Redis is
// away, and goes on when it is back.
func TestConn(t *testing.T) {
	s := redistest.Start(t)
	c, err := redis.NewConn(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	list := redis.NewScript("return {redis.call('INCR', KEYS[1]), ARGV[1], {1, 'x'}, false}")
	s.Kill()
	if _, err := c.Eval(ctx, list, []string{"n"}, "a"); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("before there is a server: %v", err)
	}
	s.Restart()
	for range 2 { // with the text of the script, and by its name
		got, err := c.Eval(ctx, list, []string{"n"}, "a")
		if err != nil || len(got) != 4 || got[1] != "a" || got[3] != nil || got[2].([]any)[1] != "x" {
			t.Errorf("%v %v", got, err)
		}
	}
	got, err := c.Read(ctx, []string{"GET", "n"}, []string{"GET", "none"}, []string{"SMEMBERS", "none"})
	if err != nil || got[0] != "2" || got[1] != nil || len(got[2].([]any)) != 0 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := c.Read(ctx, []string{"GET", "n"}, []string{"LPOP", "n"}); err == nil {
		t.Error("a command of the wrong kind is no error")
	}

	heard, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- c.Subscribe(ctx, "channel", func(m string) { heard <- m }) }()
	redistest.Until(t, "the subscription", func() bool { return s.Do("PUBLISH", "channel", "hello") == "1" })
	if m := <-heard; m != "hello" {
		t.Error(m)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}

	s.Freeze()
	if _, err := c.Read(t.Context(), []string{"GET", "n"}); !errors.Is(err, redis.ErrUnavailable) {
		t.Errorf("of a frozen server: %v", err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	s.Thaw()
	if _, err := c.Read(t.Context(), []string{"GET", "n"}); !errors.Is(err, morningai.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := redis.NewConn("nonsense"); !errors.Is(err, morningai.ErrInvalidInput) {
		t.Error(err)
	}
}
