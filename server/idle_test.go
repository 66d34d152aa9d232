//go:build unix

package server_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/server"
)

// Ten idle servers, each with a journal, ask Redis less than 60 commands a second,
// those inside of scripts counted.
func TestIdleFleet(t *testing.T) {
	redis := redistest.Start(t)
	for range 10 {
		c := config(t)
		c.Redis = server.Redis{URL: redis.URL()}
		r := run(t, c)
		defer r.end(t)
	}
	calls := func() (total int64, by map[string]int64) {
		by = map[string]int64{}
		for line := range strings.Lines(redis.Do("INFO", "commandstats")) {
			name, rest, ok := strings.Cut(line, ":calls=")
			if !ok {
				continue
			}
			count, _, _ := strings.Cut(rest, ",")
			n, err := strconv.ParseInt(count, 10, 64)
			if err != nil {
				t.Fatalf("commandstats: %q", line)
			}
			by[name], total = n, total+n
		}
		return total, by
	}
	const window = 10 * time.Second
	<-time.After(7 * time.Second) // all have looked around and gone to rest
	before, was := calls()
	<-time.After(window)
	after, is := calls()
	rate := float64(after-before) / window.Seconds()
	for name, n := range is {
		if n > was[name] {
			t.Logf("%-28s %.1f/s", name, float64(n-was[name])/window.Seconds())
		}
	}
	if t.Logf("%.1f commands a second", rate); rate >= 60 {
		t.Fatal("that is too many")
	}
}
