package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

const (
	minLease = time.Second
	maxLease = time.Hour
)

// redisURL returns the address of the Redis that holds the tasks, or "" for the
// embedded engine.
func (c *serveCmd) redisURL() (string, error) {
	if c.Lease < minLease || c.Lease > maxLease {
		return "", usage("--lease must be 1s to 1h", "")
	}
	if len(c.Node) > 128 {
		return "", usage("--node must have at most 128 bytes", "")
	}
	url := c.Redis
	if c.Engine == "sqlite" {
		url = ""
	}
	switch {
	case url == "" && c.Engine == "redis":
		return "", usage("--engine redis needs the address of a Redis", "give it with --redis, MORNINGAI_REDIS or REDIS_URL, such as redis://127.0.0.1:6379/0")
	case url == "" && c.NoJournal:
		return "", usage("--no-journal is about a server on Redis", "give the address with --redis, MORNINGAI_REDIS or REDIS_URL")
	case url == "" && len(c.RQQueues) > 0:
		return "", usage("--rq-queues needs the address of the Redis that RQ uses", "give it with --redis, MORNINGAI_REDIS or REDIS_URL, such as redis://127.0.0.1:6379/0")
	case c.Role == "api" && len(c.RQQueues) > 0:
		return "", usage("--rq-queues must not be given with the role api, which runs nothing and delivers nothing", "give it to a server with --role all or worker")
	case url == "" && c.AllowEviction:
		return "", usage("--redis-allow-eviction is about a server on Redis", "give the address with --redis, MORNINGAI_REDIS or REDIS_URL")
	case url != "" && c.RetainCount != 0:
		return "", usage("--retain-count works with the embedded engine only", "bound ended tasks in Redis by time: --retain-succeeded and --retain-failed")
	}
	return url, c.checkJournal(url)
}

// checkJournal refuses settings of a journal where there is none. One that says
// what holds anyway is none of them.
func (c *serveCmd) checkJournal(url string) error {
	if url != "" && !c.NoJournal {
		return nil
	}
	without, remedy := "a server on Redis", "give the address with --redis, MORNINGAI_REDIS or REDIS_URL"
	if url != "" {
		without, remedy = "a server with a journal", "leave --no-journal out"
	}
	for _, s := range []struct{ flag, field, value string }{
		{"--durability", "Durability", c.Durability},
		{"--journal-limit", "JournalLimit", c.JournalLimit},
		{"--journal-min-free", "JournalMinFree", c.JournalMinFree},
	} {
		if f, ok := reflect.TypeFor[serveCmd]().FieldByName(s.field); !ok || s.value != f.Tag.Get("default") {
			return usage(s.flag+" is about "+without, remedy)
		}
	}
	return nil
}

// bytesOf reads a size such as 512MiB.
func bytesOf(flag, text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}} {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			number, unit = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, usage(flag+" must be a size such as 512MiB, 8GiB or a number of bytes", "")
	}
	return n * unit, nil
}

// redisSource says where the address of Redis came from.
func redisSource(line *kong.Context) string {
	if onLine(line, "redis") {
		return "--redis"
	}
	if _, ok := os.LookupEnv("MORNINGAI_REDIS"); ok {
		return "MORNINGAI_REDIS"
	}
	return "REDIS_URL"
}

// onLine reports whether a flag stands on the command line: what it says goes before
// what another flag has from the environment.
func onLine(line *kong.Context, name string) bool {
	return slices.ContainsFunc(line.Path, func(p *kong.Path) bool { return p.Flag != nil && p.Flag.Name == name })
}

var plainHosts = regexp.MustCompile(`^[A-Za-z0-9_./:,%\[\]-]+$`)

// redisHost is what may be told of an address: hosts without user, password and
// settings. What does not look like hosts is not told.
func redisHost(url string) string {
	const hidden = "an address that is not shown"
	scheme, rest, ok := strings.Cut(url, "://")
	rest, settings, _ := strings.Cut(rest, "?")
	if !ok || strings.Contains(settings, "@") { // an unescaped ? in a password
		return hidden
	}
	rest = rest[strings.LastIndex(rest, "@")+1:]
	if scheme != "unix" {
		rest, _, _ = strings.Cut(rest, "/")
	}
	if !plainHosts.MatchString(rest) {
		return hidden
	}
	return rest
}

// withoutPasswords hides the addresses among the arguments in a text that may
// repeat them: a password may be anywhere in one that was put in a wrong place.
func withoutPasswords(text string, args []string) string {
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			_, a, _ = strings.Cut(a, "=")
		}
		scheme, rest, ok := strings.Cut(a, "://")
		if !ok || rest == "" {
			continue
		}
		for _, shown := range []string{a, quoted(a)} {
			text = strings.ReplaceAll(text, shown, scheme+"://…")
		}
	}
	return withPassword.ReplaceAllString(text, "$1…@")
}

var withPassword = regexp.MustCompile(`(://)\S*@`)

// quoted is an argument as %q shows it, without the quotes.
func quoted(a string) string {
	q := strconv.Quote(a)
	return q[1 : len(q)-1]
}
