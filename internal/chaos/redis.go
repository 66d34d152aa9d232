package chaos

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/RC918/morningai/internal/redisproc"
)

// user are the arguments with which Redis knows the servers' user.
func user() []string { return []string{"--user", "app", "on", ">" + password, "~*", "&*", "+@all"} }

func (f *fleet) startRedis() (err error) {
	args := append(user(), f.scenario.redis...)
	if f.scenario.redis == nil {
		// Without a sync by itself: with everysec Redis answers before it has written
		// while a sync is under way, and so a kill loses what was acknowledged.
		args = append(args, "--appendonly", "yes", "--appendfsync", "no")
	}
	args = append(args, f.arguments...)
	if f.redis, err = redisproc.Start(redisproc.Options{Args: args, Wrap: f.wrap}); err != nil {
		return err
	}
	if f.scenario.cluster > 0 {
		return f.startCluster(args)
	}
	if f.scenario.group {
		return f.startGroup(args)
	}
	return nil
}

// startGroup adds two replicas and three sentinels.
func (f *fleet) startGroup(args []string) error {
	main := fmt.Sprintf("127.0.0.1 %d", f.redis.Port())
	for range 2 {
		r, err := redisproc.Start(redisproc.Options{Args: append(append([]string{}, args...), "--replicaof", main, "--repl-diskless-sync-delay", "0")})
		if err != nil {
			return err
		}
		f.more = append(f.more, r)
		if err := f.awaitInfo(r, "INFO replication", "master_link_status:up"); err != nil {
			return err
		}
	}
	sentinels := f.more
	for range 3 {
		s, err := redisproc.Start(redisproc.Options{Sentinel: []string{"sentinel monitor main " + main + " 2",
			"sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 3000"}})
		if err != nil {
			return err
		}
		f.more = append(f.more, s)
	}
	for _, s := range f.more[len(sentinels):] {
		for _, want := range []string{"num-slaves\n2\n", "num-other-sentinels\n2\n"} {
			if err := f.awaitInfo(s, "SENTINEL MASTER main", want); err != nil {
				return err
			}
		}
	}
	return nil
}

// startCluster adds the other primaries, and waits until all agree on who has
// which slots.
func (f *fleet) startCluster(args []string) error {
	n := f.scenario.cluster
	for range n - 1 {
		s, err := redisproc.Start(redisproc.Options{Args: args})
		if err != nil {
			return err
		}
		f.more = append(f.more, s)
	}
	all := append([]*redisproc.Server{f.redis}, f.more...)
	for i, s := range all {
		if _, err := s.Do("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*16384/n), strconv.Itoa((i+1)*16384/n-1)); err != nil {
			return err
		}
		if _, err := s.Do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(f.redis.Port())); err != nil {
			return err
		}
	}
	for _, s := range all {
		for _, want := range []string{"cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:" + strconv.Itoa(n)} {
			if err := f.awaitInfo(s, "CLUSTER INFO", want); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *fleet) awaitInfo(s *redisproc.Server, command, want string) error {
	return redisproc.Until("Redis to say "+strings.TrimSpace(want), func() (bool, error) {
		text, err := s.Do(strings.Fields(command)...)
		return err == nil && strings.Contains(text, want), nil
	})
}

// address is where the servers find Redis.
func (f *fleet) address() string {
	const user = "app:" + password + "@"
	switch {
	case f.url != "":
		return f.url
	case f.hosts != "":
		return "redis://" + user + redisName + ":" + strconv.Itoa(f.redis.Port())
	case f.scenario.group:
		var hosts []string
		for _, s := range f.more[2:] {
			hosts = append(hosts, s.Addr())
		}
		return "redis+sentinel://" + user + strings.Join(hosts, ",") + "/main"
	case f.scenario.cluster > 0:
		hosts := f.redis.Addr()
		for _, s := range f.more {
			hosts += "," + s.Addr()
		}
		return "redis+cluster://" + user + hosts
	}
	return "redis://" + user + f.redis.Addr()
}
