package outagetest

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai/internal/redistest"
)

// opensBySetup are outages that somebody brings about who changes how Redis is set
// up.
func opensBySetup() []mode {
	return []mode{
		{name: "speaks TLS from now on", prepare: bothPorts(false), provoke: func(s *sick) { s.proxy.Lead(s.tls); s.proxy.ResetAll() },
			cure: func(s *sick) { s.proxy.Lead(s.redis.Addr()) }, cause: "connection to Redis was lost", hint: "rediss://"},
		{name: "speaks no TLS any more", prepare: bothPorts(true), provoke: func(s *sick) { s.proxy.Lead(s.redis.Addr()); s.proxy.ResetAll() },
			cure: func(s *sick) { s.proxy.Lead(s.tls) }, cause: "does not answer in time", hint: "without TLS"},
		{name: "no connection can be made", args: []string{"--tcp-backlog", "1"}, provoke: fullBacklog, cure: func(s *sick) { s.redis.Thaw() },
			cause: "does not answer in time", hint: "check the server and the network"},
		{name: "slot half moved", prepare: twoPrimaries, provoke: halfMove, cure: undone, cause: "is being moved", hint: "finish the move"},
	}
}

// passesBySetup are changes of Redis that nobody needs to notice.
func passesBySetup() []mode {
	return []mode{
		{name: "slot moved", prepare: twoPrimaries, provoke: func(s *sick) {
			const key = "mai:{0}:meta"
			to := s.cluster.Nodes[0]
			if s.cluster.Owner(key) == to {
				to = s.cluster.Nodes[1]
			}
			s.cluster.Move(key, to)
		}},
		{name: "clock jumps", prepare: clocked, provoke: jump},
	}
}

// bothPorts leads the servers to a Redis with a port that speaks TLS and one that
// does not, through a proxy that can be led to the other.
func bothPorts(secure bool) func(*sick) {
	return func(s *sick) {
		authority := redistest.NewAuthority(s.t)
		port := redistest.FreePort(s.t)
		s.redis = redistest.Start(s.t, append(authority.TLSArgs(port, "127.0.0.1"), s.args...)...)
		s.tls = "127.0.0.1:" + strconv.Itoa(port)
		s.proxy = redistest.NewProxy(s.t, s.redis.Addr())
		s.url = "redis://app:" + planted + "@" + s.proxy.Addr()
		if secure {
			s.proxy.Lead(s.tls)
			cert, key := authority.Issue("client")
			s.url = fmt.Sprintf("rediss://app:%s@%s?ca=%s&cert=%s&key=%s", planted, s.proxy.Addr(), authority.File, cert, key)
		}
	}
}

// fullBacklog freezes Redis and makes connections until no more can be made.
func fullBacklog(s *sick) {
	s.redis.Freeze()
	for {
		c, err := net.DialTimeout("tcp", s.redis.Addr(), 300*time.Millisecond)
		if err != nil {
			return
		}
		s.t.Cleanup(func() { _ = c.Close() })
	}
}

func twoPrimaries(s *sick) {
	s.cluster = redistest.StartCluster(s.t, 2, s.args...)
	s.redis = s.cluster.Nodes[0]
	s.url = strings.Replace(s.cluster.URL(), "://", "://app:"+planted+"@", 1)
}

// halfMove begins to move a slot, and stops when one of its keys is there.
func halfMove(s *sick) {
	const key = "mai:{0}:tasks"
	from, to := s.cluster.Nodes[0], s.cluster.Nodes[1]
	if s.cluster.Owner(key) == to {
		from, to = to, from
	}
	slot, fromID, toID := from.Do("CLUSTER", "KEYSLOT", key), from.Do("CLUSTER", "MYID"), to.Do("CLUSTER", "MYID")
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", fromID)
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", toID)
	from.Do("MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), key, "0", "5000")
	s.undo = func() {
		redistest.Until(s.t, "all keys to move", func() bool {
			keys := from.Do("CLUSTER", "GETKEYSINSLOT", slot, "100")
			if keys == "" {
				return true
			}
			args := []string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.Port()), "", "0", "5000", "KEYS"}
			_, err := from.Try(append(args, strings.Split(keys, "\n")...)...)
			return err == nil && from.Do("CLUSTER", "GETKEYSINSLOT", slot, "100") == ""
		})
		for _, one := range s.cluster.Nodes {
			one.Do("CLUSTER", "SETSLOT", slot, "NODE", toID)
		}
	}
}

// clocked gives Redis a wall clock that jump sets back and forth while tasks run.
func clocked(s *sick) {
	s.redis, s.clock = redistest.StartWithClock(s.t, append([]string{"--appendonly", "yes"}, s.args...)...)
	s.url = "redis://app:" + planted + "@" + s.redis.Addr()
}

func jump(s *sick) {
	s.jumps++
	offset := time.Hour
	if s.jumps%2 == 0 {
		offset = -time.Hour
	}
	s.clock.Set(offset)
}
