package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// judge takes the second look and makes findings of both.
func (r *redisLook) judge(ctx context.Context) {
	if !r.reached() {
		return
	}
	apart := time.Since(r.firstAt)
	views, err := r.in.Servers(ctx)
	if err == nil {
		err = r.firstFail
	}
	for _, c := range serverChecks {
		if err != nil {
			detail, hint := worded(err)
			r.d.unknown(c.name, "it stopped answering: "+detail, hint)
			continue
		}
		var all []verdict
		for i := range views {
			l := &look{ServerView: views[i], cli: r.cli(views[i].Address), cluster: r.in.Mode() == "cluster", allowEviction: r.d.AllowEviction,
				apart: max(apart, time.Millisecond)}
			for k := range r.first {
				if r.first[k].Address == views[i].Address {
					l.before = &r.first[k]
				}
			}
			v := c.check(l)
			if len(views) > 1 {
				v.seen = views[i].Address + ": " + v.seen
			}
			all = append(all, v)
		}
		r.d.merge(c.name, all)
	}
}

// merge makes one finding of what several servers have come to: the worst, with
// everything that was seen.
func (d *doctor) merge(name string, all []verdict) {
	worst, seen := verdict{status: StatusOK}, []string{}
	for _, s := range []Status{StatusWrong, StatusUnknown, StatusOK} {
		for _, v := range all {
			if v.status != s {
				continue
			}
			seen = append(seen, v.seen)
			if worst.status == StatusOK || worst.status == StatusUnknown && s == StatusWrong {
				worst = v
			}
		}
	}
	d.add(name, worst.status, strings.Join(seen, "; "), worst.meaning, worst.fix)
}

// room is how much memory the server may use, and what says so.
func (l *look) room() (bytes float64, what string) {
	if n := l.limit("maxmemory"); n > 0 {
		return n, "maxmemory"
	}
	if n := l.number("maxmemory"); n > 0 {
		return n, "maxmemory"
	}
	return l.number("total_system_memory"), "the machine's memory"
}

func (l *look) memory() verdict {
	used := l.number("used_memory")
	if used == 0 {
		return l.notTold("INFO")
	}
	limit, what := l.room()
	seen := fmt.Sprintf("%s used of %s (%s)", size(used), size(limit), what)
	if limit > 0 && used > fullAt*limit {
		return verdict{StatusWrong, seen, "when it is full Redis refuses tasks; give it more, or keep ended tasks for a shorter time (--retain-succeeded)",
			fmt.Sprintf("%s CONFIG SET maxmemory %.0f", l.cli, 2*max(limit, used))}
	}
	return fine("%s", seen)
}

func (l *look) fragments() verdict {
	used, rss := l.number("used_memory"), l.number("used_memory_rss")
	if used == 0 {
		return l.notTold("INFO")
	}
	ratio := l.number("mem_fragmentation_ratio")
	seen := fmt.Sprintf("%s used, %s taken from the system, ratio %.2f", size(used), size(rss), ratio)
	if ratio > fragmentRatio && rss-used > fragmentLeast {
		return verdict{StatusWrong, seen, "the difference is lost until Redis gives it back", fmt.Sprintf("%s MEMORY PURGE; %s CONFIG SET activedefrag yes", l.cli, l.cli)}
	}
	return fine("%s", seen)
}

func (l *look) clients() verdict {
	n, most := l.number("connected_clients"), l.number("maxclients")
	if m := l.limit("maxclients"); m > 0 {
		most = m
	}
	if n == 0 {
		return l.notTold("INFO")
	}
	seen := fmt.Sprintf("%.0f of %.0f connections, %.0f refused since its start", n, most, l.number("rejected_connections"))
	if most > 0 && n > fullAt*most {
		return verdict{StatusWrong, seen, "a server that finds no free connection takes Redis for away; find out who holds them, or allow more",
			fmt.Sprintf("%s CLIENT LIST; %s CONFIG SET maxclients %.0f", l.cli, l.cli, 4*most)}
	}
	return fine("%s", seen)
}

func (l *look) keys() verdict {
	if l.Keys < 0 {
		return l.notTold("DBSIZE")
	}
	if l.before == nil {
		return fine("%d keys", l.Keys)
	}
	seconds := l.apart.Seconds()
	was := &look{ServerView: *l.before}
	more := l.number("used_memory") - was.number("used_memory")
	grown := more / seconds
	seen := fmt.Sprintf("%d keys, %+.0f and %s a second", l.Keys, float64(l.Keys-l.before.Keys)/seconds, signed(grown))
	limit, what := l.room()
	if left := limit - l.number("used_memory"); limit > 0 && more > growthLeast && left/grown < fillsWithin.Seconds() {
		in := time.Duration(max(left, 0) / grown * float64(time.Second)).Round(time.Second)
		return verdict{StatusWrong, seen, fmt.Sprintf("if it goes on like this, %s is full in %s; find out what grows", what, in), l.cli + " --bigkeys"}
	}
	return fine("%s", seen)
}

func signed(bytes float64) string {
	if bytes < 0 {
		return "-" + size(-bytes)
	}
	return "+" + size(bytes)
}

// size is a number of bytes for people.
func size(bytes float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if bytes < 1024 {
			return fmt.Sprintf("%.4g %s", bytes, unit)
		}
		bytes /= 1024
	}
	return fmt.Sprintf("%.4g TiB", bytes)
}
