package redis_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// declared checks what scripts do: every key that one touches is among those
// that its call declares, and these share a hash tag.
type declared struct {
	t      *testing.T
	keys   map[string]bool
	seen   map[string]bool // scripts, by SHA-1
	inside int
	errors int
}

func (d *declared) command(from string, words []string) {
	name := strings.ToUpper(words[0])
	if from != "lua" {
		if name != "EVAL" && name != "EVALSHA" {
			return
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			d.fail("a call without a number of keys: %q", words[:3])
			return
		}
		d.keys = map[string]bool{}
		tag := ""
		for _, k := range words[3 : 3+n] {
			d.keys[k] = true
			_, after, _ := strings.Cut(k, "{")
			own, _, _ := strings.Cut(after, "}")
			if own == "" || tag != "" && own != tag {
				d.fail("the keys of one call are not in one slot: %q", words[3:3+n])
			}
			tag = own
		}
		d.seen[words[1]] = true
		return
	}
	d.inside++
	switch {
	case name == "TIME":
	case name == "DEL", name == "UNLINK", name == "EXISTS":
		for _, k := range words[1:] {
			d.touched(name, k)
		}
	case name[0] == 'H', name[0] == 'Z', name == "XADD", name == "XRANGE", name == "XTRIM", name == "LLEN", name == "RPUSH":
		d.touched(name, words[1])
	default:
		d.fail("a script runs %s, of which this test does not know the keys", name)
	}
}

func (d *declared) touched(name, key string) {
	if !d.keys[key] {
		d.fail("%s of the key %q, which was not declared", name, key)
	}
}

func (d *declared) fail(format string, args ...any) {
	if d.errors++; d.errors <= 10 {
		d.t.Errorf(format, args...)
	}
}

// TestContract runs the suite on a single server, and watches what the scripts
// do meanwhile.
func TestContract(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	d := &declared{t: t, seen: map[string]bool{}}
	stop := server.Monitor(d.command)
	t.Run("suite", func(t *testing.T) { contract(t, server.URL()) })
	e := open(t, server.URL())
	if err := e.SweepAll(); err != nil {
		t.Fatal(err)
	}
	server.Do("DEL", "mai:{0}:tasks")
	if err := e.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	for name, sha := range redis.Scripts() {
		if !d.seen[sha] {
			t.Errorf("the script %s was not run: the test has not tested it", name)
		}
	}
	if d.inside < 10_000 {
		t.Errorf("only %d commands inside of scripts were seen", d.inside)
	}
}

// TestScriptsSayWhatTheyTake: the comment at the head of each script has its
// keys and arguments beyond the common ones, and what it returns.
func TestScriptsSayWhatTheyTake(t *testing.T) {
	files, err := filepath.Glob("lua/*.lua")
	if err != nil || len(files) != len(redis.Scripts())+12 { // and what they share
		t.Fatalf("%d files, %v", len(files), err)
	}
	keys, args := regexp.MustCompile(`KEYS\[`), regexp.MustCompile(`ARGV\[([89]|\d\d|[7-9] \+|i|#)|#ARGV|ARGV\[first`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var head, body strings.Builder
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "--") && body.Len() == 0 {
				head.WriteString(line)
			} else {
				body.WriteString(line)
			}
		}
		switch filepath.Base(file) { // helpers, and numbers that have names
		case "flush.lua", "common.lua", "index.lua", "constants.lua", "witness.lua", "block.lua", "finish.lua", "claim.lua", "torn.lua":
			continue
		}
		says := head.String()
		if keys.MatchString(body.String()) && !strings.Contains(says, "KEYS 22") {
			t.Errorf("%s uses keys that its head does not name", file)
		}
		if args.MatchString(body.String()) && !strings.Contains(says, "ARGV 8") && !strings.Contains(says, "ARGV 1..7") {
			t.Errorf("%s uses arguments that its head does not name", file)
		}
		if !strings.Contains(strings.ToLower(says), "returns") {
			t.Errorf("the head of %s does not say what it returns", file)
		}
	}
}
