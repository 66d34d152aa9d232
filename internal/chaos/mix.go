package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/RC918/morningai/internal/drill"
	"github.com/RC918/morningai/internal/redisproc"
)

// mixTime is how long a mix lasts at least: long enough for some faults.
const mixTime = 20 * time.Second

// mix is a sequence of faults that a seed has chosen, on a Sentinel group.
func mix(ctx context.Context, f *fleet) error {
	f.mixed = map[string]int{}
	end := time.Now().Add(max(f.config.Duration, mixTime))
	faults := []struct {
		name string
		do   func(context.Context, *fleet) error
	}{
		{"primary frozen until a replica takes over", failoverOnce},
		{"primary frozen for a moment", func(ctx context.Context, f *fleet) error {
			return f.briefly(ctx, (*redisproc.Server).Freeze, (*redisproc.Server).Thaw, 300*time.Millisecond) // shorter than the sentinels wait
		}},
		{"memory full", func(ctx context.Context, f *fleet) error {
			limit := func(bytes string) func(*redisproc.Server) error {
				return func(s *redisproc.Server) error {
					_, err := s.Do("CONFIG", "SET", "maxmemory", bytes)
					return err
				}
			}
			return f.briefly(ctx, limit("1"), limit("0"), time.Duration(500+f.random.IntN(2000))*time.Millisecond)
		}},
		{"connections closed", func(_ context.Context, f *fleet) error {
			s, err := f.primary()
			if err != nil {
				return err
			}
			_, err = s.Do("CLIENT", "KILL", "USER", "app")
			return err
		}},
		{"server killed", func(ctx context.Context, f *fleet) error {
			n := f.some()
			n.crash()
			return errors.Join(wait(ctx, time.Duration(f.random.IntN(2000))*time.Millisecond), n.restart(ctx))
		}},
	}
	for time.Now().Before(end) {
		one := faults[f.random.IntN(len(faults))]
		f.mixed[one.name]++
		f.step(one.name)
		if err := one.do(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		if err := wait(ctx, time.Duration(1000+f.random.IntN(3000))*time.Millisecond); err != nil {
			return err
		}
	}
	f.to = time.Now()
	return nil
}

// briefly does something to the primary for some time.
func (f *fleet) briefly(ctx context.Context, begin, end func(*redisproc.Server) error, d time.Duration) error {
	s, err := f.primary()
	if err != nil {
		return err
	}
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	err = begin(s)
	if err == nil {
		err = errors.Join(wait(ctx, d), end(s))
	}
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	return err
}

// primary is the server that the sentinels call so.
func (f *fleet) primary() (*redisproc.Server, error) {
	text, err := f.more[2].Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
	if err != nil {
		return nil, err
	}
	at := strings.ReplaceAll(text, "\n", ":")
	servers := append([]*redisproc.Server{f.redis}, f.more[:2]...)
	i := slices.IndexFunc(servers, func(s *redisproc.Server) bool { return s.Addr() == at })
	if i < 0 {
		return nil, fmt.Errorf("the sentinels call %q the primary, which is none of ours", at)
	}
	return servers[i], nil
}

// failoverOnce freezes the primary until another one is, and waits until the old
// one follows it.
func failoverOnce(ctx context.Context, f *fleet) error {
	old, err := f.primary()
	if err != nil {
		return err
	}
	f.history.Add(drill.Op{Kind: drill.RedisDown})
	lost := f.history.Begin(drill.Op{Kind: drill.RedisLost})
	split := f.history.Begin(drill.Op{Kind: drill.Split})
	err = old.Freeze()
	if err == nil {
		err = until(ctx, "a replica to be promoted", func() (bool, error) {
			now, err := f.primary()
			return err == nil && now != old, nil
		})
	}
	f.promoted = time.Now()
	// Sentinels take their time, and a busy machine takes more to copy the data.
	err = errors.Join(err, old.Thaw())
	for _, want := range []string{"role:slave", "master_link_status:up"} {
		if err == nil {
			err = until(ctx, "the old primary to say "+want, func() (bool, error) {
				text, err := old.Do("INFO", "replication")
				return err == nil && strings.Contains(text, want), nil
			})
		}
	}
	split.Return(nil)
	lost.Return(nil)
	f.history.Add(drill.Op{Kind: drill.RedisUp})
	return err
}
