package redis

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// ServerView is what one server of a Redis tells about itself.
type ServerView struct {
	Address string
	Info    map[string]string // of INFO; nil if the user may not ask
	Config  map[string]string // of CONFIG GET, as far as the user may ask
	Slow    []SlowCall        // of SLOWLOG, newest first; nil if the user may not ask
	Keys    int64             // in the database; -1 if the user may not ask
	// RoundTrips are the times of some PINGs one after the other.
	RoundTrips []time.Duration
	// ClockAhead is by how much the server's clock is ahead of this machine's,
	// give or take half a round trip.
	ClockAhead time.Duration
}

// SlowCall is a command that the server took long for. Its arguments are not
// told: they are what tasks carry.
type SlowCall struct {
	At   time.Time // by the server's clock
	Took time.Duration
	Name string
}

var (
	infoSections = []string{"server", "clients", "memory", "persistence", "stats", "replication"}
	settings     = []string{"save", "appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "maxclients"}
)

const (
	pings     = 10
	slowCalls = 64
)

// Servers asks every server about itself. What a server does not tell this user
// is left out; one that does not answer ends it with an ErrUnavailable.
func (i *Inspector) Servers(ctx context.Context) ([]ServerView, error) {
	var out []ServerView
	err := i.onAll(ctx, func(ctx context.Context, address string, node rueidis.Client) error {
		v, err := i.server(ctx, node)
		v.Address = address
		out = append(out, v)
		return err
	})
	slices.SortFunc(out, func(a, b ServerView) int { return strings.Compare(a.Address, b.Address) })
	return out, err
}

func (i *Inspector) server(ctx context.Context, node rueidis.Client) (ServerView, error) {
	v := ServerView{Config: map[string]string{}, Keys: -1}
	// ask returns false if the server refuses to tell.
	var failed error
	ask := func(cmd rueidis.Completed) (rueidis.RedisResult, bool) {
		if failed != nil {
			return rueidis.RedisResult{}, false
		}
		result, err := i.e.doOn(ctx, node, cmd)
		if err != nil {
			failed = err
			return result, false
		}
		return result, result.Error() == nil
	}
	for _, section := range infoSections {
		if result, ok := ask(node.B().Info().Section(section).Build()); ok {
			if v.Info == nil {
				v.Info = map[string]string{}
			}
			text, _ := result.ToString()
			readInfo(v.Info, text)
		}
	}
	for _, name := range settings {
		if result, ok := ask(node.B().ConfigGet().Parameter(name).Build()); ok {
			if found, err := result.AsStrMap(); err == nil {
				if value, ok := found[name]; ok {
					v.Config[name] = value
				}
			}
		}
	}
	if result, ok := ask(node.B().Dbsize().Build()); ok {
		v.Keys, _ = result.AsInt64()
	}
	if result, ok := ask(node.B().SlowlogGet().Count(slowCalls).Build()); ok {
		v.Slow = readSlow(result)
	}
	if result, ok := ask(node.B().Ping().Build()); ok && result.Error() == nil {
		for range pings {
			began := time.Now()
			if _, ok := ask(node.B().Ping().Build()); ok {
				v.RoundTrips = append(v.RoundTrips, time.Since(began))
			}
		}
	}
	began := time.Now()
	if result, ok := ask(node.B().Time().Build()); ok {
		if parts, err := result.AsStrSlice(); err == nil && len(parts) == 2 {
			seconds, _ := strconv.ParseInt(parts[0], 10, 64)
			micros, _ := strconv.ParseInt(parts[1], 10, 64)
			v.ClockAhead = time.Unix(seconds, micros*1000).Sub(began.Round(0).Add(time.Since(began) / 2))
		}
	}
	return v, failed
}

func readSlow(result rueidis.RedisResult) []SlowCall {
	list, err := result.ToArray()
	if err != nil {
		return nil
	}
	out := []SlowCall{}
	for _, entry := range list {
		fields, err := entry.ToArray()
		if err != nil || len(fields) < 4 {
			continue
		}
		at, _ := fields[1].AsInt64()
		took, _ := fields[2].AsInt64()
		words, _ := fields[3].AsStrSlice()
		c := SlowCall{At: time.Unix(at, 0), Took: time.Duration(took) * time.Microsecond}
		if len(words) > 0 {
			c.Name = strings.ToUpper(words[0])
		}
		out = append(out, c)
	}
	return out
}
